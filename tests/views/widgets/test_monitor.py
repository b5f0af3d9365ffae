from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError
from mgkit.files import write_json
from mgkit.results.run.files import append_history
from mgkit.results.run.folder import Run
from mgkit.results.run.jobs import Job
from mgkit.results.run.status import write_live, write_status
from mgkit.results.scores.scores import import_scores
from mgkit.views.widgets import TrainingMonitor
from mgkit.views.widgets.monitor.monitor import snapshot
from tests.tiny import tiny_clips
from tests.training.training import fit, tiny


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of three stages."""
    folder = tmp_path_factory.mktemp("staged")
    return fit(tiny_clips(folder / "clips"), tiny(epochs=1), folder / "run", val_split="val")


@pytest.fixture
def root(staged: Run, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    return Path(shutil.copytree(staged.root, tmp_path / "run"))


def threads() -> int:
    return sum(thread.name == "mgkit monitor" for thread in threading.enumerate())


def until(fact: Any) -> None:
    deadline = time.monotonic() + 60
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_folder_that_is_not_there_yet_is_waited_for(root: Path, tmp_path: Path) -> None:
    monitor = TrainingMonitor(tmp_path / "later", interval=0.01)
    try:
        assert (monitor.shown["state"], monitor.shown["parts"]) == ("none", [])
        with pytest.raises(MgkitError, match="there is no run folder"):
            monitor.to_figure()
        root.rename(tmp_path / "later")
        until(lambda: monitor.shown["state"] == "finished")
    finally:
        monitor.close()


def test_the_thread_ends_with_the_widget(root: Path) -> None:
    before = threads()
    monitor = TrainingMonitor(root, interval=0.01)
    assert threads() == before + 1
    monitor.close()
    until(lambda: threads() == before)
    with pytest.raises(MgkitError, match="interval is 0"):
        TrainingMonitor(root, interval=0)


def test_stages_and_curves_of_a_finished_run(staged: Run) -> None:
    monitor = TrainingMonitor(staged, interval=60)
    monitor.close()
    parts = monitor.shown["parts"]
    assert [part["name"] for part in parts] == ["rgb", "pose", "joint"]
    assert all(part["state"] == "finished" and not part["live"] for part in parts)
    history = staged.history()
    assert parts[-1]["curves"]["loss"] == history["loss"].tolist()
    assert parts[-1]["epochs_done"] == history["epoch"].tolist()
    assert parts[-1]["current"]
    assert monitor.to_figure().data["run"].nunique() == 3


def test_an_epoch_under_way(root: Path) -> None:
    (root / "history.csv").unlink()
    append_history(root, {"epoch": 1, "loss": 2.0})
    write_status(root, "running", 1, 3)
    write_live(root, {"epoch": 2, "epochs": 3, "loss": 1.0})
    monitor = TrainingMonitor(root, interval=60)
    monitor.close()
    assert monitor.shown["state"] == "running"
    assert monitor.shown["parts"][-1]["live"]["loss"] == 1.0
    write_status(root, "running", 2, 3)
    monitor.refresh()
    assert monitor.shown["parts"][-1]["live"] == {}  # of an epoch that has ended


def test_stages_that_have_not_begun(root: Path) -> None:
    shutil.rmtree(root / "stages" / "pose")
    (root / "history.csv").unlink()
    write_status(root, "running", 0, 3)
    (root / "live.json").unlink(missing_ok=True)
    monitor = TrainingMonitor(root, interval=60)
    monitor.close()
    parts = monitor.shown["parts"]
    assert [part["state"] for part in parts] == ["finished", "waiting", "waiting"]
    assert [part["current"] for part in parts] == [False, True, False]


def test_a_broken_file_is_told_and_not_raised(root: Path) -> None:
    (root / "history.csv").write_text("nonsense\n1\n")
    monitor = TrainingMonitor(root, interval=60)
    monitor.close()
    assert "history.csv" in monitor.shown["message"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("status.json", '{"state": "running"}', "epoch and epochs"),
        ("status.json", '{"state": "running", "epoch": "2", "epochs": 3}', "epoch and epochs"),
        ("status.json", "[1]", "status.json"),
        ("live.json", "[1]", "live.json"),
        ("job.json", '{"pid": "x"}', "job.json"),
    ],
)
def test_files_that_make_no_sense_do_not_end_the_monitor(
    root: Path, name: str, content: str, message: str
) -> None:
    monitor = TrainingMonitor(root, interval=0.01)
    try:
        there = (root / name).read_text() if (root / name).is_file() else None
        (root / name).write_text(content)
        until(lambda: message in monitor.shown["message"])
        (root / name).unlink() if there is None else (root / name).write_text(there)
        until(lambda: monitor.shown["message"] == "" and monitor.shown["state"] == "finished")
    finally:
        monitor.close()


def test_a_loss_that_is_no_number(root: Path) -> None:
    write_status(root, "running", 1, 3)
    write_live(root, {"epoch": 2, "epochs": 3, "loss": float("nan"), "clips_per_second": float("inf")})
    monitor = TrainingMonitor(root, interval=60)
    monitor.close()
    assert json.loads(json.dumps(monitor.shown, allow_nan=False)) == monitor.shown
    assert monitor.shown["parts"][-1]["live"]["loss"] is None
    write_live(root, {"epoch": "two", "loss": 1.0})
    monitor.refresh()
    assert monitor.shown["parts"][-1]["live"] == {}


def test_a_button_that_cannot_do_it_says_why(root: Path) -> None:
    monitor = TrainingMonitor(root, interval=60)
    monitor.close()
    monitor._received(None, {"act": "stop"}, [])
    assert "cannot be stopped from here: it is finished" in monitor.problem
    monitor._received(None, {"act": "resume"}, [])
    assert "was not launched" in monitor.problem


def test_a_training_is_stopping_until_its_process_has_ended(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the press of the button, and where somebody else has stopped it: it has written so, and still runs."""
    write_status(root, "running")
    process = subprocess.Popen([sys.executable, "-c", "input()", str(root.resolve())], stdin=subprocess.PIPE)
    record = {"format": 1, "clips": "c", "options": [], "host": socket.gethostname(), "log_from": 0}
    write_json(root / "job.json", {**record, "pid": process.pid})
    monitor = TrainingMonitor(root, interval=60)
    monitor.close()
    try:
        assert (monitor.shown["state"], monitor.shown["can_stop"]) == ("running", True)
        assert monitor.shown["stop"] == f"mgkit stop {root.resolve()}"
        asked: list[Path] = []
        monkeypatch.setattr(Job, "ask_to_stop", lambda job: asked.append(job.root))
        monitor._received(None, {"act": "stop"}, [])
        assert (len(asked), monitor.heard, monitor.problem) == (1, 1, "")
        assert (monitor.shown["state"], monitor.shown["can_stop"]) == ("stopping", False)
        assert snapshot(monitor.job)["state"] == "running", "another monitor has not asked"
        write_status(root, "interrupted", message="resume it")
        for stopped in (None, process.pid):
            assert snapshot(monitor.job, stopped)["state"] == "stopping"
    finally:
        process.communicate(b"\n")
    monitor.refresh()
    assert (monitor.shown["state"], monitor.shown["message"]) == ("interrupted", "resume it")
    assert monitor.shown["can_resume"]


def test_the_picture_that_stands_in(root: Path, tmp_path: Path) -> None:
    for place, wanted in ((root, "<img"), (tmp_path / "none", "before the end of the first epoch")):
        monitor = TrainingMonitor(Job(place), interval=60)
        bundle = monitor._repr_mimebundle_()
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        monitor.close()
        assert wanted in data["text/html"]


def test_a_run_that_was_made_of_scores_has_nothing_to_follow(tmp_path: Path) -> None:
    run = import_scores(
        tmp_path / "scores", name="theirs", clip_ids=["a", "b"], labels=[0, 1], probabilities=np.eye(2),
        classes=Classes(("x", "y")),
    )  # fmt: skip
    widget = TrainingMonitor(run)
    assert (widget.shown["state"], widget.shown["parts"]) == ("finished", [])
    assert "imported from scores" in widget.shown["message"]
    widget.close()
