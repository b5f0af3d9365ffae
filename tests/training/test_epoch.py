from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mgkit.progress import Progress
from mgkit.results.run.files import read_dict
from mgkit.training import epoch as live
from mgkit.training.epoch import Live

HEAD = {"stage": "pose", "epoch": 2, "epochs": 3, "learning_rate": 0.1, "steps": 3, "of": 10}


def one(out: Path, **options: Any) -> Live:
    return Live(out, HEAD, lambda: {"loss": 1.5}, Progress("x", show=False), **options)


def test_the_first_and_the_last_step_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    voice = one(tmp_path)
    now[0] = 0.25
    voice.step(4)
    assert read_dict(tmp_path / "live.json")["clips"] == 4
    now[0] = 0.5
    voice.step(4)
    assert read_dict(tmp_path / "live.json")["clips"] == 4  # not a second later
    now[0] = 1.0
    voice.step(2)
    word = read_dict(tmp_path / "live.json")
    assert (word["step"], word["clips"], word["clips_per_second"]) == (3, 10, 10.0)
    assert word["seconds_left"] == 1.0  # one epoch more, of ten clips
    assert word["loss"] == 1.5
    assert [path.name for path in tmp_path.iterdir()] == ["live.json"]


def test_a_full_disk_does_not_stop_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(live, "write_live", full)
    one(tmp_path).step(4)
    one(tmp_path / "gone").step(4)


def test_an_epoch_that_was_begun_before(tmp_path: Path) -> None:
    one(tmp_path, step=1, clips=4).step(4)
    assert read_dict(tmp_path / "live.json")["clips"] == 8
