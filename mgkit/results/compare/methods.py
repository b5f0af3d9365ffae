"""The table of methods of a paper: accuracy with intervals, cost, and significance tests.

The question here is how a method would do on other people: all intervals are bootstrapped over subjects, or over clips
if subjects are unknown (the column `interval_over`). They take the trained networks as they are; the effect of
another seed is `top1_spread`, the standard deviation over the seeds that were trained, and the tests of methods with
several seeds ask about both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mgkit.data.clips import Clips
from mgkit.data.readers import load_classes
from mgkit.data.table import Classes
from mgkit.errors import MgkitError, counted, some
from mgkit.results.compare import published as reported
from mgkit.results.compare.published import IMIGUE_TEST_CLIPS
from mgkit.results.compare.runs import (
    aligned_runs,
    group_title,
    grouped_by_seed,
    opened_once,
    position_of,
    run_names,
    seed_of,
    subjects_of,
    tested_with,
)
from mgkit.results.run.cost import Cost
from mgkit.results.run.folder import Run, cautions
from mgkit.results.run.records import Ints, Predictions
from mgkit.results.stats.metrics import ResultTable, wilson
from mgkit.results.stats.resampling import ACCURACIES, accuracy_measures, intervals, resampled
from mgkit.results.stats.significance import holm, paired, seeds_apart, subject_interval

__all__ = ["MAJORITY", "method_table", "modality_of"]

MAJORITY = "Always the majority"
BEST = "best"
_SYMBOLS = {"joint": "J", "limb": "L", "bone": "B", "joint_motion": "JM", "bone_motion": "BM"}
_IMIGUE = "iMiGUE test"


def method_table(
    runs: Sequence[Run | str | Path],
    split: str = "test",
    *,
    names: Sequence[str] | Mapping[str, str] | None = None,
    modality: Sequence[str] | Mapping[str, str] | None = None,
    baseline: Run | str | Path = BEST,
    published: bool | pd.DataFrame | None = None,
    clips: Clips | None = None,
    output: str | None = None,
    common: bool = False,
    background: bool = True,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per method; runs that differ in nothing but the seed are one method.

    Args:
        runs: tested runs, or their folders, all on the same clips of `split`.
        split: the evaluated split.
        names: of the methods: one per run, or a mapping from the name of a run (its folder's) to it. Runs of one name
            become one row; they must have the same settings but the seed, unless they know no seed (scores from
            elsewhere, ensembles). By default the names of the runs.
        modality: the same, if `modality_of` does not know it; a mapping may name the methods instead.
        baseline: the reference of the tests: the method with the highest Top-1, a method, or a run. The best was
            chosen on these very clips, which flatters it: p-values against it err on the side of finding differences.
        published: True puts the published iMiGUE numbers below (`mg.published.table()`), a table of that shape those.
        clips: the source of the subjects; by default the clip folder of the first run.
        output: "rgb", "pose" or "fused"; by default the best that each run has.
        common: compare runs that were tested on different clips, on the clips that all have; the note of
            `mg.figures.table` then says so (it is `table.attrs["note"]`).
        background: False compares on labelled clips as if there were no background class, see `compare_runs`.
        draws: bootstrap samples.
        seed: of the bootstrap.

    Returns:
        Index `method`. Columns `modality`; `source` ("tested here", "constant" for always answering the majority class
        of the training clips, "published"); `tested_with`, the views of each clip ("-" for scores); `tested_on`
        ("iMiGUE test" for its 32 classes and 4,562 clips, else "other data"); `seeds`, how many; `clips`; `top1`,
        `macro_f1`, `mean_class_accuracy`, the mean over seeds, in [0, 1], each with its 95 % interval `_low`, `_high`
        (bootstrap over what `interval_over` says, seeds averaged; Wilson for published numbers) and `_spread` (standard
        deviation over seeds, missing for one); `interval_over`;
        `parameters`, `flops` (of a view, a multiplication and an addition are two), `clips_per_second` and
        `measured_on` (missing until `mg.measure` has measured the run); and `against` the baseline `fixed`, `broken`
        (clips; of single runs), `gain` with `gain_low`, `gain_high`, `test`, `p`, and `p_holm`, p adjusted over the
        methods after Holm. The test of two single runs is McNemar's exact one, which takes the clips as independent
        and another seed for impossible. Where a method has several seeds p is the larger of two: of the bootstrap of
        the gain over people (or clips), and of Student's t-test over the seeds (`significance.seeds_apart`).

    Raises:
        MgkitError: no runs, a run that is given twice, an unknown baseline, names that do not match the runs, runs
            over other classes, clips or labels than the first (which are named).
    """
    opened = opened_once(runs)
    if not opened:
        raise MgkitError("there is no run to put into a table: give one or more.")
    scores, note = aligned_runs(opened, split, common=common, background=background)
    labels, classes = scores[0].labels, scores[0].class_count
    titles = run_names(opened)
    called = _given(names, opened, titles, "names")
    groups = _rows(opened, split, titles, called)
    shown = [name or title for name, title in zip(called, titles, strict=True)]
    kinds = _given(modality, opened, shown, "modality")
    subjects = subjects_of(opened[0], scores[0].clip_ids, clips)
    over = resampled(subjects, len(labels))
    meant = opened[0].classes if background else opened[0].classes.without_background()
    here = _tested_on(meant, len(labels))

    def results(answers: Ints) -> dict[str, Any]:
        """Accuracies of S seeds (S, N): the mean, its interval and the spread of the seeds."""
        whole = accuracy_measures(labels, answers, classes)
        bounds = intervals(list(whole.values()), subjects, np.random.default_rng(seed), draws)
        row: dict[str, Any] = {"clips": len(labels), "interval_over": over, "tested_on": here}
        for (name, measure), (low, high) in zip(whole.items(), bounds.tolist(), strict=True):
            row |= {name: measure.value(), f"{name}_low": low, f"{name}_high": high}
            if len(answers) > 1:
                each = [accuracy_measures(labels, one, classes)[name].value() for one in answers]
                row[f"{name}_spread"] = float(np.std(each, ddof=1))
        return row

    # Ours: accuracies and cost of each method, then its test against the baseline.
    rows: dict[str, dict[str, Any]] = {}
    for title, group in groups.items():
        stated = sorted({kinds[i] or modality_of(opened[i]) for i in group})
        if len(stated) > 1:
            raise MgkitError(
                f"the runs of {title!r} have different modalities ({some(stated)}): give them two names."
            )
        answers = np.stack([scores[i].predicted(output) for i in group])
        rows[title] = {"modality": stated[0], "source": "tested here", "seeds": len(group)}
        rows[title]["tested_with"] = some(dict.fromkeys(tested_with(opened[i], split) for i in group), 9)
        rows[title] |= results(answers) | _cost([opened[i] for i in group])
    base = _base(rows, groups, opened, titles, baseline)
    for title, group in groups.items():
        if title != base:
            rows[title] |= {"against": base} | _against(
                [scores[i] for i in group], [scores[i] for i in groups[base]], output, subjects, draws, seed
            )

    # The constant answer, and the numbers of others.
    counts = opened[0].class_counts(opened[0].config.get("settings", {}).get("train_split") or "train")
    if counts is not None and not background and (k := opened[0].classes.background) is not None:
        counts = np.delete(counts, k)
    if counts is not None and counts.sum():
        constant = np.full((1, len(labels)), int(counts.argmax()))
        rows[MAJORITY] = {"modality": "-", "source": "constant"} | results(constant)
    others = _published(published)
    columns = [
        "modality", "source", "tested_on", "tested_with", "seeds", "clips",
        *(f"{name}{end}" for name in ACCURACIES for end in ("", "_low", "_high", "_spread")), "interval_over",
        "parameters", "flops", "clips_per_second", "measured_on",
        "against", "fixed", "broken", "gain", "gain_low", "gain_high", "test", "p",
    ]  # fmt: skip
    table = ResultTable([*rows.values(), *others.values()], columns=columns)
    table.index = pd.Index([*rows, *others], name="method")
    table["p_holm"] = holm(table["p"].astype(float).tolist())
    whole = ("seeds", "clips", "parameters", "flops", "fixed", "broken")
    table = ResultTable(table.astype(dict.fromkeys(whole, "Int64")))
    table.attrs |= {"note": note, "caution": cautions(opened)}
    return table


def modality_of(run: Run) -> str:
    """The modality of a run: "RGB", "Skeleton (J)" or "RGB & Skeleton (J)"; "-" if unknown.

    J are joints, L limbs as heatmaps; of skeleton networks B are bones, JM and BM the motion of joints and bones.
    """
    kinds = []
    if "rgb" in run.pathways:
        kinds.append("RGB")
    if "pose" in run.pathways:
        inputs = run.recipe.get("inputs", {})
        other = "" if run.scores_only else "joint"
        known = inputs.get("stream") or inputs.get("heatmap") or other
        symbol = _SYMBOLS.get(str(known).replace("-", "_").replace(" ", "_"))
        kinds.append(f"Skeleton ({symbol})" if symbol else "Skeleton")
    return " & ".join(kinds) or "-"


def _given(
    values: Sequence[str] | Mapping[str, str] | None, runs: Sequence[Run], titles: Sequence[str], what: str
) -> list[str | None]:
    """The user's name for each run; None if it has none."""
    if values is None:
        return [None] * len(runs)
    if isinstance(values, str):  # a name of as many letters as there are runs would be taken apart
        raise MgkitError(f"{what} is one text: give one for each of the {counted(len(runs), 'run')}.")
    if isinstance(values, Mapping):
        unknown = sorted(set(values) - set(titles) - {run.name for run in runs})
        if unknown:
            raise MgkitError(f"{what}: there is no run {some(unknown)}; the runs are {some(titles, 20)}.")
        return [values.get(title, values.get(run.name)) for title, run in zip(titles, runs, strict=True)]
    if len(values) != len(runs):
        raise MgkitError(
            f"{what} are {len(values)} for {counted(len(runs), 'run')}: give one per run, in their order."
        )
    return [str(value) for value in values]


def _rows(
    runs: Sequence[Run], split: str, titles: Sequence[str], called: Sequence[str | None]
) -> dict[str, list[int]]:
    """Positions of the runs of each row."""
    rows: dict[str, list[int]] = {}
    for alike in grouped_by_seed(runs, split):
        title = group_title([titles[i] for i in alike], [runs[i] for i in alike])
        if any(runs[i].name == title for i in range(len(runs)) if i not in alike):
            title = titles[alike[0]]
        parts: dict[str, list[int]] = {}
        for i in alike:
            parts.setdefault(called[i] or title, []).append(i)
        for name, members in parts.items():
            if name in rows and any(seed_of(runs[i], None) is not None for i in (*rows[name], *members)):
                both = some(str(runs[i].root) for i in (rows[name][0], members[0]))
                raise MgkitError(
                    f"{both} are both called {name!r}, but differ in more than the seed: give them two names."
                )
            rows.setdefault(name, []).extend(members)
    if MAJORITY in rows:
        raise MgkitError(f"no method can be called {MAJORITY!r}: it is the name of that row.")
    return {name: rows[name] for name in sorted(rows, key=lambda name: min(rows[name]))}


def _cost(runs: Sequence[Run]) -> dict[str, Any]:
    """The measured cost of a method: the network of every seed is the same one."""
    found: list[Cost] = [run.cost() for run in runs if run.has_cost()]
    if not found:
        return {}
    sizes = {(cost.parameters, cost.flops) for cost in found}
    if len(sizes) > 1:
        raise MgkitError(
            f"{some(str(run.root) for run in runs)} are one method, but their cost.json files are of networks of "
            "different size: measure them again."
        )
    timed = next((cost for cost in found if cost.clips_per_second is not None), found[0])
    return {
        "parameters": timed.parameters, "flops": timed.flops, "clips_per_second": timed.clips_per_second,
        "measured_on": timed.conditions or None,
    }  # fmt: skip


def _base(
    rows: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, list[int]],
    runs: Sequence[Run],
    titles: Sequence[str],
    baseline: Run | str | Path,
) -> str:
    """The row that the others are compared with."""
    if not isinstance(baseline, Run) and str(baseline) in rows:
        return str(baseline)
    if baseline == BEST:
        return max(rows, key=lambda name: rows[name]["top1"])
    at = position_of(runs, titles, baseline)
    return next(name for name, group in groups.items() if at in group)


def _against(
    ours: Sequence[Predictions],
    theirs: Sequence[Predictions],
    output: str | None,
    subjects: Sequence[str] | None,
    draws: int,
    seed: int,
) -> dict[str, Any]:
    a, b = (np.mean([one.correct(output) for one in side], axis=0) for side in (ours, theirs))
    gain = subject_interval(a, b, subjects, np.random.default_rng(seed), draws=draws)
    row: dict[str, Any] = {"gain": gain.mean, "gain_low": gain.low, "gain_high": gain.high}
    if len(ours) == len(theirs) == 1:
        found = paired(a > 0.5, b > 0.5)
        return row | {
            "fixed": found.fixed, "broken": found.broken, "test": "McNemar exact", "p": found.p_exact,
        }  # fmt: skip
    accuracies = [[float(one.correct(output).mean()) for one in side] for side in (ours, theirs)]
    # A gain must hold for other people and for other seeds; with too few people that is not known.
    p = float(np.maximum(gain.p, seeds_apart(*accuracies)))
    return row | {"test": f"{resampled(subjects, len(a))} and seeds", "p": p}


def _tested_on(classes: Classes, clips: int) -> str:
    whole = classes.names == load_classes("imigue", None).names and clips == IMIGUE_TEST_CLIPS
    return _IMIGUE if whole else "other data"


def _published(wanted: bool | pd.DataFrame | None) -> dict[str, dict[str, Any]]:
    """Rows of published numbers, marked as such in their names."""
    if wanted is None or wanted is False:
        return {}
    if wanted is True:
        wanted = reported.table()
    missing = [name for name in ("modality", "top1", "clips") if name not in wanted]
    if missing or not wanted.index.is_unique:
        raise MgkitError(
            f"the published table lacks {some(missing) or 'unique names'}: make it like mg.published.table()."
        )
    rows = {}
    for name, row in wanted.iterrows():
        count = int(row["clips"])
        low, high = wilson(round(float(row["top1"]) * count), count)
        rows[f"{name} (published)"] = {
            "modality": row["modality"], "source": "published", "tested_on": _IMIGUE, "clips": count,
            "top1": float(row["top1"]), "top1_low": low, "top1_high": high, "interval_over": "clips",
        }  # fmt: skip
    return rows
