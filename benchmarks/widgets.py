"""How long the kernel takes to answer a click in a widget, against searching the predictions anew at each click.

    python benchmarks/widgets.py
    python benchmarks/widgets.py --clips 100000 --classes 52
    python benchmarks/widgets.py --map              # the map: opening it from the cache, and drawing it in a browser

A click is what the page sends: the widget finds its clips, sets the Selection that it shares with another view, and
both are told what to mark. The baseline finds the same clips by comparing all labels and predictions.

The error explorer is measured over a clip folder with videos, embeddings and review notes: the time until it can be
used, then clicks of every kind, with all that its parts are told, and what 500 more clicks do to the memory of
the kernel.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd
import psutil

from mgkit.data.clips import Classes, Clips, load_clips, write_clip_folder
from mgkit.data.skeletons import Skeleton
from mgkit.data.video import write_video
from mgkit.results.run.files import write_embeddings, write_prototypes
from mgkit.results.run.folder import Run, load_run, write_predictions
from mgkit.results.run.records import Embeddings, Predictions
from mgkit.results.scores.scores import import_scores
from mgkit.views.analysis import embedding as maps
from mgkit.views.analysis.embedding import embedding_map
from mgkit.views.widgets import (
    ClassAccuracy,
    ConfusionMatrix,
    ErrorExplorer,
    PrototypeMap,
    RunComparison,
    Selection,
)


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


def make_clips(root: Path, predictions: Predictions, names: Classes) -> Clips:
    """A clip folder of these clips: a pose each, and a few videos that they share."""
    rng, frames, joints = np.random.default_rng(2), 48, 22
    (root / "videos").mkdir(parents=True)
    smooth = np.ones((28, 28, 1), np.uint8)
    for i in range(20):  # a patchwork that moves on by a pixel a frame
        picture = np.kron(rng.integers(0, 255, (8, 10, 3), np.uint8), smooth)
        write_video(root / f"videos/{i}.mp4", (picture[:, k : k + 224] for k in range(frames)), 25)
    body = Skeleton(
        "made", tuple(f"j{k}" for k in range(joints)), tuple((k, k + 1) for k in range(joints - 1)), ()
    )
    pose = np.concatenate([rng.uniform(20, 200, (1, frames, joints, 2)), np.ones((1, frames, joints, 1))], -1)
    rows = [
        {
            "clip_id": clip_id, "split": "test", "label": int(label), "subject": f"S{i % 40}", "source": "made",
            "start": 0, "end": frames, "frames": frames, "fps": 25.0, "width": 224, "height": 224,
            "video": f"videos/{i % 20}.mp4", "persons": 1,
            "crop_x": 0.0, "crop_y": 0.0, "crop_width": 224.0, "crop_height": 224.0,
        }
        for i, (clip_id, label) in enumerate(zip(predictions.clip_ids, predictions.labels, strict=True))
    ]  # fmt: skip
    return write_clip_folder(root, rows, (pose.astype(np.float32) for _ in rows), names, body)


def own_memory() -> int:
    """Bytes of this process that are not pages of files: key-points are read from a mapped file, whose pages count as
    resident until the system wants them back."""
    found = psutil.Process().memory_info()
    return int(found.rss - getattr(found, "shared", 0))


def explored(
    run: Run, clips: Clips, count: int, rng: np.random.Generator
) -> tuple[float, dict[str, list[float]], str]:
    """Milliseconds until an explorer can be used and of each kind of click, and a line about memory."""
    predictions, classes = run.predictions(), len(run.classes)
    vectors = rng.normal(size=(len(predictions), 256)).astype(np.float32)
    write_embeddings(
        run.root, "test", Embeddings(predictions.clip_ids, {"rgb": vectors, "pose": vectors[::-1].copy()})
    )
    times: dict[str, list[float]] = {}
    found: list[ErrorExplorer] = []
    made = timed(lambda: found.append(ErrorExplorer(run, clips=clips)))
    explorer = found[0]
    sent: list[int] = []
    explorer.gallery.send = lambda content, buffers=None: sent.append(sum(map(len, buffers)))  # type: ignore[method-assign]

    def told() -> None:
        for part in (explorer.gallery, explorer.form, explorer._view("matrix"), explorer._view("classes")):
            json.dumps(part.selected)  # type: ignore[attr-defined]
        json.dumps([explorer.bar.filters, explorer.bar.state])

    def click(kind: str, act: Callable[[], object]) -> None:
        times.setdefault(f"explorer, {kind}", []).append(timed(lambda: (act(), told())))

    def press(part: Any, **content: Any) -> Callable[[], object]:
        return lambda: part._handle_custom_msg(content, [])

    def round_of_clicks(i: int) -> None:
        label = int(rng.integers(classes))
        click("class", press(explorer.bar, act="filter", name="label", value=label))
        click(
            "outcome", press(explorer.bar, act="filter", name="outcome", value=("FN", "FP", "wrong")[i % 3])
        )
        click("picture", press(explorer.gallery, act="step", by=1))
        ids = explorer.gallery.shown[:4]
        click("four pictures", press(explorer.gallery, act="thumbs", ids=ids))
        click("next error", press(explorer.gallery, act="step", by=1, wrong=True))
        click("confidence", press(explorer.bar, act="filter", name="low", value=float(rng.uniform(0, 0.5))))
        click("matrix row", press(explorer._view("matrix"), act="pick", true=label, predicted=None))
        tag, clip_id = ("occluded", "ambiguous")[i % 2], explorer.form.selected["clip"]
        if clip_id is not None:
            click("tag, with its file", press(explorer.form, act="note", clip_id=clip_id, tag=tag, on=True))
        click("reset: all errors", press(explorer.bar, act="reset"))

    for i in range(max(1, count // 10)):
        round_of_clicks(i)
    # Clips that are kept ready fill their cache first: only what comes after that would be growth.
    player = explorer.player
    assert player is not None
    while player._panels._cache.size < 0.9 * player._panels._cache.limit:
        explorer.next()
    gc.collect()
    widgets, before = len(ipywidgets.widgets.widget._instances), own_memory()
    memory = [before]
    for _ in range(2):
        for i in range(500):
            press(explorer.gallery, act="step", by=1, wrong=i % 2 == 0)()
            press(explorer.gallery, act="thumbs", ids=explorer.gallery.shown[:4])()
        gc.collect()
        memory.append(own_memory())
    first, second = (np.diff(memory) / 2**20).tolist()
    line = (
        f"twice 500 clicks on clips: memory {before / 2**20:.0f} MiB, {first:+.1f} MiB, then {second:+.1f} MiB; "
        f"widgets {widgets}, {len(ipywidgets.widgets.widget._instances) - widgets:+d}; "
        f"pictures of {np.mean(sent) / 4096:.1f} KiB each"
    )
    explorer.close()
    return made, times, line


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


# Seconds by the clock and of the processor, which do not depend on what else the machine does.
OPENING = """
import time
now = lambda: (time.perf_counter(), time.process_time())
times = [now()]
import mgkit as mg, mgkit.views.widgets
times.append(now())
widget = mg.widgets.PrototypeMap(mg.load_run({root!r}))
times.append(now())
widget._repr_mimebundle_()
times.append(now())
print(*(after[i] - before[i] for before, after in zip(times, times[1:]) for i in (0, 1)))
"""
# In the page: how long one picture takes, drawn anew at another zoom each time, and a frame of a lasso over it.
DRAWING = """() => {
    const view = window.map, timed = (count, work) => {
        const times = [];
        for (let i = 0; i < count; i++) {
            const start = performance.now();
            work(i);
            times.push(performance.now() - start);
        }
        return times.sort((a, b) => a - b)[count >> 1];
    };
    const whole = timed(20, i => { view.view = {zoom: 1 + i / 10, x: 0, y: 0}; view.image = null; view.redraw(); });
    view.view = {zoom: 1, x: 0, y: 0}; view.image = null; view.redraw();
    const over = timed(40, i => { view.drag = {loop: [[10, 10], [300, 10 + i], [200, 300]]}; view.redraw(); });
    view.drag = null;
    const hit = timed(200, i => view.under(20 + 3 * i, 100 + i));
    const inside = timed(10, () => insideLoop(view.map.points, Array.from({length: 120}, (_, i) =>
        view.from(400 + 300 * Math.cos(i / 19), 230 + 200 * Math.sin(i / 19)))));
    return {"whole picture, another zoom": whole, "lasso or mark over it": over, "what is under the pointer": hit,
        "clips in a lasso of 120 corners": inside};
}"""


def with_map(run: Run, clips: int, classes: int, epochs: int = 30) -> None:
    """Embeddings (256-d) and prototypes for a made run, and a map of them in the cache that UMAP had no part in."""
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(classes, 256)).astype(np.float32)
    there = run.predictions()
    vectors = centres[there.labels] + 0.8 * rng.normal(size=(clips, 256)).astype(np.float32)
    config = json.loads((run.root / "config.json").read_text())
    config["pathways"] = ["pose"]
    (run.root / "config.json").write_text(json.dumps(config))
    scores = {"pose": there.scores("pose")}
    write_predictions(run.root, "test", Predictions(there.clip_ids, there.labels, scores))
    write_embeddings(run.root, "test", Embeddings(there.clip_ids, {"pose": vectors}))
    for epoch in range(1, epochs + 1):
        moved = centres + rng.normal(size=centres.shape).astype(np.float32) / epoch
        write_prototypes(run.root, epoch, {"pose": moved}, {"pose": np.full(classes, epoch)})
    spots = 12 * rng.normal(size=(classes, 2))
    labels = there.labels

    def lay(fitted: Any, moving: Any, seed: int) -> tuple[Any, Any]:
        which = [*labels, *range(classes)]
        flat = spots[which] + rng.normal(size=(len(fitted), 2))
        moved = spots[np.arange(len(moving)) % classes] + rng.normal(size=(len(moving), 2))
        return flat.astype(np.float32), moved.astype(np.float32)

    before, maps._umap = maps._umap, lay
    try:
        embedding_map(load_run(run.root))
    finally:
        maps._umap = before


def measure_map(clips: int, classes: int) -> None:
    """Print how long a kept map takes to open in a fresh process, a click in the kernel, and drawing in a browser."""
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder) / "run", clips, classes, np.random.default_rng(1))
        with_map(run, clips, classes)
        times = []
        for _ in range(5):
            code = OPENING.format(root=str(run.root))
            done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
            times.append([1000 * float(value) for value in done.stdout.split()])
        median = np.median(times, 0)
        print(
            f"{clips:,} clips, 256-d, {classes} classes, 30 epochs of prototypes; a fresh process, the map is kept"
        )
        for i, name in enumerate(("import mgkit and its widgets", "PrototypeMap(run)", "its still picture")):
            print(
                f"{name}: {median[2 * i]:.0f} ms by the clock, {median[2 * i + 1]:.0f} ms of processor time"
            )
        print()

        widget = PrototypeMap(load_run(run.root))
        rng, kernel = np.random.default_rng(3), dict[str, list[float]]()
        for i in range(100):
            half = rng.permutation(clips)[: clips // 2].tolist()
            for name, content in (
                ("click on a point", {"act": "click", "row": int(rng.integers(clips))}),
                ("lasso over half of the clips", {"act": "lasso", "rows": half}),
                ("star of a class", {"act": "class", "label": i % classes}),
            ):
                widget.selection.clear()
                took = timed(
                    lambda c=content: (widget._handle_custom_msg(c, []), json.dumps(widget.selected))
                )
                kernel.setdefault(name, []).append(took)
        for name, values in kernel.items():
            print(
                f"kernel, {name}: median {np.median(values):.1f} ms, 95 % within {np.quantile(values, 0.95):.1f} ms"
            )
        for name, took in in_browser(widget).items():
            print(f"browser, {name}: {took:.2f} ms ({1000 / max(took, 1e-3):.0f} a second)")


def in_browser(widget: PrototypeMap) -> dict[str, float]:
    """Median milliseconds of what the page does, in Chromium without a GPU; empty where there is none."""
    from playwright.sync_api import sync_playwright

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tests.browser.bare import BarePage
    from tests.browser.conftest import FLAGS, NAMES

    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        print("no Chromium: nothing measured in a browser")
        return {}
    # The view is in a closure of the script; the measurement is let in.
    widget._esm = str(widget._esm).replace(
        "export default mounted(PrototypeMapView);",
        "window.insideLoop = insideLoop; export default mounted(class extends PrototypeMapView {"
        " constructor(...all) { super(...all); window.map = this; } });",
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(600_000)
        bare = BarePage(page, widget)
        found: dict[str, float] = bare.page.evaluate(DRAWING)
        browser.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=20_000)
    parser.add_argument("--classes", type=int, default=32)
    parser.add_argument("--clicks", type=int, default=300)
    parser.add_argument(
        "--map", action="store_true", help="measure the map instead (the browser part needs Chromium)"
    )
    arguments = parser.parse_args()
    if arguments.map:
        measure_map(arguments.clips, arguments.classes)
        return
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

        clips = make_clips(Path(folder) / "clips", run.predictions(), run.classes)
        opened = timed(lambda: load_clips(clips.root))
        explorer, more, line = explored(run, clips, arguments.clicks, rng)
        times |= more

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
    print(f"made in {made[0]:.0f} ms (matrix), {made[1]:.0f} ms (bars), {made[2]:.0f} ms (comparison)")
    print(f"error explorer made in {explorer:.0f} ms; opening the clip folder takes {opened:.0f} ms")
    print(f"{line}\n")
    print(table.round(2).to_string())


if __name__ == "__main__":
    main()
