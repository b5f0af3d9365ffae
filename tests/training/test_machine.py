"""Loader processes, threads, and denormal numbers: what the machine gives and what torch makes of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from mgkit.data.batches import pose as heatmaps
from mgkit.parallel import cores
from mgkit.results.run.folder import Run
from mgkit.training import machine, recipes
from mgkit.training.explain import explain
from mgkit.training.loop import train
from mgkit.training.machine import CoreTimes, cpu_threads, crowded, default_workers, flushed_denormals
from tests.tiny import tiny_clips
from tests.training.training import tiny_pose_only

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def kept(threads: int) -> list[bool]:
    """Whether a denormal number comes through an operation, on each thread."""
    shares = (torch.full((threads << 20,), 1e-39) * 1.0).view(torch.int32).view(threads, -1) != 0
    assert all(bool(share.all()) or not bool(share.any()) for share in shares)
    return [bool(share.all()) for share in shares]


def test_denormals_are_flushed_on_every_thread_and_kept_again_afterwards(threads: int) -> None:
    assert kept(threads) == [True] * threads
    with flushed_denormals(CPU):
        assert kept(threads) == [False] * threads
        with flushed_denormals(CPU):  # a test within a training
            pass
        assert kept(threads) == [False] * threads, "the caller's setting is put back, not the default"
    assert kept(threads) == [True] * threads

    with pytest.raises(ValueError, match="stop"), flushed_denormals(CPU):
        raise ValueError("stop")
    assert kept(threads) == [True] * threads
    with flushed_denormals(torch.device("cuda")):
        assert kept(threads) == [True] * threads


def test_a_caller_that_flushes_goes_on_to_flush() -> None:
    torch.set_flush_denormal(True)
    try:
        with flushed_denormals(CPU):
            assert kept(1) == [False]
        assert kept(1) == [False]
    finally:
        torch.set_flush_denormal(False)


def test_fewer_threads_in_the_block_are_flushed_too(threads: int) -> None:
    with cpu_threads(CPU, workers=0):
        assert kept(torch.get_num_threads()) == [False] * torch.get_num_threads()
    assert torch.get_num_threads() == threads
    assert kept(threads) == [True] * threads


def states(run: Run) -> dict[str, torch.Tensor]:
    """Every tensor of floats in the last checkpoint: weights, statistics, prototypes, momenta."""
    found = {}

    def search(name: str, value: Any) -> None:
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            found[name] = value
        elif isinstance(value, dict):
            for key, inner in value.items():
                search(f"{name}.{key}", inner)

    search("", torch.load(run.checkpoint("last"), weights_only=False))
    return found


@pytest.mark.slow
def test_neither_cut_nor_flush_changes_what_is_learnt_or_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = tiny_clips(tmp_path / "clips", videos=False)
    recipe = recipes.pose_small(epochs=1, batch_size=12)  # one step: more would amplify any rounding

    def made(name: str) -> dict[str, torch.Tensor]:
        run = train(clips, recipe, tmp_path / name, device="cpu", workers=0, progress=False)
        saliency = explain(run, device="cpu", workers=0, progress=False)
        return {**states(run), "saliency": torch.from_numpy(saliency.joints).float()}

    ours = made("ours")
    assert any("momentum" in name for name in ours)
    monkeypatch.setattr(machine, "flushed_denormals", lambda _: nullcontext())
    kept_denormals = made("kept")
    assert ours.keys() == kept_denormals.keys()
    for name, value in kept_denormals.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-30)
    monkeypatch.setattr(heatmaps, "_NEGLIGIBLE", 1e-34)
    uncut = made("uncut")
    for part in (".model", ".optimizer", "saliency"):
        with_cut, without = (
            torch.cat([value.flatten() for name, value in found.items() if name.startswith(part)])
            for found in (ours, uncut)
        )
        assert (with_cut - without).norm() <= 1e-3 * without.norm(), part


@pytest.mark.parametrize(
    ("cores", "device", "sharing", "workers"),
    [
        (2, CPU, 1, 0),
        (64, CPU, 1, 16),
        (64, CPU, 2, 8),
        (1, GPU, 4, 1),
        (2, GPU, 1, 1),
        (8, GPU, 2, 3),
        (64, GPU, 1, 8),
    ],
)
def test_loader_workers_are_as_many_as_this_process_has_cores_for(
    cores: int, device: torch.device, sharing: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr(machine, "cores", lambda: cores)
    assert default_workers(("rgb", "pose"), device, sharing) == workers
    assert default_workers(("pose",), device, sharing) == 0


def test_threads_leave_the_workers_their_cores_and_never_exceed_what_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 6)
    here = torch.get_num_threads()
    try:
        torch.set_num_threads(5)
        for workers, sharing, threads in ((0, 1, 5), (2, 1, 4), (0, 2, 3), (2, 2, 1), (9, 1, 1)):
            with cpu_threads(CPU, workers, sharing):
                assert torch.get_num_threads() == threads
            assert torch.get_num_threads() == 5
    finally:
        torch.set_num_threads(here)


def test_steps_whose_cores_others_use_are_told_from_those_that_wait_for_files() -> None:
    """Four threads for ten seconds."""
    began = CoreTimes(100.0, 7.0, 5000.0)

    def said(own: float, idle: float, threads: int = 4) -> str:
        return crowded(began, CoreTimes(110.0, 7.0 + own, 5000.0 + idle), threads)

    assert said(own=30, idle=9) == ""
    assert said(own=10, idle=30) == ""  # it waits for a file, not for cores
    assert "4 threads got the time of 1.3 cores" in said(own=13, idle=0.4)
    assert "OMP_NUM_THREADS=1, or torch.set_num_threads(1) " in said(own=13, idle=0.4)
    assert "OMP_NUM_THREADS=3, " in said(own=27, idle=3)  # one other program
    assert "OMP_NUM_THREADS=1, " in said(own=4, idle=0)
    assert said(own=4, idle=0, threads=1) == ""
    assert (
        crowded(CoreTimes(100.0, 7.0, 0.0), CoreTimes(110.0, 21.0, 0.0), 2) == ""
    )  # idle time is not counted


@pytest.mark.slow
@pytest.mark.skipif(cores() < 2, reason="one thread waits for no other")
def test_a_training_says_once_that_others_use_its_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a clock of its own: a second at each look, of which the first two go by before anything is said."""
    looks = iter(range(100))
    monkeypatch.setattr(
        CoreTimes,
        "now",
        classmethod(lambda cls: (lambda i: cls(float(i), 0.3 * i, 7.0 + 0.1 * i))(next(looks))),
    )
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        clips = tiny_clips(tmp_path / "clips", counts={"train": 1})
        train(clips, tiny_pose_only(epochs=6), tmp_path / "run", val_split=None, device="cpu")
    finally:
        torch.set_num_threads(before)
    out = capsys.readouterr()
    lines = [line for line in (out.out + out.err).splitlines() if "other programs use the cores" in line]
    assert len(lines) == 1
    assert "2 threads got the time of 0.4 cores" in lines[0]


def test_core_times_are_of_this_process_and_its_cores() -> None:
    began = CoreTimes.now()
    while time.process_time() < began.own + 0.05:
        pass
    ended = CoreTimes.now()
    assert ended.own - began.own >= 0.05
    assert ended.clock > began.clock
    assert ended.idle >= began.idle
