"""Where a training runs: the device, its precision, loader processes, and what is recorded about all that."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from mgkit.errors import MgkitError
from mgkit.training.recipes import Recipe


def make_fabric(device: str = "auto", precision: str = "auto") -> Fabric:
    """Lightning Fabric on one device: bf16 on a GPU that has it, float32 elsewhere."""
    if device not in ("auto", "cpu", "cuda", "mps"):
        raise MgkitError(f"device is {device!r}: use auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise MgkitError(
            "device is 'cuda', but PyTorch finds no GPU: use device='auto', or check the driver."
        )
    gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if precision == "auto":
        precision = "bf16-mixed" if gpu and torch.cuda.is_bf16_supported() else "32-true"
    accelerator = "cuda" if gpu else "mps" if device == "mps" else "cpu"
    return Fabric(accelerator=accelerator, devices=1, precision=precision)  # type: ignore[arg-type]


def make_optimizer(model: nn.Module, recipe: Recipe, device: torch.device) -> torch.optim.SGD:
    """SGD with the recipe's settings; on a GPU one kernel for all parameters (`fused`)."""
    return torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        fused=device.type == "cuda",
    )


def default_workers(pathways: tuple[str, ...], device: torch.device) -> int:
    """Loader processes: none where only poses are read; beside a GPU the cores but one, 8 at most, to decode videos.

    On a CPU a quarter of the cores, since the training itself takes the rest; on two cores, none: measured with the
    demo recipe, decoding between the steps on two threads trained 53 clips a second, beside them on one thread 32.
    """
    cores = os.cpu_count() or 1
    if "rgb" not in pathways:
        return 0
    return cores // 4 if device.type == "cpu" else max(1, min(8, cores - 1))


@contextmanager
def cpu_threads(device: torch.device, workers: int) -> Iterator[None]:
    """On a CPU, leave the loader processes their cores while the block runs.

    The threads of a convolution wait for the slowest of them, so one thread that shares its core slows all down. The
    caller's setting is put back, and never exceeded.
    """
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(max(1, min(before, (os.cpu_count() or 1) - workers)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def unwrapped_errors() -> Iterator[None]:
    """Let a `MgkitError` of a loader process arrive as its sentence, without the worker's traceback around it."""
    try:
        yield
    except MgkitError as error:
        text = str(error)
        if "Original Traceback" in text:
            text = text.strip().rsplit("MgkitError: ", 1)[-1]
            raise MgkitError(text) from None
        raise


def environment(fabric: Fabric, seed: int) -> dict[str, Any]:
    """What a result depends on beside its settings: versions, revision, device, seed, command."""
    return {
        "mgkit": version_of("mgkit"),
        "revision": _revision(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {
            name: version_of(name) for name in ("torch", "lightning-fabric", "numpy", "decord", "av")
        },
        "device": torch.cuda.get_device_name(fabric.device)
        if fabric.device.type == "cuda"
        else fabric.device.type,
        "threads": torch.get_num_threads(),
        "precision": str(fabric._precision.precision),
        "seed": seed,
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def version_of(package: str) -> str | None:
    """Installed version of a package, None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _revision() -> str | None:
    """Git revision of the code, with "+changes" if files differ from it; None outside a checkout."""
    folder = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + (
            "+changes" if git("status", "--porcelain", "--untracked-files=no") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return None
