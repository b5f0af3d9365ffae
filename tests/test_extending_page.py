"""docs/extending.md: every example is at most 30 lines, and runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mgkit as mg
from tests.tiny import tiny_clips

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
PARTS = {
    title: re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for title, text in (part.split("\n", 1) for part in PAGE.split("\n## ")[1:])
}


def test_examples_are_short() -> None:
    kinds = {
        "A dataset",
        "A network",
        "A fusion module",
        "A loss",
        "An augmentation",
        "A stream",
        "A figure",
        "A widget",
    }
    assert set(PARTS) == kinds
    for title, blocks in PARTS.items():
        for block in blocks:
            lines = [
                line for line in block.splitlines() if line.strip() and not re.match(r"(import|from) ", line)
            ]
            assert len(lines) <= 30, f"{title}: {len(lines)} lines"


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The page, executed from top to bottom."""
    folder = tmp_path_factory.mktemp("extending")
    nods = folder / "nods"
    nods.mkdir()
    rows = ["clip,person,what,split"]
    for i in range(4):
        rows.append(f"n{i},anna,{('nod', 'shake')[i % 2]},{('train', 'test')[i // 2]}")
        np.save(nods / f"n{i}.npy", np.random.default_rng(i).uniform(50, 200, (10 + i, 3, 2)))
    (nods / "index.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    clips = tiny_clips(folder / "clips")
    small: dict[str, Any] = {"epochs": 1, "batch_size": 4, "embedding_dim": 8, "pose_frames": 8, "width": 8}
    recipe = mg.recipes.narrow(mg.recipes.stgcnpp(), warmup_epochs=0, blocks=(1, 1), **small)
    options: dict[str, Any] = {"device": "cpu", "workers": 0, "progress": False}
    run = mg.train(clips, recipe, folder / "run", **options)
    mg.test(run, "test", **options)
    found: dict[str, Any] = {"clips": clips, "run": run, "folder": folder, "__name__": "extending"}
    source = folder / "extending.py"  # a module, as in a file of the user's: parts are copied from it
    blocks = [block for its in PARTS.values() for block in its]
    source.write_text("\n\n".join(blocks), encoding="utf-8")
    import sys
    import types

    module = types.ModuleType("extending")
    module.__file__ = str(source)
    module.__dict__.update(found)
    sys.modules["extending"] = module
    try:
        exec(compile(source.read_text(encoding="utf-8"), str(source), "exec"), module.__dict__)
        yield module.__dict__
    finally:
        del sys.modules["extending"]


@pytest.mark.slow
def test_the_dataset_is_prepared(names: dict[str, Any]) -> None:
    assert names["nods"].ids == ["n0", "n1", "n2", "n3"]
    assert names["nods"].skeleton.name == "nods3"


@pytest.mark.slow
def test_own_parts_train_and_are_compared(names: dict[str, Any]) -> None:
    table = names["study"].table()
    assert list(table.index) == ["plain", "centre loss", "hidden joints"]
    assert table["seeds"].tolist() == [2, 2, 2]
    history = names["study"].runs("centre loss")[0].history()
    assert history.filter(like="centre_loss").notna().all(axis=None)
    assert "centre_loss" not in " ".join(names["study"].runs("plain")[0].history().columns)


@pytest.mark.slow
def test_the_fusion_module_trains(names: dict[str, Any]) -> None:
    small: dict[str, Any] = {
        "rgb_frames": 2, "pose_frames": 8, "rgb_size": 32, "heatmap_size": 8, "rgb_width": 4, "pose_width": 4,
        "batch_size": 4, "epochs": 1,
    }  # fmt: skip
    recipe = names["fusion"].with_(**small)
    run = mg.train(
        names["clips"], recipe, names["folder"] / "fusion-run", device="cpu", workers=0, progress=False
    )
    assert (run.root / "code").is_dir()
    assert run.status()["state"] == "finished"


@pytest.mark.slow
def test_the_figure_is_saved(names: dict[str, Any]) -> None:
    assert {".pdf", ".png", ".csv"} <= {path.suffix for path in names["folder"].glob("confidence*")}


@pytest.mark.slow
def test_the_widget_follows_the_selection(names: dict[str, Any]) -> None:
    view, chosen, run = names["view"], names["chosen"], names["run"]
    assert view.value == "nothing is selected"
    clip_id = run.predictions("test").clip_ids[0]
    chosen.set([clip_id])
    assert view.value == f"{view.classes[clip_id]}: 1"
