"""The history beside the run folder, where somebody keeps all experiments: TensorBoard, Weights & Biases."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

from mgkit.errors import MgkitError
from mgkit.files import read_json, write_json

PLACES = ("tensorboard", "wandb")


class Logs:
    """Writes each row of the history to the places asked for; the run folder has it all anyway.

    Use as a context manager around the training. What is not installed is missed when the object is made.

    Args:
        places: "tensorboard" writes event files into `tensorboard/` of the run folder; "wandb" sends a run named after
            the folder to the project "mgkit" (or the one that WANDB_PROJECT names), and goes on with it when the
            training is resumed.
        out: the run folder.

    Raises:
        MgkitError: an unknown place, or its package is not installed.
    """

    def __init__(self, places: Sequence[str], out: Path) -> None:
        self.out = out
        self.writer: Any = None
        self.run: Any = None
        self.modules: dict[str, Any] = {}
        if isinstance(places, str):
            places = (places,)
        for place in places:
            if place not in PLACES:
                raise MgkitError(f"log has {place!r}: use {' or '.join(PLACES)}.")
            try:
                module = "torch.utils.tensorboard" if place == "tensorboard" else "wandb"
                self.modules[place] = import_module(module)
            except ImportError:
                raise MgkitError(
                    f"log={place!r} needs the package {place}: pip install {place}, or leave it out."
                ) from None

    def open(self, config: Mapping[str, Any], epoch: int) -> None:
        """Begin, or go on after `epoch` epochs; `config` is the run's config.json."""
        if "tensorboard" in self.modules:
            # What a killed training wrote of epochs that are trained again is hidden by the new events.
            with self._writing():
                self.writer = self.modules["tensorboard"].SummaryWriter(
                    str(self.out / "tensorboard"), purge_step=epoch + 1
                )
                self.writer.add_text(
                    "recipe", f"```json\n{json.dumps(config['recipe'], indent=2)}\n```", epoch
                )
        if "wandb" in self.modules:
            wandb, path = self.modules["wandb"], self.out / "wandb.json"
            known = read_json(path)["id"] if path.is_file() else None
            name = (
                self.out.name
                if self.out.parent.name != "stages"
                else f"{self.out.parents[1].name}/{self.out.name}"
            )
            self.run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "mgkit"), name=name, id=known, resume="allow",
                dir=str(self.out), config=dict(config["recipe"]) | dict(config.get("settings", {})),
            )  # fmt: skip
            if known is None:
                write_json(path, {"id": self.run.id})

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Log the row of one epoch."""
        values = {key: float(value) for key, value in row.items() if key != "epoch" and value == value}
        step = int(row["epoch"])
        if self.writer is not None:
            with self._writing():
                for key, value in values.items():
                    self.writer.add_scalar(_tag(key), value, step)
                self.writer.flush()
        if self.run is not None:
            self.run.log({_tag(key): value for key, value in values.items()}, step=step)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise MgkitError(
                f"the event files in {self.out / 'tensorboard'} cannot be written ({error.strerror or error}): free "
                "some space and train on, or do so without log='tensorboard'."
            ) from None

    def __enter__(self) -> Logs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.writer is not None:
            try:
                with self._writing():
                    self.writer.close()
            except MgkitError:
                if error is None:  # else what ended the training is told, not what that has led to
                    raise
        if self.run is not None:
            self.run.finish(exit_code=0 if error is None else 1)


def _tag(column: str) -> str:
    """A column of the history in the groups that both draw together: train/loss, val/top1_rgb, count/tp_rgb."""
    for prefix in ("val_", "train_"):
        if column.startswith(prefix):
            return f"{prefix[:-1]}/{column.removeprefix(prefix)}"
    if column.startswith("loss"):
        return f"train/{column}"
    return (
        f"run/{column}" if column in ("learning_rate", "clips_per_second", "seconds") else f"count/{column}"
    )
