"""Looking at every video once before a training, which else would meet a broken one hours later."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mgkit.data.clips import Clips
from mgkit.data.video import probe
from mgkit.errors import MgkitError, some


def check_videos(parts: list[Clips]) -> None:
    """Open every video once; one that is broken, or shorter than its row says, is named before any training."""
    jobs = [(c.root / row["video"], int(row["frames"])) for c in parts for row in c.table.to_dict("records")]

    def fault(job: tuple[Path, int]) -> str | None:
        path, frames = job
        try:
            found = probe(path).frames
        except MgkitError as error:
            return str(error)
        return None if found >= frames else f"{path} has {found} frames, {frames} were expected"

    with ThreadPoolExecutor(8) as pool:
        faults = [text for text in pool.map(fault, jobs) if text]
    if faults:
        raise MgkitError(
            f"{len(faults)} of {len(jobs)} videos cannot be used: {some(faults, 3).rstrip('.')}. Delete them and run "
            "`mgkit prepare` again."
        )
