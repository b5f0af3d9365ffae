"""Runs side by side: the same clips, their names, what was set differently, and whether a gain means anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError, counted, some
from mgkit.progress import Progress
from mgkit.results.run.folder import Run, as_run, cautions
from mgkit.results.run.records import Predictions
from mgkit.results.scores.scores import Scores
from mgkit.results.stats.metrics import WILSON, ResultTable, accuracies
from mgkit.results.stats.resampling import resampled
from mgkit.results.stats.significance import holm, paired, seed_difference, seed_mean, subject_interval
from mgkit.settings import flat_all

System = TypeVar("System", Predictions, Scores)

SETTING_KINDS = ("recipe.", "settings.", "test.")  # prefixes of the columns of settings
ABSENT = "-"  # value of a setting that a run does not have


def compare_runs(
    runs: Sequence[Run | str | Path],
    split: str = "test",
    *,
    output: str | None = None,
    baseline: Run | str | Path | None = None,
    clips: Clips | None = None,
    group_seeds: bool = False,
    common: bool = False,
    background: bool = True,
    draws: int = 2000,
    progress: bool = True,
) -> pd.DataFrame:
    """One row per run: the settings that differ, the results, and the paired difference from a baseline.

    Runs are joined by `clip_id`. Two sources of chance are kept apart: McNemar's test takes the clips as independent,
    the interval of the gain resamples subjects (see `stats.resampling`); a finding should hold by both.

    Args:
        runs: two or more runs or run folders, tested on the same clips of `split`.
        split: the evaluated split.
        output: "rgb", "pose" or "fused"; by default the best that each run has.
        baseline: one of the runs, its folder or its name in the table; by default the first.
        clips: the source of the subjects; by default the clip folder of the baseline.
        group_seeds: put runs that differ in nothing but the seed into one row: Top-1 is then their mean with the t
            interval over seeds, and p that of the paired t-test if both rows have the same two or more seeds, else
            of the bootstrap over subjects. Weights a run started from (`start`) count as part of the seed.
        common: compare runs that were tested on different clips, on the clips that all have; see `aligned`.
        background: False compares on labelled clips as if there were no background class (`prepare ... --background`),
            also runs that were trained with it and without it.
        draws: bootstrap samples over subjects, always from the same seed.
        progress: show a bar if it takes longer than a second.

    Returns:
        Index `run`. Columns: `seeds`, as text; `output`; `clips`;
        `left_out` (if any: clips of the run that others lack, with `common`, and those of the background class);
        `top1`, `top1_low`, `top1_high` and
        `top1_interval`, which names the 95 % interval ("Wilson, clips"; "t, seeds" of a group), with groups
        `top1_spread` (standard deviation over seeds), `macro_f1`, `mean_class_accuracy`, all in [0, 1]; and against the
        baseline (empty in its own row) `fixed`, `broken` (clips; means over the seeds that both have need not be
        whole), `gain` in Top-1 with its 95 % interval `gain_low`, `gain_high` over what `interval_over` says
        ("24 subjects", or clips if not all subjects are known or there is only one; no interval if they are fewer than
        8), `test`, `p` (McNemar's mid-p unless `test` says otherwise), `p_exact`, and `p_holm`, p adjusted over the
        rows after Holm. Last the settings that differ, each `recipe.<name>`, `recipe.stages.<pathway>.<name>`,
        `settings.<name>` or `test.<name>` ("-" if a run has no such setting). Runs that were not tested with the same
        views are named in `attrs["tested"]`.

    Raises:
        MgkitError: fewer than two runs, an unknown baseline or output, a run that is given twice, and runs over
            different classes, clips or labels.
    """
    opened = opened_once(runs)
    if len(opened) < 2:
        raise MgkitError(f"there is {len(opened)} run to compare: give two or more.")
    names = run_names(opened)
    first = position_of(opened, names, baseline)
    scores, note = aligned_runs(opened, split, common=common, background=background)

    # Rows: single runs, or runs that differ only in the seed.
    groups = grouped_by_seed(opened, split) if group_seeds else [[i] for i in range(len(opened))]
    titles = [group_title([names[i] for i in group], [opened[i] for i in group]) for group in groups]
    titles = [
        title if titles.count(title) == 1 else names[g[0]] for title, g in zip(titles, groups, strict=True)
    ]
    settings = differing_settings([opened[group[0]] for group in groups], split)
    subjects = subjects_of(opened[first], scores[first].clip_ids, clips)
    base = next(group for group in groups if first in group)

    # One row per group: settings, accuracies, and the paired difference from the group of the baseline.
    rows = []
    bar = Progress("compare", progress, unit="rows", after=1.0)
    for group, differing in bar.each(list(zip(groups, settings, strict=True))):
        row: dict[str, Any] = dict(differing)
        row["seeds"] = ", ".join(str(seed_of(opened[i])) for i in group)
        if note:
            row["left_out"] = ", ".join(
                str(len(opened[i].predictions(split)) - len(scores[i])) for i in group
            )
        row |= _results([scores[i] for i in group], output)
        if group is not base:
            row |= _against(
                {seed_of(opened[i], i): scores[i] for i in group},
                {seed_of(opened[i], i): scores[i] for i in base},
                output, subjects, draws,
            )  # fmt: skip
        rows.append(row)
    table = ResultTable(rows, index=pd.Index(titles, name="run"))
    if "p" in table:
        table["p_holm"] = holm(table["p"].tolist())
    for name in settings[0]:  # results first
        table[name] = table.pop(name)
    tested = tested_differently(titles, [opened[group[0]] for group in groups], split)
    table.attrs |= {"note": note, "caution": cautions(opened), "tested": tested}
    return table


def opened_once(runs: Sequence[Run | str | Path]) -> list[Run]:
    """Runs, or their folders, opened; one that is given twice raises a `MgkitError`."""
    if isinstance(runs, Run | str | Path):  # a string would be taken for a list of folders of one letter each
        given = "run" if isinstance(runs, Run) else repr(str(runs))
        raise MgkitError(f"runs must be a list: give [{given}, ...].")
    opened = [as_run(run) for run in runs]
    roots = [run.root.resolve() for run in opened]
    twice = sorted({str(run.root) for run in opened if roots.count(run.root.resolve()) > 1})
    if twice:
        raise MgkitError(f"{some(twice)} is given more than once: give each run once.")
    return opened


def subjects_of(run: Run, clip_ids: Sequence[str], clips: Clips | None = None) -> list[str] | None:
    """The subject of each clip; None if the clip folder is missing, does not know all of them, or has only one.

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

    How the runs were tested is part of it; `split` is None for runs that are not tested yet. What a network does not
    have (the blocks of the other pathway, the fusion of one pathway) is absent. Stages are compared by their pathway; a
    stage that only some runs have is one setting, `recipe.stages`, not one for each setting of the stage.
    """
    flat = []
    stages = [
        dict(zip([name for name, _ in run.planned_stages()], run.recipe.get("stages", []), strict=True))
        for run in runs
    ]
    # All at once, so that a setting has one name in all of them.
    named = iter(
        flat_all(
            [recipe for run, its in zip(runs, stages, strict=True) for recipe in (run.recipe, *its.values())]
        )
    )
    for run, its in zip(runs, stages, strict=True):
        settings = {key: value for key, value in run.config.get("settings", {}).items() if key != "seed"}
        recipe = {key: value for key, value in next(named).items() if key != "seed"}
        recipe["stages"] = {name: next(named) for name in its}
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


def tested_with(run: Run, split: str) -> str:
    """How a run was tested: views of each clip, mirrored ones too; "-" for scores from elsewhere."""
    made = run.test_settings(split)
    if "views" not in made:
        return "-"
    views = int(made["views"])
    return f"{views} view{'s' * (views > 1)}{' and their mirror images' * bool(made.get('flip'))}"


def tested_differently(names: Sequence[str], runs: Sequence[Run], split: str) -> str:
    """A sentence on runs that were not tested with the same views; "" if they were, or none says how."""
    ways: dict[str, list[str]] = {}
    for name, run in zip(names, runs, strict=True):
        ways.setdefault(tested_with(run, split), []).append(name)
    ways.pop("-", None)
    if len(ways) < 2:
        return ""
    each = "; ".join(f"{some(its)} with {way}" for way, its in ways.items())
    return f"Not tested alike: {each}"


def _tested(run: Run, split: str) -> dict[str, Any]:
    """How a run was tested; the epoch of its checkpoint is a result, not a setting."""
    return {key: value for key, value in run.test_settings(split).items() if key != "epoch"}


def _flat(prefix: str, values: Mapping[str, Any]) -> dict[str, str]:
    out: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}.{key}"
        if name == "recipe.stages":
            out[name] = ", ".join(value) or "none"
        if isinstance(value, dict):
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
    """Names of runs; those of one name with as much of their path as tells them apart: `a/x`, `b/x`."""
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
    """Position of a run, given by itself, its folder or its name; None = the first."""
    if baseline is None:
        return 0
    if not isinstance(baseline, Run) and str(baseline) in names:
        return list(names).index(str(baseline))
    root = (baseline.root if isinstance(baseline, Run) else Path(baseline)).resolve()
    for i, run in enumerate(runs):
        if run.root.resolve() == root:
            return i
    what = baseline.root if isinstance(baseline, Run) else baseline
    raise MgkitError(f"the baseline {what} is not one of the runs: use one of {some(names)}.")


def aligned(
    names: Sequence[str], systems: Sequence[System], *, common: bool = False
) -> tuple[list[System], str]:
    """Bring predictions or scores of several systems to the same clips, in the order of the first.

    Tables, figures, widgets and ensembles all compare systems through this function. Systems that were tested on
    different clips are refused, since a number on other clips is another number; `common` takes the clips that all have
    instead, and what it leaves out must be stated with the result.

    Args:
        names: of the systems, for messages.
        systems: predictions or scores. Labels and class names that some lack are not compared.
        common: take the clips that all have.

    Returns:
        The systems, and a note such as "on the 90 clips that all have (left out: 10 of a)"; "" if no clip is left out.

    Raises:
        MgkitError: different classes (or another order of them), different clips (the message counts how many each
            lacks) or none in common, different labels of a clip.
    """
    # The classes: by name if both of two systems know the names, and by their number.
    named = [(name, one.classes.names) for name, one in zip(names, systems, strict=True) if one.classes]
    for name, theirs in named[1:]:
        first, ours = named[0]
        if theirs != ours:
            odd = sorted(set(ours) ^ set(theirs))
            what = f"only one has {some(odd)}" if odd else "the same in another order: "
            if not odd:
                k = next(k for k in range(len(ours)) if ours[k] != theirs[k])
                what += f"class {k} is {ours[k]!r} and {theirs[k]!r}"
            raise MgkitError(f"{first} and {name} have different classes ({what}): use one class list.")
    for name, one in zip(names, systems, strict=True):
        if one.class_count != systems[0].class_count:
            raise MgkitError(
                f"{names[0]} is over {systems[0].class_count} classes, {name} over {one.class_count}: use the "
                "same class list."
            )

    # The clips.
    sets = [set(one.clip_ids) for one in systems]
    shared, every = set.intersection(*sets), set.union(*sets)
    note = ""
    if shared != every:
        if not common:
            lacking = [
                f"{name} lacks {len(every - own):,} of {len(every):,} ({some(sorted(every - own), 3)})"
                for name, own in zip(names, sets, strict=True)
                if own != every
            ]
            raise MgkitError(
                f"these systems were tested on different clips: {'; '.join(lacking)}. Test all on the same clips, or "
                f"pass common=True to use the {len(shared):,} that all have."
            )
        if not shared:
            raise MgkitError(f"{some(names)} have no clip in common: test all on the same clips.")
        left = [
            f"{len(own - shared):,} of {name}" for name, own in zip(names, sets, strict=True) if own != shared
        ]
        note = f"on the {counted(len(shared), 'clip')} that all have (left out: {some(left, 20)})"
    ids = [clip_id for clip_id in systems[0].clip_ids if clip_id in shared]
    out = [one if one.clip_ids == ids else one.select(ids) for one in systems]

    # The labels.
    known = [(name, one.labels) for name, one in zip(names, out, strict=True) if one.labels is not None]
    for name, labels in known[1:]:
        wrong = np.flatnonzero(labels != known[0][1])
        if len(wrong):
            clips = some(f"{ids[i]} ({known[0][1][i]} and {labels[i]})" for i in wrong)
            raise MgkitError(
                f"{known[0][0]} and {name} disagree on the true class of {clips}: the labels have changed between the "
                "tests; test both again."
            )
    return out, note


def aligned_runs(
    runs: Sequence[Run], split: str, *, common: bool = False, background: bool = True
) -> tuple[list[Predictions], str]:
    """Predictions of runs on a split, brought to the same clips by `aligned`; without `background` those for labelled
    clips, as if there were no background class."""
    found = [run.predictions(split) for run in runs]
    names = {run.classes.names[k] for run in runs if (k := run.classes.background) is not None}
    told = []
    if not background and names:
        found = [one.without_background() for one in found]
        told = [f"on the labelled clips, as if there were no {some(sorted(names))}"]
    out, note = aligned([str(run.root) for run in runs], found, common=common)
    return out, "; ".join([*told, *([note] if note else [])])


def seed_of(run: Run, otherwise: Any = ABSENT) -> Any:
    """The seed that a run was trained with, `otherwise` if unknown."""
    seed = run.config.get("settings", {}).get("seed", run.recipe.get("seed"))
    return otherwise if seed is None else seed


def grouped_by_seed(runs: Sequence[Run], split: str) -> list[list[int]]:
    """Positions of the runs that differ in nothing but the seed; a run without one is alone."""
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
    """The name of a row of runs; `names` are those of `run_names`."""
    if len(names) == 1:
        return names[0]
    own = {run.name for run in runs}
    return own.pop() if len(own) == 1 else f"{names[0]} and {len(names) - 1} more"


def _results(scores: Sequence[Predictions], output: str | None) -> dict[str, Any]:
    each = [accuracies(p.labels, p.predicted(output), p.class_count) for p in scores]
    row = {"output": output or scores[0].best} | {
        key: each[0][key] if key == "clips" else float(np.mean([one[key] for one in each])) for key in each[0]
    }
    row["top1_interval"] = WILSON
    if len(scores) > 1:
        values = [one["top1"] for one in each]
        mean = seed_mean(values, within=(0, 1))
        row |= {"top1_low": mean.low, "top1_high": mean.high, "top1_interval": "t, seeds"}
        row["top1_spread"] = float(np.std(values, ddof=1))
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
    gain = subject_interval(a, b, subjects, np.random.default_rng(0), draws=draws)
    row: dict[str, Any] = {
        "gain": gain.mean, "gain_low": gain.low, "gain_high": gain.high,
        "interval_over": resampled(subjects, len(a)),
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
