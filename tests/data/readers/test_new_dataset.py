"""The recipe of docs/datasets.md: a dataset nobody knew, its reader written here, prepared with the public call."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import mgkit as mg
from mgkit.data.clips import Classes
from mgkit.data.readers import RawClip, RawDataset, mark_unseen, note
from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError

# --- what a user writes ---------------------------------------------------------------------------------------------

NODS = Skeleton("nods3", ("nose", "left_ear", "right_ear"), ((0, 1), (0, 2)), ((1, 2),))


def read_nods(source: Path, *, subjects: bool = True) -> RawDataset:
    """Read NODS: `index.csv` (`clip,person,what,split`) and `<clip>.npy`, (frames, 3, 2) pixels of 320 x 240."""
    index = Path(source) / "index.csv"
    with index.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    classes, clips, report = Classes(("nod", "shake")), [], []
    for line, row in enumerate(rows, start=2):
        if row["what"] not in classes.names:
            raise MgkitError(f"{index} row {line}: there is no class {row['what']!r}: use nod or shake.")
        points = index.with_name(f"{row['clip']}.npy")
        if not points.is_file():
            report.append(note("no pose", f"{points.name} is missing: left out", row["clip"]))
            continue
        clips.append(
            RawClip(
                clip_id=row["clip"],
                split=row["split"],
                label=classes.index(row["what"]),
                size=(320, 240),
                subject=row["person"] if subjects else "",
                source=points.name,
                fps=30.0,
                pose=partial(read_points, points),
            )
        )
    files = [index, *(index.with_name(clip.source) for clip in clips)]
    return RawDataset(clips, classes, NODS, files, report)


def read_points(path: Path) -> np.ndarray:
    """(1, T, 3, 3); the origin means not seen."""
    return mark_unseen(np.load(path))[None]


# --- and that it is enough ------------------------------------------------------------------------------------------


@pytest.fixture
def nods(tmp_path: Path) -> Path:
    root = tmp_path / "nods é"
    root.mkdir()
    rows = ["clip,person,what,split"]
    for i in range(4):
        rows.append(f"n{i},anna,{('nod', 'shake')[i % 2]},{('train', 'test')[i // 2]}")
        np.save(root / f"n{i}.npy", np.random.default_rng(i).uniform(50, 200, (10 + i, 3, 2)))
    (root / "index.csv").write_text("\n".join([*rows, "n9,anna,nod,train"]) + "\n", encoding="utf-8")
    return root


def test_a_reader_of_ones_own(nods: Path, tmp_path: Path) -> None:
    clips = mg.prepare(read_nods, nods, tmp_path / "out", size=64, workers=1, progress=False)
    assert clips.ids == ["n0", "n1", "n2", "n3"]
    assert list(clips.table["split"]) == ["train", "train", "test", "test"]
    assert list(clips.table["frames"]) == [10, 11, 12, 13]
    assert clips.skeleton == NODS
    assert clips.pose("n1").shape == (1, 11, 3, 3)
    assert ("no pose", "n9.npy is missing: left out", "n9") in [
        (entry["what"], entry["detail"], entry["clip_id"]) for entry in clips.report
    ]
    # What was read is what was written, but for the crop.
    row, raw = clips.row("n2"), np.load(nods / "n2.npy")
    x = row["crop_x"] + clips.pose("n2")[0, ..., 0] * row["crop_width"] / row["width"]
    np.testing.assert_allclose(x, raw[..., 0], atol=1e-3)


def test_its_options_and_its_errors(nods: Path, tmp_path: Path) -> None:
    clips = mg.prepare(read_nods, nods, tmp_path / "out", size=64, workers=1, progress=False, subjects=False)
    assert set(clips.table["subject"]) == {""}
    with (nods / "index.csv").open("a") as file:
        file.write("n3,anna,blink,test\n")
    with pytest.raises(MgkitError, match=r"index\.csv row 7: there is no class 'blink'"):
        mg.prepare(read_nods, nods, tmp_path / "other", size=64, workers=1, progress=False)


def test_the_recipe_in_the_docs_is_this_one() -> None:
    page = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text(encoding="utf-8")
    own = Path(__file__).read_text(encoding="utf-8")
    reader = own[own.index("NODS = ") : own.index("# --- and that it is enough")].strip()
    shown = "\n".join(f"    {line}".rstrip() for line in reader.splitlines())
    assert shown in page
