"""How a run folder begins: its configuration, environment and status."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError, some
from mgkit.files import write_json
from mgkit.results import records, storage
from mgkit.results.records import PATHWAYS
from mgkit.results.runs import Run, load_run
from mgkit.results.storage import FORMAT, write_status


def create_run(
    root: str | Path,
    *,
    recipe: dict[str, Any],
    clips: Clips,
    pathways: Sequence[str],
    environment: dict[str, Any],
    settings: dict[str, Any] | None = None,
) -> Run:
    """Begin a run folder, or return the one that is there if it was begun with the same settings (resume).

    Args:
        root: the run folder, made if need be.
        recipe: the recipe, plain JSON values.
        settings: what beside the recipe decides the result (seed, splits), plain JSON values.
        clips: all splits that the run will see.
        pathways: which of "rgb" and "pose" the model has.
        environment: versions, git revision, device, seed, command.

    Raises:
        MgkitError: the folder holds a run with another recipe, other data or other pathways (the message names the
            first differences), it is not a place for a run, or the recipe is not plain JSON.
    """
    root = Path(root)
    records.check_names(pathways, PATHWAYS, "pathways")
    if not pathways or len(set(pathways)) != len(pathways):
        raise MgkitError(f"pathways are {list(pathways)}: give one or both of rgb and pose, each once.")
    splits = {
        name: np.bincount(
            clips.labels[clips.table["split"].to_numpy() == name], minlength=len(clips.classes)
        ).tolist()
        for name in clips.splits
    }
    config = {
        "format": FORMAT,
        "recipe": recipe,
        "settings": settings or {},
        "data": {
            "root": _relative(clips.path, root),
            "fingerprint": clips.fingerprint,
            "classes": clips.classes.to_dict(),
            "skeleton": clips.skeleton.to_dict(),
            "splits": splits,
        },
        "pathways": [name for name in PATHWAYS if name in pathways],
    }
    return begin_run(root, config, environment, state="running", epochs=int(recipe.get("epochs", 0) or 0))


def begin_run(
    root: Path, config: dict[str, Any], environment: dict[str, Any], state: str, epochs: int
) -> Run:
    """Make a run folder of a whole configuration, or return the one that was begun with the same."""
    if root.exists() and not root.is_dir():
        raise MgkitError(f"{root} is a file: choose a folder for the run.")
    if (root / "clips.parquet").exists():
        raise MgkitError(f"{root} is a clip folder: choose another folder for the run.")
    config, environment = storage.plain(config, "the recipe"), storage.plain(environment, "the environment")
    if (root / "config.json").exists():
        there = load_run(root)
        differences = storage.differences(there.config, config)
        if differences:
            raise MgkitError(
                f"{root} already holds another run, which differs in {some(differences, 3)}: choose another folder, "
                "or delete that run."
            )
        try:
            finished = there.status()["state"] == "finished"
        except MgkitError:  # it is missing or broken; what there is to know is in the checkpoints
            finished = False
            write_status(root, state, 0, epochs)
        if there.config != config:  # only the way to the clip folder: it or the run has moved
            write_json(root / "config.json", config)
        if finished:  # returned as it is, from a folder that cannot be written to as well
            return load_run(root)
        before = there.environment() if (root / "environment.json").is_file() else environment
        if {key: value for key, value in before.items() if key != "resumed"} != environment:
            write_json(
                root / "environment.json", {**before, "resumed": [*before.get("resumed", []), environment]}
            )
        return load_run(root)
    if any((root / "checkpoints").glob("*.pt")):
        raise MgkitError(
            f"{root} has checkpoints, but no config.json that says what was trained: restore it, choose another "
            "folder, or delete this one."
        )
    write_json(root / "environment.json", environment)
    write_status(root, state, 0, epochs)
    write_json(root / "config.json", config)  # last: a folder without it is not a run folder
    return load_run(root)


def _relative(target: Path, root: Path) -> str:
    """`target` as seen from `root`, so that both can be moved or mounted together."""
    try:
        return Path(os.path.relpath(target.resolve(), root.resolve())).as_posix()
    except ValueError:  # two drives
        return str(target)
