"""What the processes of one training agree on: who writes, when to stop, whose numbers count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch import distributed as dist

from mgkit.errors import MgkitError
from mgkit.models.distributed import gather_over_processes, world_size

T = TypeVar("T")


def on_first(fabric: Fabric, work: Callable[[], T]) -> T:
    """Do something on the first process only; what it returns, or what went wrong there, reaches all of them."""
    if fabric.world_size == 1:
        return work()
    result: Any = None
    fault: Exception | None = None
    if fabric.is_global_zero:
        try:
            result = work()
        except Exception as error:  # raised below, once the others know
            fault = error
    result, told = fabric.broadcast((result, None if fault is None else str(fault)))
    if fault is not None:
        raise fault
    if told is not None:
        raise MgkitError(told)
    return result


def wait_for_all() -> None:
    """Wait until every process has come here; nothing with one process."""
    if world_size() > 1:
        dist.barrier()


def largest(fabric: Fabric, value: int) -> int:
    """The largest of the processes' values, known to all."""
    if fabric.world_size == 1:
        return value
    # The objective looks at its labels on the device in every step anyway; this wait is no further one.
    all_values = torch.tensor([value], device=fabric.device)
    dist.all_reduce(all_values, dist.ReduceOp.MAX)
    return int(all_values)


def share_buffers(module: nn.Module) -> None:
    """Give all processes the first one's buffers: running statistics may be each process's own."""
    if world_size() > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, 0)


def random_states(fabric: Fabric) -> dict[str, Tensor]:
    """torch's random state of every process, (processes, bytes): of the CPU, and of the GPU where that computes."""
    states = {"cpu": torch.get_rng_state()}
    if fabric.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(fabric.device)
    return {
        name: gather_over_processes(state[None].to(fabric.device)).cpu() for name, state in states.items()
    }


def seed_process(fabric: Fabric, seed: int, epoch: int, step: int = 0) -> None:
    """Seed what is drawn on this process from some step of an epoch on (dropout)."""
    torch.manual_seed(
        seed * 1_000_003 + epoch + 7_919_000_003 * fabric.global_rank + 15_485_863_000_003 * step
    )


def restore_random_states(
    fabric: Fabric, states: dict[str, Tensor], seed: int, epoch: int, step: int
) -> None:
    """Take up the random states of a checkpoint.

    On another number of processes, or another kind of device, there is no state to take up: all are seeded anew.
    """
    here = {"cpu", "cuda"} if fabric.device.type == "cuda" else {"cpu"}
    if set(states) != here or len(states["cpu"]) != fabric.world_size:
        seed_process(fabric, seed, epoch, step)
        return
    mine = {
        name: state[fabric.global_rank].clone() for name, state in states.items()
    }  # torch needs it aligned
    torch.set_rng_state(mine["cpu"])
    if "cuda" in mine:
        torch.cuda.set_rng_state(mine["cuda"], fabric.device)
