"""What the notebooks open: one path decides."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mgkit as mg
from mgkit.data.clips import Clips
from mgkit.demo import open as demo
from mgkit.notebook import ask
from mgkit.results.run.folder import Run
from tests.tiny import tiny_clips


def test_a_mistyped_path_is_an_error_and_not_a_drawn_dataset(tmp_path: Path) -> None:
    with pytest.raises(mg.MgkitError, match="imigu"):
        mg.open_clips(tmp_path / "imigu")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "counts"), [("demo", {}), ("ablation", {"test": 400})])
def test_the_embedded_ones_are_made(
    name: str, counts: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(demo, "demo_clips", lambda path, **given: asked.append((path, given)))
    mg.open_clips(tmp_path / name)
    assert asked == [(tmp_path / name, counts)]


@pytest.mark.parametrize("answer", [True, False, None])
def test_a_kernel_in_another_folder_names_the_whole_path_and_asks(
    answer: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`../data/demo` of another folder is another place: a second dataset is not drawn in silence."""
    asked: list[str] = []
    made: list[Path] = []
    monkeypatch.setattr(demo, "ask", lambda question: asked.append(question) or answer)
    monkeypatch.setattr(demo, "demo_clips", lambda path, **given: made.append(path))
    (tmp_path / "scratch").mkdir()
    monkeypatch.chdir(tmp_path / "scratch")
    place = tmp_path / "data" / "demo"
    if answer:
        mg.open_clips("../data/demo")
        assert f"the embedded dataset is made in {place}" in capsys.readouterr().err
    else:
        with pytest.raises(
            mg.MgkitError, match=f"no clip folder {place}, and nothing was drawn: .*{tmp_path}/scratch"
        ):
            mg.open_clips("../data/demo")
    assert asked == [f"There is no clip folder {place}. Draw the embedded dataset there, in about a minute?"]
    assert made == ([Path("../data/demo")] if answer else [])


def test_nobody_is_asked_where_nobody_sits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask("?") is None  # standard input of the tests is no terminal

    def answers(text: str) -> Callable[[str], str]:
        return lambda question: text

    def unable(question: str) -> str:
        raise NotImplementedError("raw_input was called, but this frontend does not support input requests")

    monkeypatch.setattr("mgkit.notebook.has_kernel", lambda: True)
    for reply, expected in (("y", True), (" Yes ", True), ("", False), ("no", False)):
        monkeypatch.setattr("builtins.input", answers(reply))
        assert ask("?") is expected
    monkeypatch.setattr("builtins.input", unable)
    assert ask("?") is None


@pytest.mark.slow
def test_where_a_run_is_kept(tmp_path: Path) -> None:
    clips = tiny_clips(tmp_path / "data" / "imigue", videos=False)
    assert mg.run_folder(clips) == tmp_path / "runs" / "imigue"
    assert mg.run_folder(clips, "short") == tmp_path / "runs" / "imigue-short"
    fold = clips.folds(2, group="clip", name="f")[0]
    assert mg.run_folder(fold) == tmp_path / "runs" / f"imigue-{fold.path.stem}"
    elsewhere = tiny_clips(tmp_path / "disk" / "imigue", videos=False)
    assert mg.run_folder(elsewhere) == tmp_path / "disk" / "runs" / "imigue"


def test_a_run_of_other_clips_is_never_started_by_looking_for_it(tmp_path: Path) -> None:
    clips = tiny_clips(tmp_path / "data" / "mine", videos=False)
    with pytest.raises(mg.MgkitError, match="mgkit train .*mine"):
        mg.open_run(clips)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_run_that_is_there_is_opened(demo_clips: Clips, demo_run: Run) -> None:
    assert demo_clips.root.name not in demo.EMBEDDED
    assert mg.open_run(demo_clips, demo_run.root).root == demo_run.root


def test_the_embedded_run_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []
    clips = tiny_clips(tmp_path / "clips", videos=False)
    monkeypatch.setattr(demo, "demo_run", lambda path, clips: asked.append(path))
    mg.open_run(dataclasses.replace(clips, root=tmp_path / "data" / "demo"))
    assert [path.relative_to(tmp_path).as_posix() for path in asked] == ["runs/demo"]
