"""How steady a decision is over the views of a clip, and which joints it rests on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run


def view_variation(scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(N,) how much the answer varies over the views of a clip: (N, V, K) probabilities to [0, 1].

    The Jensen-Shannon divergence of the V views (Lin, 1991, section V): the entropy of their mean less the mean of
    their entropies, divided by its largest possible value, log min(V, K). 0 = all views say the same, 1 = each is sure
    of another class (of every class alike, where there are more views than classes). With one view or class it is 0.

    Raises:
        MgkitError: another shape, or rows that are not of probabilities.
    """
    p = _views(scores)
    if min(p.shape[1:]) == 1:
        return np.zeros(len(p))
    found = (_entropy(p.mean(1)) - _entropy(p).mean(1)) / np.log(min(p.shape[1:]))
    return np.clip(found, 0, 1)


def views_disagree(scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(N,) share in [0, 1] of the views whose most probable class is not that of the mean over the views.

    Scores are (N, V, K) probabilities; the lower class wins a tie, as everywhere.
    """
    p = _views(scores)
    return (p.argmax(2) != p.mean(1).argmax(1)[:, None]).mean(1)


def joint_importance(run: Run, split: str = "test") -> pd.DataFrame:
    """Which joints the decisions for each class rest on, of a split that was explained (`mg.explain`).

    The values of a joint are added up over the sampled frames of a clip, those that speak against the class are set to
    0, and the rest is divided by its sum over the joints: each clip has one vote, however large its values. A row is
    the mean over the clips explained for that class (the predicted or the true one, as `mg.explain` was asked).

    Returns:
        Shares in [0, 1]: one row a class, named, in label order; one column a joint. Rows sum to 1; a class without
        such clips is NaN.

    Raises:
        MgkitError: nothing has been explained, or the run has no pose pathway.
    """
    saliency = run.saliency(split)
    if saliency.joints is None:
        raise MgkitError(f"{run.root} has no pose pathway: there are no joints to compare.")
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


def _views(scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Probabilities in float64, each row scaled to sum to 1 exactly: those stored in 16 bits do within 1e-3."""
    p = np.asarray(scores, np.float64)
    if p.ndim != 3 or 0 in p.shape:
        raise MgkitError(f"the scores of views must have the shape (clips, views, classes); got {p.shape}.")
    wrong = (np.abs(p.sum(2) - 1) > 2e-3) | (p < -1e-6).any(2) | ~np.isfinite(p).all(2)
    if wrong.any():
        raise MgkitError(f"a view of row {int(wrong.any(1).argmax())} is not of probabilities that sum to 1.")
    p = np.clip(p, 0, None)
    return p / p.sum(2, keepdims=True)


def _entropy(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)
