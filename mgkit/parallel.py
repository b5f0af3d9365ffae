"""Cores and memory that this process may use; jobs in several processes, with the same result as in one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil

from mgkit.errors import MgkitError

Job = TypeVar("Job")
Result = TypeVar("Result")
Stopped = Callable[[], bool]


# ---------------------------------------------------------------------------------------------------------------------
# What this process may use of the machine


CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cores() -> int:
    """Cores that this process may use: by its affinity (taskset, SLURM) and by the quotas of its containers.

    A quota of one and a half cores counts as two.
    """
    try:
        found = [float(len(psutil.Process().cpu_affinity() or ()) or os.cpu_count() or 1)]
    except AttributeError:  # macOS, which has no affinity
        found = [float(os.cpu_count() or 1)]
    for folder in _cgroups("cpu"):
        of_version_1 = [*_numbers(folder / "cpu.cfs_quota_us"), *_numbers(folder / "cpu.cfs_period_us")]
        for numbers in (_numbers(folder / "cpu.max"), of_version_1):
            if len(numbers) == 2 and min(numbers) > 0:
                found.append(numbers[0] / numbers[1])
    return max(1, round(min(found)))


def memory_left() -> int:
    """Bytes of memory that this process may still take: of the machine, and of its containers."""
    left = [int(psutil.virtual_memory().available)]
    for folder in _cgroups("memory"):
        for limit, used, freed in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            numbers = [*_numbers(folder / limit), *_numbers(folder / used)]
            if len(numbers) == 2:  # files that are cached count as used, and make room for whoever wants it
                left.append(max(0, numbers[0] - numbers[1] + _entry(folder / "memory.stat", freed)))
    return min(left)


def _cgroups(controller: str) -> Iterator[Path]:
    """The folders of the kernel that limit this process, of cgroup version 1 and 2, from its own group outwards.

    Every group around a process limits it, too: a container in a pod in a slice has the smallest of three quotas.
    """
    try:
        lines = OWN_CGROUPS.read_text().splitlines()
    except OSError:  # macOS, Windows
        return
    for line in lines:
        _, names, path = line.split(":", 2)
        if not names:  # version 2 has one tree of all controllers
            mounts = [CGROUPS, CGROUPS / "unified"]
        elif controller in names.split(","):
            mounts = [CGROUPS / controller, CGROUPS / names]
        else:
            continue
        # Inside a container the path may be that of the host, of which only the container's own end is mounted here.
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for mount in mounts:
            for depth in range(len(parts), -1, -1):
                if (folder := mount.joinpath(*parts[:depth])).is_dir():
                    yield folder


def _numbers(file: Path) -> list[int]:
    """The numbers in a file of the kernel; none where there is no such file, or no limit ("max")."""
    try:
        return [int(word) for word in file.read_text().split()]
    except (OSError, ValueError):
        return []


def _entry(file: Path, name: str) -> int:
    try:
        return next(
            (int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith(f"{name} ")), 0
        )
    except (OSError, ValueError, IndexError):
        return 0


# ---------------------------------------------------------------------------------------------------------------------
# Jobs in several processes


def run_jobs(
    work: Callable[[Job, Stopped], Result], jobs: Sequence[Job], workers: int | None = None
) -> Iterator[tuple[Job, Result]]:
    """Yield each job with `work(job, stopped)`, in any order.

    Closing the generator, an interrupt or an error stops the workers: none begins another job, and work that asks
    `stopped()` now and then can raise `KeyboardInterrupt` in the middle of one.

    Args:
        work: a function at the top of a module, since other processes must find it.
        jobs: its arguments; they and the results are pickled.
        workers: processes; None = one per core, 1 = this process alone.

    Raises:
        MgkitError: `workers` is below 1, or a process died.
    """
    if workers is not None and workers < 1:
        raise MgkitError(f"workers is {workers}: give 1 or more, or None for one per core.")
    count = min(workers or cores(), len(jobs))
    if count <= 1:
        for job in jobs:
            yield job, work(job, _never)
        return
    # Spawned, not forked: the parent may hold threads of torch or a notebook, which a fork would freeze.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin_worker, initargs=(stop,))
    try:
        waiting = iter(jobs)
        running: dict[Future[Result], Job] = {}
        while True:
            # A few ahead, so that no worker waits, but not all: each job may carry a lot of data.
            while len(running) < 2 * count:
                try:
                    job = next(waiting)
                except StopIteration:
                    break
                with ctrl_c_deferred():  # a worker may start here and does not ignore Ctrl-C yet
                    running[pool.submit(_work, work, job)] = job
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    except BrokenProcessPool:
        raise MgkitError(
            "a worker process died (out of memory?): call again with fewer workers, or with workers=1; what is "
            "finished is kept. In a script, make this call below `if __name__ == '__main__':`; in a notebook, keep "
            "your own functions in a .py file next to it."
        ) from None
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _never() -> bool:
    return False


@contextmanager
def ctrl_c_deferred() -> Iterator[None]:
    """Hold Ctrl-C back until the block has ended; a process that starts in it inherits this."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where workers do not share Ctrl-C by signal
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_stop: Any = None  # the event of a worker process, set once when it begins


def _begin_worker(stop: Any) -> None:
    global _stop
    import cv2

    _stop = stop
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle: it sets the event
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    # A worker whose parent was killed would wait for work forever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _work(work: Callable[[Job, Stopped], Result], job: Job) -> Result:
    return work(job, _stop.is_set)


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)
