"""What to label next, and labels that several pathways agree on.

Both look at a split that was tested and needs no labels (`mg.test(run, "unlabelled")`), and return a table with one row
per clip: `clips.with_labels` makes training clips of it, after a review in the error explorer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.data.splits import is_test
from mgkit.errors import MgkitError, some
from mgkit.results.run.folder import Run, as_run
from mgkit.results.run.records import Predictions
from mgkit.results.stats.metrics import wilson

__all__ = ["WAYS", "PseudoLabels", "centres", "gradient_centres", "pseudo_labels", "what_to_label"]

WAYS = ("gradient", "margin", "centres")

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]


# --- what to label next ---------------------------------------------------------------------------------------------


def what_to_label(
    run: Run | str | Path,
    split: str,
    n: int,
    *,
    way: str = "gradient",
    labelled: str | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """The clips of a tested split whose labels would teach most, the first one first.

        mg.test(run, "unlabelled")
        chosen = mg.scores.what_to_label(run, "unlabelled", 50)
        mg.widgets.ErrorExplorer(run, "unlabelled", selection=mg.widgets.Selection(chosen["clip_id"]))
        chosen.to_csv("label these.csv", index=False)

    Args:
        run: a run with embeddings.
        split: the clips to choose from.
        n: how many.
        way: "gradient" joins uncertainty and diversity: each clip stands for the gradient that its predicted label
            would give the last layer, and k-means++ draws clips with large and different ones (BADGE, Ash et al., ICLR
            2020). "margin" takes the clips whose two most probable classes are closest, whatever they have in common.
            "centres" covers the embeddings, whatever the network is sure of (k-centre, Sener and Savarese, ICLR 2018).
        labelled: a tested split of clips that are labelled; "centres" keeps away from them.
        seed: of the draw of "gradient".

    Returns:
        `rank` from 1, `clip_id`, `predicted` and `second` (class names), `probability` of the predicted class, `margin`
        to the second and `entropy` (0 to 1, of that of equal probabilities).

    Raises:
        MgkitError: a split that was not tested, no embeddings, more clips than there are, or an unknown way.
    """
    run = as_run(run)
    if way not in WAYS:
        raise MgkitError(f"way is {way!r}: use {some(map(repr, WAYS))}.")
    predictions = run.predictions(split)
    if not 1 <= n <= len(predictions):
        raise MgkitError(f"n is {n}: choose 1 to {len(predictions)}, the clips of {split!r}.")
    scores = predictions.scores().astype(np.float64)  # (N, K)
    ordered = np.sort(scores, axis=1)
    margin = ordered[:, -1] - ordered[:, -2]
    if way == "margin":
        rows = np.argsort(margin, kind="stable")[:n]
    elif way == "gradient":
        rows = gradient_centres(scores, _embeddings(run, split, predictions), n, np.random.default_rng(seed))
    else:
        known = None if labelled is None else _embeddings(run, labelled, run.predictions(labelled))
        rows = centres(_embeddings(run, split, predictions), n, known)
    best, second = np.argsort(-scores, axis=1, kind="stable")[:, :2].T
    names = np.array(run.classes.names, object)
    entropy = -(scores * np.log(np.maximum(scores, 1e-12))).sum(1) / math.log(scores.shape[1])
    return pd.DataFrame(
        {
            "rank": np.arange(1, n + 1),
            "clip_id": [predictions.clip_ids[row] for row in rows],
            "predicted": names[best[rows]],
            "probability": scores[rows, best[rows]],
            "second": names[second[rows]],
            "margin": margin[rows],
            "entropy": entropy[rows],
        }
    )


def _embeddings(run: Run, split: str, predictions: Predictions) -> Floats:
    """(N, D) of the clips of the predictions: all pathways side by side, each of the same mean length."""
    found = run.embeddings(split).select(predictions.clip_ids).vectors
    scaled = []
    for vectors in found.values():
        length = float(np.sqrt((vectors.astype(np.float64) ** 2).sum(1).mean()))
        scaled.append(vectors / max(length, 1e-12))
    return np.concatenate(scaled, axis=1).astype(np.float64)


def gradient_centres(scores: Floats, embeddings: Floats, n: int, generator: np.random.Generator) -> Ints:
    """(n,) rows drawn by k-means++ on the gradients of the last layer, the longest gradient first.

    The gradient of a clip's cross-entropy, its predicted class taken for true, is the outer product of its scores minus
    one at that class (K) and its embedding (D). Distances of outer products need only products of their factors, so
    that K x D numbers per clip are never made.

    Args:
        scores: (N, K) probabilities.
        embeddings: (N, D).
        n: at most N.
        generator: of the draw.
    """
    towards = np.array(scores, np.float64)
    towards[np.arange(len(scores)), scores.argmax(1)] -= 1
    z = np.asarray(embeddings, np.float64)
    length = (towards**2).sum(1) * (z**2).sum(1)  # squared
    chosen = [int(length.argmax())]
    nearest = np.full(len(z), np.inf)
    while True:
        last = chosen[-1]
        product = (towards @ towards[last]) * (z @ z[last])
        nearest = np.minimum(nearest, np.maximum(length + length[last] - 2 * product, 0))
        nearest[chosen] = 0
        if len(chosen) == n:
            return np.array(chosen, np.int64)
        if nearest.sum() > 0:
            chosen.append(int(generator.choice(len(z), p=nearest / nearest.sum())))
        else:  # the rest are where others are
            chosen.append(int(np.setdiff1d(np.arange(len(z)), chosen)[0]))


def centres(embeddings: Floats, n: int, known: Floats | None = None) -> Ints:
    """(n,) rows, each the farthest from all chosen before and from the known ones; without these the first is the
    farthest from the mean.

    Args:
        embeddings: (N, D).
        n: at most N.
        known: (L, D) clips that are labelled.
    """
    z = np.asarray(embeddings, np.float64)
    start = z.mean(0, keepdims=True) if known is None or not len(known) else np.asarray(known, np.float64)
    nearest = np.full(len(z), np.inf)
    for one in start:
        nearest = np.minimum(nearest, ((z - one) ** 2).sum(1))
    chosen: list[int] = []
    for _ in range(n):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, ((z - z[chosen[-1]]) ** 2).sum(1))
        nearest[chosen] = -1
    return np.array(chosen, np.int64)


# --- pseudo-labels --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """Labels that pathways or runs agree on, and how far to trust them.

    Attributes:
        table: `clip_id`, `label` (name of the class), `confidence` (the smallest probability that any of them gives
            it) and `source`, the most confident first.
        threshold: the smallest confidence that is accepted.
        precision: share of correct labels among the validation clips that pass, with its Wilson interval, (p, low,
            high). It is where the threshold was chosen, so that of new clips is rather lower.
        passed: validation clips that pass.
        of: clips that might have got a label.
        over: clips that pass, but are beyond the cap of their class.
    """

    table: pd.DataFrame
    threshold: float
    precision: tuple[float, float, float]
    passed: int
    of: int
    over: int

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        p, low, high = (100 * x for x in self.precision)
        return (
            f"PseudoLabels({len(self)} of {self.of} clips, confidence {self.threshold:.3f} or more, {self.over} left "
            f"out by the cap; on validation {p:.1f} % correct ({low:.1f} to {high:.1f}) of {self.passed})"
        )


def pseudo_labels(
    runs: Run | str | Path | Sequence[Run | str | Path],
    split: str,
    *,
    calibrate_on: str = "val",
    precision: float = 0.95,
    least: int = 20,
    per_class: int | None = None,
) -> PseudoLabels:
    """Labels for the clips of a tested split on which pathways agree, above a threshold calibrated on other clips.

        for split in ("val", "unlabelled"):
            mg.test(run, split)
        found = mg.scores.pseudo_labels(run, "unlabelled", per_class=30)
        more = clips.with_labels(found.table, notes=run.notes())  # after a look at them in the error explorer

    A clip gets a label if all predict the same class, and the smallest of their probabilities of it reaches the
    threshold: the smallest one at which `precision` of the validation clips that pass are labelled correctly.

    Args:
        runs: a run, whose pathways are asked (RGB and pose), or several, of each of which the best output is.
        split: the clips to label; their own labels are not looked at.
        calibrate_on: a tested split with true labels, not a test split.
        precision: wanted share of correct labels, above 0 and up to 1.
        least: validation clips that must pass, for the share to mean something.
        per_class: at most so many clips per class, the most confident ones; None for all. Without a cap the classes
            that are easy crowd out the others.

    Raises:
        MgkitError: a split that was not tested, runs of other clips or classes, a test split to calibrate on, or no
            threshold with that precision; the message names the best.
    """
    if is_test(calibrate_on) is not False:
        raise MgkitError(
            f"the threshold is chosen on validation clips, not on {calibrate_on!r}: name a validation split."
        )
    if not 0 < precision <= 1 or least < 1 or (per_class is not None and per_class < 1):
        raise MgkitError(
            f"precision is a share above 0, least and per_class are 1 or more; got {precision}, {least}, {per_class}."
        )
    members = [as_run(runs)] if isinstance(runs, Run | str | Path) else [as_run(one) for one in runs]
    if not members or any(one.classes.names != members[0].classes.names for one in members):
        raise MgkitError("pseudo-labels need runs of the same classes, at least one.")
    labels, predicted, confidence = _agreed(members, calibrate_on)[1:]
    there = predicted >= 0
    right = (predicted == labels)[there]
    threshold, kept = _threshold(confidence[there], right, precision, least, calibrate_on)
    correct, passed = int(right[kept].sum()), int(kept.sum())
    low, high = wilson(correct, passed)
    ids, _, predicted, confidence = _agreed(members, split)
    rows = np.flatnonzero((predicted >= 0) & (confidence >= threshold))
    rows = rows[np.argsort(-confidence[rows], kind="stable")]
    names = members[0].classes.names
    source = f"pseudo-label of {' and '.join(one.name for one in members)}"
    table = pd.DataFrame(
        {
            "clip_id": [ids[row] for row in rows],
            "label": [names[predicted[row]] for row in rows],
            "confidence": confidence[rows],
            "source": source,
        }
    )
    if per_class is not None:
        table = table[table.groupby("label").cumcount() < per_class].reset_index(drop=True)
    measured = (correct / passed, float(low), float(high))
    return PseudoLabels(table, threshold, measured, passed, len(ids), len(rows) - len(table))


def _agreed(members: Sequence[Run], split: str) -> tuple[list[str], Ints, Ints, Floats]:
    """Ids, labels, the class that all predict (-1: none), and the smallest probability that any gives it, (N,) each."""
    scores: list[Floats] = []
    first = members[0].predictions(split)
    for one in members:
        predictions = one.predictions(split)
        if set(predictions.clip_ids) != set(first.clip_ids):
            raise MgkitError(f"{one.root} and {members[0].root} were tested on other clips of {split!r}.")
        predictions = predictions.select(first.clip_ids)
        asked = one.pathways if len(members) == 1 else (predictions.best,)
        scores += [predictions.scores(name).astype(np.float64) for name in asked]
    every = np.stack(scores)  # (members, N, K)
    classes = every.argmax(2)
    agreed = np.where((classes == classes[0]).all(0), classes[0], -1)
    confidence = every[:, np.arange(len(agreed)), classes[0]].min(0)
    return first.clip_ids, first.labels, agreed.astype(np.int64), confidence


def _threshold(
    confidence: Floats, right: npt.NDArray[np.bool_], precision: float, least: int, split: str
) -> tuple[float, npt.NDArray[np.bool_]]:
    """The smallest confidence at and above which that share is right, of at least so many, and which those are."""
    values = np.unique(confidence)[::-1]
    shares = np.array([right[confidence >= value].mean() for value in values])
    enough = np.array([(confidence >= value).sum() >= least for value in values], bool)
    good = np.flatnonzero(enough & (shares >= precision))
    if not len(good):
        reached = f"{100 * shares[enough].max():.1f} %" if enough.any() else f"fewer than {least} clips"
        raise MgkitError(
            f"no threshold gives {100 * precision:g} % correct labels on {least} clips of {split!r} or more on which "
            f"all agree (the best is {reached}): ask for less, label more clips, or train longer."
        )
    threshold = float(values[good[-1]])
    return threshold, confidence >= threshold
