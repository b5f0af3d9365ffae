"""The scores of each view of a clip, `splits/<split>/views.npz`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError, counted
from mgkit.results.run.files import naming, read_npz, split_folder, write_npz
from mgkit.results.run.records import ByClip, Floats, best_output, check_ids, check_scores, pick


@dataclass(frozen=True, eq=False)
class ViewScores(ByClip):
    """Probabilities of N clips over K classes, of each of V views of the clip.

    Args:
        clip_ids: N unique ids.
        probabilities: per output ("rgb", "pose", "fused") an (N, V, K) array; each row sums to 1.
        mirrored: (V,) whether a view was the mirrored twin of another. Views of either kind are in the order of their
            time shifts: view i of n begins (i + 0.5) / n of the way into each of its time bins.

    Raises:
        MgkitError: shapes that disagree, a repeated id, or rows that are not probabilities.
    """

    clip_ids: list[str]
    probabilities: dict[str, Floats]
    mirrored: npt.NDArray[np.bool_]

    WHAT = "scores of views"
    PER_CLIP = ("probabilities",)

    def __post_init__(self) -> None:
        ids, mirrored = check_ids(self.clip_ids), np.asarray(self.mirrored, bool)
        scores = check_scores(self.probabilities, ids, (len(ids), mirrored.size, None))
        self._set(clip_ids=ids, mirrored=mirrored.reshape(-1), probabilities=scores)

    def __repr__(self) -> str:
        size = f"{counted(len(self), 'clip')}, {counted(self.views, 'view')}"
        return f"ViewScores({size}, {', '.join(self.probabilities)})"

    @property
    def views(self) -> int:
        """V."""
        return int(self.mirrored.size)

    def scores(self, pathway: str | None = None) -> Floats:
        """(N, V, K) of an output, by default fused or the only one; an unknown one raises a `MgkitError`."""
        name = best_output(self.probabilities) if pathway is None else pathway
        return pick(self.probabilities, name, self.WHAT)


def views_path(root: str | Path, split: str) -> Path:
    return split_folder(root, split) / "views.npz"


def write_view_scores(root: str | Path, split: str, scores: ViewScores) -> None:
    """Write splits/<split>/views.npz, whole or not at all."""
    halves = {name: array.astype(np.float16) for name, array in scores.probabilities.items()}
    write_npz(views_path(root, split), clip_id=scores.clip_ids, mirrored=scores.mirrored, **halves)


def read_view_scores(path: Path, classes: Classes) -> ViewScores:
    """Read views.npz, and check it against the classes of the run."""
    remedy = "test the split again"
    arrays = read_npz(path, ["clip_id", "mirrored"], remedy)
    with naming(path, remedy):
        ids, mirrored = arrays.pop("clip_id").tolist(), arrays.pop("mirrored")
        found = ViewScores(ids, arrays, mirrored)
        if found.scores().shape[2] != len(classes):
            raise MgkitError(f"it is over {found.scores().shape[2]} classes, the run over {len(classes)}")
    return found
