"""The run folder: what is written is read back, and what is broken is named."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgkit.data.clips import Classes, Clips, load_clips
from mgkit.errors import MgkitError
from mgkit.files import write_json
from mgkit.results.run.files import append_history, write_embeddings, write_prototypes
from mgkit.results.run.folder import Run, create_run, load_run, write_predictions
from mgkit.results.run.records import Embeddings, Predictions, PrototypeHistory
from mgkit.results.scores.scores import import_scores
from tests.results.fake_run import fake_clips, fake_run

RECIPE = {"name": "fusion", "epochs": 3, "milestones": [1, 2]}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return fake_clips(tmp_path_factory.mktemp("data") / "clips", 4, 12)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, clips: Clips) -> Run:
    return fake_run(tmp_path_factory.mktemp("runs") / "full", clips, epochs=3, unseen=(2,))


@pytest.fixture
def run(tmp_path: Path, clips: Clips) -> Run:
    return begin(tmp_path / "run", clips)


def begin(root: Path, clips: Clips, **changes: Any) -> Run:
    settings = {
        "recipe": RECIPE,
        "clips": clips,
        "pathways": ("rgb", "pose"),
        "environment": {"device": "cpu"},
        "epochs": 3,
    }
    return create_run(root, **{**settings, **changes})


def scores(count: int = 4, classes: int = 4) -> Predictions:
    array = np.random.default_rng(0).dirichlet(np.ones(classes), count).astype(np.float32)
    return Predictions([f"c{i}" for i in range(count)], np.arange(count) % classes, {"rgb": array})


# Making and opening


def test_a_new_run_holds_what_it_was_made_from(run: Run, clips: Clips) -> None:
    again = load_run(run.root)
    assert again.config == run.config == json.loads((run.root / "config.json").read_text(encoding="utf-8"))
    assert (again.classes, again.skeleton) == (clips.classes, clips.skeleton)
    assert again.pathways == ("rgb", "pose")
    assert again.outputs == ("rgb", "pose", "fused")
    assert again.recipe == RECIPE
    assert again.environment() == {"device": "cpu"}
    assert again.name == "run"
    status = again.status()
    assert (status["state"], status["epoch"], status["epochs"]) == ("running", 0, 3)
    assert again.history().empty
    assert list(again.history().columns) == ["epoch"]
    assert again.splits() == again.stages() == []
    counts = again.class_counts("train")
    assert counts is not None
    assert counts.tolist() == np.bincount(clips.split("train").labels, minlength=4).tolist()
    assert again.class_counts("nowhere") is None
    assert "running" in repr(again)


def test_the_clip_folder_is_found_again_after_both_have_moved(tmp_path: Path) -> None:
    before, after = tmp_path / "a", tmp_path / "b"
    made = begin(before / "runs" / "one", fake_clips(before / "data", 3, 4))
    assert made.config["data"]["root"] == "../../data"
    assert str(tmp_path) not in (made.root / "config.json").read_text(encoding="utf-8")
    before.rename(after)
    assert len(load_run(after / "runs" / "one").clips()) == len(load_clips(after / "data"))


def test_clips_that_are_gone_or_are_others_are_refused(tmp_path: Path) -> None:
    run = begin(tmp_path / "run", fake_clips(tmp_path / "data", 3, 4))
    fake_clips(tmp_path / "data", 3, 5)
    with pytest.raises(MgkitError, match=r"does not hold the clips .* `clips=`"):
        run.clips()
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    with pytest.raises(MgkitError, match=r"no longer at .*data.* `clips=`"):
        run.clips()


def test_resume_returns_the_run_and_another_run_is_refused(run: Run, clips: Clips) -> None:
    append_history(run.root, {"epoch": 1, "loss": 2.0})
    same = begin(run.root, clips, recipe={**RECIPE, "milestones": (1, 2)})  # a tuple is a list in JSON
    assert len(same.history()) == 1
    assert same.environment() == {"device": "cpu"}
    begin(run.root, clips, environment={"device": "cuda"})
    assert run.environment() == {"device": "cpu", "resumed": [{"device": "cuda"}]}
    with pytest.raises(MgkitError, match=r"already holds another run.*recipe.epochs \(3 there, 9 now\)"):
        begin(run.root, clips, recipe={**RECIPE, "epochs": 9})
    with pytest.raises(MgkitError, match="pathways"):
        begin(run.root, clips, pathways=["rgb"])
    with pytest.raises(MgkitError, match=r"data.fingerprint"):
        begin(run.root, clips.split("train"))
    with pytest.raises(MgkitError, match=r"settings.seed"):
        begin(run.root, clips, settings={"seed": 1})


def test_more_epochs_are_another_run_and_the_way_to_them_is_named(tmp_path: Path, clips: Clips) -> None:
    def recipe(epochs: int, width: int = 8) -> dict[str, Any]:
        stage = {"network": {"settings": {"width": width}}, "optimisation": {"epochs": epochs}}
        return {"optimisation": {"epochs": epochs}, "stages": [stage, stage]}

    begin(tmp_path / "my run", clips, recipe=recipe(12))
    with pytest.raises(MgkitError, match="already holds another run") as caught:
        begin(tmp_path / "my run", clips, recipe=recipe(30))
    text = str(caught.value)
    assert "recipe.stages[1].optimisation.epochs (12 there, 30 now)" in text
    assert f"--start 'all={tmp_path / 'my run'}', start={{'all': '{tmp_path / 'my run'}'}} in Python" in text
    with pytest.raises(MgkitError, match=r"recipe.stages\[0\].network.settings.width \(8 there") as caught:
        begin(tmp_path / "my run", clips, recipe=recipe(12, 16))
    assert "--start" not in str(caught.value), "weights of another network would not fit"


def test_a_run_is_not_made_in_a_wrong_place_or_of_wrong_things(tmp_path: Path, clips: Clips) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MgkitError, match="is a file"):
        begin(tmp_path / "file", clips)
    with pytest.raises(MgkitError, match="is a clip folder"):
        begin(clips.root, clips)
    with pytest.raises(MgkitError, match="not plain JSON"):
        begin(tmp_path / "run", clips, recipe={"model": object()})
    with pytest.raises(MgkitError, match="audio is not one of rgb, pose"):
        begin(tmp_path / "run", clips, pathways=["audio"])
    with pytest.raises(MgkitError, match="one or both"):
        begin(tmp_path / "run", clips, pathways=[])
    assert not (tmp_path / "run").exists()


def test_what_is_not_a_run_folder_says_so(tmp_path: Path, run: Run) -> None:
    with pytest.raises(MgkitError, match="there is no run folder"):
        load_run(tmp_path / "nothing")
    with pytest.raises(MgkitError, match="did you mean one of its folders, run"):
        load_run(tmp_path)
    config = run.config
    for change, words in (
        ({"format": 1}, "has format 1, .*: make the run again"),
        ({"format": 3}, "has format 3, .*: upgrade mgkit"),
        ({"format": "1"}, "not a number"),
        ({"recipe": None}, "'recipe' is missing"),
        ({"pathways": ["audio"]}, "audio is not one of"),
        ({"data": {"root": "x"}}, "data lacks fingerprint"),
        ({"data": {**config["data"], "splits": {"train": [1]}}}, "must hold 4 class counts"),
    ):
        write_json(run.root / "config.json", {**config, **change})
        with pytest.raises(MgkitError, match=words) as caught:
            load_run(run.root)
        assert "config.json" in str(caught.value)
    (run.root / "config.json").write_text('{"format": 2, "rec', encoding="utf-8")
    with pytest.raises(MgkitError, match=r"config.json is not valid JSON"):
        load_run(run.root)


# History and prototypes


def test_history_replaces_what_a_resumed_run_repeats(run: Run) -> None:
    for epoch in (1, 2, 3):
        append_history(run.root, {"epoch": epoch, "loss": 1 / (3 * epoch)})
    append_history(run.root, {"epoch": np.int64(2), "loss": 0.25, "val_top1_rgb": 0.5})
    history = run.history()
    assert history["epoch"].tolist() == [1, 2]
    assert history["epoch"].dtype == np.int64
    assert history["loss"].tolist() == [1 / 3, 0.25]
    assert np.isnan(history["val_top1_rgb"][0])
    with pytest.raises(MgkitError, match="whole number under 'epoch'"):
        append_history(run.root, {"loss": 1.0})


def test_prototypes_replace_what_a_resumed_run_repeats(run: Run) -> None:
    rng = np.random.default_rng(0)
    vectors = [rng.normal(size=(4, 5)).astype(np.float32) for _ in range(4)]
    for epoch in (1, 2, 3):
        write_prototypes(run.root, epoch, {"pose": vectors[epoch]}, {"pose": np.array([0, 1, epoch, 7])})
    write_prototypes(run.root, 2, {"pose": vectors[0]}, {"pose": np.array([0, 1, 9, 7])})
    found = run.prototypes()
    assert found.epochs.tolist() == [1, 2]
    assert found.vectors["pose"].shape == (2, 4, 5)
    last, seen = found.last("pose")
    np.testing.assert_array_equal(last, vectors[0])
    assert seen.tolist() == [False, True, True, True]
    with pytest.raises(MgkitError, match="no 'rgb' prototypes"):
        found.last("rgb")
    with pytest.raises(MgkitError, match="differ in shape"):
        write_prototypes(run.root, 3, {"pose": np.zeros((4, 6))}, {"pose": np.zeros(4)})
    with pytest.raises(MgkitError, match="not finite"):
        write_prototypes(run.root, 3, {"pose": np.full((4, 5), np.nan)}, {"pose": np.zeros(4)})
    assert len(run.prototypes()) == 2


def test_a_run_without_prototypes_says_so(run: Run) -> None:
    with pytest.raises(MgkitError, match="train it with prototypical refinement"):
        run.prototypes()
    with pytest.raises(MgkitError, match="do not increase"):
        PrototypeHistory(np.array([2, 1]), {}, {})


# Predictions and embeddings


def test_predictions_come_back_as_they_were_written(full: Run) -> None:
    there = full.predictions("test")
    write_predictions(full.root, "again", there)
    again = full.predictions("again")
    assert again.clip_ids == there.clip_ids
    np.testing.assert_array_equal(again.labels, there.labels)
    for name in ("rgb", "pose", "fused"):
        np.testing.assert_array_equal(again.probabilities[name], there.probabilities[name])
    for name in ("rgb", "pose"):
        np.testing.assert_array_equal(again.own[name], there.own[name])
        np.testing.assert_array_equal(again.other[name], there.other[name])
        assert np.isnan(again.own[name][again.labels == 2]).all(), "the class never seen has no distance"
    assert again.classes == full.classes
    assert full.splits() == ["again", "test", "val"]
    (full.root / "splits" / "again" / "predictions.parquet").unlink()


def test_what_predictions_say(full: Run) -> None:
    there = full.predictions("test")
    assert there.best == "fused"
    predicted = there.predicted("rgb")
    np.testing.assert_array_equal(there.correct("rgb"), predicted == there.labels)
    kinds = there.kinds("rgb", 1)
    assert (kinds == "TP").sum() + (kinds == "FN").sum() == (there.labels == 1).sum()
    assert (kinds == "TP").sum() + (kinds == "FP").sum() == (predicted == 1).sum()
    table = there.frame()
    assert table["true"].tolist() == [full.classes.names[k] for k in there.labels]
    assert (table["correct"] == there.correct()).all()
    np.testing.assert_allclose(table["probability"], there.scores().max(1))
    two = there.select(there.clip_ids[3:1:-1])
    assert two.clip_ids == there.clip_ids[3:1:-1]
    np.testing.assert_array_equal(two.own["pose"], there.own["pose"][3:1:-1])
    with pytest.raises(MgkitError, match="no clip nobody"):
        there.select(["nobody"])
    with pytest.raises(MgkitError, match="no 'audio' predictions"):
        there.predicted("audio")
    with pytest.raises(MgkitError, match="no class 4"):
        there.kinds("rgb", 4)


def test_a_single_pathway_is_the_best_one() -> None:
    there = scores()
    assert there.best == "rgb"
    assert there.frame()["true"].tolist() == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"clip_ids": ["a", "a", "b", "c"]}, "repeated clip ids: a"),
        ({"clip_ids": ["a"]}, "rgb probabilities have shape"),
        ({"labels": np.arange(3)}, "labels have shape"),
        ({"clip_ids": []}, "no clips"),
        ({"labels": np.array([0, 1, 2, 4])}, "label 4 of clip 'c3' is outside 0 to 3"),
        ({"labels": np.array([0.0, 1, 2, 3])}, "whole numbers"),
        ({"probabilities": {}}, "no probabilities"),
        ({"probabilities": {"audio": np.eye(4)}}, "audio is not one of rgb, pose, fused"),
        ({"probabilities": {"rgb": np.eye(4), "pose": np.eye(4)}}, "without those of fused"),
        ({"probabilities": {"rgb": np.eye(4)[:3]}}, "rgb probabilities have shape"),
        ({"probabilities": {"rgb": 2 * np.eye(4)}}, "sum to 2 .*divide them by it"),
        ({"probabilities": {"rgb": np.eye(4) + np.array([0.5, -0.5, 0, 0])}}, r"not in \[0, 1\]"),
        ({"probabilities": {"rgb": np.where(np.eye(4) > 0, np.nan, 0)}}, "'c0' are not finite"),
        ({"own": {"rgb": np.full(4, 3.0)}}, r"rgb_own must be 4 cosine distances in \[0, 2\]"),
        ({"other": {"rgb": np.zeros(3)}}, "rgb_other must be 4"),
        ({"own": {"fused": np.zeros(4)}}, "fused is not one of rgb, pose"),
        ({"classes": Classes(("a", "b"))}, "the class list has 2"),
    ],
)
def test_wrong_predictions_are_refused(change: dict[str, Any], words: str) -> None:
    good = scores()
    fields = {"clip_ids": good.clip_ids, "labels": good.labels, "probabilities": good.probabilities, **change}
    with pytest.raises(MgkitError, match=words):
        Predictions(**fields)


def test_probabilities_of_half_precision_are_accepted() -> None:
    array = scores(50, 30).probabilities["rgb"].astype(np.float16)
    Predictions([str(i) for i in range(50)], np.zeros(50, int), {"rgb": array})


def test_embeddings_come_back_in_any_order(full: Run) -> None:
    there, ids = full.embeddings("test"), full.predictions("test").clip_ids
    assert there.clip_ids != ids
    ordered = there.select(ids)
    assert ordered.clip_ids == ids
    np.testing.assert_array_equal(ordered.of("rgb")[5], there.of("rgb")[there.clip_ids.index(ids[5])])
    with pytest.raises(MgkitError, match="no 'fused' embeddings"):
        there.of("fused")
    with pytest.raises(MgkitError, match="'b' is not finite"):
        Embeddings(["a", "b"], {"rgb": np.array([[0.0], [np.inf]])})
    with pytest.raises(MgkitError, match="rgb embeddings have shape"):
        Embeddings(["a", "b"], {"rgb": np.zeros((3, 2))})


def test_what_is_missing_says_what_there_is(full: Run) -> None:
    with pytest.raises(MgkitError, match=r"no predictions of split 'fold9' \(evaluated: test, val\)"):
        full.predictions("fold9")
    with pytest.raises(MgkitError, match="no embeddings of split 'train'"):
        full.embeddings("train")
    with pytest.raises(MgkitError, match=r"last.pt is missing \(there is best.pt\)"):
        full.checkpoint("last")
    assert full.checkpoint().name == "best.pt"
    with pytest.raises(MgkitError, match="'best' or 'last'"):
        full.checkpoint("first")
    with pytest.raises(MgkitError, match="no stage 'rgb'; its stages are none"):
        full.stage("rgb")
    with pytest.raises(MgkitError, match="cannot be the name of a split"):
        write_embeddings(full.root, "../x", full.embeddings("test"))
    with pytest.raises(MgkitError, match="over 7 classes; the run"):
        write_predictions(full.root, "test", scores(4, 7))


def test_the_split_to_look_at_first(run: Run, full: Run) -> None:
    assert full.shown_split == "test"
    with pytest.raises(
        MgkitError, match=f"the run {run.root} has not been tested: run `mgkit test {run.root}`"
    ):
        run.shown_split  # noqa: B018


def test_stages_are_runs_of_their_own(run: Run, clips: Clips) -> None:
    begin(run.root / "stages" / "pose", clips, pathways=["pose"])
    assert run.stages() == ["pose"]
    assert run.stage("pose").outputs == ("pose",)
    assert len(run.stage("pose").clips()) == len(clips)


def _garbage(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 not really")


def _cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("spoil", [_garbage, _cut, Path.unlink])
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("splits/test/predictions.parquet", lambda run: run.predictions("test")),
        ("splits/test/embeddings.npz", lambda run: run.embeddings("test")),
        ("prototypes.npz", lambda run: run.prototypes()),
        ("status.json", lambda run: run.status()),
        ("environment.json", lambda run: run.environment()),
    ],
)
def test_a_broken_file_is_named(
    tmp_path: Path, clips: Clips, name: str, read: Callable[[Run], Any], spoil: Callable[[Path], None]
) -> None:
    run = fake_run(tmp_path / "run", clips, epochs=1, splits=("test",))
    read(run)
    spoil(run.root / name)
    with pytest.raises(MgkitError) as caught:
        read(run)
    if spoil is not Path.unlink:
        assert name in str(caught.value).replace("\\", "/")


def test_broken_histories_and_alien_arrays_are_named(run: Run) -> None:
    path = run.root / "history.csv"
    for content in (
        b"",
        b"loss\n1\n",
        b"epoch\n2\n1\n",
        b"epoch\nx\n",
        b"epoch,loss\n1,2\n3,4,5,6\n",
        b"\xff\xfe\x00",
    ):
        path.write_bytes(content)
        with pytest.raises(MgkitError, match=r"history.csv"):
            run.history()
    np.savez(run.root / "prototypes.npz", rgb=np.zeros((1, 4, 2)))
    with pytest.raises(MgkitError, match=r"prototypes.npz lacks epoch"):
        run.prototypes()
    np.savez(run.root / "prototypes.npz", epoch=np.array([1]), rgb=np.zeros((1, 4, 2)))
    with pytest.raises(MgkitError, match=r"prototypes.npz: prototypes of rgb come with update counts of"):
        run.prototypes()
    np.savez(
        run.root / "prototypes.npz", epoch=[1], rgb=np.zeros((1, 3, 2)), rgb_updates=np.zeros((1, 3), int)
    )
    with pytest.raises(MgkitError, match="has prototypes of 3 classes; the run has 4"):
        run.prototypes()
    np.savez(
        run.root / "prototypes.npz", epoch=np.array([print], dtype=object)
    )  # code in a pickle is never run
    with pytest.raises(MgkitError, match=r"prototypes.npz cannot be read"):
        run.prototypes()


def test_a_parquet_of_other_columns_is_named(full: Run, tmp_path: Path) -> None:
    import pandas as pd

    root = full.root / "splits" / "alien"
    root.mkdir()
    path = root / "predictions.parquet"
    pd.DataFrame({"clip_id": ["a"]}).to_parquet(path)
    with pytest.raises(MgkitError, match=r"predictions.parquet lacks the column label"):
        full.predictions("alien")
    pd.DataFrame({"clip_id": ["a"], "label": [0], "rgb": [0.5]}).to_parquet(path)
    with pytest.raises(MgkitError, match=r"predictions.parquet: rgb must be a list of 4 probabilities"):
        full.predictions("alien")
    path.unlink()
    root.rmdir()


# Written whole or not at all


@pytest.mark.parametrize(
    ("target", "write"),
    [
        ("numpy.savez", lambda run: write_prototypes(run.root, 9, *_bank(run))),
        ("numpy.savez", lambda run: write_embeddings(run.root, "test", run.embeddings("test"))),
        (
            "pyarrow.parquet.write_table",
            lambda run: write_predictions(run.root, "test", run.predictions("test")),
        ),
        ("pandas.DataFrame.to_csv", lambda run: append_history(run.root, {"epoch": 9})),
    ],
)
def test_a_writer_that_fails_midway_leaves_the_old_file(
    tmp_path: Path, clips: Clips, monkeypatch: pytest.MonkeyPatch, target: str, write: Callable[[Run], None]
) -> None:
    run = fake_run(tmp_path / "run", clips, epochs=2, splits=("test",))
    before = {path: path.read_bytes() for path in run.root.rglob("*") if path.is_file()}

    def fail(*args: Any, **kwargs: Any) -> None:
        path = next(arg for arg in args if isinstance(arg, Path))
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(target, fail)
    with pytest.raises((OSError, MgkitError)):
        write(run)
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in run.root.rglob("*") if path.is_file()} == before


def _bank(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    history = run.prototypes()
    return {"rgb": history.vectors["rgb"][-1]}, {"rgb": history.updates["rgb"][-1]}


def test_a_killed_writer_leaves_the_old_file(run: Run) -> None:
    append_history(run.root, {"epoch": 1, "loss": 2.0})
    code = """
import os, signal, sys
import pandas as pd
from mgkit.results.run.files import append_history
def killed(self, path, **options):
    path.write_text("epoch,lo")
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
pd.DataFrame.to_csv = killed
append_history(sys.argv[1], {"epoch": 2, "loss": 1.0})
"""
    done = subprocess.run([sys.executable, "-c", code, str(run.root)], capture_output=True, check=False)
    assert done.returncode != 0, "the writer was to be killed"
    assert run.history()["loss"].tolist() == [2.0]
    append_history(run.root, {"epoch": 2, "loss": 1.0})
    assert run.history()["loss"].tolist() == [2.0, 1.0]


# Scores made elsewhere


def test_scores_of_another_toolbox_become_a_run(tmp_path: Path) -> None:
    classes, array = Classes(("a", "b", "c")), scores(6, 3).probabilities["rgb"]
    ids, labels = [f"v{i}" for i in range(6)], [0, 1, 2, 0, 1, 2]
    run = import_scores(
        tmp_path / "x", clip_ids=ids, labels=labels, probabilities=array, classes=classes, name="Video Swin-B"
    )
    assert (run.name, run.pathways, run.outputs) == ("Video Swin-B", (), ("fused",))
    np.testing.assert_array_equal(run.predictions("test").scores(), array)
    assert run.status()["state"] == "finished"
    with pytest.raises(MgkitError, match=r"imported and knows no clip folder.*`clips=`"):
        run.clips()
    with pytest.raises(MgkitError, match="without a skeleton"):
        _ = run.skeleton
    given: dict[str, Any] = {"clip_ids": ids, "labels": labels, "classes": classes, "name": "both"}
    both = import_scores(tmp_path / "y", probabilities={"rgb": array, "pose": array[::-1]}, **given)
    np.testing.assert_allclose(both.predictions().scores("fused"), (array + array[::-1]) / 2, rtol=1e-6)
    with pytest.raises(MgkitError, match="divide them by it"):
        import_scores(tmp_path / "z", probabilities=array * 10, **given)
    assert not (tmp_path / "z").exists()
    with pytest.raises(MgkitError, match="2 train counts for 3 classes"):
        import_scores(tmp_path / "z", probabilities=array, train_counts=[1, 2], **given)
