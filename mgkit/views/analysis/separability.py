"""How well the classes keep apart in the embedding of a pathway."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.errors import MgkitError
from mgkit.results.runs import Run


@dataclass(frozen=True, eq=False)
class Separability:
    """How well K classes keep apart, by cosine distance in [0, 2].

    Attributes:
        classes: one row a class in label order, classes without clips included, indexed by class name:
            `clips`;
            `intra`: mean distance between two different clips of the class;
            `inter`: mean distance of a clip of the class to a clip of another;
            `silhouette`: mean over the clips of the class, in [-1, 1];
            `nearest`: the other class with the smallest mean distance between its clips and those of this one, and
            `nearest_distance`, that mean. A class with `intra` > `nearest_distance` lies within its neighbour.
            `intra` and `silhouette` are NaN with fewer than two clips; `inter`, `nearest_distance` (NaN) and
            `nearest` (missing) also where no other class has a clip.
        intra: mean of `intra` over the classes that have it: all classes count alike.
        inter: mean of `inter`, likewise.
        silhouette: mean over all clips of the classes that have one.
        silhouettes: (N,) silhouette of each clip; NaN in a class of one clip.
    """

    classes: pd.DataFrame
    intra: float
    inter: float
    silhouette: float
    silhouettes: npt.NDArray[np.float64]


def separability(vectors: npt.ArrayLike, labels: npt.ArrayLike, names: Sequence[str]) -> Separability:
    """Distances within and between classes, and silhouettes, of N embeddings under the cosine distance.

    The silhouette of a clip (Rousseeuw, 1987) is (b - a) / max(a, b), where a is its mean distance to the other clips
    of its class and b the smallest mean distance to the clips of another class: 1 = far from all others, 0 = between
    two classes, below 0 = nearer to another class than to its own. Means over all clips follow the frequent classes;
    the table has every class. A zero vector has the distance 1 to every other.

    The values are those of scikit-learn's `silhouette_samples(metric="cosine")`, but for the only clip of a class,
    which is NaN here and 0 there. They are taken from the sums of the unit vectors of each class, so that N x K numbers
    are held and not the N x N distances.

    Args:
        vectors: (N, D) embeddings, finite.
        labels: (N,) classes in [0, K).
        names: K class names.

    Raises:
        MgkitError: shapes that disagree, a label outside the classes, or a vector that is not finite.
    """
    z, true = np.asarray(vectors, np.float64), np.asarray(labels)
    count = len(names)
    if z.ndim != 2 or true.shape != (len(z),) or not len(z) or true.dtype.kind not in "iu":
        raise MgkitError(f"vectors of shape {z.shape} and labels of shape {true.shape} do not go together.")
    if true.min() < 0 or true.max() >= count:
        raise MgkitError(f"a label is outside 0 to {count - 1}.")
    if not np.isfinite(z).all():
        raise MgkitError(f"the vector of row {int((~np.isfinite(z).all(1)).argmax())} is not finite.")
    length = np.linalg.norm(z, axis=1, keepdims=True)
    unit = np.divide(z, length, out=np.zeros_like(z), where=length > 0)
    clips = np.bincount(true, minlength=count)
    rows = np.arange(len(z))
    one_hot = np.zeros((len(z), count))
    one_hot[rows, true] = 1

    # The mean cosine similarity of a clip to the clips of a class is its dot product with the mean of their unit
    # vectors; of the own class the clip itself is taken out.
    dots = unit @ (one_hot.T @ unit).T
    with np.errstate(invalid="ignore", divide="ignore"):
        to_class = 1 - dots / clips
        own = 1 - (dots[rows, true] - (unit * unit).sum(1)) / (clips[true] - 1)
        between = one_hot.T @ to_class / clips[:, None]
        intra = np.bincount(true, own, minlength=count) / clips
    to_class, own = np.clip(to_class, 0, 2), np.clip(own, 0, 2)  # rounding; NaN stays
    single = clips[true] < 2
    own[single] = np.nan
    intra[clips < 2] = np.nan

    rivals = np.where(clips > 0, to_class, np.inf)
    rivals[rows, true] = np.inf
    nearest_rival = rivals.min(1) if count > 1 else np.full(len(z), np.inf)
    nearest_rival[np.isinf(nearest_rival)] = np.nan
    with np.errstate(invalid="ignore"):
        larger = np.maximum(own, nearest_rival)
        silhouettes = np.where(larger == 0, 0.0, (nearest_rival - own) / np.where(larger == 0, 1, larger))

    between[:, clips == 0] = np.nan
    np.fill_diagonal(between, np.nan)
    there = np.isfinite(between)
    weights = np.where(there, clips, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        inter = (np.where(there, between, 0) * weights).sum(1) / weights.sum(1)
        of_class = np.bincount(true[~single], silhouettes[~single], minlength=count) / clips
    of_class[clips < 2] = np.nan
    neighbour = np.where(there, between, np.inf).argmin(1)
    any_other = there.any(1)
    labels_of = np.array(names, dtype=object)
    table = pd.DataFrame(
        {
            "clips": clips,
            "intra": np.clip(intra, 0, 2),
            "inter": np.clip(inter, 0, 2),
            "silhouette": of_class,
            "nearest": np.where(any_other, labels_of[neighbour], None),
            "nearest_distance": np.where(
                any_other, np.clip(between[np.arange(count), neighbour], 0, 2), np.nan
            ),
        },
        index=pd.Index(labels_of, name="class"),
    )
    known = silhouettes[~np.isnan(silhouettes)]
    return Separability(
        table,
        float(table["intra"].mean()),
        float(table["inter"].mean()),
        float(known.mean()) if len(known) else float("nan"),
        silhouettes,
    )


def run_separability(run: Run, split: str = "test", pathway: str | None = None) -> Separability:
    """`separability` of the embeddings of a split in one pathway.

    Args:
        run: a run with embeddings of the split.
        split: the evaluated split. Of the training split the classes look further apart than they are.
        pathway: "rgb" or "pose"; by default the first that has embeddings.

    Returns:
        `silhouettes` in the order of the predictions of the split.
    """
    predictions, embeddings = run.predictions(split), run.embeddings(split)
    if pathway is None:
        pathway = next(iter(embeddings.vectors))
    vectors = embeddings.select(predictions.clip_ids).of(pathway)
    return separability(vectors, predictions.labels, run.classes.names)
