"""status.json and live.json: written whole, kept true on a full disk, and never in a folder that is gone."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mgkit.errors import MgkitError
from mgkit.files import write_json
from mgkit.results.run.status import last_update, read_live, read_status, write_live, write_status


def test_what_is_not_given_stays(tmp_path: Path) -> None:
    write_status(tmp_path, "running")  # a launch, before the training knows how many epochs there are
    assert (read_status(tmp_path)["epoch"], read_status(tmp_path)["epochs"]) == (0, 0)
    write_status(tmp_path, "running", 2, 3)
    write_status(tmp_path, "failed", message="out of memory")
    status = read_status(tmp_path)
    assert (status["state"], status["epoch"], status["epochs"]) == ("failed", 2, 3)
    assert status["message"] == "out of memory"
    assert datetime.fromisoformat(status["updated"]).tzinfo == UTC
    write_status(tmp_path, "running", epochs=5)
    assert (read_status(tmp_path)["epoch"], read_status(tmp_path)["message"]) == (2, "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"state": "lost"}', r"status\.json: state 'lost' is not one of running"),
        ('{"state": "running", "epoch": 1}', "epoch and epochs must be whole numbers"),
        ('{"state": "running", "epoch": 1, "epochs": true}', "epoch and epochs must be whole numbers"),
        ("[]", "must hold a JSON object"),
        ('{"state', "is not valid JSON"),
    ],
)
def test_a_broken_file_is_named_and_written_again(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "status.json").write_text(content)
    with pytest.raises(MgkitError, match=message):
        read_status(tmp_path)
    write_status(tmp_path, "running", epochs=3)
    assert read_status(tmp_path)["epochs"] == 3


def test_unknown_states_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match="no state 'paused'"):
        write_status(tmp_path, "paused", 0, 1)
    with pytest.raises(MgkitError, match=r"status\.json is missing"):
        read_status(tmp_path)


def test_on_a_full_disk_the_end_is_written_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_status(tmp_path, "running", 1, 3, "a long message " * 20)

    def full(*arguments: Any, **options: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkstemp", full)
    for state in ("running", "finished"):
        with pytest.raises(MgkitError, match="No space left on device"):
            write_status(tmp_path, state, 2, 3)
    write_status(tmp_path, "failed", message="no space")
    status = read_status(tmp_path)
    assert (status["state"], status["epoch"], status["message"]) == ("failed", 1, "no space")


@pytest.mark.parametrize("state", ["running", "failed", "interrupted"])
def test_a_folder_that_is_gone_is_not_made_again(tmp_path: Path, state: str) -> None:
    root = tmp_path / "run"
    if state == "running":
        with pytest.raises(MgkitError, match="is gone"):
            write_status(root, state, 0, 1)
    else:
        write_status(root, state, 0, 1)  # the error that ended the training is raised by whoever calls this
    assert not root.exists()


def test_the_last_update_is_that_of_the_whole_or_of_a_stage(tmp_path: Path) -> None:
    assert last_update(tmp_path) is None
    write_status(tmp_path, "running", 0, 3)
    hour = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    write_json(tmp_path / "status.json", {**read_status(tmp_path), "updated": hour})
    assert 3590 < last_update(tmp_path) < 3700  # type: ignore[operator]
    stage = tmp_path / "stages" / "rgb"
    stage.mkdir(parents=True)
    minute = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    write_live(stage, {"epoch": 1, "updated": minute})
    assert 59 < last_update(tmp_path) < 600  # type: ignore[operator]
    (stage / "live.json").write_text("{")
    assert last_update(tmp_path) > 3590  # type: ignore[operator]


def test_live_is_empty_before_the_first_step_and_leaves_no_other_file(tmp_path: Path) -> None:
    assert read_live(tmp_path) == {}
    write_live(tmp_path, {"epoch": 1, "loss": 0.5})
    assert (
        read_live(tmp_path) == json.loads((tmp_path / "live.json").read_text()) == {"epoch": 1, "loss": 0.5}
    )
    assert [path.name for path in tmp_path.iterdir()] == ["live.json"]
