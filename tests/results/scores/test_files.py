"""Score files: what is written comes back bit by bit, whatever is odd is refused by name, nothing in a pickle runs."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError
from mgkit.pickles import write_pickle
from mgkit.results.run.records import Predictions
from mgkit.results.scores.files import read, write
from mgkit.results.scores.pickles import annotation_order
from mgkit.results.scores.scores import Scores
from tests.test_pickles import HOSTILE

FORMS = ("parquet", "npz", "csv", "pyskl", "mmaction2")


def draw(clips: int = 20, classes: int = 4, seed: int = 0) -> Scores:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 8, (clips, classes))
    p = np.exp(logits - logits.max(1, keepdims=True))
    names = ("touch face", 'a, b; "c"', "illustrative (non-micro-gesture)", "ohne Übung")
    return Scores(
        [f"s{i:02d}/clip {i}, é" for i in rng.permutation(clips)], p / p.sum(1, keepdims=True),
        rng.integers(0, classes, clips), Classes(names[:classes], tuple("aabb")[:classes], classes - 1),
        "val", "a system",
    )  # fmt: skip


def written(scores: Scores, folder: Path, form: str, **options: Any) -> Path:
    if form in ("pyskl", "mmaction2"):
        return write(folder / f"{form}.pkl", scores, layout=form, **options)  # type: ignore[arg-type]
    return write(folder / f"a.{form}", scores, **options)


def same(one: Scores, other: Scores) -> None:
    assert one.clip_ids == other.clip_ids
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    assert one.probabilities.dtype == np.float32
    if one.labels is None or other.labels is None:
        assert one.labels is other.labels
    else:
        np.testing.assert_array_equal(one.labels, other.labels)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("labelled", [True, False])
def test_a_round_trip_loses_nothing(tmp_path: Path, form: str, labelled: bool) -> None:
    scores = draw() if labelled else replace(draw(), labels=None)
    path = written(scores, tmp_path, form)
    options: dict[str, Any] = (
        {"clip_ids": scores.clip_ids, "labels": scores.labels} if form == "pyskl" else {}
    )
    back = read(path, **options)
    same(back, scores)
    if form in ("parquet", "npz"):
        assert (back.classes, back.split, back.name) == (scores.classes, "val", "a system")
    elif form == "csv":
        assert back.classes is not None
        assert scores.classes is not None
        assert back.classes.names == scores.classes.names
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("clips", "classes"), [(1, 4), (3, 1), (1, 1)])
def test_one_clip_and_one_class(tmp_path: Path, form: str, clips: int, classes: int) -> None:
    scores = draw(clips, classes)
    same(read(written(scores, tmp_path, form), clip_ids=scores.clip_ids, labels=scores.labels), scores)


def test_every_float32_survives_a_csv(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    p = rng.integers(0, 0x3F800000, 4000, dtype=np.uint32).view(np.float32)  # all magnitudes in [0, 1]
    array = np.stack([p, 1 - p], 1)
    scores = Scores([str(i) for i in range(len(p))], array)
    same(read(write(tmp_path / "a.csv", scores)), scores)


def test_one_output_of_predictions(tmp_path: Path) -> None:
    a, b = draw(seed=0), draw(seed=1)
    p = {"rgb": a.probabilities, "pose": b.probabilities, "fused": (a.probabilities + b.probabilities) / 2}
    predictions = Predictions(a.clip_ids, a.truth(), p, classes=a.classes)
    for output in (None, "rgb", "pose"):
        back = read(write(tmp_path / "a.npz", predictions, output=output))
        np.testing.assert_array_equal(back.probabilities, predictions.scores(output))
    with pytest.raises(MgkitError, match="only one"):
        write(tmp_path / "a.npz", a, output="rgb")


@pytest.mark.parametrize(
    ("ids", "values", "labels", "classes", "message"),
    [
        ([], np.zeros((0, 2)), None, None, "no clips"),
        (["a", "a"], np.ones((2, 1)), None, None, "repeated clip ids: a"),
        (["a"], [[np.nan, 1]], None, None, "'a' are not finite"),
        (["a"], [[0.7, 0.7]], None, None, "sum to 1.4"),
        (["a"], [[2.0, -1.0]], None, None, "not in"),
        (["a"], [1.0], None, None, r"shape \(1,\)"),
        (["a"], np.ones((1, 0)), None, None, r"shape \(1, 0\)"),
        (["a"], [["x", "y"]], None, None, "numbers are expected"),
        (["a"], [[1.0, 0.0]], [-1], None, "label -1 of clip 'a'"),
        (["a"], [[1.0, 0.0]], [0, 1], None, "1 whole numbers"),
        (["a"], [[1.0, 0.0]], [True], None, "whole numbers"),
        (["a"], [[1.0, 0.0]], [0], ("x",), "class list has 1"),
        (["a"], [[1.0, 0.0]], [0], ("x", "x"), "not unique: x"),
    ],
)
def test_scores_that_are_none(ids: Any, values: Any, labels: Any, classes: Any, message: str) -> None:
    with pytest.raises(MgkitError, match=message):
        Scores(ids, values, labels, classes)


# ---------------------------------------------------------------------------------------------------------------------
# Pickles of the toolboxes


def annotated(path: Path) -> None:
    """Annotations whose order is neither that of the split's list nor of the names."""
    order = ["c", "a", "x", "d", "b"]
    annotations = [
        {"frame_dir": clip_id, "label": i % 2, "total_frames": 3} for i, clip_id in enumerate(order)
    ]
    write_pickle(path, {"split": {"val": ["a", "b", "c", "d"], "train": ["x"]}, "annotations": annotations})


def test_results_are_in_the_order_of_the_annotations(tmp_path: Path) -> None:
    annotated(tmp_path / "a.pkl")
    assert annotation_order(tmp_path / "a.pkl", "val") == (["c", "a", "d", "b"], [0, 1, 1, 0])
    rows = [np.array([k / 10, 1 - k / 10], np.float32) for k in range(4)]
    write_pickle(tmp_path / "result.pkl", rows)
    found = read(tmp_path / "result.pkl", annotations=tmp_path / "a.pkl", split="val")
    assert found.select(["a"]).probabilities.tolist() == [rows[1].tolist()]
    assert (found.split, found.truth().tolist()) == ("val", [0, 1, 1, 0])
    back = write(tmp_path / "back.pkl", found.select(list("abcd")), layout="pyskl",
                        clip_ids=annotation_order(tmp_path / "a.pkl", "val")[0])  # fmt: skip
    with back.open("rb") as file:
        np.testing.assert_array_equal(np.stack(pickle.load(file)), np.stack(rows))
    for split, message in ((None, "pass split="), ("test", "no split 'test'")):
        with pytest.raises(MgkitError, match=message):
            read(tmp_path / "result.pkl", annotations=tmp_path / "a.pkl", split=split)
    with pytest.raises(MgkitError, match="holds 4 rows of scores for 1 clip id"):
        read(tmp_path / "result.pkl", annotations=tmp_path / "a.pkl", split="train")
    with pytest.raises(MgkitError, match=r"holds 4 rows and no clip ids: pass clip_ids="):
        read(tmp_path / "result.pkl")


@pytest.mark.parametrize("early", [False, True])
def test_a_dump_of_mmaction2(tmp_path: Path, early: bool) -> None:
    p = torch.softmax(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), 1)
    entries = [
        {"pred_scores": {"item": p[i]}, "gt_labels": {"item": torch.tensor([i % 3])}, "num_classes": 3}
        if early
        else {"pred_score": p[i], "pred_label": p[i].argmax(0, True), "gt_label": torch.tensor([i % 3]),
              "img_shape": (2, 3)}
        for i in range(5)
    ]  # fmt: skip
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(entries, 2))
    found = read(tmp_path / "a.pkl", clip_ids=list("edcba"))
    np.testing.assert_array_equal(found.probabilities, p.numpy())
    assert found.truth().tolist() == [0, 1, 2, 0, 1]
    with pytest.raises(MgkitError, match=r"labels are not those given: c \(2, given 0\)"):
        read(tmp_path / "a.pkl", clip_ids=list("edcba"), labels=[0, 1, 0, 0, 1])


def test_what_is_written_for_mmaction2_is_as_it_writes_it(tmp_path: Path) -> None:
    scores = draw()
    write(tmp_path / "a.pkl", scores, layout="mmaction2")
    with (tmp_path / "a.pkl").open("rb") as file:
        entries = pickle.load(file)
    assert [entry["frame_dir"] for entry in entries] == scores.clip_ids
    np.testing.assert_array_equal(
        np.stack([entry["pred_score"].numpy() for entry in entries]), scores.probabilities
    )
    assert [entry["gt_label"].item() for entry in entries] == scores.truth().tolist()
    assert [entry["pred_label"].item() for entry in entries] == scores.predicted().tolist()
    assert (tmp_path / "a.pkl").stat().st_size < 2000 * len(scores), "each tensor with a storage of its own"


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_in_a_pickle_is_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pkl").write_bytes(HOSTILE[name])
    with pytest.raises(MgkitError, match=r"a\.pkl"):
        read(tmp_path / "a.pkl", clip_ids=["a"])
    assert [p.name for p in tmp_path.iterdir()] == ["a.pkl"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "holds no results"),
        (3, "holds no results"),
        ([np.ones(2) / 2, np.ones(3) / 3], "row 1 has 3 scores, row 0 has 2"),
        ([np.ones((2, 2)) / 2], "row 0 has shape"),
        ([["a", "b"]], "row 0 has shape"),
        ([{"pred_label": 1}], "entry 0 has no pred_score"),
        ([{"pred_score": [0.5, 0.5], "gt_label": 0}, {"pred_score": [0.5, 0.5]}], "gt_label of entry 1 is missing"),
        ([{"pred_score": [0.5, 0.5], "gt_label": [0, 1]}], "gt_label of entry 0"),
        ([{"pred_score": [0.5, 0.5], "gt_label": 7}], "label 7 of clip 'a' is outside 0 to 1"),
    ],
)  # fmt: skip
def test_pickles_of_something_else(tmp_path: Path, content: Any, message: str) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(MgkitError, match=message) as caught:
        read(
            tmp_path / "a.pkl",
            clip_ids=["a", "b"][: max(1, len(content) if isinstance(content, list) else 1)],
        )
    assert str(tmp_path / "a.pkl") in str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# What must not go through


def npz(path: Path, values: Any, ids: Any = None, **more: Any) -> Path:
    ids = [f"c{i}" for i in range(len(values))] if ids is None else ids
    np.savez(path, clip_id=np.asarray(ids), probabilities=np.asarray(values, np.float64), **more)
    return path


def test_logits_are_never_taken_for_probabilities(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 30, (6, 4))
    path = npz(tmp_path / "a.npz", logits)
    for kind in ("auto", "probabilities"):
        with pytest.raises(
            MgkitError, match=r"6 clips are not probabilities \(c0: lowest .*pass kind='logits'"
        ):
            read(path, kind=kind)  # type: ignore[arg-type]
    from scipy.special import softmax

    np.testing.assert_allclose(read(path, kind="logits").probabilities, softmax(logits, 1), atol=1e-7)
    huge = read(npz(tmp_path / "b.npz", [[1e6, 0.0]]), kind="logits")
    assert huge.probabilities.tolist() == [[1, 0]]


def test_rounded_probabilities_are_taken_on_demand_only(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", [[0.501, 0.501, 0.003], [0.2, 0.3, 0.5]])
    with pytest.raises(MgkitError, match="kind='probabilities' if they were rounded"):
        read(path)
    found = read(path, kind="probabilities").probabilities
    np.testing.assert_allclose(found[0], np.array([0.501, 0.501, 0.003]) / 1.005, rtol=1e-6)
    np.testing.assert_array_equal(found[1], np.float32([0.2, 0.3, 0.5]))
    with pytest.raises(MgkitError, match="not probabilities"):
        read(npz(tmp_path / "b.npz", [[0.6, 0.6]]), kind="probabilities")


@pytest.mark.parametrize(
    ("values", "ids", "more", "message"),
    [
        ([[0.5, np.nan], [0.5, 0.5]], None, {}, "scores of c0 are not finite"),
        ([[np.inf, 0.5], [0.5, 0.5]], None, {}, "scores of c0 are not finite"),
        ([[-0.5, 1.5]], None, {}, "lowest -0.5"),
        ([[0.5, 0.5]] * 2, ["a", "a"], {}, "repeated clip ids: a"),
        ([[0.5, 0.5]] * 2, ["a"], {}, "clip_id has shape"),
        ([0.5, 0.5], None, {}, r"scores have shape \(2,\)"),
        ([[], []], None, {}, r"scores have shape \(2, 0\)"),
        ([[1.0, 0]], None, {"label": [2]}, "label 2 of clip 'c0' is outside"),
        ([[1.0, 0]], None, {"label": [[0]]}, "labels of shape"),
        ([[1.0, 0]], None, {"label": [0.5]}, "whole numbers"),
        ([[1.0, 0]], None, {"about": "{"}, "metadata .* is damaged"),
        ([[1.0, 0]], None, {"about": '{"classes": {"names": ["a"]}}'}, "over 2 classes; the class list has 1"),
    ],
)  # fmt: skip
def test_what_a_file_may_not_hold(tmp_path: Path, values: Any, ids: Any, more: Any, message: str) -> None:
    path = npz(tmp_path / "a.npz", values, ids, **more)
    with pytest.raises(MgkitError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row of titles"),
        ("a,b\n1,2\n", "clip_id first"),
        ("clip_id a b\n", "separated by"),
        ("clip_id,a,b\n", "no clip"),
        ("clip_id,a,b\nx,0.5\n", "row 1 of the clips has 2 cells, its titles 3"),
        ("clip_id,a,b\nx,0.5,half\n", "'half' where a number"),
        ("clip_id,label,a,b\nx,first,0.5,0.5\n", "label of x is not a class number"),
        ("clip_id,label,a,b\nx,1,0.5,0.5\ny,,0.5,0.5\n", "label of y is not a class number"),
        ("clip_id,a,a\nx,0.5,0.5\n", "class names are not unique: a"),
        ("clip_id\nx\n", "separated by commas"),
    ],
)
def test_broken_csv(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    with pytest.raises(MgkitError, match=message) as caught:
        read(tmp_path / "a.csv")
    assert "a.csv" in str(caught.value)


def test_a_csv_as_a_spreadsheet_saves_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("\ufeffclip_id;0;1\r\nx;0.25;0.75\r\n\r\n".encode())
    found = read(tmp_path / "a.csv")
    assert (found.clip_ids, found.classes, found.labels) == (["x"], None, None)
    assert found.probabilities.tolist() == [[0.25, 0.75]]


@pytest.mark.parametrize("suffix", ["parquet", "npz", "csv", "pkl"])
def test_damaged_files_are_named(tmp_path: Path, suffix: str) -> None:
    scores = draw()
    layout: Any = "mmaction2" if suffix == "pkl" else None
    path = write(tmp_path / f"a.{suffix}", scores, layout=layout)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"<html>", b"\xff" * 40, b""):
        path.write_bytes(content)
        with pytest.raises(MgkitError, match=rf"a\.{suffix}"):
            read(path)


def test_wanted_clips_are_just_those_in_the_file_in_the_order_wanted(tmp_path: Path) -> None:
    scores = draw()
    path = write(tmp_path / "a.parquet", scores)
    order = sorted(scores.clip_ids)
    same(read(path, clip_ids=order), scores.select(order))
    by_name = dict(zip(scores.clip_ids, scores.truth().tolist(), strict=True))
    same(
        read(path, clip_ids=order, labels=[by_name[clip_id] for clip_id in order]),
        scores.select(order),
    )
    same(read(path, labels=by_name), scores)
    with pytest.raises(MgkitError, match=f"lacks new and has {scores.clip_ids[0]}"):
        read(path, clip_ids=["new", *scores.clip_ids[1:]])
    with pytest.raises(MgkitError, match="repeated clip ids"):
        read(path, clip_ids=[scores.clip_ids[0], *scores.clip_ids])
    with pytest.raises(MgkitError, match="labels given lack"):
        read(path, labels={"new": 0})
    with pytest.raises(MgkitError, match="is given 3 labels"):
        read(path, labels=[0, 1, 2])


def test_anything_said_twice_must_be_the_same(tmp_path: Path) -> None:
    scores = draw()
    assert scores.classes is not None
    path = write(tmp_path / "a.npz", scores)
    assert read(path, classes=scores.classes.names, split="val", name="other").name == "other"
    turned = scores.classes.names[::-1]
    with pytest.raises(MgkitError, match="classes are not those given, in the order given"):
        read(path, classes=turned)
    with pytest.raises(MgkitError, match="of the split 'val', not of 'test'"):
        read(path, split="test")


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    scores = draw()
    for form in FORMS:
        path = written(scores, tmp_path, form)
        before = path.read_bytes()
        with pytest.raises(MgkitError, match="no clip nobody"):
            written(scores, tmp_path, form, clip_ids=["nobody"])
        assert path.read_bytes() == before
    odd = replace(scores, clip_ids=[" a", *scores.clip_ids[1:]])
    with pytest.raises(MgkitError, match="would be lost in a CSV"):
        write(tmp_path / "a.csv", odd)
    for name, layout, message in (
        ("a.txt", None, "not be a score file"),
        ("a.pkl", None, "choose the layout"),
        ("a.csv", "pyskl", "is for pickles"),
    ):
        with pytest.raises(MgkitError, match=message):
            write(tmp_path / name, scores, layout=layout)  # type: ignore[arg-type]
    with pytest.raises(MgkitError, match="there is no score file"):
        read(tmp_path / "none.csv")
    with pytest.raises(MgkitError, match="not a score file"):
        read(tmp_path)


@pytest.mark.parametrize("kind", ["auto", "probabilities", "logits"])
@pytest.mark.parametrize("rows", [[[60, 30, 10.2], [0, 99.6, 0]], [[60.0, 30, 10]], [[1.2, 0.8], [2, 0]]])
def test_shares_of_another_whole_are_not_logits(tmp_path: Path, rows: list[list[float]], kind: Any) -> None:
    # a softmax would make 1 of the largest percentage, whatever it was
    with pytest.raises(MgkitError, match=r"sums? to about (100|2).*divide"):
        read(npz(tmp_path / "a.npz", rows), kind=kind)


def test_probabilities_are_not_logits(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", [[0.9, 0.1], [0.2, 0.8]])
    with pytest.raises(MgkitError, match="leave out kind='logits'$|leave out kind='logits'.$"):
        read(path, kind="logits")
    assert read(path).probabilities[0, 0] == np.float32(0.9)
