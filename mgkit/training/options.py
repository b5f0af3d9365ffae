"""The options of a training that are not part of its recipe, declared once for `train`, `launch` and the shell."""

from __future__ import annotations

import functools
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from mgkit.settings import Settings, setting

__all__ = ["Options", "takes_options"]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Options(Settings):
    """How a recipe is trained: on which clips, where, and what is said of it; `takes_options` documents each."""

    seed: int = setting(
        0, low=0, high=2**32 - 1, text="of the initial weights, the order of clips, augmentation and dropout"
    )
    train_split: str = setting("train", text="the split to train on")
    val_split: str | None = setting(
        "val",
        optional=True,
        text="the split to choose the best epoch on; None (none) for none, then the last epoch's weights are kept",
    )
    device: str = setting("auto", text="auto, cpu or cuda")
    devices: int | None = setting(
        None,
        kind=int,
        low=1,
        optional=True,
        text="processes on this machine, each with its own GPU (or a share of the CPU); they share the batch, so the "
        "recipe means the same on any number. By default as many as torchrun or srun started, else 1",
    )
    nodes: int | None = setting(
        None,
        kind=int,
        low=1,
        optional=True,
        text="machines; by default as many as torchrun or srun started, else 1",
    )
    strategy: str = setting(
        "auto", one_of=("auto", "ddp"), text="auto or ddp, how the processes work together"
    )
    precision: str = setting(
        "auto",
        text="auto (bf16 on a GPU that has it, else float32) or a precision of Lightning Fabric, 32-true",
    )
    workers: int | None = setting(
        None,
        kind=int,
        low=0,
        optional=True,
        text="loader processes of each process; chosen from the number of cores by default",
    )
    progress: bool = setting(True, text="show a bar, and one line per epoch")
    checkpoint_minutes: float = setting(
        5.0, low=0, text="how much work an interruption may cost, minutes; 0 saves after every step"
    )
    log: tuple[str, ...] = setting(
        (), text="where else the history goes: tensorboard (event files in the run folder), wandb, or both"
    )
    save_memory: bool = setting(
        False,
        text="keep only the input of each residual block and compute its inside again for the gradient: about half "
        "the activations for a step a quarter longer, with the same result (docs/performance.md)",
    )
    compiled: bool = setting(
        False,
        text="let torch.compile make the network's kernels: minutes at the beginning, faster steps on a GPU",
    )
    changed_code: str = setting(
        "refuse",
        one_of=("refuse", "accept"),
        text="what to do where a run's own code has changed since it was begun: refuse to resume it, with the "
        "differences, or accept, which is recorded in code/changes.diff",
    )

    def __post_init__(self) -> None:
        if isinstance(self.log, str):
            object.__setattr__(self, "log", (self.log,))
        super().__post_init__()


def takes_options(function: F) -> F:
    """Let a function with **options show the options of a training in its signature and its docstring."""
    signature = inspect.signature(function)
    own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    names = {one.name for one in own}
    more = [
        inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=one.type)
        for one in fields(Options)
        if one.name not in names
    ]
    shown = signature.replace(parameters=[*own, *more])

    @functools.wraps(function)
    def called(*arguments: Any, **options: Any) -> Any:
        try:  # an option that does not exist is a TypeError, as of any function
            shown.bind(*arguments, **options)
        except TypeError as error:
            raise TypeError(f"{function.__name__}(): {error}") from None
        return function(*arguments, **options)

    texts = [
        textwrap.indent(
            textwrap.fill(f"{one.name}: {one.metadata['text']}.", 108, subsequent_indent="    "), " " * 8
        )
        for one in fields(Options)
    ]
    called.__signature__ = shown  # type: ignore[attr-defined]
    called.__doc__ = (function.__doc__ or "").replace("        options: see Options.", "\n".join(texts))
    return called  # type: ignore[return-value]
