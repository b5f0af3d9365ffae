"""What does each part add? The same clips and seeds, one part more a row.

    mgkit ablation data/demo runs/ablation --seeds 5

Each seed trains the RGB and the pose branch once, without prototypes; every two-pathway row starts from those same two
branches, so that rows of one seed differ in nothing but the part they name. `joint training` is the control: it trains
the merged branches on for as long as the rows below it, without anything that joins them.

It imports every room, so nothing of mgkit imports it but the command line and the names in `mgkit`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError, some
from mgkit.files import read_json, write_json
from mgkit.models.pathways import FUSION
from mgkit.progress import Progress
from mgkit.results.run.folder import Run, load_run
from mgkit.results.run.records import Predictions
from mgkit.results.scores.scores import import_scores
from mgkit.results.stats.metrics import macro_f1, mean_class_accuracy, top1
from mgkit.results.stats.significance import holm, seed_difference, seed_mean, subject_interval
from mgkit.training import recipes
from mgkit.training.inference import test
from mgkit.training.loop import train
from mgkit.training.recipe import Recipe

__all__ = ["LATE_FUSION", "ablation_markdown", "ablation_recipes", "ablation_table", "run_ablation"]

LATE_FUSION = "late fusion"
ORDER = "rows.json"  # the names of the rows, in order


def ablation_recipes(base: Recipe | None = None) -> dict[str, Recipe]:
    """The trained rows of the ablation, in order, by name (late fusion, which trains nothing, comes third).

    Args:
        base: a staged two-pathway recipe; by default `recipes.demo()` with 16, 12 and 5 epochs for RGB, pose and joint
            training. Its `alpha`, `temperature`, ... hold for the rows with prototypes.
    """
    if base is None:
        base = recipes.demo(epochs=5).with_(**{"rgb.epochs": 16, "pose.epochs": 12})
    if not base.two_pathway or not base.stages:
        raise MgkitError(
            "the ablation takes a staged two-pathway recipe: recipes.demo(), paper() or fusion(...)."
        )
    rgb, pose = (stage.with_(prototypes=False) for stage in base.stages)
    fusion = base["fusion"] or FUSION
    joint = base.with_(stages=(), fusion=None, prototypes=False, laterals=True)
    return {
        "RGB": rgb,
        "pose": pose,
        "joint training": joint.with_(laterals=False),
        "laterals": joint,
        "+ fusion (channel)": joint.with_(fusion=fusion.with_(axis="channel")),
        "+ fusion (time)": joint.with_(fusion=fusion.with_(axis="time")),
        "+ prototypes": joint.with_(refinement=base.refinement, prototypes=True),
        "+ both": joint.with_(refinement=base.refinement, prototypes=True, fusion=fusion),
    }


def run_ablation(
    clips: Clips,
    out: str | Path,
    *,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    rows: Mapping[str, Recipe] | None = None,
    split: str = "test",
    device: str = "auto",
    workers: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Train and test every row with every seed, then return `ablation_table`; the same call resumes.

    Args:
        clips: with train, val and `split`.
        out: one folder a seed and row is made below it: `<out>/seed0/laterals`, ...
        seeds: five or more for intervals worth having.
        rows: recipes by name, first an RGB and a pose branch, which all others start from; `ablation_recipes()` by
            default.
        split, device, workers, progress: as in `train` and `test`.
    """
    out = Path(out)
    rows = ablation_recipes() if rows is None else rows
    alone = [name for name, recipe in rows.items() if not recipe.two_pathway]
    if [rows[name].name for name in alone] != ["rgb", "pose"] or alone != list(rows)[:2]:
        raise MgkitError(
            "the rows of an ablation begin with an RGB and a pose recipe; the others start from those."
        )
    folders = [_folder(out, 0, name) for name in (*rows, LATE_FUSION)]
    if len(set(folders)) != len(folders):
        raise MgkitError(
            f"two of the rows {some(rows, 20)} would share a folder: give them names that differ in letters."
        )
    write_json(out / ORDER, [*alone, LATE_FUSION, *list(rows)[2:]])
    for seed in seeds:
        branches: dict[str, Run] = {}
        for name, recipe in rows.items():
            folder = _folder(out, seed, name)
            done = (folder / "config.json").is_file() and load_run(folder).status()["state"] == "finished"
            if progress and not done:
                Progress(name).say(f"seed {seed}, row {list(rows).index(name) + 1} of {len(rows)}: {name}")
            run = train(
                clips, recipe, folder, seed=seed, device=device, workers=workers,
                progress=progress and not done, start=branches if recipe.two_pathway else None,
            )  # fmt: skip
            if not recipe.two_pathway:
                branches[recipe.name] = run
            if split not in run.splits() or not _plainly_tested(run, split):
                test(run, split, clips=clips, device=device, workers=workers, progress=progress)
        _write_late_fusion(out, seed, branches, clips, split)
    return ablation_table(out, clips, split=split)


def ablation_table(
    out: str | Path, clips: Clips, *, split: str = "test", reference: str = "laterals", draws: int = 2000
) -> pd.DataFrame:
    """The ablation as numbers in [0, 1], one row a variant, in the order they were trained.

    Args:
        out: the folder of `run_ablation`.
        clips: the clips it tested on, for their subjects.
        reference: the row that "vs reference" compares with.
        draws: bootstrap samples over subjects.

    Returns:
        Index `row`; columns `seeds`, `top1` with its 95 % t interval over seeds `top1_low`, `top1_high`, the means
        `macro_f1` and `mean_class_accuracy`, and twice (`above_*`, `reference_*`) the paired difference of Top-1
        `gain`, its interval over seeds `low`, `high`, `p` of the paired t-test, `p_holm` adjusted over the column, and
        the interval over subjects `subject_low`, `subject_high`.
    """
    out = Path(out)
    tested = _tested(out, split)
    subject = dict(zip(clips.table["clip_id"], clips.table["subject"], strict=True))
    scores: dict[str, dict[int, Predictions]] = {
        name: {seed: run.predictions(split) for seed, run in runs.items()} for name, runs in tested.items()
    }
    table: dict[str, dict[str, float]] = {}
    above: str | None = None
    for name, by_seed in scores.items():
        seeds = sorted(by_seed)
        accuracy = seed_mean([_top1(by_seed[s]) for s in seeds])
        row: dict[str, float] = {
            "seeds": len(seeds), "top1": accuracy.mean, "top1_low": accuracy.low, "top1_high": accuracy.high,
            "macro_f1": float(np.mean([macro_f1(p.labels, p.predicted(), p.class_count) for p in by_seed.values()])),
            "mean_class_accuracy": float(
                np.mean([mean_class_accuracy(p.labels, p.predicted(), p.class_count) for p in by_seed.values()])
            ),
        }  # fmt: skip
        for label, other in (("above", above), ("reference", reference)):
            if other is not None and other != name and other in scores:
                row |= _gain(label, by_seed, scores[other], subject, draws)
        table[name] = row
        above = name
    frame = pd.DataFrame.from_dict(table, orient="index")
    for label in ("above", "reference"):
        if f"{label}_p" in frame:
            place = list(frame.columns).index(f"{label}_p") + 1
            frame.insert(place, f"{label}_p_holm", holm(frame[f"{label}_p"].tolist()))
    frame.index.name = "row"
    return frame


def ablation_markdown(table: pd.DataFrame) -> str:
    """The table of `ablation_table` for a page: per cent, intervals over seeds, p adjusted by Holm."""
    lines = [
        f"| {int(table['seeds'].max())} seeds | Top-1 | macro-F1 | mean class acc. | gain on the row above | p "
        "| gain on laterals | p | over subjects |",
        "|---|---|---|---|---|---|---|---|---|",
    ]

    def percent(value: float, sign: str = "") -> str:
        return "-" if np.isnan(value) else f"{100 * value:{sign}.1f}"

    def span(row: pd.Series[float], low: str, high: str, sign: str = "") -> str:
        return (
            ""
            if np.isnan(row.get(low, np.nan))
            else f" [{percent(row[low], sign)}, {percent(row[high], sign)}]"
        )

    def p_value(value: float) -> str:
        return "-" if np.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"

    for name, row in table.iterrows():
        cells = [
            str(name),
            f"{percent(row['top1'])}{span(row, 'top1_low', 'top1_high')}",
            percent(row["macro_f1"]),
            percent(row["mean_class_accuracy"]),
        ]
        for label in ("above", "reference"):
            gain = percent(row.get(f"{label}_gain", np.nan), "+")
            cells += [
                f"{gain}{span(row, f'{label}_low', f'{label}_high', '+')}",
                p_value(row.get(f"{label}_p_holm", np.nan)),
            ]
        cells.append(span(row, "reference_subject_low", "reference_subject_high", "+").strip() or "-")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _gain(
    label: str,
    ours: Mapping[int, Predictions],
    theirs: Mapping[int, Predictions],
    subject: Mapping[str, str],
    draws: int,
) -> dict[str, float]:
    seeds = sorted(set(ours) & set(theirs))
    over_seeds = seed_difference([_top1(ours[s]) for s in seeds], [_top1(theirs[s]) for s in seeds])
    ids = ours[seeds[0]].clip_ids
    a, b = (np.mean([_hits(p[s], ids) for s in seeds], axis=0) for p in (ours, theirs))
    over_subjects = subject_interval(a, b, [subject[i] for i in ids], np.random.default_rng(0), draws=draws)
    return {
        f"{label}_gain": over_seeds.mean, f"{label}_low": over_seeds.low, f"{label}_high": over_seeds.high,
        f"{label}_p": over_seeds.p, f"{label}_subject_low": over_subjects.low,
        f"{label}_subject_high": over_subjects.high,
    }  # fmt: skip


def _hits(predictions: Predictions, ids: list[str]) -> np.ndarray:
    """Whether each clip of `ids` was right, whatever the order in the file."""
    hit = dict(zip(predictions.clip_ids, predictions.correct(), strict=True))
    return np.array([hit[i] for i in ids], dtype=np.float64)


def _top1(predictions: Predictions) -> float:
    return top1(predictions.labels, predictions.predicted())


def _write_late_fusion(out: Path, seed: int, branches: Mapping[str, Run], clips: Clips, split: str) -> None:
    """The 1:1 mean of the two branches' probabilities, as a run of its own."""
    rgb, pose = (branches[name].predictions(split) for name in ("rgb", "pose"))
    if rgb.clip_ids != pose.clip_ids:
        raise MgkitError(f"seed {seed}: the branches were tested on different clips; test both again.")
    import_scores(
        _folder(out, seed, LATE_FUSION), clip_ids=rgb.clip_ids, labels=rgb.labels,
        probabilities={"rgb": rgb.scores(), "pose": pose.scores()}, classes=clips.classes, name=LATE_FUSION,
        skeleton=clips.skeleton, split=split,
    )  # fmt: skip


def _plainly_tested(run: Run, split: str) -> bool:
    """Whether the predictions that are there are those of a plain test, as all rows must be to be compared."""
    plain = {"checkpoint": "best", "views": 1, "flip": False, "weights": None, "rectification": 0.0}
    settings = run.test_settings(split)
    return not settings or all(settings.get(key) == value for key, value in plain.items())


def _folder(out: Path, seed: int, name: str) -> Path:
    return out / f"seed{seed}" / re.sub(r"[^\w.]+", "-", name).strip("-")


def _tested(out: Path, split: str) -> dict[str, dict[int, Run]]:
    """{row: {seed: run}} of all that is tested, in the order of the ablation."""
    if not (out / ORDER).is_file():
        raise MgkitError(f"{out} holds no ablation ({ORDER} is missing): make one with `mgkit ablation`.")
    order = [str(name) for name in read_json(out / ORDER)]
    seeds = sorted(int(p.name[4:]) for p in out.glob("seed*") if p.name[4:].isdigit())
    found: dict[str, dict[int, Run]] = {}
    for name in order:
        for seed in seeds:
            folder = _folder(out, seed, name)
            run = load_run(folder) if (folder / "config.json").is_file() else None
            if run is not None and split in run.splits():
                found.setdefault(name, {})[seed] = run
    if not found:
        raise MgkitError(f"{out} holds no tested run of an ablation: make one with `mgkit ablation`.")
    uneven = [name for name, runs in found.items() if len(runs) != max(map(len, found.values()))]
    if uneven:
        raise MgkitError(
            f"{out}: {some(uneven)} lack seeds that other rows have: run `mgkit ablation` again."
        )
    return found
