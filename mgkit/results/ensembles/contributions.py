"""The contribution of each member to an ensemble, and how alike members err."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.errors import MgkitError, counted
from mgkit.progress import Progress
from mgkit.results.ensembles.fuse import Ensemble, fuse
from mgkit.results.ensembles.members import Members
from mgkit.results.ensembles.search import best_weights
from mgkit.results.stats.resampling import Doubles, Measure, Metric, combined, intervals, measure, resampled

__all__ = ["agreement", "leave_one_out", "oracle", "summary"]


def leave_one_out(
    found: Ensemble,
    *,
    validation: Ensemble | None = None,
    method: Literal["grid", "convex"] = "convex",
    metric: Metric = "top1",
    step: float = 0.05,
    draws: int = 2000,
    generator: np.random.Generator | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """The loss of the ensemble without each of its members.

    Without a member the others keep their weights (divided by their sum; equal ones if that member had all).
    Members that agree replace each other: each may then add nothing, though the two together do.

    Args:
        found: an ensemble of two or more members, with labels.
        validation: the same members on validation clips. The weights are then searched there, for all members and
            again without each, by `method`, `metric` and `step` (as in `search_weights`).
        draws: bootstrap samples, of subjects if they are known, else of clips.
        generator: of the resampling; by default always the same.
        progress: show a bar if it takes longer than a second.

    Returns:
        Index `member`. `weight`; `top1_alone`; `top1`, of the ensemble, and `top1_without`; `top1_change`, what the
        member adds, with its paired 95 % interval `top1_low`, `top1_high`; the same of `macro_f1`; `fixed` and
        `broken`, clips that are right only with the member and only without; `interval_over`, such as "24 subjects" or
        "500 clips" (if they are fewer than 8, there is no interval).
    """
    m = found.members
    if len(m) < 2:
        raise MgkitError("there is one member: leaving one out needs two or more.")
    labels, p = m.truth(), m.probabilities
    full, others = _weights(found, validation, method, metric, step)
    whole = fuse(p, full)
    rows: dict[str, dict[str, Any]] = {}
    bar = Progress("members", progress, unit="members", after=1.0)
    for i, name in enumerate(bar.each(m.names)):
        source = np.random.default_rng(0) if generator is None else generator
        rest = fuse(np.delete(p, i, 0), others[i])
        right, without = whole.argmax(1) == labels, rest.argmax(1) == labels
        row: dict[str, Any] = {"weight": full[i]}
        changes: list[Measure] = []
        for key in ("top1", "macro_f1"):
            a, b = measure(key, labels, whole), measure(key, labels, rest)
            changes.append(combined([a, b], lambda values: values[0] - values[1]))
            row |= {
                f"{key}_alone": measure(key, labels, p[i]).value(), key: a.value(), f"{key}_without": b.value(),
                f"{key}_change": changes[-1].value(),
            }  # fmt: skip
        for key, (low, high) in zip(
            ("top1", "macro_f1"), intervals(changes, m.subjects, source, draws), strict=True
        ):
            row |= {f"{key}_low": float(low), f"{key}_high": float(high)}
        row["fixed"], row["broken"] = int((right & ~without).sum()), int((~right & without).sum())
        row["interval_over"] = resampled(m.subjects, len(labels))
        rows[name] = row
    order = ["weight"]
    for key in ("top1", "macro_f1"):
        order += [f"{key}_alone", key, *(f"{key}_{part}" for part in ("without", "change", "low", "high"))]
    table = pd.DataFrame.from_dict(rows, orient="index")[[*order, "fixed", "broken", "interval_over"]]
    table.index.name = "member"
    return table


def agreement(found: Ensemble) -> pd.DataFrame:
    """How alike two members err, one row per pair.

    Returns:
        `one`, `other`; shares of clips `both_right`, `only_one`, `only_other`, `both_wrong`, of which `same_mistake`
        are taken for the same class; `kappa`, Cohen's, of the predicted classes (1 = always the same, 0 = as by chance,
        NaN if both predict one class only); `oracle`, the share that at least one has right.
    """
    m = found.members
    if len(m) < 2:
        raise MgkitError("there is one member: agreement needs two or more.")
    labels, predicted = m.truth(), m.probabilities.argmax(2)
    rows = []
    for a, b in combinations(range(len(m)), 2):
        one, other = predicted[a] == labels, predicted[b] == labels
        same = predicted[a] == predicted[b]
        classes = m.probabilities.shape[2]
        shares = [np.bincount(predicted[i], minlength=classes) / len(labels) for i in (a, b)]
        chance = float(shares[0] @ shares[1])
        rows.append(
            {
                "one": m.names[a], "other": m.names[b], "both_right": (one & other).mean(),
                "only_one": (one & ~other).mean(), "only_other": (~one & other).mean(),
                "both_wrong": (~one & ~other).mean(), "same_mistake": (same & ~one).mean(),
                "kappa": (same.mean() - chance) / (1 - chance) if chance < 1 else float("nan"),
                "oracle": (one | other).mean(),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def oracle(found: Ensemble) -> float:
    """Share of clips that at least one member has right: an upper bound that no choice of weights is sure to reach."""
    m = found.members
    return float((m.probabilities.argmax(2) == m.truth()).any(0).mean())


def summary(found: Ensemble) -> str:
    """The table of an ensemble and the contribution of each member, as text in per cent."""
    if found.scores.labels is None:
        return f"{found!r}; the true classes are not known"
    shares = ["top1", "top1_low", "top1_high", "macro_f1", "mean_class_accuracy"]
    note = f" ({found.members.note})" if found.members.note else ""
    lines = [
        f"{found.members.split}: {counted(len(found.scores), 'clip')}{note}, per cent",
        _percent(found.table(), shares),
    ]
    if len(found.members) > 1:
        added = [f"{key}_{part}" for key in ("top1", "macro_f1") for part in ("change", "low", "high")]
        table = leave_one_out(found)
        lines += [
            f"\nwhat each member adds, in points ({_interval(table)})",
            _percent(table[["weight", *added, "fixed", "broken"]], added),
            f"\nat least one member is right on {100 * oracle(found):.1f} % of the clips",
        ]
    return "\n".join(lines)


def _interval(table: pd.DataFrame) -> str:
    over = table["interval_over"].iloc[0]
    return f"{over}, too few for intervals" if table["top1_low"].isna().all() else f"95 % over {over}"


def _percent(table: pd.DataFrame, columns: list[str]) -> str:
    shown = table.copy()
    shown[columns] = (100 * table[columns]).round(1)
    return str(shown.to_string(float_format=lambda v: f"{v:.4g}", na_rep="-"))


def _weights(
    found: Ensemble, validation: Ensemble | None, method: str, metric: str, step: float
) -> tuple[Doubles, Sequence[Doubles]]:
    """The weights (M,) of all members, and without each member those (M - 1,) of the others."""
    if validation is not None:
        v: Members = validation.members
        if v.names != found.members.names:
            raise MgkitError(
                "the validation ensemble has other members: give the same ones in the same order."
            )
        shared = sorted(set(v.clip_ids) & set(found.members.clip_ids))
        if shared:
            raise MgkitError(
                f"{v.split!r} has clips of {found.members.split!r}, {shared[0]} among them: validate on other clips."
            )
        labels = v.truth()

        def search(p: npt.NDArray[Any]) -> Doubles:
            return best_weights(p, labels, method, metric, step)

        return search(v.probabilities), [search(np.delete(v.probabilities, i, 0)) for i in range(len(v))]
    rest = []
    for i in range(len(found.weights)):
        others = np.delete(found.weights, i)
        rest.append(others / others.sum() if others.sum() > 0 else np.full(len(others), 1 / len(others)))
    return found.weights, rest
