"""Batches from loader processes: the same as without any, whatever happens to the memory that they are made in."""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mgkit.data.batches.dataset import Batch, ClipDataset
from mgkit.data.batches.loader import Loader, collate, shared_memory
from mgkit.data.batches.samplers import EpochSampler
from mgkit.data.batches.spec import Inputs
from mgkit.data.clips import Clips
from mgkit.errors import MgkitError
from mgkit.training.machine import unwrapped_errors
from tests.tiny import tiny_clips

SPEC = Inputs(rgb_frames=2, pose_frames=8, rgb_size=16, heatmap_size=8)
CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return tiny_clips(tmp_path_factory.mktemp("clips"), counts={"train": 2})


def one_by_one(clips: Clips, workers: int) -> Loader:
    """Batches of one clip: more of them than there are places in memory."""
    sampler = EpochSampler(ClipDataset(clips, SPEC, training=True, seed=5))
    return Loader(sampler.dataset, sampler.in_batches(1), 1, workers=workers, device=CPU)


def assert_same(ours: list[Batch], theirs: list[Batch]) -> None:
    assert len(ours) == len(theirs)
    for left, right in zip(ours, theirs, strict=True):
        for a, b in zip(left, right, strict=True):
            torch.testing.assert_close(a, b, equal_nan=True, rtol=0, atol=0)


def places(loader: Loader) -> list[int]:
    """The places in memory that are free."""
    gc.collect()
    return sorted(loader._draws._free)


def test_batches_do_not_depend_on_workers_prefetching_or_where_one_resumes(clips: Clips) -> None:
    """Three epochs through one loader, and the last of them alone, as after an interruption."""

    def epochs(which: range, workers: int, **options: int) -> list[list[Batch]]:
        sampler = EpochSampler(ClipDataset(clips, SPEC, training=True, seed=5))
        loader = Loader(
            sampler.dataset, sampler.in_batches(3), 3, workers=workers, device=torch.device("cpu"), **options
        )
        seen = []
        for epoch in which:
            sampler.epoch = epoch
            seen.append(list(loader))
        return seen

    torch.manual_seed(0)
    expected = epochs(range(3), 0)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    for found in (epochs(range(3), 2), epochs(range(2, 3), 1, prefetch=5), epochs(range(2, 3), 0)):
        for ours, theirs in zip(expected[-len(found) :], found, strict=True):
            for left, right in zip(ours, theirs, strict=True):
                for a, b in zip(left, right, strict=True):
                    torch.testing.assert_close(a, b, equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_worker_says_in_one_sentence_what_is_wrong(tmp_path: Path, workers: int) -> None:
    own = tiny_clips(tmp_path / "ein Ordner", counts={"train": 1})
    (own.root / own.table["video"][2]).write_bytes(b"")
    sampler = EpochSampler(ClipDataset(own, SPEC, training=False))
    loader = Loader(sampler.dataset, sampler.in_batches(1), 1, workers=workers, device=torch.device("cpu"))
    with pytest.raises(MgkitError) as error, unwrapped_errors():
        list(loader)
    assert str(error.value) == f"{own.root / own.table['video'][2]} is an empty file: copy the video again."


def test_batches_of_a_worker_lie_in_shared_memory(clips: Clips) -> None:
    """Else they would be copied there on their way."""
    sampler = EpochSampler(ClipDataset(clips, SPEC, training=True))
    loader = DataLoader(
        sampler.dataset, batch_size=2, sampler=sampler, num_workers=1,
        collate_fn=lambda samples: _shared(collate(samples)),
    )  # fmt: skip
    assert all(loader)


def _shared(batch: Batch) -> bool:
    assert batch.frames is not None
    assert batch.keypoints is not None
    return batch.frames.is_shared() and batch.keypoints.is_shared()


def test_memory_is_free_again_once_a_batch_is_let_go_and_not_before(clips: Clips) -> None:
    expected = list(one_by_one(clips, 0))
    assert len(expected) == 8
    loader = one_by_one(clips, 1)
    for _ in range(3):  # let go one by one
        for found, batch in zip(expected, loader, strict=True):
            assert_same([batch], [found])
        del batch
        assert places(loader) == [0, 1, 2, 3]
    kept = list(loader)  # more than there are places
    assert_same(kept, expected)
    assert places(loader) == []
    assert_same(list(loader), expected)  # all in memory of their own
    assert_same(kept, expected)
    labels = [batch.labels for batch in kept]
    del kept
    assert places(loader) == []  # the labels of a batch keep its memory
    del labels
    assert places(loader) == [0, 1, 2, 3]


def test_an_iteration_that_is_broken_off_leaves_no_memory_taken(clips: Clips) -> None:
    expected, loader = list(one_by_one(clips, 0)), one_by_one(clips, 2)
    for _ in range(4):
        batch = next(iter(loader))
        assert_same([batch], expected[:1])
    del batch
    assert_same(list(loader), expected)
    assert places(loader) == list(range(6))


KILLED = """
import gc, multiprocessing, os, signal, sys
from mgkit.data.clips import load_clips
from tests.data.batches.test_loader import one_by_one
loader = one_by_one(load_clips(sys.argv[1]), 1)
batches = iter(loader)
first = next(batches)
try:
    try:
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        list(batches)
    finally:  # where the loader saw it first, torch's handler would still raise, wherever we are by then
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
except RuntimeError as error:
    print(error)
del first, batches, loader
gc.collect()
open_files = [os.path.realpath(f"/proc/self/fd/{i}") for i in os.listdir("/proc/self/fd")]
print(*(name for name in open_files if "memfd:mgkit" in name))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks at open files and memory where Linux lists them")
def test_a_killed_process_is_an_error_and_leaves_nothing_behind(clips: Clips) -> None:
    """In a process of its own: torch raises from a signal handler, anywhere."""
    named = set(os.listdir("/dev/shm"))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(clips.root)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    said, held = done.stdout.split("\n")[:2]
    assert "DataLoader worker" in said, done.stderr
    assert not held
    left = set(os.listdir("/dev/shm")) - named
    # of torch and of Python: a browser in the next process has files there as well
    assert not [name for name in left if name.startswith(("torch_", "psm_"))]


@pytest.fixture
def spawned() -> Iterator[None]:
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.slow
@pytest.mark.usefixtures("spawned")
def test_processes_that_start_from_nothing_share_the_memory(clips: Clips) -> None:
    expected, loader = list(one_by_one(clips, 0)), one_by_one(clips, 1)
    for _ in range(2):
        assert_same([Batch(*(t if t is None else t.clone() for t in batch)) for batch in loader], expected)
    assert places(loader) == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [0, 100, 100_000])
def test_what_was_in_the_memory_before_does_not_show(clips: Clips, size: int) -> None:
    """Too little of it is left alone; in enough of it the batch is made, padding and all."""
    dataset = ClipDataset(clips, SPEC, training=False)
    one = dataset[(0, 0, 0)]
    assert one.keypoints is not None
    assert one.frames is not None
    two = one._replace(keypoints=np.concatenate([one.keypoints] * 2), frames=one.frames[:, :20, :24])
    memory = shared_memory(size).fill_(77)
    found = collate([one, two], memory)
    assert_same([found], [collate([one, two])])
    inside = found.rows.untyped_storage().data_ptr() == memory.untyped_storage().data_ptr()
    assert inside == (size == 100_000)
    assert inside or (memory == 77).all()


def test_no_sample_is_larger_than_the_dataset_says(clips: Clips) -> None:
    for spec in (SPEC, Inputs(reads=("heatmaps",), heatmap="joint-motion", pose_frames=8), SPEC.only("rgb")):
        dataset = ClipDataset(clips, spec, training=True)
        sample = dataset[(0, 0, 0)]
        arrays = [array for array in (sample.frames, sample.keypoints) if array is not None]
        assert sum(array.nbytes for array in arrays) == dataset.sample_bytes
