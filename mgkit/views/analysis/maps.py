"""A two-dimensional map of the clips and the class prototypes of one pathway."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError
from mgkit.files import atomic
from mgkit.results.runs import Run

NOTE = "distances between clusters mean little"
# Below this many points UMAP's neighbourhoods are the whole set, and its start (eigenvectors) is not defined.
SMALLEST = 12
NEIGHBOURS = 15


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """Where the clips of a split and the prototypes lie on a map.

    Attributes:
        split: the split.
        pathway: "rgb" or "pose".
        clip_ids: N ids in the order of the predictions.
        labels: (N,) true classes.
        points: (N, 2) clips.
        prototypes: (K, 2); NaN for a class whose prototype was never updated, or when the run has none.
        seen: (K,) whether the class has a prototype.
        method: "UMAP" or "PCA".
        note: what to keep in mind when looking at it.
    """

    split: str
    pathway: str
    clip_ids: list[str]
    labels: npt.NDArray[np.int64]
    points: npt.NDArray[np.float32]
    prototypes: npt.NDArray[np.float32]
    seen: npt.NDArray[np.bool_]
    method: str
    note: str

    def frame(self, classes: Classes) -> pd.DataFrame:
        """One row a clip, then one a prototype: `kind`, `clip_id` ("" for a prototype), `class`, `x`, `y`."""
        names = np.array(classes.names, dtype=object)
        clips = {"kind": "clip", "clip_id": self.clip_ids, "class": names[self.labels]}
        stars = {"kind": "prototype", "clip_id": "", "class": names[self.seen]}
        frame = pd.concat([pd.DataFrame(clips), pd.DataFrame(stars)], ignore_index=True)
        frame[["x", "y"]] = np.concatenate([self.points, self.prototypes[self.seen]])
        return frame


def embedding_map(
    run: Run, split: str = "test", pathway: str | None = None, *, seed: int = 0, cache: bool = True
) -> EmbeddingMap:
    """Lay the embeddings of a split and the last prototypes of the classes seen out in two dimensions.

    Clips and prototypes are fitted together by UMAP (McInnes et al., 2018) with the cosine metric, the measure that
    the prototype loss uses. It keeps neighbours together; distances between clusters, and their sizes, mean little.
    With fewer than 12 points it is a principal component analysis of the normalised vectors instead.

    Args:
        run: a run with embeddings of the split.
        split: the evaluated split.
        pathway: "rgb" or "pose"; by default the first that the run has.
        seed: seed of the layout: the same seed and data give the same map on the same machine.
        cache: keep the map in `cache/` of the run folder, named by the hash of what it was made of.

    Raises:
        MgkitError: the split was not evaluated, or the run has no such pathway.
    """
    if pathway is None:
        if not run.pathways:
            raise MgkitError(f"{run.root} has no pathway, hence no embeddings to map.")
        pathway = run.pathways[0]
    predictions = run.predictions(split)
    vectors = run.embeddings(split).select(predictions.clip_ids).of(pathway)
    seen = np.zeros(len(run.classes), bool)
    stars = np.zeros((0, vectors.shape[1]), np.float32)
    if (run.root / "prototypes.npz").is_file():
        history = run.prototypes()
        if pathway in history.vectors:
            last, seen = history.last(pathway)
            stars = last[seen]
            if stars.shape[1] != vectors.shape[1]:
                raise MgkitError(
                    f"{run.root}: {pathway} prototypes have {stars.shape[1]} dimensions and the embeddings of "
                    f"{split} {vectors.shape[1]}: evaluate the split again."
                )
    together = np.concatenate([vectors, stars]).astype(np.float32)
    method = "UMAP" if len(together) >= SMALLEST else "PCA"
    flat = _cached(run.root / "cache", together, seed, method) if cache else None
    if flat is None:
        flat = _umap(together, seed) if method == "UMAP" else _pca(together)
        if cache:
            _keep(run.root / "cache", together, seed, method, flat)
    prototypes = np.full((len(run.classes), 2), np.nan, np.float32)
    prototypes[seen] = flat[len(vectors) :]
    note = NOTE if method == "UMAP" else f"PCA, as there are too few points for UMAP ({len(together)})"
    return EmbeddingMap(
        split,
        pathway,
        predictions.clip_ids,
        predictions.labels,
        flat[: len(vectors)],
        prototypes,
        seen,
        method,
        note,
    )


def _unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _umap(vectors: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float32]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on import: TensorFlow is not there; on fitting: isolated points
        import umap

        # Lengths carry no meaning under cosine; a zero vector would be NaN there, and stays finite like this.
        reducer = umap.UMAP(
            n_neighbors=min(NEIGHBOURS, len(vectors) - 1),
            min_dist=0.1,
            metric="euclidean",
            random_state=seed,
            n_jobs=1,
        )
        flat = reducer.fit_transform(_unit(vectors))
    # A point without any neighbour is left out by UMAP as NaN; the middle is where it misleads least.
    return np.where(np.isfinite(flat), flat, np.nanmedian(flat, axis=0)).astype(np.float32)


def _pca(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    centred = _unit(vectors)
    centred = centred - centred.mean(0)
    left, scale, right = np.linalg.svd(centred, full_matrices=False)
    flat = np.zeros((len(vectors), 2), np.float32)
    use = min(2, len(scale))
    # The sign of a component is arbitrary: fix it, so that the map does not mirror itself between machines.
    signs = np.sign(right[np.arange(use), np.abs(right[:use]).argmax(1)])
    flat[:, :use] = left[:, :use] * scale[:use] * signs
    return flat


def _cache_path(folder: Path, vectors: npt.NDArray[np.float32], seed: int, method: str) -> Path:
    from importlib.metadata import version

    settings = f"{method} {version('umap-learn')} {NEIGHBOURS} {seed} {vectors.shape}"
    digest = hashlib.sha256(settings.encode() + np.ascontiguousarray(vectors).tobytes()).hexdigest()
    return folder / f"map-{digest[:16]}.npy"


def _cached(
    folder: Path, vectors: npt.NDArray[np.float32], seed: int, method: str
) -> npt.NDArray[np.float32] | None:
    try:
        flat = np.load(_cache_path(folder, vectors, seed, method), allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not there, or damaged: it can be made again
        return None
    return flat if flat.shape == (len(vectors), 2) else None


def _keep(
    folder: Path,
    vectors: npt.NDArray[np.float32],
    seed: int,
    method: str,
    flat: npt.NDArray[np.float32],
) -> None:
    try:
        with atomic(_cache_path(folder, vectors, seed, method)) as temporary:
            np.save(temporary, flat)
    except (MgkitError, OSError):  # a run folder one may only read can still be looked at
        pass
