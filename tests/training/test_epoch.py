from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mgkit.progress import Progress
from mgkit.results.run.files import read_dict
from mgkit.training import epoch as live
from mgkit.training.epoch import Live, still_rising

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


def test_a_training_that_was_still_rising_says_so() -> None:
    def history(*accuracies: float) -> pd.DataFrame:
        return pd.DataFrame({"epoch": range(len(accuracies)), "train_top1_pose": accuracies})

    rising = still_rising(history(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.72, 0.8, 0.84))
    assert "71.0 to 82.0 % over the last 4 epochs" in rising
    assert "steps" in rising
    assert still_rising(history(*[0.5] * 10)) == ""
    assert still_rising(history(*np.linspace(0.9, 1, 10))) == ""  # as good as it gets
    assert still_rising(history(0.1, 0.9)) == ""  # too short to say
    assert still_rising(pd.DataFrame({"epoch": range(10)})) == ""
