"""The machine that a training runs on: device, precision, threads, loader processes, and several processes at once."""

from __future__ import annotations

import atexit
import ctypes
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import SLURMEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn
from torch import distributed as dist

from mgkit.errors import MgkitError
from mgkit.models.layers import gather_over_processes, world_size
from mgkit.parallel import cores
from mgkit.training.recipe import Optimisation


def make_fabric(
    device: str = "auto",
    precision: str = "auto",
    *,
    devices: int | None = None,
    nodes: int | None = None,
    strategy: str = "auto",
    unused_parameters: bool = False,
) -> Fabric:
    """Lightning Fabric: bf16 on a GPU that has it, float32 elsewhere; on one device, or one process per device.

    Args:
        device: "auto", "cpu", "cuda" or "mps".
        precision: "auto", or a precision of Fabric.
        devices: processes on this machine; None: what torchrun or SLURM (srun) started, else 1.
        nodes: machines; None: what torchrun or SLURM started, else 1.
        strategy: "auto", or "ddp" (DistributedDataParallel), which is what several processes use anyway.
        unused_parameters: whether the loss leaves out some of the network's parameters, which DDP must know.

    Raises:
        MgkitError: a device, precision or number of processes that this machine does not have.
    """
    if device not in ("auto", "cpu", "cuda", "mps"):
        raise MgkitError(f"device is {device!r}: use auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise MgkitError(
            "device is 'cuda', but PyTorch finds no GPU: use device='auto', or check the driver."
        )
    if strategy not in ("auto", "ddp"):
        raise MgkitError(f"strategy is {strategy!r}: use auto or ddp.")
    for name, value in (("devices", devices), ("nodes", nodes)):
        if value is not None and value < 1:
            raise MgkitError(f"{name} is {value!r}: use a whole number, 1 or more.")
    started = started_processes()
    if started is not None and (devices or started[0], nodes or started[1]) != started:
        raise MgkitError(
            f"{started[0]} processes were started on each of {started[1]} machines, but devices is {devices} and nodes "
            f"is {nodes}: leave both out, or start that many."
        )
    per_node, machines = started or (devices or 1, nodes or 1)
    gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if gpu and per_node > torch.cuda.device_count():
        raise MgkitError(
            f"{per_node} GPUs were asked for, and PyTorch finds {torch.cuda.device_count()}: use devices="
            f"{torch.cuda.device_count()} at most."
        )
    if precision == "auto":
        precision = "bf16-mixed" if gpu and torch.cuda.is_bf16_supported() else "32-true"
    accelerator = "cuda" if gpu else "mps" if device == "mps" else "cpu"
    options: dict[str, Any] = {"devices": 1}
    if per_node * machines > 1 or strategy == "ddp":
        options = {
            "devices": per_node,
            "num_nodes": machines,
            "strategy": DDPStrategy(find_unused_parameters=unused_parameters),
        }
    try:
        return Fabric(accelerator=accelerator, precision=precision, **options)  # type: ignore[arg-type]
    except ValueError as error:
        if "Precision" not in str(error):
            raise
        raise MgkitError(f"precision is {precision!r}: use auto, 32-true, bf16-mixed or 16-mixed.") from None
    except RuntimeError as error:
        if "interactive" not in str(error):
            raise
        raise MgkitError(
            "a notebook trains on one device only: train on several with mg.launch(clips, recipe, out, devices=...), "
            "in another process; the run folder can be read from here meanwhile."
        ) from None


def start_processes(fabric: Fabric) -> None:
    """Start the other processes of a training on several devices, and have each of them take leave at its end.

    Fabric closes NCCL's connections when a process ends, but not those of gloo, whose threads then abort some of the
    processes that have finished their work ("terminate called without an active exception").
    """
    fabric.launch()
    if world_size() > 1:
        atexit.register(_take_leave)


def _take_leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def make_optimizer(model: nn.Module, settings: Optimisation, device: torch.device) -> torch.optim.Optimizer:
    """The recipe's optimiser; on a GPU one kernel for all parameters (`fused`).

    Its groups carry the "factor" of the learning rate that holds for them: `backbone_rate`, 1 for the heads, times the
    `learning_rate_factor` of the modules that have one.
    """
    factors = {name: getattr(module, "learning_rate_factor", None) for name, module in model.named_modules()}
    own = {name: float(value) for name, value in factors.items() if isinstance(value, int | float)}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        factor = 1.0 if name.startswith("heads.") else settings.backbone_rate
        factor *= math.prod(value for module, value in own.items() if name.startswith(f"{module}."))
        # What AdamW would only pull to zero: biases, scales, and the tables of positions (Liu et al., Video Swin).
        table = "position" in name or "rel_pos" in name
        bare = settings.optimizer == "adamw" and (parameter.ndim < 2 or table)
        groups.setdefault((factor, 0.0 if bare else settings.weight_decay), []).append(parameter)
    options: list[dict[str, Any]] = [
        {"params": parameters, "weight_decay": decay} | ({} if factor == 1 else {"factor": factor})
        for (factor, decay), parameters in groups.items()
    ]
    fused = device.type == "cuda"
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(options, lr=settings.learning_rate, fused=fused)
    return torch.optim.SGD(
        options,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        fused=fused,
    )


def suit_memory(model: nn.Module) -> None:
    """Store the kernels of 3D convolutions channels last, in place: the layout that they are read in fastest."""
    for module in model.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            module.to(memory_format=torch.channels_last_3d)


def device_line() -> str:
    """The device that `device="auto"` chooses here, in one phrase for people."""
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return f"on {torch.cuda.get_device_name()} ({free / 2**30:.0f} of {total / 2**30:.0f} GiB free)"
    threads = min(torch.get_num_threads(), cores())
    return f"without a GPU, on {threads} CPU threads: everything works, training takes longer"


def started_processes() -> tuple[int, int] | None:
    """(processes on each machine, machines) that torchrun or srun started, this one included; None without them."""
    at = os.environ.get
    if at("TORCHELASTIC_RUN_ID"):
        here = int(at("LOCAL_WORLD_SIZE", "1"))
        return here, int(at("WORLD_SIZE", "1")) // here
    if at("SLURM_STEP_ID") and SLURMEnvironment.detect():
        machines = int(at("SLURM_STEP_NUM_NODES") or at("SLURM_NNODES") or 1)
        return int(at("SLURM_STEP_NUM_TASKS") or at("SLURM_NTASKS") or 1) // machines, machines
    return None


def default_workers(pathways: tuple[str, ...], device: torch.device, sharing: int = 1) -> int:
    """Loader processes of one of the `sharing` training processes that share the cores this process may use.

    0 where only poses are read; next to a GPU one fewer than the cores, at most 8, to decode videos.

    On a CPU a quarter of the cores, since the training itself takes the rest; on two cores 0: measured with the demo
    recipe, decoding between the steps on two threads trained 53 clips per second, next to them on one thread 32.
    """
    if "rgb" not in pathways:
        return 0
    mine = max(1, cores() // sharing)
    return mine // 4 if device.type == "cpu" else max(1, min(8, mine - 1))


@contextmanager
def cpu_threads(device: torch.device, workers: int, sharing: int = 1) -> Iterator[None]:
    """On a CPU, leave cores to the loader processes and to other training processes (`sharing` in all) in this block.

    The threads of a convolution wait for the slowest of them, so one thread that shares its core slows all down. The
    caller's setting is restored, and never exceeded.
    """
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(max(1, min(before, cores() // sharing - workers)))
    try:
        with flushed_denormals(device):
            yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class CoreTimes:
    """Seconds, each since some time in the past.

    Attributes:
        clock: elapsed.
        own: of processor time that this process took.
        idle: that the cores of this process had nothing to do, or waited for a disk, added up over them. Quotas of
            containers are not known here: beside one, the other cores of the machine look idle.
    """

    clock: float
    own: float
    idle: float

    @classmethod
    def now(cls) -> CoreTimes:
        of_cores = psutil.cpu_times(percpu=True)
        mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(of_cores))
        idle = sum(of_cores[i].idle + getattr(of_cores[i], "iowait", 0.0) for i in mine if i < len(of_cores))
        return cls(time.monotonic(), time.process_time(), idle)


def crowded(began: CoreTimes, ended: CoreTimes, threads: int) -> str:
    """What to say of a training whose threads did not get the cores that they need; "" where they did.

    Each operation waits for the slowest of its threads, so on cores that others use, fewer threads are faster
    (docs/performance.md). Their number is not changed here: sums would be rounded in another order, and a training
    that is repeated would give other weights whenever something else ran next to it.

    Args:
        began, ended: two seconds or more apart (the counters move in hundredths).
        threads: of torch.
    """
    if threads == 1 or not ended.idle:  # some containers count no idle time at all
        return ""
    to_have = (ended.own - began.own + ended.idle - began.idle) / (ended.clock - began.clock)
    if to_have > threads - 0.5:
        return ""
    fewer = max(1, int(to_have))
    return (
        f"other programs use the cores: {threads} threads got the time of {to_have:.1f} cores. Fewer would probably be "
        f"faster: OMP_NUM_THREADS={fewer}, or torch.set_num_threads({fewer}) in a notebook (results then differ in "
        "rounding)"
    )


@contextmanager
def flushed_denormals(device: torch.device) -> Iterator[None]:
    """On a CPU, take float32 below 1.2e-38 as 0 in the block, on every thread of torch's operations.

    Gradients and momenta that fade away become such numbers, which a CPU computes some ten times slower. A processor
    keeps the setting per thread, and GNU's OpenMP gives a thread that of its start only, so it is set on each of them
    and put back on each: `torch.set_flush_denormal` alone reaches the calling thread. The number of threads must not
    change inside the block.
    """
    flushed = sys.float_info.min / 2 == 0.0
    if device.type != "cpu" or flushed:
        yield
        return
    _on_each_thread(lambda: torch.set_flush_denormal(True))
    try:
        yield
    finally:
        _on_each_thread(lambda: torch.set_flush_denormal(False))


def _on_each_thread(call: Callable[[], object]) -> None:
    """Call a function on the calling thread and on each of those that share torch's operations with it.

    Where torch has another OpenMP than GNU's, whose threads take over the caller's setting at each operation (LLVM's
    on x86), it is called on the calling thread alone.
    """
    libraries = Path(torch.__file__).parent / "lib"
    library = next(iter(sorted(libraries.glob("libtorch_cpu.*"))), None)
    parallel = None if library is None else getattr(ctypes.CDLL(str(library)), "GOMP_parallel", None)
    if parallel is None or torch.get_num_threads() == 1:
        call()
        return

    def on_this_thread(_: object) -> None:
        call()

    parallel(ctypes.CFUNCTYPE(None, ctypes.c_void_p)(on_this_thread), None, torch.get_num_threads(), 0)


@contextmanager
def unwrapped_errors() -> Iterator[None]:
    """Strip the worker's traceback from around a `MgkitError` of a loader process."""
    try:
        yield
    except MgkitError as error:
        text = str(error)
        if "Original Traceback" in text:
            text = text.strip().rsplit("MgkitError: ", 1)[-1]
            raise MgkitError(text) from None
        raise


def environment(fabric: Fabric, seed: int, data: str) -> dict[str, Any]:
    """Contents of environment.json: versions, revision, devices, seed, data hash, command."""
    return {
        "mgkit": version_of("mgkit"),
        "revision": _revision(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {
            name: version_of(name)
            for name in ("torch", "lightning-fabric", "numpy", "pandas", "pyarrow", "decord", "av")
        },
        "cuda": torch.version.cuda if fabric.device.type == "cuda" else None,
        "cudnn": torch.backends.cudnn.version() if fabric.device.type == "cuda" else None,
        "device": torch.cuda.get_device_name(fabric.device)
        if fabric.device.type == "cuda"
        else fabric.device.type,
        "processes": fabric.world_size,
        "threads": torch.get_num_threads(),
        "precision": str(fabric._precision.precision),
        "seed": seed,
        "data": data,
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def version_of(package: str) -> str | None:
    """Installed version of a package, None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _revision() -> str | None:
    """Git revision of the code, with "+changes" if tracked files differ from it; None outside a checkout."""
    folder = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        git(
            "ls-files", "--error-unmatch", Path(__file__).name
        )  # fails in a project that has mgkit in its .venv
        return git("rev-parse", "HEAD") + (
            "+changes" if git("status", "--porcelain", "--untracked-files=no") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return None


T = TypeVar("T")


def on_first(fabric: Fabric, work: Callable[[], T]) -> T:
    """Call a function on the first process only; its result, or its error, reaches all of them."""
    if fabric.world_size == 1:
        return work()
    result: Any = None
    fault: Exception | None = None
    if fabric.is_global_zero:
        try:
            result = work()
        except Exception as error:  # raised below, after the others have been informed
            fault = error
    result, message = fabric.broadcast((result, None if fault is None else str(fault)))
    if fault is not None:
        raise fault
    if message is not None:
        raise MgkitError(message)
    return result


def wait_for_all() -> None:
    """Wait for all processes to reach this point."""
    if world_size() > 1:
        dist.barrier()


def largest(fabric: Fabric, value: int) -> int:
    """The largest of the processes' values, on all of them."""
    if fabric.world_size == 1:
        return value
    # The objective reads its labels on the device in every step anyway, so this costs no further wait.
    all_values = torch.tensor([value], device=fabric.device)
    dist.all_reduce(all_values, dist.ReduceOp.MAX)
    return int(all_values)


def share_buffers(module: nn.Module) -> None:
    """Copy the first process's buffers to all: running statistics may differ between them."""
    if world_size() > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, 0)


def random_states(fabric: Fabric) -> dict[str, Tensor]:
    """torch's random state of every process, (processes, bytes): of the CPU, and of the GPU if there is one."""
    states = {"cpu": torch.get_rng_state()}
    if fabric.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(fabric.device)
    return {
        name: gather_over_processes(state[None].to(fabric.device)).cpu() for name, state in states.items()
    }


def seed_process(fabric: Fabric, seed: int, epoch: int, step: int = 0) -> None:
    """Seed the draws of this process (dropout) from a step of an epoch on."""
    torch.manual_seed(
        seed * 1_000_003 + epoch + 7_919_000_003 * fabric.global_rank + 15_485_863_000_003 * step
    )


def restore_random_states(
    fabric: Fabric, states: dict[str, Tensor], seed: int, epoch: int, step: int
) -> None:
    """Restore the random states of a checkpoint.

    With another number of processes, or another kind of device, there is no state to restore: all are seeded again.
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
