from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError
from mgkit.models import CrossModalFusion
from mgkit.results.run.folder import load_run
from mgkit.training import recipes
from mgkit.training.ablation import ablation_recipes, ablation_table, run_ablation
from mgkit.training.inference import test as run_test
from mgkit.training.recipe import Refinement
from tests.tiny import tiny_clips

TINY: dict[str, Any] = {
    "rgb_frames": 2, "pose_frames": 8, "rgb_size": 32, "heatmap_size": 8, "rgb_width": 4, "pose_width": 4,
    "embedding_dim": 8, "batch_size": 4, "epochs": 1,
}  # fmt: skip
ROWS = [
    "RGB", "pose", "late fusion", "joint training", "laterals", "+ fusion (channel)", "+ fusion (time)",
    "+ prototypes", "+ both",
]  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return tiny_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def made(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    out = tmp_path_factory.mktemp("ablation")
    rows = ablation_recipes(recipes.demo(**TINY))
    return out, run_ablation(clips, out, seeds=(0, 1), rows=rows, workers=0, device="cpu", progress=False)


def test_rows_differ_in_the_part_they_name() -> None:
    rows = ablation_recipes()
    assert list(rows) == [name for name in ROWS if name != "late fusion"]
    parts = {
        name: (r["laterals"], r["fusion"] and r["axis"], r["prototypes"])
        for name, r in rows.items()
        if name not in ("RGB", "pose")
    }
    assert parts == {
        "joint training": (False, None, False),
        "laterals": (True, None, False),
        "+ fusion (channel)": (True, "channel", False),
        "+ fusion (time)": (True, "time", False),
        "+ prototypes": (True, None, True),
        "+ both": (True, "channel", True),
    }
    for name, recipe in rows.items():
        others = [d.split(":")[0] for d in recipes.differences(recipe, rows["laterals"])]
        allowed = {"laterals", "fusion", "prototypes", *CrossModalFusion.__init__.__annotations__}
        allowed |= {*Refinement.names(), "fusion.dropout"}
        if recipe.two_pathway:
            assert set(others) <= allowed, name
    with pytest.raises(MgkitError, match="staged two-pathway recipe"):
        ablation_recipes(recipes.pose_only())


def test_the_table_says_what_the_predictions_say(made: tuple[Path, pd.DataFrame], clips: Clips) -> None:
    out, table = made
    assert list(table.index) == ROWS
    top1 = {
        name: [
            float(load_run(out / f"seed{s}" / folder).predictions("test").correct().mean()) for s in (0, 1)
        ]
        for name, folder in (("laterals", "laterals"), ("+ prototypes", "prototypes"), ("RGB", "RGB"))
    }
    for name, values in top1.items():
        assert table.loc[name, "top1"] == pytest.approx(np.mean(values))
    gain = np.mean(top1["+ prototypes"]) - np.mean(top1["laterals"])
    assert table.loc["+ prototypes", "reference_gain"] == pytest.approx(gain)
    assert np.isnan(table.loc["RGB", "above_gain"])
    assert np.isnan(table.loc["laterals", "reference_gain"])
    late = load_run(out / "seed1" / "late-fusion").predictions("test")
    parts = [load_run(out / "seed1" / name).predictions("test").scores() for name in ("RGB", "pose")]
    np.testing.assert_allclose(late.scores(), np.mean(parts, axis=0), atol=1e-6)


def test_the_same_call_trains_nothing_twice(made: tuple[Path, pd.DataFrame], clips: Clips) -> None:
    out, table = made
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.pt")}
    rows = ablation_recipes(recipes.demo(**TINY))
    again = run_ablation(clips, out, seeds=(0, 1), rows=rows, workers=0, device="cpu", progress=False)
    pd.testing.assert_frame_equal(table, again)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.pt")}


def test_a_row_that_was_tested_another_way_is_tested_again(
    made: tuple[Path, pd.DataFrame], clips: Clips, tmp_path: Path
) -> None:
    shutil.copytree(made[0], tmp_path / "copy")
    odd = load_run(tmp_path / "copy" / "seed0" / "laterals")
    run_test(odd, "test", clips=clips, flip=True, workers=0, device="cpu", progress=False)
    rows = ablation_recipes(recipes.demo(**TINY))
    again = run_ablation(
        clips, tmp_path / "copy", seeds=(0, 1), rows=rows, workers=0, device="cpu", progress=False
    )
    pd.testing.assert_frame_equal(made[1], again)
    assert odd.test_settings("test")["flip"] is False


def test_a_half_done_ablation_is_not_tabulated(
    made: tuple[Path, pd.DataFrame], clips: Clips, tmp_path: Path
) -> None:
    with pytest.raises(MgkitError, match="holds no ablation"):
        ablation_table(tmp_path, clips)
    with pytest.raises(MgkitError, match="begin with an RGB and a pose recipe"):
        run_ablation(clips, tmp_path, rows={"laterals": ablation_recipes()["laterals"]})
    alike = {**ablation_recipes(), "+ laterals": ablation_recipes()["laterals"]}
    with pytest.raises(MgkitError, match="would share a folder"):
        run_ablation(clips, tmp_path, rows=alike)
    shutil.copytree(made[0], tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "seed1" / "both")
    with pytest.raises(MgkitError, match=r"\+ both lack seeds that other rows have"):
        ablation_table(tmp_path / "copy", clips)
