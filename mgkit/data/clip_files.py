"""The poses and videos that a clip table speaks of: are they there, and what was written?"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from mgkit.data.ledger import wrong_size
from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError, some


def check_files(root: Path, table: pd.DataFrame, skeleton: Skeleton) -> None:
    """Check that the files of a clip folder are there and are those that were written, without reading a video.

    Raises:
        MgkitError: `poses.npy` is missing, broken, of another layout or too short, or a video is missing or has another
            size than it was written with.
    """
    posed = table[table["pose_offset"] >= 0]
    if len(posed):
        path = root / "poses.npy"
        if not path.is_file():
            raise MgkitError(
                f"{path} is missing, though {len(posed)} clips have a pose: run `mgkit prepare` again."
            )
        try:
            stored = np.load(path, mmap_mode="r")
            shape, kind = stored.shape, stored.dtype
        except (OSError, ValueError, EOFError, AttributeError) as error:
            raise MgkitError(f"{path} cannot be read ({error}): run `mgkit prepare` again.") from None
        if len(shape) != 3 or shape[1:] != (len(skeleton), 3):
            raise MgkitError(f"{path} has shape {shape}; skeleton.json asks for (rows, {len(skeleton)}, 3).")
        if kind != np.float32:
            raise MgkitError(f"{path} holds {kind}, not float32: run `mgkit prepare` again.")
        beyond = posed[posed["pose_offset"] + posed["persons"] * posed["frames"] > shape[0]]
        if len(beyond):
            raise MgkitError(
                f"{path} has {shape[0]} rows, too few for clip {some(beyond['clip_id'])}: it was cut short or belongs "
                "to another clips.parquet; run `mgkit prepare` again."
            )
    lost = [name for name in table["video"] if name and not os.path.isfile(os.path.join(root, name))]
    if lost:
        raise MgkitError(f"{root} lacks {len(lost)} of its videos ({some(lost)}): run `mgkit prepare` again.")
    changed = wrong_size(
        root, [*table["video"][table["video"] != ""], *(["poses.npy"] if len(posed) else [])]
    )
    if changed:
        raise MgkitError(
            f"{len(changed)} files of {root} are damaged or were replaced, {some(changed, 3)}: run the same "
            "`mgkit prepare` again, it makes these anew."
        )
