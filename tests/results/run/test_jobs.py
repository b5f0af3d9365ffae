"""Trainings in processes of their own: launched, killed, stopped, resumed and found again."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import mgkit as mg
from mgkit.cli import main
from mgkit.data.clips import Clips
from mgkit.errors import MgkitError
from mgkit.files import exclusive, write_json
from mgkit.results.run import jobs
from mgkit.results.run.folder import write_status
from mgkit.results.run.jobs import Job, attach, process_start, start_job
from mgkit.training import recipes
from mgkit.training.launch import launch
from tests.tiny import tiny_clips

LONG: dict[str, Any] = {
    "pose_frames": 8, "heatmap_size": 8, "pose_width": 4, "pose_blocks": (1, 1, 1), "embedding_dim": 8,
    "batch_size": 4, "epochs": 100_000, "warmup_epochs": 0,
}  # fmt: skip


def until(fact: Callable[[], Any], job: Job) -> None:
    deadline = time.monotonic() + 120
    while not fact():
        assert time.monotonic() < deadline, f"{job}\n{job.log()}"
        time.sleep(0.05)


@pytest.fixture
def clips(tmp_path: Path) -> Clips:
    return tiny_clips(tmp_path / "clips", counts={"train": 1, "val": 1}, videos=False)


@pytest.fixture
def launched(clips: Clips, tmp_path: Path) -> Iterator[Job]:
    job = launch(clips, recipes.pose_small(**LONG), tmp_path / "run", device="cpu", workers=0)
    yield job
    if job.look().here:
        job.stop(hard=True)


def test_kill_and_stop_and_resume(launched: Job, clips: Clips, tmp_path: Path) -> None:
    job = attach(launched.root)
    until(lambda: job.state == "running" and len(job.run().history()) > 0, job)
    live = job.run().live()
    assert live["stage"] == "pose"
    assert live["of"] == 4
    assert {"loss", "train_top1_pose", "clips_per_second", "learning_rate", "seconds_left"} <= set(live)
    with pytest.raises(MgkitError, match=r"is being trained already \(process \d+\)"):
        launch(clips, recipes.pose_small(**LONG), tmp_path / "run", device="cpu", workers=0)

    record = json.loads((job.root / "job.json").read_text())
    os.kill(record["pid"], signal.SIGKILL)
    until(lambda: not job.look().here, job)
    assert job.run().status()["state"] == "running"  # all that it could still say
    assert job.state == "killed"
    assert "without a word" in job.look().message
    with pytest.raises(MgkitError, match="cannot be stopped from here: it is killed"):
        job.stop()

    done = int(job.run().history()["epoch"].max())
    assert main(["resume", str(job.root)]) == 0
    assert job.state in ("starting", "running")
    until(lambda: job.state == "running" and job.run().history()["epoch"].max() > done, job)
    assert job.stop().name == "interrupted"
    assert job.run().status()["state"] == "interrupted"
    assert "interrupted" in job.log()


def test_a_process_that_ignores_ctrl_c_by_inheritance_is_stopped(clips: Clips, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as between the cells of a kernel
    try:
        job = launch(clips, recipes.pose_small(**LONG), tmp_path / "run", device="cpu", workers=0)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        until(lambda: job.state == "running", job)
        assert job.stop().name == "interrupted"
    finally:
        if job.look().here:
            job.stop(hard=True)


def test_the_launching_process_may_end(clips: Clips, tmp_path: Path) -> None:
    """And from a shell: launch, status; its end is that of the command, not of the training."""
    small = {**LONG, "epochs": 2}
    recipe = tmp_path / "recipe.json"
    write_json(recipe, recipes.pose_small(**small).to_dict())
    words = [sys.executable, "-m", "mgkit", "launch", str(clips.root), str(tmp_path / "run")]
    subprocess.run([*words, "--recipe-file", str(recipe), "--device", "cpu", "--workers", "0"], check=True)
    job = attach(tmp_path / "run")
    run = job.wait(120)
    assert run.status()["state"] == "finished"
    assert len(run.history()) == 2
    with pytest.raises(MgkitError, match="is finished"):
        job.resume()
    told = subprocess.run([*words[:3], "status", str(job.root)], capture_output=True, text=True, check=True)
    assert "finished" in told.stdout


def test_what_goes_wrong_in_the_process_is_told(clips: Clips, tmp_path: Path) -> None:
    job = launch(clips, recipes.pose_small(**LONG), tmp_path / "run", train_split="nothing", device="cpu")
    with pytest.raises(MgkitError, match=r"failed: .*nothing"):
        job.wait(120)


def made(root: Path, state: str = "running", **changes: Any) -> Job:
    """A run folder of which job.json says this."""
    root.mkdir()
    write_status(root, state, 0, 3)
    record = {
        "format": 1, "clips": "../clips", "options": [], "pid": os.getpid(), "host": socket.gethostname(),
        "started": process_start(os.getpid()), "log_from": 0,
        "launched": (datetime.now(UTC) - timedelta(seconds=5)).isoformat(),
    }  # fmt: skip
    write_json(root / "job.json", {**record, **changes})
    return Job(root)


def test_a_pid_that_was_given_to_another_process(tmp_path: Path) -> None:
    assert made(tmp_path / "own").look().here
    reused = made(tmp_path / "reused", started="another boot 1")
    assert reused.state == "killed"
    with pytest.raises(MgkitError, match="cannot be stopped"):
        reused.ask_to_stop()
    assert made(tmp_path / "never", started=None, pid=2**22 + 1).state == "killed"


def test_of_two_launches_at_once_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "run"
    root.mkdir()
    wait = jobs._held

    @contextmanager
    def held(folder: Path) -> Iterator[None]:
        folder.rmdir()
        made(folder)  # the other one came first, and has let go of the folder again
        with wait(folder):
            yield

    monkeypatch.setattr(jobs, "_held", held)
    monkeypatch.setattr(jobs.subprocess, "Popen", lambda *_, **__: pytest.fail("a second training"))
    with pytest.raises(MgkitError, match="is being trained already"):
        start_job(root, "../clips", [], {"alpha": 1})
    assert not (root / "recipe.json").exists(), "the first one reads its own recipe, not that of the second"


def test_a_training_on_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = made(tmp_path / "far", host="elsewhere")
    state = job.look()
    assert (state.name, state.here) == ("running", False)
    assert re.fullmatch(r"on elsewhere, heard of \d s ago", state.message)
    with pytest.raises(MgkitError, match="cannot be stopped from here: it is running"):
        job.stop()
    monkeypatch.setattr(jobs, "SILENT", -1.0)
    assert job.state == "silent"


def test_last_words_of_a_process(tmp_path: Path) -> None:
    job = made(tmp_path / "run", started="gone", launched=datetime.now(UTC).isoformat(), log_from=4)
    (job.root / "train.log").write_text("old\nmgkit: there is no clip\n")
    assert job.look() == ("failed", "there is no clip", False)
    (job.root / "train.log").write_text("old\nTraceback (most recent call last):\n  x\nMemoryError: 3 GB\n")
    assert job.look() == ("failed", "MemoryError: 3 GB", False)


def test_a_run_that_was_not_launched(tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match="there is no run folder"):
        attach(tmp_path / "none")
    root = tmp_path / "run"
    root.mkdir()
    assert attach(root).state == "none"
    write_status(root, "running", 0, 3)
    with exclusive(root):
        assert attach(root).state == "running"  # by its lock, or by how young its last word is
    write_json(root / "status.json", {"state": "running", "updated": "2020-01-01T00:00:00+00:00"})
    assert attach(root).state == "killed"
    write_status(root, "finished", 3, 3)
    assert attach(root).state == "finished"
    with pytest.raises(MgkitError, match="was not launched"):
        attach(root).resume()


def test_a_copied_folder_is_not_that_of_the_training(tmp_path: Path) -> None:
    """Else a stop of the copy would end the training of the original."""
    root = tmp_path / "run"
    root.mkdir()
    made(tmp_path / "old")  # from before the folder was noted
    assert attach(tmp_path / "old").look().here
    shutil.copytree(tmp_path / "old", root, dirs_exist_ok=True)
    record = json.loads((root / "job.json").read_text())
    write_json(root / "job.json", {**record, "folder": root.stat().st_ino})
    assert attach(root).look().here
    shutil.copytree(root, tmp_path / "copy")
    assert attach(tmp_path / "copy").look()[::2] == ("killed", False)
    with pytest.raises(MgkitError, match="cannot be stopped from here"):
        attach(tmp_path / "copy").stop(hard=True)
    root.rename(tmp_path / "moved")
    assert attach(tmp_path / "moved").look().here


def test_a_launch_with_other_settings_leaves_the_run_that_is_there_alone(tmp_path: Path) -> None:
    clips = tiny_clips(tmp_path / "clips", counts={"train": 1, "val": 1}, videos=False)
    small, out = {**LONG, "epochs": 2}, tmp_path / "run"
    first = launch(clips, recipes.pose_small(**small), out, device="cpu", workers=0)
    first.wait(120)
    before = {name: (out / name).read_bytes() for name in ("job.json", "recipe.json")}
    with pytest.raises(MgkitError, match=r"another run, which differs in settings\.seed \(0 there, 4 now\)"):
        launch(clips, recipes.pose_small(**small), out, seed=4)
    with pytest.raises(MgkitError, match=r"another run, which differs in recipe\.alpha"):
        launch(clips, recipes.pose_small(**small, alpha=0.3), out)
    with pytest.raises(MgkitError, match=r"another run, which differs in settings\.val_split"):
        launch(clips, recipes.pose_small(**small), out, val_split=None)
    other = tiny_clips(tmp_path / "other", counts={"train": 2, "val": 1}, videos=False)
    with pytest.raises(MgkitError, match=r"another run, which differs in data\.fingerprint"):
        launch(other, recipes.pose_small(**small), out)
    assert before == {name: (out / name).read_bytes() for name in before}


def test_a_launch_goes_on_with_a_run_that_was_begun_otherwise(clips: Clips, tmp_path: Path) -> None:
    """By mg.train: no recipe.json is there. One of another recipe that was refused before is not in the way."""
    small, out = recipes.pose_small(**{**LONG, "epochs": 2}), tmp_path / "run"
    mg.train(clips, small, out, device="cpu", workers=0, progress=False)
    with pytest.raises(MgkitError, match=r"recipe\.alpha"):
        launch(clips, dataclasses.replace(small, alpha=0.3), out)
    write_status(out, "interrupted", 1, 2)
    launch(clips, small, out, device="cpu", workers=0).wait(120)


def test_a_broken_record_says_what_to_do(tmp_path: Path) -> None:
    job = made(tmp_path / "run")
    (job.root / "job.json").write_text("{")
    with pytest.raises(MgkitError, match=r"job\.json is not valid JSON .*: delete the file and launch again"):
        job.look()


def test_a_training_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = made(tmp_path / "run")

    def refused(*arguments: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", refused)
    with pytest.raises(MgkitError, match=r"belongs to the user \w+, who can stop it with `mgkit stop"):
        job.ask_to_stop()


def test_clips_that_have_moved_are_told_before_a_process_is_started(tmp_path: Path) -> None:
    job = made(tmp_path / "run", state="interrupted", started="gone")
    with pytest.raises(MgkitError, match=r"the clips of .*run are no longer at .*launch it again"):
        job.resume()


def test_words_that_the_command_line_refuses_are_a_failure(tmp_path: Path) -> None:
    job = made(tmp_path / "run", started="gone", launched=datetime.now(UTC).isoformat())
    (job.root / "train.log").write_text(
        "usage: mgkit train\nmgkit train: error: argument --seed: invalid value\n"
    )
    assert job.look() == ("failed", "argument --seed: invalid value", False)
