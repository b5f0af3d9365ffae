"""Which clip to put beside a clip: the nearest one that was got right, or the one closest to the class prototype."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mgkit.errors import MgkitError
from mgkit.results.runs import Embeddings, Predictions
from mgkit.views.analysis.ambiguity import known_mean


class Neighbour(NamedTuple):
    """A clip, and its cosine distance in [0, 2] (mean over pathways) from what it was compared with."""

    clip_id: str
    distance: float


def nearest_correct(
    predictions: Predictions, embeddings: Embeddings, clip_id: str, pathway: str | None = None
) -> Neighbour:
    """The clip of the same true class that was classified correctly and lies nearest in the embedding.

    Args:
        predictions: of the split that the clip is in, `run.predictions(split)`.
        embeddings: of the same split, `run.embeddings(split)`.
        clip_id: whose neighbour; never its own.
        pathway: the output "rgb", "pose" or "fused" that decides what is correct and whose embedding counts (for
            "fused" the mean distance over the pathways); by default fused, or the only one.

    Raises:
        MgkitError: an unknown clip, or no other clip of its class was classified correctly.
    """
    if clip_id not in predictions.clip_ids:
        raise MgkitError(f"the predictions have no clip {clip_id!r}.")
    at = predictions.clip_ids.index(clip_id)
    found = predictions.correct(pathway) & (predictions.labels == predictions.labels[at])
    found[at] = False
    if not found.any():
        raise MgkitError(f"no other clip of {_name(predictions, at)} is classified correctly.")
    output = predictions.best if pathway is None else pathway
    ids = [predictions.clip_ids[row] for row in (at, *np.flatnonzero(found).tolist())]
    distance = _distances(embeddings.select(ids), output)
    best = int(distance.argmin())
    return Neighbour(ids[1 + best], float(distance[best]))


def exemplar(predictions: Predictions, clip_id: str, pathway: str | None = None) -> Neighbour:
    """The true positive closest to the prototype of a clip's true class, that clip itself left out.

    Args:
        predictions: with distances to prototypes.
        clip_id: a clip of the class.
        pathway: as in `nearest_correct`.

    Raises:
        MgkitError: an unknown clip, no distances to prototypes, or no other true positive with a known distance.
    """
    if clip_id not in predictions.clip_ids:
        raise MgkitError(f"the predictions have no clip {clip_id!r}.")
    at = predictions.clip_ids.index(clip_id)
    output = predictions.best if pathway is None else pathway
    distance = own_distance(predictions, output)
    if distance is None:
        raise MgkitError("the run has no distances to prototypes: train it with prototypical refinement.")
    found = predictions.kinds(output, int(predictions.labels[at])) == "TP"
    found &= np.isfinite(distance)
    found[at] = False
    if not found.any():
        raise MgkitError(f"no other clip of {_name(predictions, at)} is classified correctly.")
    best = int(np.where(found, distance, np.inf).argmin())
    return Neighbour(predictions.clip_ids[best], float(distance[best]))


def own_distance(predictions: Predictions, output: str) -> npt.NDArray[np.float64] | None:
    """(N,) cosine distance in [0, 2] of each clip to the prototype of its true class.

    For "fused" it is the mean over the pathways that have that prototype. NaN where none does; None when the run has
    no prototypes at all.
    """
    own = [values for name, values in predictions.own.items() if output in (name, "fused")]
    return known_mean(own, len(predictions)) if own else None


def _name(predictions: Predictions, at: int) -> str:
    label = int(predictions.labels[at])
    return repr(predictions.classes.names[label]) if predictions.classes else f"class {label}"


def _distances(embeddings: Embeddings, output: str) -> npt.NDArray[np.float64]:
    """(N - 1,) cosine distance of the first clip to each other one."""
    names = list(embeddings.vectors) if output == "fused" else [output]
    found = []
    for name in names:
        vectors = embeddings.of(name).astype(np.float64)
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        found.append(1 - unit[1:] @ unit[0])
    return np.mean(found, axis=0)
