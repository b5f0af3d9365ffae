"""How long the kernel takes to answer a click in a widget, against searching the predictions anew at each click.

    python benchmarks/widgets.py
    python benchmarks/widgets.py --clips 100000 --classes 52

A click is what the page sends: the widget finds its clips, sets the Selection that it shares with another view, and
both are told what to mark. The baseline finds the same clips by comparing all labels and predictions.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mgkit.data.clips import Classes
from mgkit.results.runs import Predictions, Run
from mgkit.results.scores import import_scores
from mgkit.views.widgets import ClassAccuracy, ConfusionMatrix, RunComparison, Selection


def make_run(root: Path, clips: int, classes: int, rng: np.random.Generator, name: str = "made") -> Run:
    """A run over made scores: classes of very different sizes, two clips of three recognised."""
    share = 1 / np.arange(1, classes + 1)
    labels = np.random.default_rng(0).choice(classes, clips, p=share / share.sum())
    scores = {}
    for output in ("rgb", "pose", "fused"):
        said = np.where(rng.random(clips) < 0.66, labels, rng.integers(0, classes, clips))
        scores[output] = (0.9 * np.eye(classes)[said] + 0.1 / classes).astype(np.float32)
    names = Classes(
        tuple(f"class {k}" for k in range(classes)), tuple(f"group {k % 7}" for k in range(classes))
    )
    ids = [f"clip_{i:06d}" for i in range(clips)]
    return import_scores(root, clip_ids=ids, labels=labels, probabilities=scores, classes=names, name=name)


def searched(predictions: Predictions, content: dict[str, Any]) -> list[str]:
    """The clips of a click, found as one would without an index."""
    said, true, index = predictions.predicted("fused"), predictions.labels, content.get("predicted")
    keep = np.ones(len(true), bool) if content["true"] is None else true == content["true"]
    if index is not None:
        keep &= said == index
    return [clip_id for clip_id, wanted in zip(predictions.clip_ids, keep, strict=True) if wanted]


def clicks(classes: int, count: int, rng: np.random.Generator) -> Iterator[tuple[str, dict[str, Any]]]:
    """Clicks in the matrix: cells, rows and columns by turns."""
    for i in range(count):
        true, said = int(rng.integers(classes)), int(rng.integers(classes))
        kind = ("cell", "row", "column")[i % 3]
        yield (
            kind,
            {
                "act": "pick",
                "true": None if kind == "column" else true,
                "predicted": None if kind == "row" else said,
            },
        )


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=20_000)
    parser.add_argument("--classes", type=int, default=32)
    parser.add_argument("--clicks", type=int, default=300)
    arguments = parser.parse_args()
    rng = np.random.default_rng(1)
    times: dict[str, list[float]] = {}

    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder) / "run", arguments.clips, arguments.classes, rng)
        other = make_run(Path(folder) / "other", arguments.clips, arguments.classes, rng, "other")
        selection = Selection()
        made = timed(lambda: ConfusionMatrix(run)), timed(lambda: ClassAccuracy(run))
        matrix = ConfusionMatrix(run, selection=selection)
        bars = ClassAccuracy(run, selection=selection)
        difference = ConfusionMatrix(run, other=other)
        made = *made, timed(lambda: RunComparison(other, run))
        compared = RunComparison(other, run)

        def answer(widget: Any, content: dict[str, Any]) -> None:
            widget._handle_custom_msg(content, [])
            # Jupyter turns what the views are told into JSON: part of the answer.
            json.dumps([view.selected for view in (matrix, bars, difference, compared)])

        for kind, content in clicks(arguments.classes, arguments.clicks, rng):
            selection.clear()
            times.setdefault(f"matrix, {kind}", []).append(timed(lambda c=content: answer(matrix, c)))
            found = timed(lambda c=content: searched(matrix.predictions, c))
            times.setdefault("searching anew (the clips only)", []).append(found)
            assert list(selection) == searched(matrix.predictions, content)
            times.setdefault("difference of two runs", []).append(
                timed(lambda c=content: answer(difference, c))
            )
            label = int(rng.integers(arguments.classes))
            press = {"act": "pick", "label": label, "output": "fused", "kind": None}
            times.setdefault("bars, a class", []).append(timed(lambda c=press: answer(bars, c)))
            fate = {"act": "pick", "fate": ("fixed", "broken")[label % 2], "label": label}
            times.setdefault("fixed or broken of a class", []).append(
                timed(lambda c=fate: answer(compared, c))
            )
            press = {**press, "kind": ("TP", "FN", "FP")[label % 3]}
            times.setdefault("bars, TP, FN or FP", []).append(timed(lambda c=press: answer(bars, c)))
        everything = list(matrix.predictions.clip_ids)
        for i in range(20):
            times.setdefault("all clips selected from outside", []).append(
                timed(
                    lambda i=i: (
                        selection.set(everything, description=f"all, {i}"),
                        answer(matrix, {"act": "no"}),
                    )
                )
            )
        for i in range(20):
            output = ("rgb", "pose", "fused")[i % 3]
            times.setdefault("another output shown", []).append(
                timed(lambda o=output: setattr(matrix, "output", o))
            )

    baseline = float(np.median(times["searching anew (the clips only)"]))
    table = pd.DataFrame(
        {
            name: {
                "median ms": np.median(values),
                "95 % within ms": np.quantile(values, 0.95),
                "searching / this": baseline / np.median(values),
            }
            for name, values in times.items()
        }
    ).T
    print(f"{arguments.clips:,} clips, {arguments.classes} classes, two views on one selection")
    print(f"made in {made[0]:.0f} ms (matrix), {made[1]:.0f} ms (bars), {made[2]:.0f} ms (comparison)\n")
    print(table.round(2).to_string())


if __name__ == "__main__":
    main()
