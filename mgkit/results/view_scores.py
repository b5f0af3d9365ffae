"""What each test view of a clip said, before the views were averaged: what `mgkit test --views` keeps.

`splits/<split>/views.npz` holds `clip_id` (N,), `mirrored` (V,) and per output (N, V, K) probabilities in float16. That
is exact to one part in 2,000, which is finer than anything that is told from them, and half the size.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError
from mgkit.files import atomic
from mgkit.results import storage
from mgkit.results.records import OUTPUTS, Floats, check_ids, check_names, check_probabilities, rows_of

REMEDY = "test the split again"


@dataclass(frozen=True, eq=False)
class ViewScores:
    """Probabilities of N clips over K classes, of each of V views of the clip.

    Args:
        clip_ids: N unique ids.
        probabilities: per output ("rgb", "pose", "fused") an (N, V, K) array; each row sums to 1.
        mirrored: (V,) whether a view was the mirrored twin of another. Views of either kind stand in the order of
            their time shifts: view i of n begins (i + 0.5) / n of the way into each of its time bins.

    Raises:
        MgkitError: shapes that disagree, a repeated id, or rows that are not of probabilities.
    """

    clip_ids: list[str]
    probabilities: dict[str, Floats]
    mirrored: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        ids, mirrored = check_ids(self.clip_ids), np.asarray(self.mirrored, bool)
        check_names(self.probabilities, OUTPUTS, "probabilities")
        if not self.probabilities:
            raise MgkitError("there are no probabilities: give at least one of rgb, pose, fused.")
        scores = {
            name: np.asarray(self.probabilities[name], np.float32)
            for name in OUTPUTS
            if name in self.probabilities
        }
        if len({array.shape for array in scores.values()}) != 1:
            raise MgkitError("the outputs have different numbers of clips, views or classes.")
        for name, array in scores.items():
            if array.ndim != 3 or array.shape[:2] != (len(ids), mirrored.size) or mirrored.ndim != 1:
                raise MgkitError(
                    f"{name} probabilities of views have shape {array.shape}; ({len(ids)} clips, {mirrored.size} "
                    "views, classes) is expected."
                )
            check_probabilities(
                array.reshape(-1, array.shape[2]),
                name,
                [clip_id for clip_id in ids for _ in range(mirrored.size)],
            )
        object.__setattr__(self, "clip_ids", ids)
        object.__setattr__(self, "probabilities", scores)
        object.__setattr__(self, "mirrored", mirrored)

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __repr__(self) -> str:
        return f"ViewScores({len(self)} clips, {self.views} views, {', '.join(self.probabilities)})"

    @property
    def views(self) -> int:
        """V."""
        return int(self.mirrored.size)

    def scores(self, pathway: str | None = None) -> Floats:
        """(N, V, K) of an output, by default fused or the only one; an unknown one raises a `MgkitError`."""
        default = "fused" if "fused" in self.probabilities else next(iter(self.probabilities))
        name = default if pathway is None else pathway
        if name not in self.probabilities:
            raise MgkitError(
                f"there are no {name!r} scores of views; there are {', '.join(self.probabilities)}."
            )
        return self.probabilities[name]

    def select(self, clip_ids: Iterable[str]) -> ViewScores:
        """The clips with these ids, in this order; unknown ids raise a `MgkitError` that names them."""
        rows = rows_of(
            {clip_id: i for i, clip_id in enumerate(self.clip_ids)}, list(clip_ids), "scores of views"
        )
        return replace(
            self,
            clip_ids=[self.clip_ids[i] for i in rows],
            probabilities={name: array[rows] for name, array in self.probabilities.items()},
        )


def views_path(root: str | Path, split: str) -> Path:
    return storage.split_folder(root, split) / "views.npz"


def write_view_scores(root: str | Path, split: str, scores: ViewScores) -> None:
    """Write splits/<split>/views.npz, whole or not at all."""
    arrays: dict[str, Any] = {name: array.astype(np.float16) for name, array in scores.probabilities.items()}
    with atomic(views_path(root, split)) as temporary:
        np.savez(temporary, clip_id=np.array(scores.clip_ids, dtype=str), mirrored=scores.mirrored, **arrays)


def read_view_scores(path: Path, classes: Classes) -> ViewScores:
    """Read what `write_view_scores` wrote, and check it against the classes of the run."""
    arrays = storage.read_npz(path)
    if not {"clip_id", "mirrored"} <= set(arrays):
        raise MgkitError(f"{path} lacks the array clip_id or mirrored: {REMEDY}.")
    with storage.naming(path, REMEDY):
        found = ViewScores(
            arrays.pop("clip_id").tolist(), mirrored=arrays.pop("mirrored"), probabilities=arrays
        )
        if found.scores().shape[2] != len(classes):
            raise MgkitError(f"it is over {found.scores().shape[2]} classes, the run over {len(classes)}")
    return found
