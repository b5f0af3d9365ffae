"""Samples to batches, by loader processes that write them into memory which is used again and again.

In a loader process the first write to a page of shared memory costs ten times as much as the next ones (the system has
to find and clear it), a fifth of what decoding the clip does. So a `Loader` has a few pieces of memory, each for one
batch, tells a loader process which to use, and has it back once nothing refers to the batch any more.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from mgkit.data.batches.dataset import Batch, ClipDataset, Sample
from mgkit.data.batches.samplers import Key

__all__ = ["Loader", "collate"]

LINE = 64  # bytes of a line of the processor's cache, at whose beginning a number of any type may begin


class Loader:
    """The batches of a dataset, in the order of a sampler; each iteration is an epoch.

    The processes live as long as the loader. A batch may be kept for as long as one likes: where all pieces of memory
    are in use, new memory is allocated for the next one.

    Args:
        dataset: the clips.
        sampler: gives the keys of each batch.
        largest: clips of the largest batch.
        workers: loader processes; 0 = all is done in this one.
        device: where the batches go; for a GPU they are in page-locked memory.
        prefetch: batches that each process makes ahead.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        sampler: Iterable[list[Key]],
        largest: int,
        *,
        workers: int = 0,
        device: torch.device,
        prefetch: int = 2,
    ) -> None:
        # Two more than are made ahead: the one in use, and the one that is handed over when the next is asked for.
        count = workers * prefetch + 2 if workers else 0
        size = largest * (dataset.sample_bytes + LINE) + 5 * LINE
        memory = [shared_memory(size) for _ in range(count)]
        self._draws = _Draws(sampler, count)
        # Without a generator a loader draws from torch's global one, which dropout uses.
        options: dict[str, Any] = {"pin_memory": device.type == "cuda", "generator": torch.Generator()}
        if workers:
            options.update(num_workers=workers, persistent_workers=True, prefetch_factor=prefetch)
            options.update(worker_init_fn=_keep_freed_memory)
        self._loader = DataLoader(_Whole(dataset, memory), batch_size=None, sampler=self._draws, **options)

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self._loader)
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except (EOFError, ConnectionError) as error:  # it ended while it handed over a batch
                raise RuntimeError("a DataLoader worker ended before its batch arrived") from error
            place = self._draws.given.popleft()
            yield batch if place is None else self._draws.lent(batch, place)


class _Draws(Sampler[tuple[int | None, list[Key]]]):
    """The keys of each batch and the place in memory for it: None where there is none.

    Attributes:
        given: places of the batches that are being made, in order.
    """

    def __init__(self, sampler: Iterable[list[Key]], count: int) -> None:
        self.sampler, self.given = sampler, deque[int | None]()
        self._free = list(range(count))

    def __iter__(self) -> Iterator[tuple[int | None, list[Key]]]:
        # What an iteration that was not finished had under way has been thrown away by now.
        self._free += [place for place in self.given if place is not None]
        self.given.clear()
        for keys in self.sampler:
            place = self._free.pop() if self._free else None
            self.given.append(place)
            yield place, keys

    def lent(self, batch: Batch, place: int) -> Batch:
        """The batch, whose place is free again once none of its tensors is in use."""
        if not batch.rows.is_shared():  # a copy, in page-locked memory
            self._free.append(place)
            return batch
        whole = torch.empty(0, dtype=torch.uint8).set_(batch.rows.untyped_storage()).numpy()
        weakref.finalize(whole, self._free.append, place)  # the tensors refer to it, as those made of them do
        storage = torch.from_numpy(whole).untyped_storage()

        def there(tensor: Tensor) -> Tensor:
            return tensor.new_empty(0).set_(storage, tensor.storage_offset(), tensor.shape, tensor.stride())

        return batch.each(there)


class _Whole(Dataset[Batch]):
    """A dataset addressed by whole batches and the place in memory of each."""

    def __init__(self, dataset: ClipDataset, memory: Sequence[Tensor]) -> None:
        self.dataset, self.memory = dataset, memory

    def __getitem__(self, draw: tuple[int | None, list[Key]]) -> Batch:
        place, keys = draw
        return collate([self.dataset[key] for key in keys], None if place is None else self.memory[place])


def collate(samples: Sequence[Sample], memory: Tensor | None = None) -> Batch:
    """Stack samples; smaller frames are padded at the right and bottom, fewer persons with NaN.

    The tensors are views of one piece of memory, so that a loader process has one to send.

    Args:
        samples: of one dataset.
        memory: (bytes,) uint8 to make the batch in; where it is too small, or None, other memory is taken.
    """
    columns: list[tuple[Sequence[npt.NDArray[Any]], torch.dtype, float]] = [
        ([np.asarray(s.row) for s in samples], torch.int64, 0),
        ([np.asarray(s.label) for s in samples], torch.int64, 0),
        ([s.frames for s in samples if s.frames is not None], torch.uint8, 0),
        ([s.keypoints for s in samples if s.keypoints is not None], torch.float32, np.nan),
        ([s.affine for s in samples], torch.float32, 0),
    ]
    # The shape of each tensor, along each axis the longest of its samples, and where it begins.
    shapes: list[tuple[int, ...]] = []
    starts = [0]
    for arrays, kind, _ in columns:
        shape = (len(arrays), *map(max, zip(*(array.shape for array in arrays), strict=True)))
        shapes.append(shape)
        starts.append(starts[-1] + -(-math.prod(shape) * kind.itemsize // LINE) * LINE)
    if memory is None or len(memory) < starts[-1]:
        new = shared_memory if get_worker_info() else partial(torch.empty, dtype=torch.uint8)
        memory = new(starts[-1])
    tensors: list[Tensor | None] = []
    for (arrays, kind, fill), shape, start in zip(columns, shapes, starts, strict=False):
        if not arrays:
            tensors.append(None)
            continue
        tensor = memory[start : start + math.prod(shape) * kind.itemsize].view(kind).view(shape)
        stacked = tensor.numpy()
        for i, array in enumerate(arrays):
            if array.shape != shape[1:]:
                stacked[i] = fill
            inside: tuple[int | slice, ...] = (i, *map(slice, array.shape))
            stacked[inside] = array
        tensors.append(tensor)
    return Batch(*tensors)  # type: ignore[arg-type]  # frames and key-points alone may be None


def _keep_freed_memory(worker: int) -> None:
    """Let this process use its freed memory again, which GNU's library would give back to the system clip by clip."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(-3, 2**25)  # M_MMAP_THRESHOLD: pieces up to 32 MB, the most there is, are kept at all
        mallopt(-1, 2**30)  # M_TRIM_THRESHOLD: of those, up to 1 GB


def shared_memory(size: int) -> Tensor:
    """(size,) uint8 that processes share, of which only what is written to is taken.

    On Linux it is anonymous and not in /dev/shm: a process that is killed leaves nothing behind, and a container
    that keeps /dev/shm small does not stop the loader.
    """
    if sys.platform != "linux":
        storage = torch.UntypedStorage._new_shared(size)
    else:
        handle = os.memfd_create("mgkit")
        try:
            os.ftruncate(handle, size)
            storage = torch.UntypedStorage._new_shared_fd_cpu(handle, size)  # type: ignore[attr-defined]
        finally:
            os.close(handle)
    return torch.empty(0, dtype=torch.uint8).set_(storage)
