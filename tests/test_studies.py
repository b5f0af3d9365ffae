"""Studies: recipes over seeds and folds, each cell trained once, one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError
from mgkit.results.run.folder import load_run
from mgkit.studies import Study, study
from mgkit.training import loop, recipes
from mgkit.training.inference import test as run_test
from tests.tiny import tiny_clips

pytestmark = pytest.mark.slow

POSE: dict[str, Any] = {
    "epochs": 1, "batch_size": 4, "embedding_dim": 8, "warmup_epochs": 0, "pose_frames": 8, "width": 8,
    "blocks": (1, 1),
}  # fmt: skip
STAGED: dict[str, Any] = {
    "rgb_frames": 2, "pose_frames": 8, "rgb_size": 32, "heatmap_size": 8, "rgb_width": 4, "pose_width": 4,
    "embedding_dim": 8, "batch_size": 4, "epochs": 1,
}  # fmt: skip
OPTIONS: dict[str, Any] = {"device": "cpu", "workers": 0, "progress": False}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return tiny_clips(tmp_path_factory.mktemp("clips"))


def rows() -> dict[str, Any]:
    joint = recipes.demo(**STAGED)
    return {
        "RGB": joint.stages[0],
        "pose": joint.stages[1],
        "late fusion": ("RGB", "pose"),
        "both": joint,
        "slower": recipes.demo(**{**STAGED, "learning_rate": 0.001}),
        "both, chosen": ("both",),
    }


@pytest.fixture(scope="module")
def made(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Study:
    return study(clips, rows(), tmp_path_factory.mktemp("study"), seeds=2, **OPTIONS)


def times(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*.pt")}


def test_equal_stages_are_trained_once(made: Study) -> None:
    """The branches of `both` are the rows; those of `slower`, trained otherwise, are shared stages of their own."""
    assert not (made.root / "both" / "seed0" / "stages").exists()
    stages = sorted(path.name[:4] for path in (made.root / "stages").iterdir())
    assert stages == ["pose", "rgb-"]
    used = load_run(made.root / "both" / "seed0").config["settings"]["start"]
    assert set(used) == {"rgb", "pose"}


def test_a_row_of_one_row_is_its_networks_with_what_validation_chooses(made: Study, clips: Clips) -> None:
    for run, chosen in zip(made.runs("both"), made.runs("both, chosen"), strict=True):
        assert "chosen_on" not in run.test_settings("test")
        settings = chosen.test_settings("test")
        assert settings["chosen_on"] == "val"
        way = {"weights": settings["weights"], "rectification": settings["rectification"]}
        again = run_test(
            run, "test", clips=clips, out=made.root / "again" / run.name, device="cpu", workers=0, **way
        )
        np.testing.assert_allclose(again.scores(), chosen.predictions("test").scores(), atol=1e-6)


def test_a_row_may_start_from_runs_on_other_clips(clips: Clips, tmp_path: Path) -> None:
    """Two rows of one recipe, one of them from a run of its own for each seed."""
    pose = recipes.demo(**STAGED).stages[1]
    first = {
        seed: loop.train(clips, pose, tmp_path / f"first{seed}", seed=seed, **OPTIONS) for seed in (0, 1)
    }
    given = study(
        clips, {"from nothing": pose, "transferred": pose}, tmp_path / "study", seeds=2,
        start={"transferred": lambda seed: {"pose": first[seed]}}, **OPTIONS,
    )  # fmt: skip
    used = [run.config["settings"]["start"]["pose"]["sha256"] for run in given.runs("transferred")]
    assert len(set(used)) == 2
    assert "start" not in given.runs("from nothing")[0].config["settings"]


def test_the_same_call_trains_and_tests_nothing_twice(made: Study, clips: Clips) -> None:
    before, table = times(made.root), made.table()
    again = study(clips, rows(), made.root, seeds=2, **OPTIONS)
    assert times(made.root) == before
    pd.testing.assert_frame_equal(table, again.table())
    pd.testing.assert_frame_equal(table, Study.open(made.root).table())


def test_a_study_that_may_not_train_only_shows_what_is_there(made: Study, clips: Clips) -> None:
    shown = study(clips, rows(), made.root, seeds=2, train=False, **OPTIONS)
    pd.testing.assert_frame_equal(made.table(), shown.table())
    before = sorted(made.root.rglob("*"))
    with pytest.raises(
        MgkitError, match=r"4 of the 12 trainings of the study in .* are not there: train them"
    ):
        study(clips, rows(), made.root, seeds=3, train=False, **OPTIONS)
    assert sorted(made.root.rglob("*")) == before
    assert Study.open(made.root).seeds == (0, 1)


def test_the_table_is_what_the_predictions_say(made: Study) -> None:
    table = made.table()
    assert list(table.index) == ["RGB", "pose", "late fusion", "both", "slower", "both, chosen"]
    hits = {
        name: np.array([run.predictions("test").correct().mean() for run in made.runs(name)])
        for name in made.names
    }
    for name, values in hits.items():
        assert table.loc[name, "top1"] == pytest.approx(values.mean())
        assert table.loc[name, "top1_of_seeds"] == pytest.approx(values.tolist())
        low, high = (
            stats.t.interval(0.95, 1, values.mean(), stats.sem(values))
            if np.ptp(values)
            else (values.mean(),) * 2
        )
        among = np.clip([low, high], 0, 1)
        assert [table.loc[name, "top1_low"], table.loc[name, "top1_high"]] == pytest.approx(among.tolist())
    assert pd.isna(table.loc["RGB", "gain"])
    assert table.loc["both", "gain"] == pytest.approx(hits["both"].mean() - hits["RGB"].mean())
    above = made.table(against="above")
    assert above["against"].tolist()[1:] == ["RGB", "pose", "late fusion", "both", "slower"]
    assert above.loc["slower", "gain"] == pytest.approx(hits["slower"].mean() - hits["both"].mean())
    named = made.table(against="both")
    assert pd.isna(named.loc["both", "gain"])
    assert (named["against"].drop("both") == "both").all()
    with pytest.raises(MgkitError, match="against is 'nobody'"):
        made.table(against="nobody")


def test_late_fusion_is_the_mean_of_its_rows(made: Study) -> None:
    for seed in (0, 1):
        fused = load_run(made.root / "late-fusion" / f"seed{seed}").predictions("test")
        parts = [load_run(made.root / name / f"seed{seed}").predictions("test") for name in ("rgb", "pose")]
        assert all(part.clip_ids == fused.clip_ids for part in parts)
        np.testing.assert_allclose(
            fused.scores(), np.mean([part.scores() for part in parts], axis=0), atol=1e-6
        )


def test_a_row_that_was_tested_another_way_is_tested_again(made: Study, clips: Clips) -> None:
    table = made.table()
    odd = made.runs("both")[0]
    run_test(odd, "test", clips=clips, flip=True, workers=0, device="cpu", progress=False)
    again = study(clips, rows(), made.root, seeds=2, **OPTIONS)
    assert odd.test_settings("test")["flip"] is False
    pd.testing.assert_frame_equal(table, again.table())


def test_more_rows_and_seeds_come_on_top(clips: Clips, tmp_path: Path) -> None:
    one = {"st": recipes.narrow(recipes.stgcnpp(), **POSE)}
    first = study(clips, one, tmp_path, seeds=1, also=("val",), **OPTIONS)
    assert first.runs("st")[0].splits() == ["test", "val"]
    assert first.table()["top1_low"].isna().all()  # one seed has no interval
    before = times(tmp_path)
    more = study(
        clips,
        {**one, "ctr": recipes.narrow(recipes.ctrgcn(), **POSE)},
        tmp_path,
        seeds=2,
        cost=True,
        **OPTIONS,
    )
    assert before.items() <= times(tmp_path).items()
    assert [len(more.runs(name)) for name in more.names] == [2, 2]
    assert all(run.has_cost() for run in more.runs("ctr"))
    runs, names = more.labelled()
    assert names == ["st", "st", "ctr", "ctr"]
    assert len(runs) == 4


def test_folds_test_each_clip_once(clips: Clips, tmp_path: Path) -> None:
    folds = clips.folds(2, group="clip")
    made = study(
        clips, {"st": recipes.narrow(recipes.stgcnpp(), **POSE)}, tmp_path, seeds=1, folds=folds, **OPTIONS
    )
    (merged,) = made.runs("st")
    held_out = sorted(clip_id for fold in folds for clip_id in fold.split("val").ids)
    assert sorted(merged.predictions("val").clip_ids) == held_out
    single = made.runs("st", folds=True)
    assert [run.root.name for run in single] == ["fold0", "fold1"]
    assert all(
        run.config["settings"]["val_split"] is None for run in single
    )  # nothing chosen on the held-out clips
    assert made.table().loc["st", "top1"] == pytest.approx(merged.predictions("val").correct().mean())
    before = times(tmp_path)
    study(clips, {"st": recipes.narrow(recipes.stgcnpp(), **POSE)}, tmp_path, seeds=1, folds=folds, **OPTIONS)
    assert times(tmp_path) == before
    with pytest.raises(MgkitError, match="would be tested twice"):
        study(clips, {"a": recipes.stgcnpp()}, tmp_path / "b", folds=[folds[0], folds[0]], **OPTIONS)


def test_an_interrupted_study_shows_what_is_there(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = {
        name: recipes.narrow(recipes.stgcnpp(), **POSE, learning_rate=rate)
        for name, rate in (("a", 0.1), ("b", 0.2))
    }
    real, calls = loop.train, []

    def stops(*given: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*given, **options)

    monkeypatch.setattr(loop, "train", stops)
    with pytest.raises(KeyboardInterrupt):
        study(clips, pair, tmp_path, seeds=2, **OPTIONS)
    there = Study.open(tmp_path)
    assert there.table()["seeds"].tolist() == [2, 1]
    assert there.table().loc["b", "gain"] == pytest.approx(
        there.runs("b")[0].predictions("test").correct().mean()
        - there.runs("a")[0].predictions("test").correct().mean()
    )
    monkeypatch.setattr(loop, "train", real)
    assert study(clips, pair, tmp_path, seeds=2, **OPTIONS).table()["seeds"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ({}, {}, "nothing to train"),
        ({"a": "recipe"}, {"seeds": ()}, "nothing to train"),
        ({"a": "recipe"}, {"seeds": (1, 1)}, "name one twice"),
        ({"a b": "recipe", "A-B": "recipe"}, {}, "'A-B' shares the folder 'a-b' with 'a b'"),
        ({"--": "recipe"}, {}, "does not make a folder name"),
        ({"stages": "recipe"}, {}, "does not make a folder name"),
        ({"late": ("a", "b")}, {}, "names of rows above it"),
        (
            {"a": "recipe", "late": ("a",)},
            {},
            "'late' has nothing to choose: 'a' has one pathway, and no prototypes",
        ),
        (
            {"a": "recipe", "b": "recipe", "late": ("a", "b"), "c": ("late",)},
            {},
            "'c' is .*, which has no network",
        ),
        ({"a": "prototypes", "c": ("a",)}, {"choose_on": "test"}, "Name a validation split as choose_on"),
        ({"a": "prototypes", "c": ("a",)}, {"choose_on": "vale"}, "splits are"),
        ({"a": "prototypes", "c": ("a",)}, {"folds": 2}, "folds do not have"),
        ({"a": "recipe"}, {"start": {"b": {}}}, "start names 'b', which is not a row"),
        ({"a": "recipe"}, {"folds": []}, "there are none"),
    ],
)
def test_what_is_no_study_is_refused_before_anything_is_made(
    given: dict[str, Any], options: dict[str, Any], message: str, clips: Clips, tmp_path: Path
) -> None:
    made = {"recipe": recipes.stgcnpp(), "prototypes": recipes.stgcnpp(prototypes=True)}
    named = {name: made[row] if isinstance(row, str) else row for name, row in given.items()}
    with pytest.raises(MgkitError, match=message):
        study(clips, named, tmp_path / "study", **{**OPTIONS, **options})
    assert not (tmp_path / "study").exists()


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match=r"study\.json is missing"):
        Study.open(tmp_path)
    (tmp_path / "study.json").write_text(
        '{"format": 1, "rows": [{"name": "a", "folder": "../../a"}], "seeds": [0], "folds": 0, "split": "test"}'
    )
    with pytest.raises(MgkitError, match="run mg.study again"):
        Study.open(tmp_path)
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(MgkitError, match="damaged"):
        Study.open(tmp_path)


def test_names_of_rows_and_runs(made: Study) -> None:
    with pytest.raises(MgkitError, match="no row 'mine'; its rows are RGB"):
        made.runs("mine")
    assert "2 seeds" in repr(made)
