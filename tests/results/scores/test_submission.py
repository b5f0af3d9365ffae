from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgkit.cli import main
from mgkit.data.clips import Classes, Clips, load_clips, write_clip_folder
from mgkit.data.readers import load_classes
from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.results.run.records import Predictions
from mgkit.results.scores import submission
from mgkit.results.scores.scores import import_scores
from mgkit.results.scores.submission import read_ids
from tests.tiny import TRIANGLE, tiny_pose, tiny_row

IDS = ["0054_10", "0054_2", "0067_0", "0054_0"]
ORDERED = ["0054_0", "0054_2", "0054_10", "0067_0"]
HEADER = "vid," + ",".join(f"{kind}_pred_{i}" for kind in ("action", "body") for i in range(1, 6))


def predictions(ids: list[str], dataset: str = "imigue", seed: int = 0, names: bool = True) -> Predictions:
    classes = load_classes(dataset)
    scores = np.random.default_rng(seed).dirichlet(np.ones(len(classes)), len(ids)).astype(np.float32)
    return Predictions(
        ids, np.zeros(len(ids), np.int64), {"pose": scores}, classes=classes if names else None
    )


def folder(
    root: Path, ids: list[str], others: dict[str, str] | None = None, dataset: str = "imigue"
) -> Clips:
    """A clip folder whose test split has these clips."""
    rows = [tiny_row(name, 0, split="test", video="") for name in ids]
    rows += [tiny_row(name, 0, split=split, video="") for name, split in (others or {}).items()]
    return write_clip_folder(
        root, rows, [tiny_pose(0, seed=0) for _ in rows], load_classes(dataset), TRIANGLE
    )


def member(path: Path, name: str) -> str:
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [name]
        return archive.read(name).decode()


def test_2025_is_a_csv_with_a_header_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    given = predictions(IDS)
    path = submission.write(given, tmp_path / "prediction.csv", clips=folder(tmp_path / "clips", IDS))
    labels = dict(zip(IDS, given.predicted(), strict=True))
    want = "Id,Target\n" + "".join(f"{name},{labels[name]}\n" for name in ORDERED)
    assert path.read_bytes() == want.encode()
    table = submission.check(path, ids=ORDERED)
    assert table["clip_id"].tolist() == ORDERED
    assert table["label"].tolist() == [labels[name] for name in ORDERED]
    zipped = submission.write(given, tmp_path / "prediction.zip", ids=ORDERED)
    assert member(zipped, "prediction.csv") == want


def test_2023_is_a_zip_without_a_header(tmp_path: Path) -> None:
    given = predictions(IDS)
    path = submission.write(given, tmp_path / "out" / "mine.zip", "miga2023", ids=IDS)
    lines = member(path, "Submission.csv").splitlines()
    assert lines == [f"{name},{label}" for name, label in zip(IDS, given.predicted(), strict=True)]
    assert submission.check(path, "miga2023", ids=IDS)["clip_id"].tolist() == IDS
    again = submission.write(given, tmp_path / "again.zip", "miga2023", ids=IDS)
    assert again.read_bytes() == path.read_bytes(), "no time of day in it"


def test_ma52_ranks_actions_and_bodies(tmp_path: Path) -> None:
    ids = ["0101_05_0003", "0101_00_0001", "0003_01_0005"]
    given, classes = predictions(ids, "ma52"), load_classes("ma52")
    path = submission.write(
        given, tmp_path / "p.zip", "ma52", clips=folder(tmp_path / "clips", ids, dataset="ma52")
    )
    lines = member(path, "prediction.csv").splitlines()
    assert lines[0] == HEADER
    assert [line.split(",")[0] for line in lines[1:]] == [f"{name}.mp4" for name in sorted(ids)]
    first = (0, 5, 11, 24, 32, 38, 48, 52)  # where the seven bodies begin
    for line in lines[1:]:
        name, *cells = line.split(",")
        row = given.scores()[ids.index(name.removesuffix(".mp4"))]
        actions = sorted(range(52), key=lambda k: -row[k])[:5]
        sums = [float(row[first[g] : first[g + 1]].sum()) for g in range(7)]
        bodies = sorted(range(7), key=lambda g: -sums[g])[:5]
        assert list(map(int, cells)) == [*actions, *bodies]
    assert classes.groups is not None
    assert list(dict.fromkeys(classes.groups))[2] == "upper limb"
    assert submission.check(path, "ma52", ids=sorted(ids)).columns.tolist() == [
        "clip_id",
        *HEADER.split(",")[1:],
    ]
    # what the organisers' own script writes: the bodies of the five actions, some of them twice
    other = tmp_path / "theirs.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("prediction.csv", f"{HEADER}\n0003_01_0005.mp4,51,49,35,14,19,6,6,4,2,2\n")
    assert submission.check(other, "ma52").iloc[0, 0] == "0003_01_0005"


def test_a_run_finds_its_own_clips_and_the_lower_class_wins_a_tie(tmp_path: Path) -> None:
    from mgkit.results.run.folder import create_run, write_predictions

    clips = folder(tmp_path / "clips", IDS, {"0001_0": "train", "0001_1": "val"})
    run = create_run(tmp_path / "run", recipe={"epochs": 1}, clips=clips, pathways=["pose"], environment={})
    part = clips.split("test")
    even = np.full((4, 32), 1 / 32, np.float32)
    write_predictions(run.root, "test", Predictions(part.ids, part.labels, {"pose": even}))
    path = submission.write(run.root, tmp_path / "p.csv")
    assert path.read_text().splitlines() == ["Id,Target", *(f"{name},0" for name in ORDERED)]
    with pytest.raises(MgkitError, match="no predictions of split 'val'"):
        submission.write(run, tmp_path / "p.csv", split="val")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ids": [*IDS, "0099_1", "0099_2"]}, r"no predictions of 2 of 6 expected ids \(0099_1, 0099_2\)"),
        ({"ids": IDS[:3]}, r"1 id not expected \(0054_0\)"),
        ({"ids": [*IDS[:3], "0099_1"]}, r"expected ids \(0099_1\); 1 id not expected \(0054_0\)"),
        ({"ids": [*IDS, IDS[0]]}, "0054_10 repeated"),
        ({"ids": ["clip one"]}, "clip one do not look like 0054_17"),
        ({"ids": []}, "ids is empty"),
        ({}, "pass ids="),
        ({"ids": IDS, "challenge": "miga2024"}, "'miga2024' is not a challenge"),
        ({"ids": IDS, "challenge": "miga2023"}, r"miga2023 takes \.zip"),
        ({"ids": IDS, "challenge": "ma52"}, r"ma52 takes \.zip"),
        ({"ids": IDS, "output": "rgb"}, "no 'rgb' predictions"),
    ],
)
def test_nothing_is_written_unless_it_is_valid(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "prediction.csv"
    path.write_text("as it was")
    with pytest.raises(MgkitError, match=message):
        submission.write(predictions(IDS), path, **given)
    assert path.read_text() == "as it was"
    assert list(tmp_path.iterdir()) == [path]


def test_another_class_list_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    names = list(load_classes("imigue").names)
    names[3], names[5] = names[5], names[3]
    swapped = Predictions(IDS, np.zeros(4, int), {"pose": np.eye(32)[:4]}, classes=Classes(tuple(names)))
    with pytest.raises(
        MgkitError, match="class 3 of the predictions is 'cover face', that of miga2025 'touch face'"
    ):
        submission.write(swapped, path, ids=IDS)
    few = Predictions(IDS, np.zeros(4, int), {"pose": np.eye(4)})
    with pytest.raises(MgkitError, match="miga2025 has 32 classes and the predictions have 4"):
        submission.write(few, path, ids=IDS)
    submission.write(predictions(IDS, names=False), path, ids=IDS)
    with pytest.raises(MgkitError, match="ma52 has 52 classes and the predictions have 32"):
        submission.write(predictions(IDS), tmp_path / "p.zip", "ma52", ids=IDS)


def test_clips_that_were_left_out_are_not_forgotten(tmp_path: Path) -> None:
    clips = folder(tmp_path / "clips", IDS, {"0001_0": "train"})
    report = [
        {"what": "left out: no frames", "clip_id": "0054_5", "detail": "x"},
        {"what": "left out: no frames", "clip_id": "0001_7", "detail": "of the training clips"},
        {"what": "something else", "clip_id": "0054_6", "detail": "y"},
    ]
    (clips.root / "report.json").write_text(json.dumps(report))
    again = load_clips(clips.root)
    with pytest.raises(MgkitError, match="prepared without 0054_5, which the leaderboard expects"):
        submission.write(predictions(IDS), tmp_path / "p.csv", clips=again)
    submission.write(predictions(IDS), tmp_path / "p.csv", ids=ORDERED, clips=again)


GOOD = "Id,Target\n0054_0,1\n0054_2,31\n"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("Id,Target\n0054_0,1\n", ["no row of 1 of 2 expected ids (0054_2)"]),
        ("Id,Target\n0054_0,1\n0054_2,1\n0054_3,1\n", ["1 id not expected (0054_3)"]),
        ("Id,Target\n0054_2,1\n0054_0,1\n", ["another order: row 1 is 0054_2, not 0054_0"]),
        ("Id,Target\n0054_0,1\n0054_0,2\n0054_2,1\n", ["1 repeated id: 0054_0"]),
        (
            "Id,Target\n0054_0,nan\n0054_2,32\n",
            ["Target is not 0 to 31 in 2 rows: 0054_0 'nan', 0054_2 '32'"],
        ),
        ("Id,Target\n0054_0,\n0054_2,-1\n", ["0054_0 '', 0054_2 '-1'"]),
        ("Id,Target\n0054_0,1.0\n0054_2,٣\n", ["in 2 rows"]),
        ("id,target\n0054_0,1\n0054_2,1\n", ["header is 'id,target', not 'Id,Target'"]),
        ("0054_0,1\n0054_2,1\n", ["header is '0054_0,1'"]),
        ("Id,Target\n0054_0,1,2\n0054_2,1\n", ["row 1 has 3 cells, not 2 (1 such row)", "0054_0"]),
        ("Id,Target\n", ["it has no rows"]),
        ("", ["header is ''", "it has no rows"]),
        ("\ufeffId,Target\n0054_0,1\n0054_2,1\n", ["byte-order mark"]),
        (
            "Id,Target\nclip,1\n0054_2,1\n",
            ["do not look like 0054_17: 'clip'", "no row of 1 of 2 expected ids (0054_0)"],
        ),
        ("Id,Target\n0054_0,99\n", ["no row of 1 of 2 expected ids (0054_2)", "0054_0 '99'"]),
        ('Id,Target\n0054_0,"1\n', ["not a csv"]),
    ],
)
def test_everything_that_is_wrong_is_named(text: str, problems: list[str], tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text(GOOD, encoding="utf-8")
    assert len(submission.check(path, ids=["0054_0", "0054_2"])) == 2
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MgkitError) as caught:
        submission.check(path, ids=["0054_0", "0054_2"])
    assert str(path) in str(caught.value)
    for problem in problems:
        assert problem in str(caught.value)


def test_windows_line_ends_are_no_fault_and_without_ids_only_the_form_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    path.write_bytes(GOOD.replace("\n", "\r\n").encode())
    assert submission.check(path)["label"].tolist() == [1, 31]


@pytest.mark.parametrize("kind", ["folder", "two", "name", "no zip", "large", "latin"])
def test_zips_that_no_leaderboard_takes(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "theirs.zip"
    names = {"folder": ["x/prediction.csv"], "two": ["prediction.csv", "b.csv"], "name": ["Prediction.csv"]}
    with zipfile.ZipFile(path, "w") as archive:
        for name in names.get(kind, ["prediction.csv"]):
            archive.writestr(name, b"Id,Target\n\xe9_0,1\n" if kind == "latin" else GOOD)
    if kind == "no zip":
        path.write_bytes(b"PK nothing")
    if kind == "large":
        monkeypatch.setattr("mgkit.results.scores.submission._LARGEST", 10)
    said = {
        "folder": "holds x/prediction.csv", "two": "holds prediction.csv, b.csv", "name": "holds Prediction.csv",
        "large": "far too large",
    }  # fmt: skip
    with pytest.raises(MgkitError, match=said.get(kind, "cannot be read")):
        submission.check(path)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("0003_01_0005.mp4,51,49,35,14,52,6,6,4,2,2", "action_pred_5 is not 0 to 51"),
        ("0003_01_0005.mp4,51,49,35,14,19,7,6,4,2,2", "body_pred_1 is not 0 to 6"),
        ("0003_01_0005.mp4,51,49,35,14,51,6,6,4,2,2", "an action is repeated"),
        ("0003_01_0005,51,49,35,14,19,6,6,4,2,2", r"do not end in \.mp4"),
        ("0003_01_0005.mp4,51,49,35,14,19", "has 6 cells, not 11"),
    ],
)
def test_what_is_wrong_with_ranks(row: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "theirs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("prediction.csv", f"{HEADER}\n{row}\n")
    with pytest.raises(MgkitError, match=problem):
        submission.check(path, "ma52")


def test_ids_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    for text in (
        "Id,Target\n0054_0,0\n0054_2,0\n",
        "0054_0\n\n0054_2",
        "\ufeff0054_0.mp4 3\r\n0054_2.mp4 4\r\n",
    ):
        path.write_text(text, encoding="utf-8")
        assert read_ids(path) == ["0054_0", "0054_2"]
    path.write_text("Id\n")
    with pytest.raises(MgkitError, match="has no ids"):
        read_ids(path)
    with pytest.raises(MgkitError, match="cannot be read as a list of ids"):
        read_ids(tmp_path / "nothing")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    given = predictions(IDS)
    return import_scores(
        tmp_path / "run", clip_ids=IDS, labels=given.labels, probabilities=given.probabilities,
        classes=load_classes("imigue"), name="theirs",
    )  # fmt: skip


def test_from_a_shell(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, ids = tmp_path / "prediction.csv", tmp_path / "ids.txt"
    ids.write_text("\n".join(ORDERED))
    words = ["submit", str(run.root), "--challenge", "miga2025", "--out", str(out)]
    assert main(words) == 2
    assert "knows no clip folder" in capsys.readouterr().err
    assert not out.exists()
    assert main([*words, "--ids", str(ids)]) == 0
    assert f"written to {out}: 4 clips, valid for miga2025" in capsys.readouterr().out
    assert out.read_text().startswith("Id,Target\n0054_0,")
    clips = folder(tmp_path / "clips", IDS)
    assert main([*words, "--clips", str(clips.root), "--output", "pose"]) == 0


def test_a_background_class_and_its_clips_are_never_submitted(tmp_path: Path) -> None:
    classes = load_classes("imigue")
    more = Classes((*classes.names, "non_gesture"), None, classes.non_gesture, background=32)
    names = [*IDS, "0054_background0", "0067_background0"]
    scores = np.random.default_rng(0).dirichlet(np.ones(33), len(names)).astype(np.float32)
    scores[0] = np.eye(33, dtype=np.float32)[[32, 7]].T @ [
        0.9,
        0.1,
    ]  # sure of the background, then of class 7
    labels = np.array([0] * len(IDS) + [32, 32])
    found = Predictions(names, labels, {"pose": scores}, classes=more)
    rows = [
        tiny_row(name, int(label), split="test", video="") for name, label in zip(names, labels, strict=True)
    ]
    lost = [{"what": "left out: no frames", "clip_id": "0054_background7", "detail": "x"}]
    clips = write_clip_folder(
        tmp_path / "clips", rows, [tiny_pose(0, seed=0) for _ in rows], more, TRIANGLE, lost
    )
    path = submission.write(found, tmp_path / "prediction.csv", clips=clips)
    table = submission.check(path, clips=clips)
    assert table["clip_id"].tolist() == ORDERED
    assert table["label"].max() < 32
    assert table.set_index("clip_id").loc[IDS[0], "label"] == 7
    submission.write(found, tmp_path / "Submission.zip", "miga2023", ids=ORDERED)
