from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from mgkit.cli.data import READER_NAMES
from mgkit.data.readers import RawDataset
from mgkit.data.readers import options as reader_options
from mgkit.data.readers.options import READERS, get_reader, listed, parse_options
from mgkit.errors import MgkitError


def read_made(
    source: Path,
    *,
    cache: Path | None = None,
    first_frame: int = 0,
    classes: Sequence[str] | None = None,
    videos: str | Path | None = None,
    side: Literal["left", "right"] = "left",
    rate: float | None = None,
    hands: bool = True,
) -> RawDataset:
    """Read a made layout.

    Args:
        source: where.
        cache: a folder for slow conversions.
        first_frame: number of the first frame
            in the label files.
        classes: names in label order, 100 % of them.
        videos: folder.
        side: which.
        rate: frames per second.
        hands: take the hands too.

    Raises:
        MgkitError: never.
    """
    raise NotImplementedError


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_options, "get_reader", lambda name: read_made)


def test_words_become_values_of_the_annotated_kinds(tmp_path: Path) -> None:
    words = "--first-frame 1 --classes a,b --videos v --side right --rate 29.97 --no-hands".split()
    assert parse_options("made", words) == {
        "first_frame": 1, "classes": ["a", "b"], "videos": "v", "side": "right", "rate": 29.97, "hands": False,
    }  # fmt: skip
    assert parse_options("made", []) == {}
    (tmp_path / "names.txt").write_text("touch chin\nrub, hands\n")
    given = parse_options("made", ["--classes", str(tmp_path / "names.txt")])
    assert given == {"classes": ["touch chin", "rub, hands"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--speed 3", r"the reader made has no option '--speed'; it has --classes, --first-frame, "),
        ("--cache x", "has no option '--cache'"),
        ("--first-frame x", "'x' is not a NUMBER; see mgkit prepare made --help"),
        ("--side up", "'up' is not a {left,right}"),
        ("--first-frame", "expected one argument"),
        ("--first 3", "has no option '--first'"),
    ],
)
def test_bad_words_are_named(words: str, message: str) -> None:
    with pytest.raises(MgkitError, match=message):
        parse_options("made", words.split())


def test_help_is_the_docstring(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_options("made", ["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "Read a made layout." in text
    assert "number of the first frame in the label files. (default: 0)" in text
    assert "names in label order, 100 % of them." in text
    assert "--side {left,right} which. (default: left)" in text


def test_the_readers_there_are() -> None:
    assert tuple(READERS) == READER_NAMES
    there = [name for name, place in READERS.items() if importlib.util.find_spec(place.partition(":")[0])]
    assert "pyskl" in there
    for name in there:
        assert get_reader(name).__name__ == f"read_{name}"
    with pytest.raises(
        MgkitError, match="there is no reader 'x'; there are imigue, smg, ma52, pyskl, folders, segments"
    ):
        get_reader("x")


def test_text_in_place_of_a_list_is_read_as_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("nod\nshake\n")
    assert listed(read_made, "classes", "nod, shake") == ["nod", "shake"]
    assert listed(read_made, "classes", str(tmp_path / "names.txt")) == ["nod", "shake"]
    assert listed(read_made, "classes", ("nod", "shake")) == ("nod", "shake")
    assert listed(read_made, "videos", "a,b") == "a,b"
    assert listed(read_made, "side", "left") == "left"
