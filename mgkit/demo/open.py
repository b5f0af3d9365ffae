"""The embedded dataset and its run: the whole chain on data that mgkit draws itself.

It imports every package of mgkit, so only the command line and the names in `mgkit` import it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mgkit.data.clips import Clips, load_clips
from mgkit.data.prepare.folder import prepare
from mgkit.demo.dataset import write_raw
from mgkit.errors import MgkitError, command
from mgkit.notebook import ask
from mgkit.progress import Progress
from mgkit.results.run.folder import Run, load_run, run_folder
from mgkit.training import recipes
from mgkit.training.inference import test
from mgkit.training.loop import train

EMBEDDED = ("demo", "ablation")  # clip folders of these names are made if they do not exist


def open_clips(path: str | Path = "data/demo") -> Clips:
    """Open a clip folder (or a split table in one); the embedded dataset is made first if it does not exist.

    The notebooks use this to open their clips. Only a folder named `demo` or `ablation` is ever made, so that a
    mistyped path of another dataset is an error. It is asked for where somebody can be asked, since a kernel that runs
    in another folder means another place by `../data/demo`; a program makes it next to what is there.

    Args:
        path: a clip folder, or a split table in it.

    Raises:
        MgkitError: there is none, and it is not the embedded one; or it shall not be made, or would be made in a folder
            that does not exist. The message names the whole path.
    """
    path = Path(path)
    if path.name not in EMBEDDED or (path / "clips.parquet").is_file():
        return load_clips(path)
    place = path.resolve()
    if not path.exists():
        answer = ask(f"There is no clip folder {place}. Draw the embedded dataset there, in about a minute?")
        if answer is False or (answer is None and not place.parent.is_dir()):
            make = command("demo", "--data", place, "--out", place.parent.parent / "runs" / place.name)
            raise MgkitError(
                f"there is no clip folder {place}, and nothing was drawn: start in another folder than {Path.cwd()}, "
                f"give the whole path of the clips, or make the embedded dataset and its run there, `{make}`."
            )
    Progress("demo").say(f"the embedded dataset is made in {place}")
    counts: dict[str, Any] = {"test": 400} if path.name == "ablation" else {}
    return demo_clips(path, **counts)


def open_run(clips: Clips, root: str | Path | None = None) -> Run:
    """Open the tested run of some clips; that of the embedded dataset is made first if it does not exist.

    Args:
        clips: the clips.
        root: the run folder; by default `run_folder(clips)`.

    Raises:
        MgkitError: the clips are not the embedded ones and there is no finished and tested run of them. A training
            on your own dataset is never started by looking for its result.
    """
    folder = run_folder(clips) if root is None else Path(root)
    if clips.root.name in EMBEDDED:
        return demo_run(folder, clips)
    if not (folder / "config.json").is_file():
        raise MgkitError(
            f"there is no run of {clips.root} in {folder}: train one with the notebook 03_train, or with "
            f"`{command('train', clips.path, folder)}` and then `{command('test', folder)}`; or name another run "
            "folder."
        )
    run = load_run(folder)
    if not run.splits():
        raise MgkitError(f"the run {folder} has not been tested: run `{command('test', folder)}`.")
    return run


def demo_clips(
    root: str | Path = "data/demo",
    *,
    size: int = 112,
    workers: int | None = None,
    progress: bool = True,
    **counts: Any,
) -> Clips:
    """The embedded dataset as a clip folder, made if it does not exist (about a minute on two cores).

    Videos and key-points are drawn into `<root>-raw` as a researcher would have them, then prepared into `root` by
    the same code as any dataset.

    Args:
        root: the clip folder.
        size: side of the prepared videos, pixels.
        workers: processes; one per core by default.
        progress: show bars.
        **counts: `train`, `val`, `test` (clips), `classes`, `seed`, ...: see `mgkit.demo.dataset.write_raw`.
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
        clips: the embedded clips, or where they are or should be made.
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
        test(part, "test", clips=found)  # again: predictions may be left from before the training resumed
    return run
