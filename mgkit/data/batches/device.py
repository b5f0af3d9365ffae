"""Batches on the device, the next one on its way while the current one is computed with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from mgkit.data.batches.dataset import Batch


def on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """The batches of a loader, moved to the device in order.

    On a GPU the copies run on their own stream, one batch ahead: they need page-locked memory (`pin_memory` of the
    loader) and then cost the computation nothing.
    """
    if device.type != "cuda":
        for batch in batches:
            yield batch.to(device)
        return
    copies = torch.cuda.Stream(device)
    waiting: Batch | None = None
    for batch in batches:
        with torch.cuda.stream(copies):
            moved = batch.to(device)
        if waiting is not None:
            yield _arrived(waiting, copies, device)
        waiting = moved
    if waiting is not None:
        yield _arrived(waiting, copies, device)


def _arrived(batch: Batch, copies: torch.cuda.Stream, device: torch.device) -> Batch:
    """The batch for use on the current stream: it waits for the copy, and its memory is not handed on before."""
    current = torch.cuda.current_stream(device)
    current.wait_stream(copies)
    for tensor in batch:
        if tensor is not None:
            tensor.record_stream(current)
    return batch
