"""Nothing is lost: whatever ends a training, the same call goes on, and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run, load_run
from mgkit.training import checkpoints, inference, loop
from mgkit.training.recipe import Recipe
from mgkit.training.reporting import lost_process, out_of_memory, stopping
from tests.tiny import tiny_clips
from tests.training.training import assert_same_run, fit, tiny, tiny_pose_only
from tests.training.training import main as train_once

pytestmark = pytest.mark.slow

# Dropout, a memory, several parts a batch and drawn clips: all that has a state to lose.
EVERYTHING: dict[str, Any] = {
    "dropout": 0.5, "prototype_memory": 9, "accumulation": 2, "sampling": "balanced", "batch_size": 5,
    "lateral_dropout": 0.3, "patience": 9, "stop_on": "loss", "keep": "val_loss",
}  # fmt: skip

PARTS: dict[str, Any] = {"accumulation": 2, "batch_size": 5}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return tiny_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def run(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fit(clips, tiny(**EVERYTHING), tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def parts_run(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fit(clips, tiny_pose_only(**PARTS), tmp_path_factory.mktemp("runs") / "parts")


@pytest.fixture(scope="module")
def pose_run(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fit(clips, tiny_pose_only(), tmp_path_factory.mktemp("runs") / "pose")


class Trip:
    """Raises an error, or does something else, at the n-th call of a function of the loop."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int, act: Any) -> None:
        self.calls, real = 0, loop.batch_inputs

        def tripped(*arguments: Any) -> Any:
            self.calls += 1
            if self.calls == at:
                act()
            return real(*arguments)

        patch.setattr(loop, "batch_inputs", tripped)


def raising(error: BaseException) -> Any:
    def act(*_: Any, **__: Any) -> None:
        raise error

    return act


def trained(
    context: ForkServerContext, clips: Clips, out: Path, recipe: Recipe, **options: Any
) -> int | None:
    """Train in another process; its exit status."""
    words = [str(clips.root), str(out), json.dumps(recipe.to_dict()), json.dumps(options)]
    process = context.Process(target=train_once, args=words)
    process.start()
    process.join()
    return process.exitcode


def test_the_same_run_twice_is_the_same_to_the_last_bit(clips: Clips, run: Run, tmp_path: Path) -> None:
    assert_same_run(run, fit(clips, tiny(**EVERYTHING), tmp_path / "run", workers=1))


def test_saving_after_every_step_changes_nothing(clips: Clips, run: Run, tmp_path: Path) -> None:
    saved = fit(clips, tiny(**EVERYTHING), tmp_path / "run", checkpoint_minutes=0)
    assert_same_run(run, saved)
    assert not list(saved.root.rglob("step.pt"))


def test_killed_again_and_again_it_ends_with_the_same_weights(
    clips: Clips, run: Run, tmp_path: Path, forkserver: ForkServerContext
) -> None:
    """By SIGKILL in the middle of steps of all three stages; benchmarks/kill_and_resume.py kills at random moments."""
    for kill_at in (5, 7, 10, 11):
        options = {"checkpoint_minutes": 0, "kill_at": kill_at}
        status = trained(forkserver, clips, tmp_path / "run", tiny(**EVERYTHING), **options)
        assert status == -signal.SIGKILL
        assert load_run(tmp_path / "run").status()["state"] == "running"
    assert_same_run(run, fit(clips, tiny(**EVERYTHING), tmp_path / "run"))


def test_a_resumed_epoch_goes_on_at_its_step(
    clips: Clips, pose_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a single step is done again: the steps before and after the interruption are those of one run."""
    recipe = tiny_pose_only()
    with monkeypatch.context() as patch:
        Trip(patch, 8, raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            fit(clips, recipe, tmp_path / "run", checkpoint_minutes=0)
    state = torch.load(tmp_path / "run" / "checkpoints" / "step.pt", weights_only=True)
    assert (state["epoch"], state["inside"]["step"]) == (1, 1)
    with monkeypatch.context() as patch:
        trip = Trip(patch, 99, raising(AssertionError()))
        resumed = fit(clips, recipe, tmp_path / "run", checkpoint_minutes=0)
    assert trip.calls == 9 - 7  # three epochs of three steps
    assert_same_run(pose_run, resumed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_waits_for_the_step_and_saves_it(
    clips: Clips, pose_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        Trip(patch, 2, lambda: os.kill(os.getpid(), number))
        with pytest.raises(KeyboardInterrupt):
            fit(clips, tiny_pose_only(), tmp_path / "run")
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert load_run(tmp_path / "run").status()["state"] == "interrupted"
    state = torch.load(tmp_path / "run" / "checkpoints" / "step.pt", weights_only=True)
    assert state["inside"]["step"] == 2
    assert_same_run(pose_run, fit(clips, tiny_pose_only(), tmp_path / "run"))


def test_a_stop_during_validation_waits_for_the_end_of_the_epoch(
    clips: Clips, pose_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = inference.batch_inputs, 0

    def stopped(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(inference, "batch_inputs", stopped)
        with pytest.raises(KeyboardInterrupt):
            fit(clips, tiny_pose_only(), tmp_path / "run")
    status = load_run(tmp_path / "run").status()
    assert (status["state"], status["epoch"]) == ("interrupted", 1)
    assert_same_run(pose_run, fit(clips, tiny_pose_only(), tmp_path / "run"))


def test_a_second_ctrl_c_does_not_wait() -> None:
    def twice() -> None:
        with stopping() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.asked
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        twice()


def test_a_loader_that_dies_of_the_same_signal_is_a_stop_too() -> None:
    def stopped(error: Exception) -> None:
        with stopping():
            os.kill(os.getpid(), signal.SIGTERM)
            raise error

    with pytest.raises(KeyboardInterrupt):
        stopped(RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated."))
    with pytest.raises(MgkitError, match="no space"):  # a save that failed is told, stop or not
        stopped(MgkitError("no space"))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
    ids=["gpu", "cpu", "python"],
)
def test_memory_that_ran_out_says_what_to_change_and_the_run_resumes(
    clips: Clips, parts_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    with monkeypatch.context() as patch:
        Trip(patch, 5, raising(error))
        with pytest.raises(MgkitError, match="batch_size=5, accumulation=2 .*accumulation=4"):
            fit(clips, tiny_pose_only(**PARTS), tmp_path / "run", checkpoint_minutes=0)
    status = load_run(tmp_path / "run").status()
    assert status["state"] == "failed"
    assert "memory ran out" in status["message"]
    assert_same_run(parts_run, fit(clips, tiny_pose_only(**PARTS), tmp_path / "run"))


def test_other_errors_are_no_lack_of_memory() -> None:
    assert not out_of_memory(RuntimeError("shapes do not fit"))
    assert not out_of_memory(KeyError("out of memory"))


def test_a_folder_that_turns_read_only_is_said_and_the_run_resumes(
    clips: Clips, pose_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = tempfile.mkstemp, 0

    def read_only(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += options.get("suffix") == ".pt"
        if count >= 5:
            raise OSError(30, "Read-only file system")
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", read_only)
        with pytest.raises(MgkitError, match=r"\.pt cannot be written \(Read-only file system\)"):
            fit(clips, tiny_pose_only(), tmp_path / "run", checkpoint_minutes=0)
    assert load_run(tmp_path / "run").status()["state"] == "failed"  # written over in its place
    assert_same_run(pose_run, fit(clips, tiny_pose_only(), tmp_path / "run"))


def test_a_disk_that_is_full_leaves_the_last_whole_checkpoint(
    clips: Clips, pose_run: Run, tmp_path: Path, forkserver: ForkServerContext
) -> None:
    """Files may not grow beyond half of what a checkpoint needs: writing it fails half-way, as on a full disk."""
    recipe, out = tiny_pose_only(), tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        Trip(patch, 3, raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            fit(clips, recipe, out, checkpoint_minutes=0)
    before = (out / "checkpoints" / "step.pt").read_bytes()
    options = {"checkpoint_minutes": 0, "largest_file": len(before) // 2}
    assert trained(forkserver, clips, out, recipe, **options) == 1
    status = load_run(out).status()
    assert status["state"] == "failed"
    assert "cannot be written (File too large): free some space" in status["message"]
    assert (out / "checkpoints" / "step.pt").read_bytes() == before
    assert not [path for path in out.rglob(".*") if path.name != ".lock"]
    assert_same_run(pose_run, fit(clips, recipe, out))


def test_half_written_files_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    left = [tmp_path / ".status-abcd1234.json", tmp_path / "checkpoints" / ".step-a_cd1234.pt"]
    kept = [tmp_path / ".lock", tmp_path / ".review-abcd1234.csv", tmp_path / "checkpoints" / "step.pt"]
    (tmp_path / "checkpoints").mkdir()
    for path in (*left, *kept):
        path.touch()
    checkpoints.remove_left_overs(tmp_path)
    assert not [path for path in left if path.exists()]
    assert all(path.exists() for path in kept)


def test_a_step_of_an_epoch_that_has_ended_is_not_gone_back_to(
    clips: Clips, pose_run: Run, tmp_path: Path
) -> None:
    """A process killed between writing last.pt and removing step.pt leaves both."""
    recipe, out = tiny_pose_only(), tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        Trip(patch, 5, raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            fit(clips, recipe, out, checkpoint_minutes=0)
    stale = (out / "checkpoints" / "step.pt").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        Trip(patch, 5, raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            fit(clips, recipe, out)
    (out / "checkpoints" / "step.pt").write_bytes(stale)
    assert_same_run(pose_run, fit(clips, recipe, out))


def test_a_process_killed_after_its_last_checkpoint_ends_with_the_right_epoch(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All epochs are in last.pt, and none is trained that would write their number into the status."""
    real, out = checkpoints.Checkpoints.save_epoch, tmp_path / "run"

    def killed(self: Any, position: Any, best: bool) -> None:
        real(self, position, best)
        if position.epoch == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.Checkpoints, "save_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(clips, tiny_pose_only(), out)
    assert load_run(out).status()["epoch"] == 2
    status = fit(clips, tiny_pose_only(), out).status()
    assert (status["state"], status["epoch"]) == ("finished", 3)


@pytest.mark.parametrize("content", [None, b"", b'{"state', b"[]"], ids=["missing", "empty", "half", "list"])
def test_a_lost_status_is_written_anew(clips: Clips, tmp_path: Path, content: bytes | None) -> None:
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        Trip(patch, 5, raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            fit(clips, tiny_pose_only(), out)
    (out / "status.json").unlink()
    if content is not None:
        (out / "status.json").write_bytes(content)
    run = fit(clips, tiny_pose_only(), out)
    assert (run.status()["state"], run.status()["epoch"]) == ("finished", 3)


def test_checkpoints_without_their_settings_are_never_gone_on_from(clips: Clips, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit(clips, tiny_pose_only(epochs=1), out)
    (out / "config.json").unlink()
    with pytest.raises(MgkitError, match=r"has checkpoints, but no config\.json"):
        fit(clips, tiny_pose_only(epochs=2), out, seed=5)


def test_a_finished_run_is_returned_as_it_is(clips: Clips, tmp_path: Path) -> None:
    """Nothing is written, so that it may lie where nobody can."""
    run = fit(clips, tiny_pose_only(epochs=1), tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in run.root.rglob("*") if path.is_file()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["another", "command"])
        patch.setattr(tempfile, "mkstemp", raising(OSError(30, "Read-only file system")))
        assert fit(clips, tiny_pose_only(epochs=1), tmp_path / "run").status()["state"] == "finished"
    assert before == {path: path.stat().st_mtime_ns for path in run.root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("minutes", [0, 5], ids=["step", "epoch"])
def test_a_folder_that_is_moved_away_ends_the_training_and_goes_on_where_it_is(
    clips: Clips, pose_run: Run, tmp_path: Path, minutes: int
) -> None:
    out, away = tmp_path / "run", tmp_path / "away"
    with pytest.MonkeyPatch.context() as patch:
        Trip(patch, 5, lambda: out.rename(away))
        with pytest.raises(MgkitError, match="run was moved or deleted while it was trained"):
            fit(clips, tiny_pose_only(), out, checkpoint_minutes=minutes)
    assert not out.exists()
    assert_same_run(pose_run, fit(clips, tiny_pose_only(), away))


def test_a_checkpoint_that_cannot_be_opened_is_not_called_broken(tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match=r"last\.pt cannot be read \(No such file"):
        inference.load_checkpoint(tmp_path / "last.pt")
    (tmp_path / "half.pt").write_bytes(b"PK")
    with pytest.raises(MgkitError, match=r"half\.pt cannot be read as a checkpoint"):
        inference.load_checkpoint(tmp_path / "half.pt")


def test_another_process_that_is_gone_is_told_in_a_sentence(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = RuntimeError(
        "[pair.cc:545] Read error [127.0.0.1]:20645: Connection reset by peer. This is typically ..."
    )
    with monkeypatch.context() as patch:
        Trip(patch, 5, raising(gone))
        with pytest.raises(
            MgkitError, match="another process of the training .* has ended .*the same call resumes"
        ):
            fit(clips, tiny_pose_only(), tmp_path / "run")
    assert "has ended" in load_run(tmp_path / "run").status()["message"]
    assert not lost_process(RuntimeError("shapes do not fit"))
