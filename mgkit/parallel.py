"""Jobs in several processes: interruptible, without orphans, and with the same result as in one."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from mgkit.data.prepare.plan import Job, Made, make
from mgkit.errors import MgkitError

BATCH = 8  # clips sent to a worker at a time, where videos have few each


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_all(jobs: Sequence[Job], workers: int | None) -> Iterator[tuple[Job, Made]]:
    """Make all jobs, in any order, in this process or in several.

    Closing the generator, an interrupt or an error stops the workers at their next frame.
    """
    filmed = [job for job in jobs if job.clips[0].video is not None]
    for job in jobs:  # poses alone are moved faster than they are sent
        if job.clips[0].video is None:
            yield job, make(job)
    batches = _batches(filmed)
    count = min(workers or cores(), len(batches))
    if count <= 1:
        for job in filmed:
            yield job, make(job)
        return
    try:
        pickle.dumps(batches[0])
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise MgkitError(
            f"what the reader gave cannot go to other processes ({error}): let each `pose` be a `functools.partial` "
            "of a function at the top of a module, or give workers=1."
        ) from None
    # Spawned, not forked: the parent may hold threads of torch or a notebook, which a fork would freeze.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin_worker, initargs=(stop,))
    try:
        waiting = iter(batches)
        running: set[Future[list[Made]]] = set()
        of: dict[Future[list[Made]], list[Job]] = {}
        while True:
            # A few ahead, so that no worker waits, and not all, since each job carries its poses.
            while len(running) < 2 * count and (batch := next(waiting, None)) is not None:
                with _ctrl_c_waits():  # a worker may begin here, and is not yet deaf to it
                    future = pool.submit(_work, batch)
                running.add(future)
                of[future] = batch
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield from zip(of.pop(future), future.result(), strict=True)
    except BrokenProcessPool:
        raise MgkitError(
            "a worker process died, perhaps for want of memory: call again with fewer workers (what is done is kept). "
            "In a script of your own, call below `if __name__ == '__main__':`; in a notebook, keep the reader in a .py "
            "file beside it, or give workers=1."
        ) from None
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _batches(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs of one clip each in handfuls, larger ones alone."""
    batches: list[list[Job]] = []
    room = 0
    for job in jobs:
        if room < len(job.clips):
            batches.append([])
            room = BATCH
        batches[-1].append(job)
        room -= len(job.clips)
    return batches


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Hold Ctrl-C back until the block has ended; a process that begins in it is born with it held back."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where workers share no Ctrl-C by signal
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_stop: Any = None  # of a worker process, set once when it begins


def _begin_worker(stop: Any) -> None:
    global _stop
    import cv2

    _stop = stop
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle: it sets the event
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    # A worker whose parent was killed would wait for work for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _work(batch: list[Job]) -> list[Made]:
    return [make(job, _stop.is_set) for job in batch]


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)
