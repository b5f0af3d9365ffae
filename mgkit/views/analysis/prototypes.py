"""Similarity of the class prototypes, and its relation to confusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run, as_run
from mgkit.results.stats.metrics import ResultTable, confusion_matrix
from mgkit.results.stats.resampling import LIMITS


def prototype_similarity(
    run: Run | str | Path, pathway: str | None = None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Cosine similarity between the final prototypes of a pathway (by default the first that has any).

    Returns:
        (K, K) symmetric similarities in [-1, 1], 1 on the diagonal and NaN in rows and columns of classes without a
        prototype; and (K,) whether each class has one.
    """
    run = as_run(run)
    history = run.prototypes()
    vectors, seen = history.last(next(iter(history.vectors)) if pathway is None else pathway)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    similarity = np.clip(unit @ unit.T, -1, 1).astype(np.float32)
    np.fill_diagonal(similarity, 1)
    similarity[~seen] = np.nan
    similarity[:, ~seen] = np.nan
    return similarity, seen


@dataclass(frozen=True, eq=False)
class SimilarityConfusion:
    """Relation of prototype similarity and confusion over the pairs of classes.

    Attributes:
        pairs: one row per pair of classes, the most similar first: `class_a`, `class_b`, `similarity` in [-1, 1],
            `confusion` in [0, 1], and `clips`, the number of clips of either taken for the other.
        rho: Spearman's rank correlation of similarity and confusion over the pairs, in [-1, 1]; NaN where it is not
            defined (fewer than two pairs, or one of them the same for all).
        low, high: interval of rho, a percentile bootstrap over classes, conservative; NaN with fewer than four
            classes.
        p: two-sided, of a Mantel permutation test of no relation; NaN with rho.
        never_seen: names of the classes excluded for lack of a prototype.
        absent: names of the classes excluded because the split has no clip of them.
    """

    pairs: pd.DataFrame
    rho: float
    low: float
    high: float
    p: float
    never_seen: tuple[str, ...]
    absent: tuple[str, ...]


def refinement_history(run: Run | str | Path) -> pd.DataFrame:
    """What prototypical refinement did in each epoch, one row per epoch and pathway that has it.

    Where the terms act on few clips they can change little (a larger batch, or `prototype_memory`, fills the sets), and
    where the nearest prototype is never better than the classifier, rectification cannot help.

    Returns:
        Columns `epoch`, `pathway`; `fn_share` and `fp_share`, the shares in [0, 1] of true positives (with
        `shift="all"` of all clips) on which the FN and the FP term of equation 9 act, because a false negative or
        positive of their class is in sight (NaN without any); `loss`, the pathway's term before its weight; and of
        validation, where there is one, `nearest`, the accuracy of the nearest prototype alone, `classifier`, that of
        the classifier, and `gate`, the mean size of the fusion module's gates on the pathway (0 = identity).

    Raises:
        MgkitError: the run was trained without prototypes.
    """
    opened = as_run(run)
    history = opened.history()
    every = (opened.recipe.get("refinement") or {}).get("shift") == "all"
    tables = []
    for pathway in [name for name in opened.pathways if f"tp_{name}" in history]:
        clips = history[f"tp_{pathway}"] + (history[f"fn_{pathway}"] if every else 0)
        columns = {
            "loss": f"loss_pr_{pathway}", "nearest": f"val_nearest_{pathway}",
            "classifier": f"val_top1_{pathway}", "gate": f"gate_{pathway}",
        }  # fmt: skip
        tables.append(
            pd.DataFrame(
                {
                    "epoch": history["epoch"],
                    "pathway": pathway,
                    "fn_share": history[f"lowered_fn_{pathway}"] / clips.where(clips > 0),
                    "fp_share": history[f"lowered_fp_{pathway}"] / clips.where(clips > 0),
                    **{name: history[column] for name, column in columns.items() if column in history},
                }
            )
        )
    if not tables:
        raise MgkitError(f"{opened.root} was trained without prototypes: there is no refinement to follow.")
    return ResultTable(pd.concat(tables, ignore_index=True))


def similarity_and_confusion(
    similarity: npt.ArrayLike,
    counts: npt.ArrayLike,
    names: Sequence[str],
    generator: np.random.Generator,
    *,
    draws: int = 2000,
) -> SimilarityConfusion:
    """Relate how similar the prototypes of two classes are to how often the classes are taken for each other.

    The confusion of classes a and b is the mean of the share of a taken for b and the share of b taken for a, so that
    a frequent class does not outweigh a rare one. The pairs of K classes are not independent (each class is in K - 1 of
    them), so the usual interval and p of a correlation are far too optimistic. Instead p is of a Mantel test (Mantel,
    1967): the classes of one matrix are permuted as a whole, and p is the share of permutations, including the observed
    one, with an |rho| at least as large. The interval resamples classes with replacement and skips pairs of a class
    with itself (after Snijders and Borgatti, 1999). It is conservative, in simulations with 8 to 32 classes too wide by
    a factor of 1.2 to 1.8; use p to decide whether there is a relation. Correlation is not causation: gestures that
    look alike are close *and* confused.

    Args:
        similarity: (K, K) symmetric, NaN for classes without a prototype, as from `prototype_similarity`.
        counts: (K, K) confusion matrix in clips; row = true class.
        names: K class names.
        generator: of the permutations and the bootstrap.
        draws: of each.

    Raises:
        MgkitError: shapes that disagree, a similarity that is not symmetric, or negative counts.
    """
    alike, table = np.asarray(similarity, np.float64), np.asarray(counts)
    count = len(names)
    if alike.shape != (count, count) or table.shape != alike.shape:
        raise MgkitError(
            f"similarities of shape {alike.shape} and counts of shape {table.shape} do not go with {count} names."
        )
    if not np.allclose(alike, alike.T, atol=1e-5, equal_nan=True) or (table < 0).any():
        raise MgkitError("the similarities are not symmetric, or a count of clips is negative.")
    seen, support = np.isfinite(np.diag(alike)), table.sum(1)
    used = np.flatnonzero(seen & (support > 0))
    share = table / np.maximum(support, 1)[:, None]
    confusion = (share + share.T) / 2
    a, b = (used[i] for i in np.triu_indices(len(used), 1))
    labels = np.array(names, dtype=object)
    pairs = pd.DataFrame(
        {
            "class_a": labels[a],
            "class_b": labels[b],
            "similarity": alike[a, b],
            "confusion": confusion[a, b],
            "clips": table[a, b] + table[b, a],
        }
    )
    pairs = pairs.sort_values("similarity", ascending=False, kind="stable", ignore_index=True)
    grid = np.ix_(used, used)
    rho, low, high, p = _mantel(alike[grid], confusion[grid], generator, draws)
    return SimilarityConfusion(
        pairs, rho, low, high, p, tuple(labels[~seen]), tuple(labels[seen & (support == 0)])
    )


def run_similarity_and_confusion(
    run: Run | str | Path,
    generator: np.random.Generator,
    split: str = "test",
    pathway: str | None = None,
    *,
    draws: int = 2000,
) -> SimilarityConfusion:
    """`similarity_and_confusion` of the final prototypes of a pathway and its own predictions on a split.

    Args:
        run: a run with prototypes.
        generator: of the permutations and the bootstrap.
        split: the evaluated split.
        pathway: "rgb" or "pose"; by default the first that has prototypes.
        draws: as there.
    """
    run = as_run(run)
    if pathway is None:
        pathway = next(iter(run.prototypes().vectors))
    similarity, _ = prototype_similarity(run, pathway)
    predictions = run.predictions(split)
    counts = confusion_matrix(predictions.labels, predictions.predicted(pathway), predictions.class_count)
    return similarity_and_confusion(similarity, counts, run.classes.names, generator, draws=draws)


def _mantel(
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    generator: np.random.Generator,
    draws: int,
) -> tuple[float, float, float, float]:
    """Spearman's rho of the pairs of two (K, K) symmetric matrices, its interval (low, high) and p."""
    from scipy.stats import rankdata

    count = len(x)
    rows, columns = np.triu_indices(count, 1)
    rank_x, rank_y = rankdata(x[rows, columns]), rankdata(y[rows, columns])
    rho = _correlation(rank_x, rank_y)
    if np.isnan(rho):
        return rho, np.nan, np.nan, np.nan
    # Permuting the classes moves the ranks and does not change them, so they are computed once.
    square = np.zeros((count, count))
    square[rows, columns] = square[columns, rows] = rank_y
    beyond = 0
    for _ in range(draws):
        order = generator.permutation(count)
        # With a tolerance, so that a permutation with the same rho up to rounding counts.
        beyond += abs(_correlation(rank_x, square[order[rows], order[columns]])) >= abs(rho) - 1e-9
    p = (1 + beyond) / (1 + draws)
    if count < 4:
        return rho, np.nan, np.nan, p

    # The interval: the same correlation over the pairs of classes drawn with replacement.
    found = []
    for _ in range(draws):
        chosen = generator.integers(count, size=count)
        i, j = chosen[rows], chosen[columns]
        apart = i != j
        i, j = i[apart], j[apart]
        found.append(_correlation(rankdata(x[i, j]), rankdata(y[i, j])) if len(i) > 1 else np.nan)
    known = np.array(found)[~np.isnan(found)]
    if not len(known):
        return rho, np.nan, np.nan, p
    low, high = np.quantile(known, LIMITS)
    return rho, float(low), float(high), p


def _correlation(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """Pearson's correlation; NaN with fewer than two values or where one of them does not vary."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1, 1))
