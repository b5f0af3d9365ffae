"""status.json and live.json of a run folder: how far its training is.

    status.json  {"state", "epoch", "epochs", "message", "updated"}: `epoch` of `epochs` have ended, `state` is one of
                 `STATES`, `updated` is ISO 8601 UTC
    live.json    the epoch that is being trained, about once a second: "stage", "epoch" of "epochs", "step" of "steps",
                 "clips" of "of", "clips_per_second", "learning_rate", "seconds_left" (of the stage, or null),
                 "updated", and the means and counts so far under the names of history.csv

Nothing else writes or reads the two files. A process that is killed leaves the state "running"; whether one really runs
is for `mgkit.results.run.jobs` to find out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mgkit.errors import MgkitError
from mgkit.files import write_json
from mgkit.results.run.files import read_dict

STATES = ("running", "finished", "interrupted", "failed")


def write_status(
    root: str | Path, state: str, epoch: int | None = None, epochs: int | None = None, message: str = ""
) -> None:
    """Write status.json.

    "interrupted" and "failed" raise nothing: where a full disk has no room for a new file the old one is changed in
    place, and where not even that works, the error that ended the training matters more.

    Args:
        root: the run folder.
        state: one of `STATES`.
        epoch, epochs: epochs that have ended, and that will have in the end; None = as in the file that is there.
        message: for people.

    Raises:
        MgkitError: an unknown state, or the file cannot be written.
    """
    if state not in STATES:
        raise MgkitError(f"there is no state {state!r}: use one of {', '.join(STATES)}.")
    path = Path(root) / "status.json"
    try:
        before = read_status(root)
    except MgkitError:  # missing or broken: the checkpoints know better, and training writes it again
        before = {"epoch": 0, "epochs": 0}
    status = {
        "state": state,
        "epoch": int(before["epoch"] if epoch is None else epoch),
        "epochs": int(before["epochs"] if epochs is None else epochs),
        "message": message,
        "updated": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        if not path.parent.is_dir():  # moved away: writing would make another folder of that name
            raise MgkitError(
                f"the run folder {root} is gone: repeat the call with the place where it is now."
            )
        write_json(path, status)
    except MgkitError:
        if state in ("running", "finished"):
            raise
        try:
            with path.open("r+b") as file:
                file.write((json.dumps(status, indent=2, ensure_ascii=False) + "\n").encode())
                file.truncate()
        except OSError:
            pass


def read_status(root: str | Path) -> dict[str, Any]:
    """Read status.json; a missing or broken one raises a `MgkitError`."""
    path = Path(root) / "status.json"
    status = read_dict(path)
    if status.get("state") not in STATES:
        raise MgkitError(f"{path}: state {status.get('state')!r} is not one of {', '.join(STATES)}.")
    if type(status.get("epoch")) is not int or type(status.get("epochs")) is not int:
        raise MgkitError(f"{path}: epoch and epochs must be whole numbers.")
    return status


def write_live(root: str | Path, values: Mapping[str, Any]) -> None:
    """Write live.json, whole or not at all.

    Unlike the other files it is not forced onto the disk: it is worthless after a crash, and waiting for a slow disk
    once a second would hold up the training.

    Raises:
        OSError: it cannot be written; the previous one, if any, is still there.
    """
    path = Path(root) / "live.json"
    temporary = path.with_name(".live.json")
    try:
        temporary.write_text(json.dumps(dict(values)) + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_live(root: str | Path) -> dict[str, Any]:
    """Read live.json; empty before the first step of a training."""
    path = Path(root) / "live.json"
    return read_dict(path) if path.is_file() else {}


def last_update(root: Path) -> float | None:
    """Seconds since a training last wrote to its folder, or to that of one of its stages; None if it never did.

    It compares the clocks of two machines where the training runs on another one.
    """
    times = []
    for folder in (root, *root.glob("stages/*")):
        for name in ("live.json", "status.json"):
            try:
                times.append(datetime.fromisoformat(str(read_dict(folder / name)["updated"])))
            except (MgkitError, KeyError, ValueError):
                continue
    return max(0.0, (datetime.now(UTC) - max(times)).total_seconds()) if times else None
