"""Clips and class prototypes in the embedding of a pathway: two-dimensional maps, and the separability of classes."""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError, some
from mgkit.files import atomic
from mgkit.results.compare.runs import aligned_runs
from mgkit.results.run.folder import Run, as_run
from mgkit.results.run.records import Floats, Ints, Predictions
from mgkit.results.stats.metrics import confusion_matrix

NOTE = "distances between clusters mean little"
# Below this many points UMAP's neighbourhoods are the whole set, and its start (eigenvectors) is not defined.
SMALLEST = 12
NEIGHBOURS = 15
MIN_DIST = 0.5  # at UMAP's default of 0.1, well-trained classes shrink to dots in an empty picture
LONGEST = 60  # stops of a prototype's path: more cannot be seen, and each costs time to place
COLOURS = ("class", "kind", "subject", "confidence", "distance")
MOST = 10  # groups that can be distinguished by colour
UNKNOWN = "unknown"


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """Positions of the clips of a split and of the prototypes on a map.

    Attributes:
        split: the split.
        pathway: "rgb" or "pose".
        clip_ids: N ids in the order of the predictions.
        labels: (N,) true classes.
        points: (N, 2) clips.
        prototypes: (K, 2) after the last epoch; NaN for a class whose prototype was never updated, or if the run has
            none.
        seen: (K,) whether the class has a prototype.
        epochs: (E,) the epochs of the paths, including the last; empty without prototypes.
        paths: (E, K, 2) prototypes after these epochs; NaN before the first update of a class. The last is
            `prototypes`.
        method: "UMAP" or "PCA".
        note: a caveat for the caption.
    """

    split: str
    pathway: str
    clip_ids: list[str]
    labels: npt.NDArray[np.int64]
    points: npt.NDArray[np.float32]
    prototypes: npt.NDArray[np.float32]
    seen: npt.NDArray[np.bool_]
    epochs: Ints
    paths: Floats
    method: str
    note: str

    def stars(self, epoch: int | None = None) -> Floats:
        """(K, 2) prototypes after an epoch, by default the last; NaN for classes not updated until then.

        Raises:
            MgkitError: the map has no such epoch.
        """
        if epoch is None:
            return self.prototypes
        found = np.flatnonzero(self.epochs == epoch)
        if not len(found):
            raise MgkitError(
                f"the map has no prototypes of epoch {epoch}, only of {some(self.epochs.tolist()) or 'none'}."
            )
        return self.paths[found[0]]

    def frame(self, classes: Classes, epoch: int | None = None, paths: bool = False) -> pd.DataFrame:
        """One row per clip, then per prototype (after `epoch`, by default the last), then, with `paths`, per stop.

        Columns: `kind` ("clip", "prototype", "path"), `clip_id` ("" but for clips), `class`, `x`, `y`; with `paths`
        also `epoch` (empty for clips).
        """
        names = np.array(classes.names, dtype=object)
        stars = self.stars(epoch)
        there = np.isfinite(stars[:, 0])
        parts = [
            pd.DataFrame({"kind": "clip", "clip_id": self.clip_ids, "class": names[self.labels]}),
            pd.DataFrame({"kind": "prototype", "clip_id": "", "class": names[there]}),
        ]
        places = [self.points, stars[there]]
        if paths:
            stops, which = np.nonzero(np.isfinite(self.paths[..., 0]))
            at = epoch if epoch is not None else self.epochs[-1] if len(self.epochs) else 0
            parts[1]["epoch"] = at
            parts.append(
                pd.DataFrame(
                    {"kind": "path", "clip_id": "", "class": names[which], "epoch": self.epochs[stops]}
                )
            )
            places.append(self.paths[stops, which])
        frame = pd.concat(parts, ignore_index=True)
        if paths:
            frame["epoch"] = frame["epoch"].astype("Int64")
        frame[["x", "y"]] = np.concatenate(places)
        return frame


def embedding_map(
    run: Run | str | Path,
    split: str = "test",
    pathway: str | None = None,
    *,
    seed: int = 0,
    cache: bool = True,
) -> EmbeddingMap:
    """Lay out the embeddings of a split and the final prototypes of the classes in two dimensions.

    Clips and final prototypes are fitted together by UMAP (McInnes et al., 2018) with the cosine metric, the measure
    that the prototype loss uses. It keeps neighbours together; distances between clusters, and their sizes, mean
    little. The prototypes of earlier epochs (at most 60 of them, evenly spaced) are then placed on the finished map,
    which they do not change. With fewer than 12 points it is a principal component analysis of the normalised
    vectors instead.

    Args:
        run: a run with embeddings of the split.
        split: the evaluated split.
        pathway: "rgb" or "pose"; by default the first that the run has.
        seed: seed of the layout: the same seed and data give the same map on the same machine.
        cache: keep the map in `cache/` of the run folder, named by a hash of its input. A cached map opens without
            UMAP.

    Raises:
        MgkitError: the split was not evaluated, or the run has no such pathway.
    """
    run = as_run(run)
    predictions = run.predictions(split)
    source = _source(run, split, _pathway(run, pathway), predictions.clip_ids)
    flat, moved, method = _lay_out(run.root / "cache" if cache else None, source.fitted, source.moving, seed)
    return _as_map(source, split, predictions.labels, flat, moved, method)


def joint_maps(
    before: Run | str | Path,
    after: Run | str | Path,
    split: str = "test",
    pathway: str | None = None,
    *,
    common: bool = False,
    seed: int = 0,
    cache: bool = True,
) -> tuple[EmbeddingMap, EmbeddingMap]:
    """Lay out the same clips of two runs, and the prototypes of both, on the same axes.

    Two trainings orient their embedding spaces arbitrarily, so the second is first rotated onto the first such that the
    same clips are closest (orthogonal Procrustes, Schoenemann, 1966); angles within a run, and with them its
    neighbourhoods, are preserved. One UMAP is then fitted to all points.

    Args:
        before: a run with embeddings of the split, e.g. without refinement.
        after: another one over the same classes.
        split: the evaluated split.
        pathway: "rgb" or "pose"; by default the first that both have.
        common: compare runs that were tested on different clips, on the clips that both have.
        seed: seed of the layout.
        cache: keep the map in `cache/` of the folder of `after`.

    Returns:
        The maps of `before` and of `after`; clips are in the same order in both.

    Raises:
        MgkitError: the runs are over different clips or classes, have no pathway in common, or lack embeddings.
    """
    before, after = as_run(before), as_run(after)
    if pathway is None:
        both = [name for name in before.pathways if name in after.pathways]
        if not both:
            raise MgkitError(
                f"{before.root} and {after.root} have no pathway in common, so there is nothing to map."
            )
        pathway = both[0]
    (ours, theirs), _ = aligned_runs([before, after], split, common=common)
    first = _source(before, split, pathway, ours.clip_ids)
    second = _source(after, split, pathway, ours.clip_ids)
    wide = max(first.fitted.shape[1], second.fitted.shape[1])
    clips = len(ours)
    left, right = (_unit(_widened(one.fitted, wide)) for one in (first, second))
    u, _, vt = np.linalg.svd(right[:clips].T @ left[:clips])
    together = np.concatenate([left, right @ (u @ vt)]).astype(np.float32)
    # Without paths: the question here is the result of the refinement.
    nothing = np.zeros((0, wide), np.float32)
    flat, _, method = _lay_out(after.root / "cache" if cache else None, together, nothing, seed)
    cut = len(left)
    return (
        _as_map(first, split, ours.labels, flat[:cut], None, method),
        _as_map(second, split, theirs.labels, flat[cut:], None, method),
    )


@dataclass(frozen=True, eq=False)
class _Source:
    """The input of a map: embeddings and final prototypes are fitted, earlier prototypes are placed on the result."""

    pathway: str
    clip_ids: list[str]
    fitted: Floats  # (N + seen, D)
    moving: Floats  # (M, D)
    seen: npt.NDArray[np.bool_]  # (K,)
    epochs: Ints  # (E,)
    updated: npt.NDArray[np.bool_]  # (E, K); of its first E - 1 rows, M are True


def _pathway(run: Run, pathway: str | None) -> str:
    if pathway is None and not run.pathways:
        raise MgkitError(f"{run.root} has no pathway, so there are no embeddings to map.")
    return run.pathways[0] if pathway is None else pathway


def _source(run: Run, split: str, pathway: str, clip_ids: list[str]) -> _Source:
    vectors = run.embeddings(split).select(clip_ids).of(pathway)
    count, width = len(run.classes), vectors.shape[1]
    seen = np.zeros(count, bool)
    stars = moving = np.zeros((0, width), np.float32)
    epochs, updated = np.zeros(0, np.int64), np.zeros((0, count), bool)
    if (run.root / "prototypes.npz").is_file():
        history = run.prototypes()
        if pathway in history.vectors and len(history):
            last, seen = history.last(pathway)
            if last.shape[1] != width:
                raise MgkitError(
                    f"{run.root}: {pathway} prototypes have {last.shape[1]} dimensions and the embeddings of "
                    f"{split} {width}: evaluate the split again."
                )
            stops = np.unique(
                np.linspace(0, len(history) - 1, min(LONGEST, len(history))).round().astype(int)
            )
            epochs, updated = history.epochs[stops], history.updates[pathway][stops] > 0
            stars, moving = last[seen], history.vectors[pathway][stops[:-1]][updated[:-1]]
    return _Source(pathway, clip_ids, np.concatenate([vectors, stars]), moving, seen, epochs, updated)


def _as_map(
    source: _Source, split: str, labels: Ints, flat: Floats, moved: Floats | None, method: str
) -> EmbeddingMap:
    clips = len(source.clip_ids)
    prototypes = np.full((len(source.seen), 2), np.nan, np.float32)
    prototypes[source.seen] = flat[clips:]
    epochs = source.epochs if moved is not None else source.epochs[-1:]
    paths = np.full((len(epochs), len(source.seen), 2), np.nan, np.float32)
    if len(epochs):
        if moved is not None:
            paths[:-1][source.updated[:-1]] = moved
        paths[-1] = prototypes
    note = NOTE if method == "UMAP" else f"PCA, as there are too few points for UMAP ({len(flat)})"
    return EmbeddingMap(
        split, source.pathway, source.clip_ids, labels, flat[:clips], prototypes, source.seen, epochs, paths, method,
        note,
    )  # fmt: skip


def _widened(vectors: Floats, width: int) -> Floats:
    return np.pad(vectors, ((0, 0), (0, width - vectors.shape[1])))


def _lay_out(folder: Path | None, fitted: Floats, moving: Floats, seed: int) -> tuple[Floats, Floats, str]:
    """(N, 2) of the fitted vectors, (M, 2) of those placed on their map, and the method."""
    method = "UMAP" if len(fitted) >= SMALLEST else "PCA"
    both = None if folder is None else _cached(folder, fitted, moving, seed, method)
    if both is None:
        flat, moved = _umap(fitted, moving, seed) if method == "UMAP" else _pca(fitted, moving)
        both = np.concatenate([flat, moved])
        if folder is not None:
            _keep(folder, fitted, moving, seed, method, both)
    return both[: len(fitted)], both[len(fitted) :], method


def _unit(vectors: Floats) -> Floats:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


@cache
def _kept_umap() -> Any:
    """UMAP, with its compiled functions kept on the disk, where numba keeps those that ask for it.

    Compiling them takes some fifteen seconds, otherwise once per process.
    """
    import umap
    from numba.core.dispatcher import Dispatcher

    modules = [module for name, module in list(sys.modules.items()) if name.split(".")[0] == "umap"]
    for value in [value for module in modules for value in vars(module).values()]:
        if isinstance(value, Dispatcher):
            with suppress(RuntimeError):  # nowhere to write to: it is compiled as ever
                value.enable_caching()
    return umap.UMAP


def _umap(fitted: Floats, moving: Floats, seed: int) -> tuple[Floats, Floats]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on import: TensorFlow is missing; on fitting: isolated points
        # Euclidean on unit vectors ranks like cosine, under which a zero vector would be NaN.
        reducer = _kept_umap()(
            n_neighbors=min(NEIGHBOURS, len(fitted) - 1),
            min_dist=MIN_DIST,
            metric="euclidean",
            random_state=seed,
            transform_seed=seed,
            n_jobs=1,
        )
        flat = reducer.fit_transform(_unit(fitted))
        moved = reducer.transform(_unit(moving)) if len(moving) else np.zeros((0, 2))
    # UMAP returns NaN for a point without any neighbour; the middle is where it misleads least.
    middle = np.nanmedian(flat, axis=0)
    return (
        np.where(np.isfinite(flat), flat, middle).astype(np.float32),
        np.where(np.isfinite(moved), moved, middle).astype(np.float32),
    )


def _pca(fitted: Floats, moving: Floats) -> tuple[Floats, Floats]:
    middle = _unit(fitted).mean(0)
    left, scale, right = np.linalg.svd(_unit(fitted) - middle, full_matrices=False)
    use = min(2, len(scale))
    # The sign of a component is arbitrary: fix it, so that the map does not mirror itself between machines.
    signs = np.sign(right[np.arange(use), np.abs(right[:use]).argmax(1)])
    flat, moved = np.zeros((len(fitted), 2), np.float32), np.zeros((len(moving), 2), np.float32)
    flat[:, :use] = left[:, :use] * scale[:use] * signs
    moved[:, :use] = (_unit(moving) - middle) @ right[:use].T * signs
    return flat, moved


def _cache_path(folder: Path, fitted: Floats, moving: Floats, seed: int, method: str) -> Path:
    from importlib.metadata import version

    settings = (
        f"{method} {version('umap-learn')} {NEIGHBOURS} {MIN_DIST} {seed} {fitted.shape} {moving.shape}"
    )
    digest = hashlib.sha256(settings.encode())
    for vectors in (fitted, moving):
        digest.update(np.ascontiguousarray(vectors).data)
    return folder / f"map-{digest.hexdigest()[:16]}.npy"


def _cached(folder: Path, fitted: Floats, moving: Floats, seed: int, method: str) -> Floats | None:
    try:
        flat: Floats = np.load(_cache_path(folder, fitted, moving, seed, method), allow_pickle=False)
    except (OSError, ValueError, EOFError):  # missing or damaged: it can be computed again
        return None
    return flat if flat.shape == (len(fitted) + len(moving), 2) else None


def _keep(folder: Path, fitted: Floats, moving: Floats, seed: int, method: str, flat: Floats) -> None:
    try:
        with atomic(_cache_path(folder, fitted, moving, seed, method)) as temporary:
            np.save(temporary, flat)
    except (MgkitError, OSError):  # a read-only run folder can still be looked at
        pass


# ---------------------------------------------------------------------------------------------------------------------
# Values that the points of a map are coloured by


@dataclass(frozen=True, eq=False)
class Groups:
    """Names of groups, and the group of each of N clips."""

    names: tuple[str, ...]
    of: Ints


def worst_class(predictions: Predictions, output: str) -> int:
    """The class with the most errors: its clips that were missed, and others taken for it."""
    counts = _counts(predictions, output)
    return int((counts.sum(0) + counts.sum(1) - 2 * np.diag(counts)).argmax())


def rivals(predictions: Predictions, output: str, index: int, many: int) -> list[int]:
    """The classes most often confused with `index`, in either direction; at most `many`."""
    counts = _counts(predictions, output)
    both = counts[index] + counts[:, index]
    both[index] = 0
    return [int(k) for k in np.argsort(-both, kind="stable")[:many] if both[k] > 0]


def coloured_classes(predictions: Predictions, output: str, index: int) -> list[int]:
    """The classes to colour by default: all up to 10; of more, `index` and the five it is most confused with."""
    if predictions.class_count <= MOST:
        return list(range(predictions.class_count))
    return [index, *rivals(predictions, output, index, 5)]


def subjects_of(run: Run, clip_ids: list[str]) -> Groups:
    """The subject of each clip, from the clip folder of the run; most clips first, "unknown" last.

    Raises:
        MgkitError: the run's clip folder is missing, or no longer has these clips.
    """
    table = run.clips().select(clip_ids).table
    found = np.array([str(name) if name else UNKNOWN for name in table["subject"]], dtype=object)
    names, of, counts = np.unique(found.astype(str), return_inverse=True, return_counts=True)
    order = np.lexsort((names, -counts, names == UNKNOWN))
    place = np.empty(len(names), np.int64)
    place[order] = np.arange(len(names))
    return Groups(tuple(str(name) for name in names[order]), place[of])


def confidence_of(predictions: Predictions, output: str) -> Floats:
    """(N,) probability of the predicted class, in [0, 1]."""
    confidence: Floats = predictions.scores(output).max(1)
    return confidence


def distance_of(predictions: Predictions, pathway: str) -> Floats:
    """(N,) cosine distance in [0, 2] to the prototype of the clip's own class; NaN where there is none.

    Raises:
        MgkitError: the predictions have no distances of this pathway.
    """
    if pathway not in predictions.own:
        raise MgkitError(
            f"the predictions have no distances to {pathway} prototypes: only a run trained with "
            "prototypical refinement has them. Colour by class, kind, subject or confidence."
        )
    return predictions.own[pathway]


def _counts(predictions: Predictions, output: str) -> Ints:
    return confusion_matrix(predictions.labels, predictions.predicted(output), predictions.class_count)


# ---------------------------------------------------------------------------------------------------------------------
# Separability of the classes


@dataclass(frozen=True, eq=False)
class Separability:
    """Distances within and between K classes, by cosine distance in [0, 2].

    Attributes:
        classes: one row per class in label order, including classes without clips, indexed by class name:
            `clips`;
            `intra`: mean distance between two different clips of the class;
            `inter`: mean distance of a clip of the class to a clip of another;
            `silhouette`: mean over the clips of the class, in [-1, 1];
            `nearest`: the other class with the smallest mean distance between its clips and those of this one, and
            `nearest_distance`, that mean. A class with `intra` > `nearest_distance` lies within its neighbour.
            `intra` and `silhouette` are NaN with fewer than two clips; `inter`, `nearest_distance` (NaN) and
            `nearest` (missing) also where no other class has a clip.
        intra: mean of `intra` over the classes that have it, each with the same weight.
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
    two classes, below 0 = nearer to another class than to its own. Means over all clips are dominated by the frequent
    classes; the table has every class. A zero vector has the distance 1 to every other.

    The values are those of scikit-learn's `silhouette_samples(metric="cosine")`, except for the only clip of a class,
    which is NaN here and 0 there. They are computed from the sums of the unit vectors of each class, which takes N x K
    numbers of memory in place of the N x N distances.

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
    # vectors; in its own class the clip itself is left out.
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

    # Silhouettes: the distance to the nearest other class against that within the clip's own.
    rivals = np.where(clips > 0, to_class, np.inf)
    rivals[rows, true] = np.inf
    nearest_rival = rivals.min(1) if count > 1 else np.full(len(z), np.inf)
    nearest_rival[np.isinf(nearest_rival)] = np.nan
    with np.errstate(invalid="ignore"):
        larger = np.maximum(own, nearest_rival)
        silhouettes = np.where(larger == 0, 0.0, (nearest_rival - own) / np.where(larger == 0, 1, larger))

    # Per class: the mean distance to all clips of other classes, and the nearest of these classes.
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


def run_separability(run: Run | str | Path, split: str = "test", pathway: str | None = None) -> Separability:
    """`separability` of the embeddings of a split in one pathway.

    Args:
        run: a run with embeddings of the split.
        split: the evaluated split. On the training split the classes look further apart than they are.
        pathway: "rgb" or "pose"; by default the first that has embeddings.

    Returns:
        `silhouettes` in the order of the predictions of the split.
    """
    run = as_run(run)
    predictions, embeddings = run.predictions(split), run.embeddings(split)
    if pathway is None:
        pathway = next(iter(embeddings.vectors))
    vectors = embeddings.select(predictions.clip_ids).of(pathway)
    return separability(vectors, predictions.labels, run.classes.names)
