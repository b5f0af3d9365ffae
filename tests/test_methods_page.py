"""docs/methods.md shows what its commands do: its code runs, and its published numbers are those of the table."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgkit.cli import main
from mgkit.data.clips import Clips, write_clip_folder
from mgkit.data.readers import load_classes
from mgkit.results.compare import published
from mgkit.results.run.folder import Run, create_run, load_run, write_predictions
from mgkit.results.run.records import Predictions
from mgkit.results.scores import submission
from mgkit.training.inference import test as run_test
from tests.results.fake_run import fake_clips, fake_run
from tests.tiny import TRIANGLE, tiny_pose, tiny_row

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "methods.md").read_text(encoding="utf-8")
FLAT = re.sub(r"\s+", " ", PAGE)


@pytest.mark.slow
def test_its_code_runs(
    demo_clips: Clips, demo_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = demo_run.root.with_name("demo-methods")  # beside it: a run finds its clips by the way to them
    shutil.copytree(demo_run.root, copy, dirs_exist_ok=True)
    run = load_run(copy)
    for part in (*(run.stage(name) for name in run.stages()), run):
        if "test" not in part.splits():
            run_test(part, "test", clips=demo_clips, device="cpu", workers=0, progress=False)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(copy)
    clips = fake_clips(tmp_path / "data", 3, 4)
    for row, name in enumerate(("rgb", "pose", "late-fusion", "p-prototypes")):
        for seed in range(5):
            fake_run(
                tmp_path / "runs" / "ablation" / name / f"seed{seed}",
                clips,
                epochs=row + 1,
                splits=("test",),
                seed=seed,
            )
    monkeypatch.chdir(tmp_path)
    given: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 3
    exec(blocks[0], given)
    assert given["table"].index.tolist() == ["RGB branch", "PoseConv3D", "Two-pathway", "Always the majority"]
    assert given["table"]["clips_per_second"].notna().sum() == 3
    assert {path.name for path in tmp_path.glob("methods.*")} == {"methods.tex", "methods.md", "methods.csv"}
    exec(blocks[1], given)
    assert given["table"]["seeds"].tolist()[:4] == [5, 5, 5, 5]
    exec(blocks[2], given)
    assert len(given["noise"]) == 171


def test_published_numbers_are_those_of_the_table() -> None:
    rows = [
        f"| {m} | {r.reference} | {r.modality} | {r.printed} | {r.source} |"
        for m, r in published.table().iterrows()
    ]
    assert "\n".join(rows) in PAGE
    noise = published.noise()
    for sentence in noise["sentence"].head(3):
        assert f"- {sentence}" in PAGE
    counts = noise["verdict"].value_counts()
    assert (
        f"Of the {len(noise)} pairs {counts['within noise']} are within noise whatever the overlap of their errors, "
        f"{counts['undetermined']} are undetermined, {counts['beyond noise']} are beyond noise" in FLAT
    )
    assert noise.loc[noise["clips"] <= 5, "verdict"].eq("within noise").all()


def test_its_commands_write_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, ids in (("imigue", ["0054_17", "0054_2"]), ("ma52", ["0003_01_0005"])):
        classes = load_classes(name)
        rows = [tiny_row(clip_id, 0, split="test", video="") for clip_id in ids]
        poses = [tiny_pose(0, seed=0) for _ in ids]
        clips = write_clip_folder(tmp_path / "data" / name, rows, poses, classes, TRIANGLE)
        run = create_run(
            tmp_path / "runs" / name, recipe={"epochs": 1}, clips=clips, pathways=["pose"], environment={}
        )
        scores = np.eye(len(classes))[: len(ids)]
        write_predictions(run.root, "test", Predictions(clips.ids, clips.labels, {"pose": scores}))
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^    mgkit (submit .*)$", PAGE, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        words = command.split()
        assert main(words) == 0
        challenge, path = words[words.index("--challenge") + 1], words[words.index("--out") + 1]
        assert len(submission.check(path, challenge)) == (1 if challenge == "ma52" else 2)
