from __future__ import annotations

import re
import sys

import pytest

from mgkit.progress import Progress, live


def test_a_log_gets_lines_and_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    assert not live()
    with Progress("train") as bar:
        bar.advance(3, 10)
        bar.say("epoch 1")
    assert capsys.readouterr().err == "epoch 1\n"


def test_a_terminal_gets_a_bar_and_lines_above_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert live()
    with Progress("train") as bar:
        bar.advance(3, 10, "loss 1.0")
        bar.say("epoch 1")
        bar.advance(7, 10)
    said = capsys.readouterr().err
    assert "train" in said
    assert "/10" in said
    assert "epoch 1\n" in said


def test_a_bar_has_the_time_left_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress("prepare") as bar:
        for _ in range(4):
            bar.advance(2, 10, "clip")
            bar._bar.refresh()
        plain = capsys.readouterr().err.split("\r")
        bar.advance(1, 10, "loss 1.0, 1:15 left")
        bar._bar.refresh()
        told = capsys.readouterr().err.split("\r")
    assert re.search(r"8/10 .*, \d\d:\d\d left, clip", plain[-1])
    assert re.search(r"9/10 .*, loss 1.0, 1:15 left", told[-1])
    assert told[-1].count("left") == 1


@pytest.mark.parametrize("after", [0.0, 100.0])
def test_what_is_done_at_once_gets_no_bar(
    after: float, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress("compare", after=after) as bar:
        bar.advance(1, 2)
        bar.advance(1, 2)
    assert ("compare" in capsys.readouterr().err) == (after == 0)


def test_a_bar_goes_along_a_loop_and_is_closed_where_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bar, moved = Progress("compare"), []
    for item in bar.each("abc"):
        moved.append((item, bar._done))
    assert moved == [("a", 0), ("b", 1), ("c", 2)]
    assert bar._done == 3
    assert bar._bar.disable  # closed


def test_nothing_is_shown_where_nothing_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("train", show=False) as bar:
        bar.advance(1, 1)
        bar.say("line")
    assert capsys.readouterr().err == ""


def test_a_log_hears_of_a_long_epoch_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("mgkit.progress.time.monotonic", lambda: now[0])
    with Progress("rgb 1/3") as bar:
        for second in range(1, 151):
            now[0] = float(second)
            bar.advance(2, 1000, "loss 1.000")
    assert capsys.readouterr().err.splitlines() == [
        "rgb 1/3: 120 of 1000 clips, 2.0 clips/s, 7 min left, loss 1.000",
        "rgb 1/3: 240 of 1000 clips, 2.0 clips/s, 6 min left, loss 1.000",
    ]
