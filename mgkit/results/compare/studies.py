"""The table of a study: recipes over the same seeds, with intervals and paired tests."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError, some
from mgkit.results.compare.runs import aligned_runs, subjects_of
from mgkit.results.run.folder import Run, cautions
from mgkit.results.run.records import Predictions
from mgkit.results.stats.metrics import macro_f1, mean_class_accuracy, top1, wilson
from mgkit.results.stats.resampling import resampled
from mgkit.results.stats.significance import holm, seed_difference, seed_mean, smallest_gain, subject_interval

__all__ = ["ABOVE", "FIRST", "study_table", "study_text"]

FIRST, ABOVE = "first", "above"


def study_table(
    runs: Mapping[str, Mapping[int, Run]],
    split: str,
    *,
    against: str = FIRST,
    clips: Clips | None = None,
    output: str | None = None,
    draws: int = 2000,
) -> pd.DataFrame:
    """Compare rows that were trained with the same seeds.

    Two sources of chance are kept apart. Another seed gives another network: Student's t over the seeds, paired by
    seed. Other people give other test clips: a bootstrap over subjects of the gain averaged over the seeds.

    Args:
        runs: {row: {seed: run tested on `split`}}.
        split: the evaluated split.
        against: the row that gains are on: "first", "above" (the row above each), or its name.
        clips: the source of the subjects; by default the clip folder of the first run.
        output: "rgb", "pose" or "fused"; by default the best that each run has.
        draws: bootstrap samples over subjects.

    Returns:
        Index `row`. Columns `seeds` (how many); `top1` (mean over seeds, in [0, 1]) with its 95 % t interval
        `top1_low`, `top1_high` (within [0, 1]; missing for one seed) and `top1_of_seeds` (the list); `macro_f1`,
        `mean_class_accuracy` (means); `clips` tested and what so few show: the Wilson interval of `top1`, `clips_low`,
        `clips_high`;
        `against`; `gain` on that row over the seeds that both have, with the t interval `gain_low`, `gain_high` and the
        paired t-test `p_seeds`, `p_seeds_holm` after Holm over the rows; `subject_low`, `subject_high`, `p_subjects`,
        `p_subjects_holm` of the bootstrap; `resampled` ("24 subjects", or clips if subjects are unknown;
        with fewer than 8 the bootstrap is missing); `smallest_gain`, what a gain of this row would have to be for one
        seed on these clips to show it in four of five cases (`stats.significance.smallest_gain`).

    Raises:
        MgkitError: no tested run, an unknown row, rows that were tested on different clips.
    """
    tested = {name: dict(sorted(its.items())) for name, its in runs.items() if its}
    if not tested:
        raise MgkitError("no run of the study is finished and tested yet.")
    if against not in (FIRST, ABOVE, *tested):
        raise MgkitError(f"against is {against!r}: use 'first', 'above' or one of {some(tested, 20)}.")

    # All runs in the order of clips of the first, or a refusal that names those over other clips.
    cells = [(name, seed) for name, its in tested.items() for seed in its]
    scores: dict[str, dict[int, Predictions]] = {name: {} for name in tested}
    found, _ = aligned_runs([tested[name][seed] for name, seed in cells], split)
    for (name, seed), predictions in zip(cells, found, strict=True):
        scores[name][seed] = predictions
    name, seed = cells[0]
    ids = scores[name][seed].clip_ids
    subjects = subjects_of(tested[name][seed], ids, clips)

    rows: dict[str, dict[str, object]] = {}
    names = list(scores)
    for place, name in enumerate(names):
        by_seed = scores[name]
        rows[name] = _accuracy(by_seed, output)
        base = names[max(0, place - 1)] if against == ABOVE else names[0] if against == FIRST else against
        if base != name:
            gain = _gain(by_seed, scores[base], output, subjects, draws)
            rows[name] |= {"against": base, "resampled": resampled(subjects, len(ids)), **gain}
    columns = [
        "seeds", "top1", "top1_low", "top1_high", "top1_of_seeds", "clips", "clips_low", "clips_high", "macro_f1",
        "mean_class_accuracy", "against", "gain", "gain_low", "gain_high", "p_seeds", "subject_low", "subject_high",
        "p_subjects", "resampled", "smallest_gain",
    ]  # fmt: skip
    table = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=columns)
    for p in ("p_seeds", "p_subjects"):
        adjusted = holm(table[p].astype(float).tolist())
        table.insert(list(table.columns).index(p) + 1, f"{p}_holm", adjusted)
    table.index.name = "row"
    table.attrs["caution"] = cautions([run for its in tested.values() for run in its.values()])
    return table


def study_text(table: pd.DataFrame) -> str:
    """The table of `study_table` for a terminal or a Markdown page: per cent, with intervals; p after Holm."""

    def percent(value: float, sign: str = "") -> str:
        return "-" if np.isnan(value) else f"{100 * value:{sign}.1f}"

    def span(low: float, high: float, sign: str = "") -> str:
        return "" if np.isnan(low) else f" [{percent(low, sign)}, {percent(high, sign)}]"

    def p_value(value: float) -> str:
        return "-" if np.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"

    count = int(table["clips"].iloc[0])
    head = [
        "row",
        "seeds",
        "Top-1",
        f"{count} clips show",
        "macro-F1",
        "mean class acc.",
        "gain on",
        "gain",
        "p over seeds",
    ]
    over = " and ".join(sorted(set(table["resampled"].dropna()))) or "subjects"
    lines = [[*head, f"over {over}", f"p over {over}"]]
    for name, row in table.iterrows():
        lines.append([
            str(name), str(row["seeds"]), percent(row["top1"]) + span(row["top1_low"], row["top1_high"]),
            span(row["clips_low"], row["clips_high"]).strip(),
            percent(row["macro_f1"]), percent(row["mean_class_accuracy"]),
            "-" if pd.isna(row["against"]) else str(row["against"]),
            percent(row["gain"], "+") + span(row["gain_low"], row["gain_high"], "+"), p_value(row["p_seeds_holm"]),
            span(row["subject_low"], row["subject_high"], "+").strip() or "-", p_value(row["p_subjects_holm"]),
        ])  # fmt: skip
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    padded = [
        " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    ]
    rule = " | ".join("-" * width for width in widths)
    limits = table["smallest_gain"].dropna().astype(float)
    limit = [] if limits.empty else [
        f"On {count} clips one seed shows a gain from about {percent(limits.min())} points on, in four of five cases; "
        "on clips of few people from more."
    ]  # fmt: skip
    caution = table.attrs.get("caution")
    lines_of_table = [f"| {line} |" for line in (padded[0], rule, *padded[1:])]
    return "\n".join([*lines_of_table, *limit, *([f"CAUTION: {caution}"] if caution else [])])


def _accuracy(by_seed: Mapping[int, Predictions], output: str | None) -> dict[str, object]:
    answers = [(p.labels, p.predicted(output), p.class_count) for p in by_seed.values()]
    accuracies = [top1(labels, predicted) for labels, predicted, _ in answers]
    mean = seed_mean(accuracies, within=(0, 1))
    clips = len(answers[0][0])
    low, high = wilson(mean.mean * clips, clips)
    return {
        "clips": clips, "clips_low": low, "clips_high": high,
        "seeds": len(by_seed), "top1": mean.mean, "top1_low": mean.low, "top1_high": mean.high,
        "top1_of_seeds": accuracies, "macro_f1": float(np.mean([macro_f1(*one) for one in answers])),
        "mean_class_accuracy": float(np.mean([mean_class_accuracy(*one) for one in answers])),
    }  # fmt: skip


def _gain(
    ours: Mapping[int, Predictions],
    theirs: Mapping[int, Predictions],
    output: str | None,
    subjects: list[str] | None,
    draws: int,
) -> dict[str, float]:
    """The gain over the seeds that both rows have; empty if there is none."""
    seeds = [seed for seed in ours if seed in theirs]
    if not seeds:
        return {}
    a, b = ([side[seed].correct(output) for seed in seeds] for side in (ours, theirs))
    over_seeds = seed_difference([float(one.mean()) for one in a], [float(one.mean()) for one in b])
    over_people = subject_interval(
        np.mean(a, axis=0), np.mean(b, axis=0), subjects, np.random.default_rng(0), draws=draws
    )
    apart = float(np.mean([one != other for one, other in zip(a, b, strict=True)]))
    return {
        "smallest_gain": smallest_gain(apart, len(a[0])),
        "gain": over_seeds.mean, "gain_low": over_seeds.low, "gain_high": over_seeds.high, "p_seeds": over_seeds.p,
        "subject_low": over_people.low, "subject_high": over_people.high, "p_subjects": over_people.p,
    }  # fmt: skip
