"""The embedded dataset and its run: the whole chain on data that mgkit draws itself.

It imports every room, so nothing of mgkit imports it but the command line and the names in `mgkit`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mgkit.data.clips import Clips, load_clips
from mgkit.data.prepare import prepare
from mgkit.data.synthetic import write_raw
from mgkit.results.runs import Run, load_run
from mgkit.training import recipes
from mgkit.training.inference import test
from mgkit.training.loop import train


def demo_clips(
    root: str | Path = "data/demo",
    *,
    size: int = 112,
    workers: int | None = None,
    progress: bool = True,
    **counts: Any,
) -> Clips:
    """The embedded dataset as a clip folder, made if it is not there yet (about a minute on two cores).

    Videos and key-points are drawn into `<root>-raw` as a researcher would have them, then prepared into `root` by
    the same code as any dataset.

    Args:
        root: the clip folder.
        size: side of the prepared videos, pixels.
        workers: processes; one per core by default.
        progress: show bars.
        **counts: `train`, `val`, `test` (clips), `classes`, `seed`, ...: see `mgkit.data.synthetic.write_raw`.
    """
    root = Path(root)
    if not counts and (root / "clips.parquet").is_file():
        return load_clips(root)
    raw = write_raw(root.with_name(root.name + "-raw"), workers=workers, progress=progress, **counts)
    return prepare(
        "pyskl",
        raw / "annotations.pkl",
        root,
        videos=raw / "videos",
        size=size,
        workers=workers,
        progress=progress,
    )


def demo_run(
    root: str | Path = "runs/demo", clips: str | Path | Clips = "data/demo", *, seed: int = 0, **changes: Any
) -> Run:
    """The demonstration run: made, resumed, or loaded if it is finished (some minutes on two cores).

    Args:
        root: the run folder.
        clips: the embedded clips, or where they are or shall be made.
        seed: of the training.
        **changes: of the demo recipe, for example `epochs=2`.
    """
    root = Path(root)
    if not changes and (root / "config.json").is_file():
        run = load_run(root)
        if run.status()["state"] == "finished" and "test" in run.splits():
            return run
    found = clips if isinstance(clips, Clips) else demo_clips(clips)
    run = train(found, recipes.demo(**changes), root, seed=seed)
    for part in (*(run.stage(name) for name in run.stages()), run):
        test(
            part, "test", clips=found
        )  # anew, since predictions may be left from before the training went on
    return run
