"""How a training reports itself: its state in the run folder, Ctrl-C and SIGTERM, TensorBoard and Weights & Biases."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from mgkit.errors import MgkitError
from mgkit.files import read_json, write_json
from mgkit.results.run.status import write_status
from mgkit.settings import flat
from mgkit.training.recipe import Recipe


class Status:
    """Keep status.json up to date while a training runs, and report there how it ended.

    Use as a context manager around the training. A finished run reports `message`. Memory that ran out becomes a
    `MgkitError` with advice on what to change. Processes that do not write pass `write=False`.
    """

    def __init__(self, out: Path, recipe: Recipe, write: bool = True) -> None:
        self.out, self.recipe, self.write = out, recipe, write
        self.message = ""

    def __enter__(self) -> Status:
        self._report("running")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is None:
            self._report("finished", self.message)
        elif isinstance(error, KeyboardInterrupt):
            self._report("interrupted", "resume with the same call, or the same command")
        elif out_of_memory(error):
            message = memory_advice(self.out, self.recipe, error)
            self._report("failed", message)
            raise MgkitError(message) from error
        elif lost_process(error):
            message = (
                f"another process of the training in {self.out} has ended (killed, out of memory, a machine that went "
                "down): the end of its own output, if there is any, gives the reason; the same call resumes."
            )
            self._report("failed", message)
            raise MgkitError(message) from error
        else:
            self._report("failed", str(error).splitlines()[0] if str(error) else type(error).__name__)

    def _report(self, state: str, message: str = "") -> None:
        if self.write:
            write_status(self.out, state, epochs=self.recipe.optimisation.epochs, message=message)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, of the GPU or of the machine."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    marks = ("out of memory", "can't allocate memory", "cannot allocate memory", "alloc_failed")
    return isinstance(error, RuntimeError | OSError) and any(mark in text for mark in marks)


def lost_process(error: BaseException) -> bool:
    """Whether an error of gloo or NCCL means that another process has ended."""
    marks = ("connection reset by peer", "connection closed by peer", "broken pipe", "remote process exited")
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(mark in text for mark in marks)


def memory_advice(out: Path, recipe: Recipe, error: BaseException) -> str:
    """One sentence on what to change when memory ran out."""
    settings = recipe.optimisation
    first = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return (
        f"memory ran out in {out} with batch_size={settings.batch_size}, accumulation={settings.accumulation} "
        f"({first}): the same call resumes this run where more memory is free, or where more devices share the batch "
        f"(devices=2); to need less, start another run with accumulation={2 * settings.accumulation} (the same batch "
        "in smaller parts) or a smaller batch_size, or give fewer loader workers if it was the machine's memory."
    )


class Stop:
    """A request to stop the training; `asked` becomes true at Ctrl-C or SIGTERM."""

    asked = False


@contextmanager
def stopping() -> Iterator[Stop]:
    """Delay Ctrl-C and SIGTERM (a stop button, a queue's time limit) until the step, or the end of the epoch, is saved.

    The loop checks `asked` after each of them. A second Ctrl-C interrupts at once. Only the main thread gets signals;
    in any other thread nothing changes.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: Any) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    except RuntimeError as error:
        # A loader process that got the same signal dies, which torch reports as an error of the loader.
        if stop.asked and "DataLoader worker" in str(error):
            raise KeyboardInterrupt from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


PLACES = ("tensorboard", "wandb")


class Logs:
    """Writers of the history to TensorBoard and Weights & Biases, in addition to the run folder.

    Use as a context manager around the training. A package that is not installed is refused when the object is made.

    Args:
        places: "tensorboard" writes event files into `tensorboard/` of the run folder; "wandb" sends a run named after
            the folder to the project "mgkit" (or the one that WANDB_PROJECT names), and continues it when the training
            is resumed.
        out: the run folder.

    Raises:
        MgkitError: an unknown place, or its package is not installed.
    """

    def __init__(self, places: str | Sequence[str], out: Path) -> None:
        self.out = out
        self.writer: Any = None
        self.run: Any = None
        self.modules: dict[str, Any] = {}
        for place in (places,) if isinstance(places, str) else places:
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
        """Start, or continue after `epoch` epochs; `config` is the run's config.json."""
        if "tensorboard" in self.modules:
            # The new events hide those that a killed training wrote for epochs that are trained again.
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
                dir=str(self.out), config=flat(config["recipe"]) | dict(config.get("settings", {})),
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
                "some space and resume, or resume without log='tensorboard'."
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
                if error is None:  # else the error that ended the training matters more
                    raise
        if self.run is not None:
            self.run.finish(exit_code=0 if error is None else 1)


def _tag(column: str) -> str:
    """A column of the history under a group, which both draw together: train/loss, val/top1_rgb, count/tp_rgb."""
    for prefix in ("val_", "train_"):
        if column.startswith(prefix):
            return f"{prefix[:-1]}/{column.removeprefix(prefix)}"
    if column.startswith("loss"):
        return f"train/{column}"
    return (
        f"run/{column}" if column in ("learning_rate", "clips_per_second", "seconds") else f"count/{column}"
    )
