"""Device, cores, memory and disk."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mgkit.checkup.findings import Finding, broken, note, ok, short

GIB = 1 << 30
CGROUP = Path("/sys/fs/cgroup")
# GiB. The embedded data with a run take a fifth of one.
DISK_LOW, DISK_OUT, MEMORY_LOW, GPU_LOW = 5.0, 0.5, 3.0, 4.0


def device() -> Iterator[Finding]:
    """Where the networks will run."""
    import torch

    built, there = torch.version.cuda, driver()
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            yield _gpu(i, there)
    elif there and built is None:
        advice = "Install a torch built for CUDA (pytorch.org), or go on: all works, slower."
        yield note("GPU", f"driver {there}, but this torch is built for CPUs only", advice)
    elif there:
        advice = "Update the NVIDIA driver, or install a torch built for an older CUDA; look at CUDA_VISIBLE_DEVICES."
        yield broken("GPU", f"driver {there} does not go with CUDA {built} of this torch", advice)
    elif torch.backends.mps.is_available():
        yield ok("GPU", "Apple's, which is used only with device='mps' and is not tested")
    else:
        yield ok("GPU", "none: all works, slower")
    yield ok("CPU", f"{cores()} cores for this process, {torch.get_num_threads()} threads of torch")


def _gpu(i: int, there: str) -> Finding:
    import torch

    name = f"GPU {i}"
    try:
        free, total = torch.cuda.mem_get_info(i)
        bf16 = torch.cuda.is_bf16_supported()
        found = (
            f"{torch.cuda.get_device_name(i)}, {free / GIB:.1f} of {total / GIB:.1f} GiB free, "
            f"CUDA {torch.version.cuda}, driver {there or 'not known'}, bf16 {'yes' if bf16 else 'no'}"
        )
        ones = torch.ones(8, 8, device=f"cuda:{i}")
        right = bool((ones @ ones == 8).all())
    except Exception as error:
        advice = "Install a torch built for this GPU and driver, or work with device='cpu'."
        return broken(name, f"it does not compute: {short(error)}", advice)
    if not right:
        return broken(
            name, f"{found}; it computes wrongly", "Restart the machine, or work with device='cpu'."
        )
    if free < GPU_LOW * GIB:
        return note(name, found, "Stop what else uses this GPU, or train with a smaller batch_size.")
    if not bf16:
        return note(name, found, "Without bf16 it computes in float32, which takes about twice the memory.")
    return ok(name, found)


def driver() -> str:
    """Version of the NVIDIA driver; empty without one."""
    file = Path("/proc/driver/nvidia/version")
    if file.is_file():
        found = re.search(r"\s(\d+\.\d+(\.\d+)?)\s", file.read_text(errors="replace"))
        return found[1] if found else "of unknown version"
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    words = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.split("\n")[0].strip() if done.returncode == 0 else ""


def memory_and_disk() -> Iterator[Finding]:
    """What is free, and whether the working folder can be written."""
    free = memory_free()
    if free is None:
        yield ok("memory", "not known on this system")
    elif free < MEMORY_LOW * GIB:
        advice = "Close other programs, or train with a smaller batch_size and workers=0."
        yield note("memory", f"{free / GIB:.1f} GiB free", advice)
    else:
        yield ok("memory", f"{free / GIB:.1f} GiB free")
    left = shutil.disk_usage(".").free / GIB
    found = f"{left:.1f} GiB free in the working folder"
    if left < DISK_OUT:
        yield broken("disk", found, "Make room, or keep data and runs in a folder on another disk.")
    elif left < DISK_LOW:
        yield note("disk", found, "Enough for the embedded data; make room before you prepare a dataset.")
    else:
        yield ok("disk", found)
    try:
        with tempfile.TemporaryFile(dir="."):
            pass
    except OSError as error:
        advice = "Start in a folder of yours, or pass paths that can be written."
        yield note("writing", f"the working folder cannot be written: {error.strerror}", advice)


def cores() -> int:
    """Cores that this process may use: by its affinity, and by the quota of a container."""
    try:
        here = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        here = os.cpu_count() or 1
    quota, period = _number(CGROUP / "cpu.max", 0), _number(CGROUP / "cpu.max", 1)
    return min(here, max(1, round(quota / period))) if quota and period else here


def memory_free() -> int | None:
    """Bytes that this process may still take: of the machine, and of the container; None if not known."""
    found: list[int] = []
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        match = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text(), re.MULTILINE)
        found += [int(match[1]) * 1024] if match else []
    else:
        try:
            import psutil  # type: ignore[import-untyped]

            found.append(int(psutil.virtual_memory().available))
        except ImportError:
            pass
    limit, used = _number(CGROUP / "memory.max"), _number(CGROUP / "memory.current")
    if limit is not None and used is not None:
        found.append(max(0, limit - used))
    return min(found) if found else None


def _number(file: Path, at: int = 0) -> int | None:
    """A number in a file of the kernel; None where there is none (no such file, or "max")."""
    try:
        words = file.read_text().split()
    except OSError:
        return None
    return int(words[at]) if len(words) > at and words[at].isdigit() else None
