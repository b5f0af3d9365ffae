"""Several runs in one table: what was set differently, what came out, and whether the difference means anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError, some
from mgkit.results.run.folder import Predictions, Run, load_run
from mgkit.results.run.settings import settings_in_use
from mgkit.results.stats.metrics import macro_f1, mean_class_accuracy, top1, wilson
from mgkit.results.stats.significance import holm, paired, seed_difference, seed_mean, subject_interval

SETTING_KINDS = ("recipe.", "settings.", "test.")  # columns of the table that hold a setting begin so
ABSENT = "-"  # of a setting that a run does not have


def compare_runs(
    runs: Sequence[Run | str | Path],
    split: str = "test",
    *,
    output: str | None = None,
    baseline: Run | str | Path | None = None,
    clips: Clips | None = None,
    group_seeds: bool = False,
    draws: int = 2000,
) -> pd.DataFrame:
    """One row a run: the settings that differ, the results, and the paired difference from a baseline.

    Runs are joined by `clip_id`. Two sources of chance are kept apart: McNemar's test takes the clips as independent,
    the interval of the gain resamples subjects (see `compare`); a finding should hold by both.

    Args:
        runs: two or more runs or run folders, tested on the same clips of `split`.
        split: the evaluated split.
        output: "rgb", "pose" or "fused"; by default the best that each run has.
        baseline: one of the runs, its folder or its name in the table; by default the first.
        clips: where the subjects are looked up; by default the clip folder of the baseline.
        group_seeds: put runs that differ in nothing but the seed into one row: Top-1 is then their mean with the t
            interval over seeds, and p that of the paired t-test where both rows have the same two or more seeds, else
            of the bootstrap over subjects. Weights a run started from (`start`) count as part of the seed.
        draws: bootstrap samples over subjects, always from the same seed.

    Returns:
        Index `run`. Columns: the settings that differ, each `recipe.<name>`, `recipe.stages.<pathway>.<name>`,
        `settings.<name>` or `test.<name>` ("-" where a run has no such setting); `seeds`, as text; `output`; `clips`;
        `top1`, `top1_low`, `top1_high` (95 % Wilson; t over seeds for a group), with groups `top1_spread` (standard
        deviation over seeds), `macro_f1`, `mean_class_accuracy`, all in [0, 1]; and against the baseline (empty in its
        own row) `fixed`, `broken` (clips; means over the seeds that both have need not be whole), `gain` in Top-1 with
        its 95 % interval `gain_low`, `gain_high` over what `interval_over` says ("subjects", or "clips"
        where not all subjects are known or there is only one), `test`, `p` (McNemar's mid-p unless `test` says
        otherwise), `p_exact`, and `p_holm`, p adjusted over the rows after Holm.

    Raises:
        MgkitError: fewer than two runs, an unknown baseline or output, a run that is given twice, and runs over
            different classes, clips or labels.
    """
    if isinstance(runs, Run | str | Path):
        raise MgkitError(
            f"compare_runs takes a list: give two or more runs, as in compare_runs([{str(runs)!r}, ...])."
        )
    opened = [run if isinstance(run, Run) else load_run(run) for run in runs]
    if len(opened) < 2:
        raise MgkitError(f"{len(opened)} run cannot be compared: give two or more.")
    roots = [run.root.resolve() for run in opened]
    twice = sorted({str(run.root) for run in opened if roots.count(run.root.resolve()) > 1})
    if twice:
        raise MgkitError(f"{some(twice)} is given more than once: give each run once.")
    names = run_names(opened)
    first = position_of(opened, names, baseline)
    scores = aligned(opened, split)
    groups = grouped_by_seed(opened, split) if group_seeds else [[i] for i in range(len(opened))]
    titles = [group_title([names[i] for i in group], [opened[i] for i in group]) for group in groups]
    titles = [
        title if titles.count(title) == 1 else names[g[0]] for title, g in zip(titles, groups, strict=True)
    ]
    settings = differing_settings([opened[group[0]] for group in groups], split)
    subjects = subjects_of(opened[first], scores[first].clip_ids, clips)
    base = next(group for group in groups if first in group)
    rows = []
    for group, differing in zip(groups, settings, strict=True):
        row: dict[str, Any] = dict(differing)
        row["seeds"] = ", ".join(str(seed_of(opened[i])) for i in group)
        row |= _results([scores[i] for i in group], output)
        if group is not base:
            row |= _against(
                {seed_of(opened[i], i): scores[i] for i in group},
                {seed_of(opened[i], i): scores[i] for i in base},
                output, subjects, draws,
            )  # fmt: skip
        rows.append(row)
    table = pd.DataFrame(rows, index=pd.Index(titles, name="run"))
    if "p" in table:
        table["p_holm"] = holm(table["p"].tolist())
    return table


def subjects_of(run: Run, clip_ids: Sequence[str], clips: Clips | None = None) -> list[str] | None:
    """Who is seen in each clip; None where the clip folder is not at hand, does not know all of them, or has only one.

    Clips that are given but lack a clip of the run raise a `MgkitError`.
    """
    given = clips is not None
    if clips is None:
        try:
            clips = run.clips()
        except MgkitError:
            return None
    known = dict(zip(clips.table["clip_id"], clips.table["subject"], strict=True))
    missing = [clip_id for clip_id in clip_ids if clip_id not in known]
    if missing and given:
        raise MgkitError(f"{clips.root} lacks {some(missing)}: pass the clips that the runs were tested on.")
    found: list[Any] = [known.get(clip_id) for clip_id in clip_ids]
    unknown = any(subject is None or pd.isna(subject) or not subject for subject in found)
    return None if unknown or len(set(found)) < 2 else found


def differing_settings(runs: Sequence[Run], split: str | None = "test") -> list[dict[str, str]]:
    """For each run the settings in which the runs differ, as text; the seed is not among them.

    How they were tested is part of it, unless `split` is None: of runs that are not tested yet.

    What a network does not have (the blocks of the other pathway, the fusion of one pathway) is absent from it.

    Stages are compared by their pathway. A stage that only some runs have is one setting, `recipe.stages`, and not one
    for each of its own.
    """
    flat = []
    for run in runs:
        settings = {key: value for key, value in run.config.get("settings", {}).items() if key != "seed"}
        recipe = {key: value for key, value in settings_in_use(run.recipe).items() if key != "seed"}
        tested = {} if split is None else _tested(run, split)
        flat.append(_flat("recipe", recipe) | _flat("settings", settings) | _flat("test", tested))
    everything = list(dict.fromkeys(key for one in flat for key in one))
    parts = {key.rsplit(".", 1)[0] for key in everything if ".stages." in key}
    lacking = {part for part in parts if any(not any(k.startswith(f"{part}.") for k in one) for one in flat)}
    keys = [
        key
        for key in everything
        if len({one.get(key, ABSENT) for one in flat}) > 1
        and not any(key.startswith(f"{part}.") for part in lacking)
    ]
    return [{key: one.get(key, ABSENT) for key in keys} for one in flat]


def _tested(run: Run, split: str) -> dict[str, Any]:
    """How a run was tested; which epoch its checkpoint is of is a result and no setting."""
    return {key: value for key, value in run.test_settings(split).items() if key != "epoch"}


def _flat(prefix: str, values: Mapping[str, Any]) -> dict[str, str]:
    out: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}.{key}"
        if key == "stages" and isinstance(value, list) and all(isinstance(stage, dict) for stage in value):
            stages = {"+".join(stage.get("pathways") or [str(i)]): stage for i, stage in enumerate(value)}
            out[name] = ", ".join(stages) or "none"
            for pathway, stage in stages.items():
                stage = settings_in_use(stage)
                out |= _flat(f"{name}.{pathway}", {k: v for k, v in stage.items() if k != "seed"})
        elif isinstance(value, dict):
            out |= _flat(name, value)
        else:
            out[name] = _text(value)
    return out


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(_text(one) for one in value) or "none"
    return {None: "none", True: "yes", False: "no"}.get(value, "") if value is None or isinstance(value, bool) \
        else json.dumps(value)  # fmt: skip


def run_names(runs: Sequence[Run]) -> list[str]:
    """Names, with as much of the path before them as tells runs of the same name apart."""
    names = [run.name for run in runs]
    out = []
    for run, name in zip(runs, names, strict=True):
        same = [other for other, title in zip(runs, names, strict=True) if title == name]
        parts, depth = run.root.resolve().parts, 1
        while len(same) > 1 and depth < len(parts):
            tails = [other.root.resolve().parts[-depth:] for other in same]
            if tails.count(parts[-depth:]) == 1:
                break
            depth += 1
        out.append(name if len(same) == 1 else "/".join(parts[-depth:]))
    return out


def position_of(runs: Sequence[Run], names: Sequence[str], baseline: Run | str | Path | None) -> int:
    """Position of a run that is named by itself, its folder or its name; None = the first."""
    if baseline is None:
        return 0
    if not isinstance(baseline, Run) and str(baseline) in names:
        return list(names).index(str(baseline))
    root = (baseline.root if isinstance(baseline, Run) else Path(baseline)).resolve()
    for i, run in enumerate(runs):
        if run.root.resolve() == root:
            return i
    what = baseline.root if isinstance(baseline, Run) else baseline
    raise MgkitError(f"the baseline {what} is none of the runs: use one of {some(names)}.")


def aligned(runs: Sequence[Run], split: str) -> list[Predictions]:
    """Predictions of each run in the order of the first, over the same classes, clips and labels."""
    first, ours = runs[0], runs[0].predictions(split)
    out = [ours]
    for run in runs[1:]:
        both = f"{first.root} and {run.root}"
        if run.classes.names != first.classes.names:
            odd = sorted(set(run.classes.names) ^ set(first.classes.names))
            raise MgkitError(
                f"{both} are over different classes ({some(odd) or 'another order'}): "
                "compare runs over the same class list."
            )
        theirs = run.predictions(split)
        odd = sorted(set(ours.clip_ids) ^ set(theirs.clip_ids))
        if odd:
            raise MgkitError(
                f"{both} were tested on different clips of {split!r} ({len(ours)} and {len(theirs)}; only one has "
                f"{some(odd)}): test both again on the same clip folder."
            )
        theirs = theirs.select(ours.clip_ids)
        wrong = np.flatnonzero(theirs.labels != ours.labels)
        if len(wrong):
            raise MgkitError(
                f"{both} disagree on the true class of {some(ours.clip_ids[i] for i in wrong)}: the labels have "
                "changed between the tests; test both again."
            )
        out.append(theirs)
    return out


def seed_of(run: Run, otherwise: Any = ABSENT) -> Any:
    """The seed that a run was trained with, `otherwise` where it is not known."""
    seed = run.config.get("settings", {}).get("seed", run.recipe.get("seed"))
    return otherwise if seed is None else seed


def grouped_by_seed(runs: Sequence[Run], split: str) -> list[list[int]]:
    """Positions of the runs that differ in nothing but the seed; a run without one stands alone."""
    groups: dict[str, list[int]] = {}
    for i, run in enumerate(runs):
        settings = {k: v for k, v in run.config.get("settings", {}).items() if k not in ("seed", "start")}
        recipe = {k: v for k, v in run.recipe.items() if k != "seed"}
        key: list[Any] = [recipe, settings, _tested(run, split), list(run.pathways)]
        key.append(
            str(i)
            if seed_of(run, None) is None
            else sorted(run.config.get("settings", {}).get("start") or {})
        )
        groups.setdefault(json.dumps(key, sort_keys=True), []).append(i)
    for group in groups.values():
        seeds = [seed_of(runs[i]) for i in group]
        if len(set(seeds)) != len(seeds):
            raise MgkitError(
                f"{some(str(runs[i].root) for i in group)} have the same settings and seeds {some(seeds)}: leave out "
                "those that repeat a seed, or compare them with group_seeds=False."
            )
    return list(groups.values())


def group_title(names: Sequence[str], runs: Sequence[Run]) -> str:
    """What the runs of one row are called; `names` are those of `run_names`."""
    if len(names) == 1:
        return names[0]
    own = {run.name for run in runs}
    return own.pop() if len(own) == 1 else f"{names[0]} and {len(names) - 1} more"


def _results(scores: Sequence[Predictions], output: str | None) -> dict[str, Any]:
    top = [top1(p.labels, p.predicted(output)) for p in scores]
    name = output or scores[0].best
    row: dict[str, Any] = {"output": name, "clips": len(scores[0]), "top1": float(np.mean(top))}
    if len(scores) == 1:
        row["top1_low"], row["top1_high"] = wilson(int(scores[0].correct(output).sum()), len(scores[0]))
    else:
        mean = seed_mean(top)
        row |= {"top1_low": mean.low, "top1_high": mean.high, "top1_spread": float(np.std(top, ddof=1))}
    for key, measure in (("macro_f1", macro_f1), ("mean_class_accuracy", mean_class_accuracy)):
        row[key] = float(np.mean([measure(p.labels, p.predicted(output), p.class_count) for p in scores]))
    return row


def _against(
    ours: Mapping[Any, Predictions],
    theirs: Mapping[Any, Predictions],
    output: str | None,
    subjects: Sequence[str] | None,
    draws: int,
) -> dict[str, Any]:
    """The paired difference of one row from the baseline; both by seed."""
    common = [seed for seed in ours if seed in theirs]
    repeated = len(ours) > 1 or len(theirs) > 1
    matched = repeated and len(common) == len(ours) == len(theirs)
    a, b = (np.mean([p.correct(output) for p in side.values()], axis=0) for side in (ours, theirs))
    people = subjects if subjects is not None else [str(i) for i in range(len(a))]
    gain = subject_interval(a, b, people, np.random.default_rng(0), draws=draws)
    row: dict[str, Any] = {
        "gain": gain.mean, "gain_low": gain.low, "gain_high": gain.high,
        "interval_over": "clips" if subjects is None else "subjects",
    }  # fmt: skip
    if not repeated:
        found = paired(a > 0.5, b > 0.5)
        return row | {
            "fixed": found.fixed, "broken": found.broken, "test": "McNemar mid-p",
            "p": found.p_mid, "p_exact": found.p_exact,
        }  # fmt: skip
    if matched:
        pairs = [paired(ours[s].correct(output), theirs[s].correct(output)) for s in common]
        accuracies = [[float(side[s].correct(output).mean()) for s in common] for side in (ours, theirs)]
        return row | {
            "fixed": float(np.mean([p.fixed for p in pairs])), "broken": float(np.mean([p.broken for p in pairs])),
            "test": "t over seeds", "p": seed_difference(accuracies[0], accuracies[1]).p,
        }  # fmt: skip
    return row | {"test": f"bootstrap over {row['interval_over']}", "p": gain.p}
