"""How certain a decision is, over classes, pathways and test views, and which joints it rests on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run, as_run

Doubles = npt.NDArray[np.float64]


def entropy(probabilities: npt.ArrayLike) -> Doubles:
    """(N,) entropy of each row of (N, K) probabilities in [0, 1]: -sum p log p / log K.

    0 = one class has it all, 1 = all classes equally likely; 0 with one class. Dividing by log K makes data sets of
    different K comparable.

    Raises:
        MgkitError: another shape, or a row that does not sum to 1.
    """
    p = _probabilities(probabilities, "(clips, classes)")
    return _entropy(p) / np.log(max(p.shape[1], 2)) + 0.0  # never -0


def pathway_disagreement(rgb: npt.ArrayLike, pose: npt.ArrayLike) -> Doubles:
    """(N,) Jensen-Shannon divergence of two sets of (N, K) probabilities, to the base 2 (Lin, 1991).

    With m = (p + q) / 2 it is the mean of KL(p || m) and KL(q || m): 0 = the same probabilities, 1 = no class that
    both consider possible. Unlike KL it is symmetric, and finite where one pathway gives a class no chance at all. It
    measures how far apart the two are, not which is right; both may be certain, identical and wrong.

    Raises:
        MgkitError: the shapes differ, or a row does not sum to 1.
    """
    p, q = (_probabilities(one, "(clips, classes)") for one in (rgb, pose))
    if p.shape != q.shape:
        raise MgkitError(f"probabilities of shapes {p.shape} and {q.shape} do not go together.")
    return _divergence(np.stack([p, q], 1))


def view_variation(scores: npt.ArrayLike) -> Doubles:
    """(N,) variation of the prediction over the views of a clip: (N, V, K) probabilities to [0, 1].

    The Jensen-Shannon divergence of the V views (Lin, 1991, section V): the entropy of their mean minus the mean of
    their entropies, divided by its largest possible value, log min(V, K). 0 = all views agree, 1 = each is certain of
    another class (all classes equally, if there are more views than classes). With one view or class it is 0.

    Raises:
        MgkitError: another shape, or rows that do not sum to 1.
    """
    return _divergence(_probabilities(scores, "(clips, views, classes)"))


def views_disagree(scores: npt.ArrayLike) -> Doubles:
    """(N,) share in [0, 1] of the views whose most probable class is not that of the mean over the views.

    Scores are (N, V, K) probabilities; the lower class wins a tie, as everywhere.
    """
    p = _probabilities(scores, "(clips, views, classes)")
    return (p.argmax(2) != p.mean(1).argmax(1)[:, None]).mean(1)


def joint_importance(run: Run | str | Path, split: str = "test") -> pd.DataFrame:
    """Share of each joint in the decisions for each class, for a split that was explained (`mg.explain`).

    The values of a joint are summed over the sampled frames of a clip, negative sums are set to 0, and the rest is
    divided by its sum over the joints: each clip has one vote, however large its values. A row is the mean over the
    clips explained for that class (the predicted or the true one, as `mg.explain` was asked).

    Returns:
        Shares in [0, 1]: one row per class, named, in label order; one column per joint. Rows sum to 1; a class without
        such clips is NaN.

    Raises:
        MgkitError: nothing has been explained, or the run has no pose pathway.
    """
    run = as_run(run)
    saliency = run.saliency(split)
    if saliency.joints is None:
        raise MgkitError(f"{run.root} has no pose pathway, so there are no joints to compare.")
    speaks = np.maximum(saliency.joints.sum(1, dtype=np.float64), 0)  # (N, V)
    total = speaks.sum(1)
    shares = np.full((len(run.classes), speaks.shape[1]), np.nan)
    for k in range(len(run.classes)):
        rows = (saliency.target == k) & (total > 0)
        if rows.any():
            shares[k] = (speaks[rows] / total[rows, None]).mean(0)
    return pd.DataFrame(
        shares,
        index=pd.Index(run.classes.names, name="class"),
        columns=pd.Index(run.skeleton.joints, name="joint"),
    )


def _probabilities(given: npt.ArrayLike, shape: str) -> Doubles:
    """Probabilities in float64, scaled to sum to 1 exactly: those stored in 16 bits do within 1e-3."""
    p = np.asarray(given, np.float64)
    if p.ndim != len(shape.split(",")) or 0 in p.shape:
        raise MgkitError(f"probabilities must have the shape {shape}; got {p.shape}.")
    wrong = ~(np.abs(p.sum(-1) - 1) <= 2e-3) | ~(p >= -1e-6).all(-1)  # ~(a <= b) is True for NaN as well
    if wrong.any():
        row = int(wrong.reshape(len(p), -1).any(1).argmax())
        raise MgkitError(
            f"row {row} does not consist of probabilities that sum to 1; apply softmax to logits."
        )
    p = np.clip(p, 0, None)
    return p / p.sum(-1, keepdims=True)


def _entropy(p: Doubles) -> Doubles:
    return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)


def _divergence(p: Doubles) -> Doubles:
    """Jensen-Shannon divergence of (N, V, K) over the V, in [0, 1]."""
    most = min(p.shape[1:])
    if most == 1:
        return np.zeros(len(p))
    return np.clip((_entropy(p.mean(1)) - _entropy(p).mean(1)) / np.log(most), 0, 1)
