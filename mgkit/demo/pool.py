"""Work on many made clips or videos in this process or several, whose number changes nothing in what is made."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from mgkit.errors import MgkitError
from mgkit.progress import live
from mgkit.progress import out as bar_file

Job = TypeVar("Job")
Made = TypeVar("Made")


def run_jobs(
    work: Callable[[Job], Made],
    jobs: Sequence[Job],
    drawn: int,
    workers: int | None,
    progress: bool,
    what: str,
) -> Iterator[Made]:
    """Yield `work(job)` of all jobs, in any order.

    Args:
        work: a function of a module, since other processes must find it.
        jobs: what it is called with.
        drawn: how many of the jobs draw pictures, which is what takes time: fewer than 32 are not worth a process.
        workers: processes; None = up to one a core, 1 = this process alone.
        progress: show a text bar on stderr.
        what: its title.

    Raises:
        MgkitError: `workers` is below 1, or a process died.
    """
    from tqdm import tqdm

    count = workers if workers is not None else min(_cores(), max(1, drawn // 16))
    if count < 1:
        raise MgkitError(f"{count} workers were asked for: give 1 or more, or None for one a core.")
    with tqdm(
        total=len(jobs), desc=what, unit="clip", mininterval=0.5, disable=not live(progress), file=bar_file()
    ) as bar:
        if count == 1:
            for job in jobs:
                yield work(job)
                bar.update()
            return
        # Spawned, not forked: a notebook has threads (torch, the kernel) that a forked child would inherit locked.
        pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_start_worker)
        try:
            for future in as_completed([pool.submit(work, job) for job in jobs]):
                yield future.result()
                bar.update()
        except BrokenProcessPool:
            raise MgkitError(
                "a worker that makes clips died: give workers=1, or in a script call this below "
                "`if __name__ == '__main__':`; what is finished is kept."
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    import cv2

    cv2.setNumThreads(1)
    # An interrupt is the parent's to handle: it stops handing out clips, and what has begun is finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
