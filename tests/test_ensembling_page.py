"""docs/ensembling.md: its commands and its code run, in its order, and its tables name what there is."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from mgkit.cli import _parser, main
from mgkit.pickles import write_pickle
from mgkit.results.run.folder import Run, load_run
from mgkit.results.scores import calibration
from mgkit.results.scores.files import SUFFIXES
from tests.results.fake_run import fake_clips, fake_run

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "ensembling.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    (mgkit .*?)(?:  +#.*)?$", PAGE, re.MULTILINE)
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with two branches, tested on val and test, and an annotation file of its test clips."""
    monkeypatch.chdir(tmp_path)
    clips = fake_clips(tmp_path / "data" / "demo", 4, 12)
    run = fake_run(Path("runs/demo"), clips, epochs=1)
    for i, name in enumerate(("rgb", "pose")):
        fake_run(run.root / "stages" / name, clips, pathways=(name,), epochs=1, seed=1 + i)
    test = clips.split("test")
    annotations = [
        {"frame_dir": clip_id, "label": int(label), "total_frames": 3}
        for clip_id, label in reversed(list(zip(test.ids, test.labels, strict=True)))
    ]
    write_pickle("poses.pkl", {"split": {"test": test.ids}, "annotations": annotations})
    return run


@pytest.mark.slow
def test_commands_and_code_run_as_they_stand(project: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(COMMANDS) == 6
    assert len(CODE) == 4
    for command in COMMANDS:
        words = shlex.split(command)
        if words[1] == "test":  # a fake run has no network to test
            assert _parser().parse_args(words[1:]).split == "val"
            continue
        assert main(words[1:]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "Weights searched on" in said
    assert "what each member adds" in said
    assert {path.name for path in Path().iterdir()} >= {"demo.parquet", "result.pkl"}
    assert load_run("runs/fused").predictions().outputs == ["fused"]
    shutil.rmtree("runs/fused")
    names: dict[str, object] = {}
    for code in CODE:
        exec(compile(code, "docs/ensembling.md", "exec"), names)
    scores, theirs = names["scores"], names["theirs"]
    expected = project.predictions().scores()
    for one in (scores, theirs):
        assert one.select(project.predictions().clip_ids).probabilities.tolist() == expected.tolist()  # type: ignore[attr-defined]
    assert Path("reliability.pdf").is_file()
    assert Path("copy.csv").is_file()


def test_tables_name_what_there_is(project: Run) -> None:
    assert {f".{suffix}" for suffix in re.findall(r"^\| `\.(\w+)`", PAGE, re.MULTILINE)} <= set(SUFFIXES)
    columns = calibration.errors(project, draws=2, classwise=True).columns
    section = PAGE.split("## Calibration")[1]
    told = {
        name
        for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert len(told) == 6
    assert told <= set(columns)


def test_from_a_shell(project: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = [str(project.root / "stages" / name) for name in ("rgb", "pose")]
    assert main(["ensemble", both[0], "--split", "val"]) == 0
    assert "what each member adds" not in capsys.readouterr().out
    assert main(["ensemble", *both, "--search", "val", "--method", "convex", "--metric", "log_loss"]) == 0
    assert "convex: lowest log-loss" in capsys.readouterr().out
    for words, message in (
        ([*both, "--weights", "1,x"], "comma-separated"),
        ([*both, "--weights", "1"], "each of 2 members"),
        ([*both, "--search", "test"], "not on 'test'"),
        ([both[0], both[0]], "the same member"),
        ([*both, "--out", both[0]], "folder of a member"),
        ([*both, "--output", "sound"], "sound"),
    ):
        assert main(["ensemble", *words]) == 2
        assert message in capsys.readouterr().err
    for words, message in (
        (["--out", "a.pkl"], "choose the layout"),
        (["--out", "a.doc"], "not be a score file"),
        (["--out", "a.csv", "--split", "all"], "no predictions of split 'all'"),
    ):
        assert main(["scores", str(project.root), *words]) == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("a.*"))
