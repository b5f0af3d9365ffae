"""Trainings in processes of their own: launched, killed, stopped, resumed and found again."""

from __future__ import annotations

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
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import psutil
import pytest

import mgkit as mg
from mgkit.cli import main
from mgkit.data.clips import Clips, load_clips
from mgkit.errors import MgkitError
from mgkit.files import exclusive, write_json
from mgkit.results.run import jobs
from mgkit.results.run.jobs import Job, attach, start_job
from mgkit.results.run.status import read_status, write_status
from mgkit.training import recipes
from mgkit.training.launch import launch
from tests.tiny import tiny_clips

LONG: dict[str, Any] = {
    "pose_frames": 8, "heatmap_size": 8, "pose_width": 4, "pose_blocks": (1, 1, 1), "embedding_dim": 8,
    "batch_size": 4, "epochs": 100_000, "warmup_epochs": 0,
}  # fmt: skip
SHORT = recipes.pose_small(**{**LONG, "epochs": 2})


def until(fact: Callable[[], Any], job: Job) -> None:
    deadline = time.monotonic() + 120
    while not fact():
        assert time.monotonic() < deadline, f"{job}\n{job.log()}"
        time.sleep(0.05)


def epochs(job: Job) -> int:
    """Epochs in the history; 0 as long as there is no run yet."""
    return len(job.run().history()) if (job.root / "config.json").is_file() else 0


@pytest.fixture
def clips(tmp_path: Path) -> Clips:
    return tiny_clips(tmp_path / "clips", counts={"train": 1, "val": 1}, videos=False)


@pytest.fixture
def launched(clips: Clips, tmp_path: Path) -> Iterator[Job]:
    job = launch(clips, recipes.pose_small(**LONG), tmp_path / "run", device="cpu", workers=0)
    yield job
    if job.look().here:
        job.stop(hard=True)


@pytest.mark.slow
def test_kill_and_stop_and_resume(launched: Job, clips: Clips, tmp_path: Path) -> None:
    job = attach(launched.root)
    assert job.state == "running"  # before it has written anything
    until(lambda: epochs(job) > 0, job)
    live = job.run().live()
    assert live["stage"] == "pose"
    assert live["of"] == 4
    assert {"loss", "train_top1_pose", "clips_per_second", "learning_rate", "seconds_left"} <= set(live)
    with pytest.raises(MgkitError, match=r"is being trained already \(process \d+\)"):
        launch(clips, recipes.pose_small(**LONG), tmp_path / "run", device="cpu", workers=0)

    record = json.loads((job.root / "job.json").read_text())
    os.kill(record["pid"], signal.SIGKILL)
    until(lambda: job.state == "killed", job)
    assert job.run().status()["state"] == "running"  # all that it could still say
    assert "without an error message" in job.look().message
    with pytest.raises(MgkitError, match="cannot be stopped from here: it is killed"):
        job.stop()

    done = int(job.run().history()["epoch"].max())
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as between the cells of a kernel
    try:
        assert main(["resume", str(job.root)]) == 0
    finally:
        signal.signal(signal.SIGINT, before)
    assert job.state == "running"
    until(lambda: job.state == "running" and job.run().history()["epoch"].max() > done, job)
    assert job.stop().name == "interrupted", "though its process was born ignoring Ctrl-C"
    assert job.run().status()["state"] == "interrupted"
    assert "interrupted" in job.log()
    job.resume()
    assert job.stop().name == "interrupted", "at once, before its process could hear it"


def from_a_shell(*words: str) -> None:
    sys.exit(main(words))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, forkserver: ForkServerContext) -> Job:
    """A training that was launched from a shell, by a process that ended long before it; not to be written to."""
    root = tmp_path_factory.mktemp("finished")
    clips = tiny_clips(root / "clips", counts={"train": 1, "val": 1}, videos=False)
    write_json(root / "recipe.json", SHORT.to_dict())
    words = ["launch", str(clips.root), str(root / "run"), "--recipe-file", str(root / "recipe.json")]
    shell = forkserver.Process(target=from_a_shell, args=(*words, "--device", "cpu", "--workers", "0"))
    shell.start()
    shell.join()
    assert shell.exitcode == 0
    attach(root / "run").wait(120)
    return attach(root / "run")


@pytest.mark.slow
def test_the_launching_process_may_end(finished: Job, capsys: pytest.CaptureFixture[str]) -> None:
    """And from a shell: launch, status; its end is that of the command, not of the training."""
    run = finished.run()
    assert run.status()["state"] == "finished"
    assert len(run.history()) == 2
    with pytest.raises(MgkitError, match="is finished"):
        finished.resume()
    assert main(["status", str(finished.root)]) == 0
    assert "finished" in capsys.readouterr().out


@pytest.mark.slow
def test_what_goes_wrong_in_the_process_is_reported(clips: Clips, tmp_path: Path) -> None:
    job = launch(clips, recipes.pose_small(**LONG), tmp_path / "run", train_split="nothing", device="cpu")
    with pytest.raises(MgkitError, match=r"failed: .*nothing"):
        job.wait(120)


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def made(tmp_path: Path, processes: list[subprocess.Popen[bytes]]) -> Callable[..., Job]:
    """Makes a run folder with a job.json of a process that names it on its command line."""

    def make(name: str, state: str = "running", **changes: Any) -> Job:
        root = tmp_path / name
        root.mkdir()
        write_status(root, state, 0, 3)
        if "pid" not in changes:
            words = [sys.executable, "-c", "import time; time.sleep(600)", str(root)]
            processes.append(subprocess.Popen(words))
            changes["pid"] = processes[-1].pid
        record = {
            "format": 1,
            "clips": "../clips",
            "options": [],
            "host": socket.gethostname(),
            "log_from": 0,
        }
        write_json(root / "job.json", {**record, **changes})
        return Job(root)

    return make


def test_a_process_that_was_just_started_may_have_no_command_line_yet(
    made: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = made("just started", pid=os.getpid())
    assert job.state == "killed"
    monkeypatch.setattr(psutil.Process, "cmdline", lambda process: [])
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: time.time() - 1)
    assert job.state == "running"
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: time.time() - 3600)
    assert job.state == "killed"


def test_a_pid_that_was_given_to_another_process(made: Callable[..., Job]) -> None:
    assert made("own").look().here
    reused = made("reused", pid=os.getpid())
    assert reused.state == "killed"
    with pytest.raises(MgkitError, match="cannot be stopped"):
        reused.ask_to_stop()
    assert made("never", pid=2**22 + 1).state == "killed"


def test_a_process_that_has_ended_and_that_nobody_has_reaped(
    made: Callable[..., Job], processes: list[subprocess.Popen[bytes]]
) -> None:
    job = made("run")
    os.kill(processes[-1].pid, signal.SIGKILL)
    until(lambda: not job.look().here, job)
    assert processes[-1].returncode is None
    assert job.state == "killed"


def test_a_process_that_has_ended_is_reaped_though_nobody_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs.sys, "executable", shutil.which("true"))
    job = start_job(tmp_path, "../clips", [], {})
    pid = json.loads((tmp_path / "job.json").read_text())["pid"]
    until(lambda: not psutil.pid_exists(pid), job)  # a zombie still exists


def test_a_stop_before_the_process_hears_one_is_kept_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the kernel, as between its cells, ignores Ctrl-C, and its child would."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setattr(jobs.sys, "executable", str(program))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        start_job(tmp_path, "../clips", [], {})
    finally:
        signal.signal(signal.SIGINT, before)
    pid = json.loads((tmp_path / "job.json").read_text())["pid"]
    os.kill(pid, signal.SIGINT)
    if Path("/proc/self/status").is_file():
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert int(fields["ShdPnd"], 16) == 1 << (signal.SIGINT - 1)
    os.kill(pid, signal.SIGKILL)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == blocked


def test_of_two_launches_at_once_one_is_refused(
    made: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "run"
    root.mkdir()
    wait = jobs.exclusive

    @contextmanager
    def held(folder: Path, **options: Any) -> Iterator[None]:
        folder.rmdir()
        made("run")  # the other one came first, and has let go of the folder again
        with wait(folder, **options):
            yield

    monkeypatch.setattr(jobs, "exclusive", held)
    popen = jobs.subprocess.Popen
    monkeypatch.setattr(
        jobs.subprocess, "Popen",
        lambda words, **options: pytest.fail("a second training") if "train" in words else popen(words, **options),
    )  # fmt: skip
    with pytest.raises(MgkitError, match="is being trained already"):
        start_job(root, "../clips", [], {"alpha": 1})
    assert not (root / "recipe.json").exists(), "the first one reads its own recipe, not that of the second"


def test_a_training_on_another_machine(made: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    job = made("far", host="elsewhere", pid=2**22 + 1)
    state = job.look()
    assert (state.name, state.here) == ("running", False)
    assert re.fullmatch(r"on elsewhere, last update \d+ s ago", state.message)
    with pytest.raises(MgkitError, match="cannot be stopped from here: it is running"):
        job.stop()
    with pytest.raises(MgkitError, match="is being trained already"):
        start_job(job.root, "../clips", [])
    monkeypatch.setattr(jobs, "FAR", -1.0)
    assert job.state == "killed"
    with exclusive(job.root):  # a lock that the file system shows here, too
        assert job.state == "running"


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("mgkit: there is no clip\n", ("failed", "there is no clip")),
        ("Traceback (most recent call last):\n  x\nMemoryError: 3 GB\n", ("failed", "MemoryError: 3 GB")),
        (
            "usage: mgkit train\nmgkit train: error: argument --seed: invalid value\n",
            ("failed", "argument --seed: invalid value"),
        ),
        ("mgkit: interrupted\n", ("interrupted", "resume with the same call, or the same command")),
        (
            "epoch 3/9\n",
            ("killed", "stopped without an error message (killed, or out of memory?): resume it"),
        ),
    ],
)
def test_last_words_of_a_process_that_wrote_no_status(
    made: Callable[..., Job], log: str, expected: tuple[str, str]
) -> None:
    job = made("run", pid=2**22 + 1, log_from=len("mgkit: of the process before\n"))
    (job.root / "train.log").write_text(f"mgkit: of the process before\n{log}")
    assert job.look() == (*expected, False)


def test_a_run_that_was_not_launched(tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match="there is no run folder"):
        attach(tmp_path / "none")
    root = tmp_path / "run"
    root.mkdir()
    assert attach(root).state == "none"
    write_status(root, "running", 0, 3)
    with exclusive(root):
        assert "not launched" in attach(root).look().message
    assert attach(root).look().message.startswith("last update")  # it may be checking its videos
    write_json(root / "status.json", {**read_status(root), "updated": "2020-01-01T00:00:00+00:00"})
    assert attach(root).state == "killed"
    write_status(root, "finished", 3, 3)
    assert attach(root).state == "finished"
    with pytest.raises(MgkitError, match="was not launched"):
        attach(root).resume()


def test_a_copied_folder_is_not_that_of_the_training(made: Callable[..., Job], tmp_path: Path) -> None:
    """Else a stop of the copy would end the training of the original."""
    job = made("run")
    assert job.look().here
    shutil.copytree(job.root, tmp_path / "copy")
    assert attach(tmp_path / "copy").look()[::2] == ("killed", False)
    with pytest.raises(MgkitError, match="cannot be stopped from here"):
        attach(tmp_path / "copy").stop(hard=True)


@pytest.mark.slow
def test_a_launch_with_other_settings_leaves_the_run_that_is_there_alone(
    finished: Job, tmp_path: Path
) -> None:
    clips, out = load_clips(finished.root.with_name("clips")), finished.root
    again = launch(clips, SHORT, out, device="cpu", workers=0)
    assert again.state == "finished"
    before = {name: (out / name).read_bytes() for name in ("job.json", "recipe.json")}
    with pytest.raises(MgkitError, match=r"another run, which differs in settings\.seed \(0 there, 4 now\)"):
        launch(clips, SHORT, out, seed=4)
    with pytest.raises(MgkitError, match=r"another run, which differs in recipe\.refinement\.alpha"):
        launch(clips, SHORT.with_(alpha=0.3), out)
    with pytest.raises(MgkitError, match=r"another run, which differs in settings\.val_split"):
        launch(clips, SHORT, out, val_split=None)
    other = tiny_clips(tmp_path / "other", counts={"train": 2, "val": 1}, videos=False)
    with pytest.raises(MgkitError, match=r"another run, which differs in data\.fingerprint"):
        launch(other, SHORT, out)
    assert before == {name: (out / name).read_bytes() for name in before}


@pytest.mark.slow
def test_a_launch_resumes_a_run_that_was_begun_otherwise(clips: Clips, tmp_path: Path) -> None:
    """By mg.train: no recipe.json is there. One of another recipe that was refused before is not in the way."""
    out = tmp_path / "run"
    mg.train(clips, SHORT, out, device="cpu", workers=0, progress=False)
    with pytest.raises(MgkitError, match=r"recipe\.refinement\.alpha"):
        launch(clips, SHORT.with_(alpha=0.3), out)
    write_status(out, "interrupted", 1, 2)
    launch(clips, SHORT, out, device="cpu", workers=0).wait(120)


def test_a_broken_record_says_what_to_do(made: Callable[..., Job]) -> None:
    job = made("run", pid=1)
    (job.root / "job.json").write_text("{")
    with pytest.raises(MgkitError, match=r"job\.json is not valid JSON .*: delete the file and launch again"):
        job.look()


def test_a_training_of_another_user(made: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    job = made("run")

    def refused(*arguments: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", refused)
        with pytest.raises(MgkitError, match=r"belongs to another user, who can stop it with `mgkit stop"):
            job.ask_to_stop()


def test_clips_that_have_moved_are_reported_before_a_process_is_started(made: Callable[..., Job]) -> None:
    job = made("run", state="interrupted", pid=2**22 + 1)
    with pytest.raises(MgkitError, match=r"the clips of .*run are no longer at .*launch it again"):
        job.resume()
