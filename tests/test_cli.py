from __future__ import annotations

import os
import pickle
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mgkit.cli import EXIT_INTERRUPTED, EXIT_USER_ERROR, main
from mgkit.cli import options as shared
from mgkit.data.clips import Clips, load_clips
from mgkit.data.prepare.folder import prepare
from mgkit.data.video import write_video
from mgkit.results.run.folder import Run, create_run, load_run
from tests.tiny import tiny_clips


def test_the_help_of_training_names_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    from mgkit import recipes

    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    said = capsys.readouterr().out.split()
    assert not [name for name in recipes.RECIPES if name not in " ".join(said).replace("- ", "-")]


@pytest.mark.slow
def test_the_whole_chain_from_a_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """prepare, train, test, figures, show on a made PYSKL file of poses."""
    generator = np.random.default_rng(0)
    annotations = [
        {"frame_dir": f"c{i}", "label": i % 2, "total_frames": 12, "img_shape": (60, 80),
         "keypoint": generator.uniform(5, 55, (1, 12, 13, 2)).astype(np.float32)}
        for i in range(8)
    ]  # fmt: skip
    split = {"train": [f"c{i}" for i in range(6)], "test": ["c6", "c7"]}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"split": split, "annotations": annotations}))
    (tmp_path / "classes.txt").write_text("jump\nrun\n")
    data, out = str(tmp_path / "clips"), str(tmp_path / "run")
    words = ["--skeleton", "penn13", "--classes", str(tmp_path / "classes.txt"), "--size", "64"]
    assert main(["prepare", "pyskl", str(tmp_path / "a.pkl"), data, *words]) == 0
    small = [
        "epochs=2",
        "pose_width=4",
        "embedding_dim=8",
        "heatmap_size=16",
        "pose_frames=8",
        "batch_size=4",
    ]
    sets = [word for change in small for word in ("--set", change)]
    train = ["train", data, out, "--recipe", "pose-small", "--val-split", "none", "--device", "cpu", *sets]
    assert main(train) == 0
    assert main(["test", out, "--views", "2", "--flip", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "jump" not in printed
    assert "test: 2 clips, per cent" in printed
    assert "majority" in printed
    assert main(["baseline", data, str(tmp_path / "floor"), "--trees", "10"]) == 0
    printed = capsys.readouterr().out
    assert "test: 2 clips, per cent" in printed
    assert f"next: mgkit train {data}" in printed
    assert main(["figures", out]) == 0
    assert {p.suffix for p in (tmp_path / "run" / "figures").iterdir()} == {".pdf", ".png", ".csv"}
    assert main(["show", out]) == 0
    capsys.readouterr()
    assert main(["show", data, "--check"]) == 0
    printed = capsys.readouterr().out
    assert "jump" in printed
    assert "below 32 (%)" in printed
    assert "nothing odd" in printed
    assert "all files are intact" in printed


@pytest.mark.slow
def test_a_study_from_a_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = tiny_clips(tmp_path / "clips", videos=False)
    own = tmp_path / "mine.py"
    own.write_text(
        "from mgkit.training import recipes\n\n\ndef ours():\n    return recipes.narrow(recipes.ctrgcn())\n"
    )
    small = ["epochs=1", "width=8", "blocks=[1,1]", "embedding_dim=8", "pose_frames=8", "warmup_epochs=0"]
    words = ["study", str(clips.root), str(tmp_path / "study"), "--seeds", "1", "--device", "cpu"]
    words += [word for change in small for word in ("--set", change)]
    assert main(words) == EXIT_USER_ERROR
    assert "--row NAME=RECIPE" in capsys.readouterr().err
    assert main([*words, "--row", "stgcn", "--row", f"ours={own}:ours"]) == 0
    printed = capsys.readouterr().out
    assert "Gain over " in printed
    assert [line.split()[0] for line in printed.splitlines() if line.startswith(("stgcn", "ours"))][:2] == [
        "stgcn",
        "ours",
    ]
    assert main(["show", str(tmp_path / "study")]) == 0
    assert capsys.readouterr().out.splitlines()[0] == printed.splitlines()[0]


@pytest.mark.slow
def test_a_training_starts_from_a_file_of_weights(tmp_path: Path) -> None:
    """400 classes and 17 joints of a file become those of the clips, as the options say."""
    from mgkit.models import write_published
    from tests.models.nets import pose_only

    clips = tiny_clips(tmp_path / "clips", counts={"train": 2, "val": 1}, videos=False)
    write_published(tmp_path / "posec3d.pth", pose_only(400, 17, width=4, blocks=(1, 1, 1), embedding_dim=8))
    small = [
        "epochs=1",
        "pose_width=4",
        "embedding_dim=8",
        "heatmap_size=16",
        "pose_frames=8",
        "batch_size=4",
    ]
    words = ["train", str(clips.root), str(tmp_path / "run"), "--recipe", "pose-small", "--device", "cpu"]
    words += [word for change in small for word in ("--set", change)]
    start = ["--start", f"pose={tmp_path / 'posec3d.pth'}"]
    assert main([*words, *start]) == EXIT_USER_ERROR  # nothing is adapted unless it is asked for
    assert main([*words, *start, "--start-classes", "new", "--start-joints", "coco17"]) == 0
    assert "0 of 3 joints from the file's 17" in (tmp_path / "run" / "start.txt").read_text()
    assert main([*words, "--start-classes", "new"]) == EXIT_USER_ERROR


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["study", "nowhere", "study", "--row", "tsm", "--base", "small"],
            "--base is the recipe of --ablation",
        ),
        (["study", "nowhere", "study", "--ablation", "--base", "tsm"], "an ablation takes a staged recipe"),
        (["study", "nowhere", "study", "--ablation", "--base", "smal"], "there is no recipe 'smal'"),
        (["train", "nowhere", "run"], "there is no clip folder nowhere"),
        (["test", "nowhere"], "nowhere"),
        (["show", "nowhere"], "there is no clip folder nowhere"),
        (["prepare", "imagenet", "a", "b"], "there is no reader 'imagenet'"),
        (["prepare", "pyskl", "none.pkl", "b"], "none.pkl cannot be read"),
    ],
)
def test_what_the_user_can_mend_is_one_sentence(
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == EXIT_USER_ERROR
    error = capsys.readouterr().err
    assert error.startswith("mgkit: ")
    assert message in error
    assert error.count("\n") == 1


def test_a_damaged_folder_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "raw" / "wave").mkdir(parents=True)
    for name in ("a", "b"):
        write_video(tmp_path / "raw" / "wave" / f"{name}.mp4", np.zeros((10, 32, 32, 3), np.uint8), 25)
    folder = str(prepare("folders", tmp_path / "raw", tmp_path / "clips", size=32, progress=False).root)
    victim = tmp_path / "clips" / "videos" / "wave" / "a.mp4"
    content = bytearray(victim.read_bytes())
    content[-10] ^= 1
    victim.write_bytes(bytes(content))
    assert main(["show", folder]) == 0
    assert main(["show", folder, "--check"]) == EXIT_USER_ERROR
    captured = capsys.readouterr()
    assert "videos/wave/a.mp4 differs in content from what was written" in captured.out
    assert "run the same `mgkit prepare` again" in captured.err
    victim.write_bytes(bytes(content[:-1]))
    assert main(["show", folder]) == EXIT_USER_ERROR
    assert "1 file damaged or replaced" in capsys.readouterr().err


def test_folds_from_a_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = tiny_clips(tmp_path / "copy", videos=False, subjects=3)
    assert main(["folds", str(clips.root), "2", "--group", "subject", "--seed", "3"]) == 0
    printed = capsys.readouterr().out
    path = clips.root / "splits" / "subject-2-seed3-fold1.csv"
    assert str(path) in printed
    assert "fold 0" in printed
    words = shlex.split(printed.split("next: ")[1])
    assert words[:2] == ["mgkit", "train"]
    assert load_clips(words[2]).split_table == "subject-2-seed3-fold0"
    assert words[3:] == [str(tmp_path / "runs" / "copy-subject-2-seed3-fold0"), "--set", "keep=last"]
    assert main(["show", str(path)]) == 0
    assert "subject-2-seed3-fold1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("splits", "val", "expected"),
    [
        (("train", "val", "test"), "val", []),
        (("train", "val"), "val", ["--split", "val"]),
        (("train", "official_test", "val"), "val", ["--split", "official_test"]),
        (("train", "eval"), None, ["--split", "eval"]),
    ],
)
def test_the_next_command_after_a_training_tests_a_split_that_is_there(
    tmp_path: Path, splits: tuple[str, ...], val: str | None, expected: list[str]
) -> None:
    clips = tiny_clips(tmp_path / "clips", counts=dict.fromkeys(splits, 1), videos=False)
    settings = {"train_split": "train", "val_split": val}
    run = create_run(
        tmp_path / "my run", recipe={}, clips=clips, pathways=["pose"], environment={}, settings=settings
    )
    assert shlex.split(shared.test_command(run)) == ["mgkit", "test", str(run.root), *expected]


def test_options_of_readers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as done:
        main(["prepare", "pyskl", "--help"])
    assert done.value.code == 0
    text = capsys.readouterr().out
    assert "--skeleton" in text
    assert "folder with one video per clip" in text
    assert main(["prepare", "pyskl", "a.pkl", str(tmp_path / "x"), "--speed", "3"]) == EXIT_USER_ERROR
    assert "the reader pyskl has no option '--speed'; it has --classes" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["show", str(tmp_path), "--speed"])
    assert "unrecognized arguments: --speed" in capsys.readouterr().err


def test_unknown_recipes_and_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = tiny_clips(tmp_path / "clips", videos=False)
    assert main(["train", str(clips.root), str(tmp_path / "r"), "--recipe", "magic"]) == EXIT_USER_ERROR
    assert "there is no recipe 'magic'; there are paper, fusion" in capsys.readouterr().err
    assert main(["train", str(clips.root), str(tmp_path / "r"), "--set", "speed=9"]) == EXIT_USER_ERROR
    assert "no setting 'speed'" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_ctrl_c_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mgkit.cli.data.show", interrupted)
    assert main(["show", "x"]) == EXIT_INTERRUPTED
    assert "the same command resumes" in capsys.readouterr().err


def test_ctrl_c_in_the_middle_of_an_import_is_ctrl_c_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    class Stopped:
        def __set_name__(self, owner: type, name: str) -> None:
            raise KeyboardInterrupt

    def importing(options: object) -> int:
        type("Half", (), {"imported": Stopped()})  # Python 3.11 says RuntimeError
        return 0

    def broken(options: object) -> int:
        raise RuntimeError("another error")

    words = ["show", str(tmp_path)]
    monkeypatch.setattr("mgkit.cli.data.show", importing)
    assert main(words) == EXIT_INTERRUPTED
    assert "the same command resumes" in capsys.readouterr().err
    monkeypatch.setattr("mgkit.cli.data.show", broken)
    with pytest.raises(RuntimeError, match="another error"):
        main(words)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_hears_a_stop_at_any_time(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Though it was started with Ctrl-C ignored and held back; afterwards signals do what they did before."""

    def stopped(path: Path) -> None:
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()), "held back"
        os.kill(os.getpid(), number)

    monkeypatch.setattr("mgkit.data.clips.load_clips", stopped)
    before = {one: signal.signal(one, signal.SIG_IGN) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        assert main(["train", str(tmp_path), str(tmp_path / "run")]) == EXIT_INTERRUPTED
        assert {signal.getsignal(one) for one in before} == {signal.SIG_IGN}
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for one, handler in before.items():
            signal.signal(one, handler)
    assert "the same command resumes" in capsys.readouterr().err


def test_help_is_quick_and_needs_nothing_heavy() -> None:
    code = "import sys\nfrom mgkit.cli import main\ntry: main(['--help'])\nfinally: assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "prepare" in done.stdout


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    """`mgkit doctor | head` prints ten lines and no traceback; a pipe to a worker that died is another matter."""
    code = "import sys\nfrom mgkit.cli import data, main\ndata.doctor = lambda options: {}\nsys.exit(main(['doctor']))"
    for work, status in (("print('x' * 9)", 141), ("(_ for _ in ()).throw(BrokenPipeError())", 1)):
        read, write = os.pipe()
        if status == 141:
            os.close(read)
        asked = [sys.executable, "-c", code.format(work)]
        done = subprocess.run(asked, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert ("Traceback" in done.stderr) == (status == 1)
        os.close(write)


@pytest.mark.slow
def test_the_demo_data_and_run_are_whole(demo_clips: Clips, demo_run: Run) -> None:
    assert demo_clips.has_video
    assert demo_clips.has_pose
    assert set(demo_clips.splits) == {"train", "val", "test"}
    subjects = {s: set(demo_clips.split(s).table["subject"]) for s in demo_clips.splits}
    assert not subjects["train"] & subjects["test"]
    assert demo_run.status()["state"] == "finished"
    assert demo_run.splits() == ["test"]
    assert all("test" in demo_run.stage(name).splits() for name in ("rgb", "pose"))
    assert load_run(demo_run.root).clips().fingerprint == demo_clips.fingerprint


def test_review_lists_exports_and_writes_the_table_for_the_next_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = tiny_clips(tmp_path / "clips", videos=False)
    run = create_run(tmp_path / "run", recipe={}, clips=clips, pathways=["pose"], environment={})
    assert main(["review", str(run.root)]) == 0
    assert "no review notes" in capsys.readouterr().out
    run.notes().set("train_0_0", label="blue still", split="train")
    run.notes().set("train_1_0", ["occluded"], text="hand behind the table", split="train")
    mine = tmp_path / "mine.csv"
    words = [
        "review",
        str(run.root),
        "--csv",
        str(mine),
        "--apply",
        "--exclude",
        "occluded,bad pose",
        "--name",
        "next",
    ]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "hand behind the table" in said
    assert "excluded after review: 1 clip tagged occluded, bad pose: train_1_0" in said
    assert mine.read_text() == (run.root / "review.csv").read_text()
    made = load_clips(clips.root, splits="next")
    assert (made.row("train_0_0")["label"], made.row("train_1_0")["split"]) == (2, "unused")
    assert main(["review", str(run.root), "--apply", "--exclude", "sleepy"]) == 2
    assert "there is no tag sleepy" in capsys.readouterr().err


@pytest.mark.slow
def test_pre_training_from_a_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = tiny_clips(tmp_path / "clips", counts={"train": 2, "val": 1}, videos=False)
    small = ["epochs=1", "width=8", "blocks=[1,1]", "embedding_dim=8", "pose_frames=8", "batch_size=4"]
    words = [
        str(clips.root),
        str(tmp_path / "first"),
        "--recipe",
        "stgcn",
        "--device",
        "cpu",
        "--workers",
        "0",
    ]
    words += [word for change in small for word in ("--set", change)]
    assert main(["pretrain", *words, "--splits", "nowhere"]) == EXIT_USER_ERROR
    assert main(["pretrain", *words, "--train-split", "val"]) == EXIT_USER_ERROR
    assert "--splits instead" in capsys.readouterr().err
    assert main(["pretrain", *words, "--splits", "train,val"]) == 0
    printed = capsys.readouterr().out
    assert f"mgkit train {clips.root} OUT --start pose={tmp_path / 'first'}" in printed
    words[1] = str(tmp_path / "tuned")
    assert main(["train", *words, "--start", f"pose={tmp_path / 'first'}"]) == 0
