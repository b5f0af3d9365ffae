"""Several systems in one call: each once, and only what is missing is done again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError
from mgkit.training import recipes
from mgkit.training import studies as systems
from mgkit.training.studies import train_systems
from tests.tiny import tiny_clips

SMALL: dict[str, Any] = {
    "epochs": 1, "batch_size": 4, "embedding_dim": 8, "warmup_epochs": 0, "pose_frames": 8, "width": 8,
    "blocks": (1, 1),
}  # fmt: skip
PAIR = {
    "ST-GCN++": recipes.narrow(recipes.stgcnpp(), **SMALL),
    "CTR-GCN, bones": recipes.narrow(recipes.ctrgcn(stream="bone"), **SMALL),
}
OPTIONS: dict[str, Any] = {"device": "cpu", "workers": 0, "progress": False, "speed": False}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return tiny_clips(tmp_path_factory.mktemp("clips"), videos=False)


def test_each_is_trained_tested_and_measured_once(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests: list[str] = []
    real = systems.test

    def counted(run: Any, split: str, **options: Any) -> Any:
        tests.append(f"{run.root.name} {split}")
        return real(run, split, **options)

    monkeypatch.setattr(systems, "test", counted)
    runs = train_systems(clips, PAIR, tmp_path, seeds=(0, 1), **OPTIONS)
    folders = ["st-gcnpp-0", "st-gcnpp-1", "ctr-gcn-bones-0", "ctr-gcn-bones-1"]
    assert [run.root.name for several in runs.values() for run in several] == folders
    assert tests == [f"{folder} {split}" for folder in folders for split in ("val", "test")]
    assert all(run.has_cost() and run.status()["state"] == "finished" for run in runs["ST-GCN++"])
    tests.clear()
    train_systems(clips, PAIR, tmp_path, seeds=(0, 1), **OPTIONS)
    assert not tests  # all is there
    train_systems(clips, PAIR, tmp_path, seeds=(1,), splits=("test",), views=2, **OPTIONS)
    assert tests == ["st-gcnpp-1 test", "ctr-gcn-bones-1 test"]  # in another way


def test_a_run_that_was_trained_since_is_tested_again(clips: Clips, tmp_path: Path) -> None:
    one = {"a": PAIR["ST-GCN++"]}
    (run,) = train_systems(clips, one, tmp_path, splits=("test",), **OPTIONS)["a"]
    path = run.root / "splits" / "test" / "predictions.parquet"
    before = path.stat().st_mtime_ns
    train_systems(clips, one, tmp_path, splits=("test",), **OPTIONS)
    assert path.stat().st_mtime_ns == before
    import torch

    best = torch.load(run.checkpoint("best"), weights_only=True)
    torch.save({**best, "epoch": best["epoch"] + 1}, run.checkpoint("best"))
    train_systems(clips, one, tmp_path, splits=("test",), **OPTIONS)
    assert path.stat().st_mtime_ns > before


def test_another_recipe_in_the_folder_is_refused(clips: Clips, tmp_path: Path) -> None:
    train_systems(clips, {"a": PAIR["ST-GCN++"]}, tmp_path, splits=(), **OPTIONS)
    changed = PAIR["ST-GCN++"].with_(weight_decay=0.3)
    with pytest.raises(MgkitError, match="weight_decay"):
        train_systems(clips, {"a": changed}, tmp_path, splits=(), **OPTIONS)


@pytest.mark.parametrize(
    ("given", "seeds", "message"),
    [
        ({}, (0,), "nothing to train"),
        (PAIR, (), "nothing to train"),
        (
            {"a b": PAIR["ST-GCN++"], "A-B": PAIR["ST-GCN++"]},
            (0,),
            "'a b' has no folder name of its own beside 'A-B'",
        ),
        ({"--": PAIR["ST-GCN++"]}, (0,), "'--' has no folder name"),
    ],
)
def test_names_that_make_no_folder_are_refused(
    given: dict[str, Any], seeds: tuple[int, ...], message: str, clips: Clips, tmp_path: Path
) -> None:
    with pytest.raises(MgkitError, match=message):
        train_systems(clips, given, tmp_path / "runs", seeds=seeds, **OPTIONS)
    assert not (tmp_path / "runs").exists()
