"""The checkpoints of a training: after each epoch, and inside one.

`last.pt` is the state after the last epoch that has ended, `step.pt` the state after some step of the one after it.
Both hold everything that decides how the training continues. Each is written whole or not at all, so that whatever ends
a training, it resumes from one of the two, or there is none yet and it starts. Whether a folder may be resumed with
these settings is checked in `results/run/folder.py`.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.optim.swa_utils import AveragedModel

from mgkit.errors import MgkitError
from mgkit.files import atomic
from mgkit.training.epoch import Selection, Tally
from mgkit.training.machine import largest, on_first, random_states

_OURS = ("status", "history", "prototypes", "environment", "config", "start", "live", "last", "best", "step")
_LEFT_OVER = re.compile(rf"\.({'|'.join(_OURS)})-[a-z0-9_]{{8}}\.\w+")


@dataclass
class Position:
    """How far a training is.

    Attributes:
        epoch: the one to go on in, from 0.
        step: how many steps of it are done.
        seconds: how long these have taken.
        selection: what `keep` and early stopping remember.
        tally: sums over these steps, `Tally.state`; None at the beginning of an epoch.
        random: torch's random states after them.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    selection: Selection = field(default_factory=Selection)
    tally: dict[str, Any] | None = None
    random: dict[str, Any] | None = None

    def next_epoch(self) -> Position:
        """The beginning of the next epoch, with what was remembered so far."""
        return Position(epoch=self.epoch + 1, selection=replace(self.selection))


class Checkpoints:
    """Writes and reads the checkpoints of one training.

    Args:
        fabric: of the training; the first process writes.
        out: the run folder.
        parts: what is saved beside the position: model, objective, optimizer, precision; each with `state_dict`.
        minutes: how often `step.pt` is written at most.
        averaged: the mean of the model's weights, which is saved in its place once it has begun; the model is then
            saved as "trained", which the training goes on with.
    """

    def __init__(
        self,
        fabric: Fabric,
        out: Path,
        parts: Mapping[str, Any],
        minutes: float,
        averaged: AveragedModel | None = None,
    ) -> None:
        self.fabric, self.folder, self.parts, self.averaged = (
            fabric,
            out / "checkpoints",
            dict(parts),
            averaged,
        )
        self.out = out
        self.seconds = 60 * minutes
        self._written = time.monotonic()

    def position(self) -> Position:
        """Load the newest checkpoint into the parts, where there is one, and say where it stands."""
        last, step = self.folder / "last.pt", self.folder / "step.pt"
        states = {path: load_checkpoint(path) for path in (last, step) if path.is_file()}
        ended = states[last]["epoch"] if last in states else -1
        if step in states and states[step]["epoch"] != ended:
            del states[step]  # the epoch that it is from has ended since
        if not states:
            return Position()
        path, state = list(states.items())[-1]
        # Only half precision on a GPU has a state of the precision; checkpoints of before have none at all.
        there = {name: part for name, part in self.parts.items() if name != "precision" or state.get(name)}
        if self.averaged is not None and "trained" in state:
            restore(state, path, model=self.averaged.module)
            self.averaged.n_averaged.fill_(state["averaged"])
            state["model"] = state["trained"]
        restore(state, path, **there)
        inside = state.get("inside") or {}
        selection = Selection(**{"best": state["best"], **state.get("selection", {})})
        return Position(epoch=state["epoch"] + 1, selection=selection, **inside)

    def due(self, stop: bool) -> int:
        """0, or 1 if it is time to save, 2 if one of the processes has been asked to stop; the same on all of them."""
        due = self.fabric.is_global_zero and time.monotonic() - self._written >= self.seconds
        return largest(self.fabric, 2 if stop else int(due))

    def check_folder(self) -> None:
        """Refuse to go on where the run folder is gone: half of another one would grow in its old place."""
        if not (self.out / "config.json").is_file():
            raise MgkitError(
                f"the run folder {self.out} was moved or deleted while it was trained (it has no config.json): train "
                "again with the same call where it is now; it goes on at its last checkpoint."
            )

    def save_step(self, position: Position, tally: Tally) -> None:
        """Write step.pt. Every process must call it."""
        inside = {
            "step": position.step, "seconds": position.seconds, "tally": tally.state(),
            "random": random_states(self.fabric),
        }  # fmt: skip
        state = {**self._state(position), "inside": inside}

        def write() -> None:
            self.check_folder()
            write_checkpoint(self.folder / "step.pt", state)

        on_first(self.fabric, write)
        self._written = time.monotonic()

    def save_epoch(self, position: Position, best: bool) -> None:
        """Write last.pt for `position`, the beginning of the next epoch, and best.pt if that epoch is to be kept."""
        state = self._state(position)
        if best:
            weights = {key: state[key] for key in ("format", "epoch", "model", "objective")}
            write_checkpoint(self.folder / "best.pt", weights)
        # Last of all: an epoch counts as done once this file says so; until then a resumed run repeats its end.
        write_checkpoint(self.folder / "last.pt", state)
        (self.folder / "step.pt").unlink(missing_ok=True)
        self._written = time.monotonic()

    def _state(self, position: Position) -> dict[str, Any]:
        selection = asdict(position.selection)
        states = {name: part.state_dict() for name, part in self.parts.items()}
        if self.averaged is not None and self.averaged.n_averaged > 0:
            states |= {"trained": states["model"], "averaged": int(self.averaged.n_averaged)}
            states["model"] = self.averaged.module.state_dict()
        return {
            "format": 1, "epoch": position.epoch - 1, "best": selection.pop("best"), "selection": selection, **states,
        }  # fmt: skip


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Save a state, atomically."""
    # Through memory: torch reports a full disk as an internal error, a plain write says what it is.
    content = io.BytesIO()
    torch.save(dict(state), content)
    with atomic(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def remove_left_overs(out: Path) -> None:
    """Remove half-written files that a killed training left; only for who holds the folder's lock."""
    for folder in (out, out / "checkpoints"):
        for path in folder.glob(".*"):
            if _LEFT_OVER.fullmatch(path.name):
                path.unlink(missing_ok=True)


def load_checkpoint(path: Any) -> dict[str, Any]:
    """A checkpoint of ours, read without running any code in it."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise MgkitError(
            f"{path} cannot be read ({error.strerror or error}): see to that, then try again."
        ) from None
    except Exception as error:
        raise MgkitError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}): delete it if the run is unfinished, "
            "else its run folder, and train again."
        ) from None
    if not isinstance(state, dict) or state.get("format") != 1:
        raise MgkitError(f"{path} is not a checkpoint of this version of mgkit.")
    return state


def restore(state: dict[str, Any], path: Any, **parts: Any) -> None:
    """Load each named part (model, objective, optimizer) of a checkpoint, or say that it is another recipe's."""
    for name, part in parts.items():
        try:
            part.load_state_dict(state[name])
        except (KeyError, RuntimeError, TypeError, ValueError, AttributeError):
            raise MgkitError(
                f"{path} does not fit this recipe (its {name}): it belongs to another run, or config.json was changed. "
                "Restore both, or delete the run folder and train again."
            ) from None
