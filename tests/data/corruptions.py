"""How `prepare` handles a damaged raw dataset, compared with the intact one.

    python -m tests.data.corruptions [COUNT] [FIRST SEED]     # prints a table of outcomes; status 1 if one is not clear

Each seed breaks a copy of a synthetic iMiGUE, SMG or MA-52 tree (`corrupt`) and prepares it. Clear outcomes are

    refused     a `MgkitError` that names the file, or the clip or recording it belongs to, and the remedy
    reported    prepared; the report has entries that are not in that of the intact tree, and names every missing clip
    no matter   prepared, with the same content as the intact tree
    plausible   prepared, differs, and nothing is reported, because the content of the file is still possible: another
                digit, a label row missing, two rows exchanged. Only the faults in `PLAUSIBLE`, in files without a
                checksum, may end so.

Anything else (an error without a name, a missing clip that is not named, another exception) is `unclear`.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import mgkit as mg
from mgkit.data.clips import Clips
from mgkit.data.readers import tables as sheets
from mgkit.errors import MgkitError
from tests.data.corrupt import Fault, corrupt
from tests.made.trees import Tree, write_imigue, write_ma52, write_smg

LAYOUTS = ("imigue", "smg", "ma52", "light")  # light: iMiGUE of which only the light-hand files are there
CLEAR = ("refused", "reported", "no matter", "plausible")

# Entries of intact trees, whose numbers change with every clip: a difference does not reveal a fault.
CHANCE = ("points outside the frame", "nobody seen", "test labels", "finger sides")

# Faults after which the content of a file may still be possible, and in which files.
PLAUSIBLE: dict[str, tuple[str, ...]] = {
    "bytes flipped": (".csv", ".txt", ".pkl", ".mp4"),  # a digit, a coordinate, a pixel: none has a checksum
    "zeros inside": (".pkl", ".mp4"),
    "contents exchanged": (".csv", ".txt", ".mp4"),
    "rows deleted": (".csv", ".txt"),
    "rows swapped": (".csv", ".txt"),
    "row repeated": (".csv", ".txt"),
    "cell changed": (".csv", ".txt"),
    "truncated": (".csv", ".txt"),  # at the end of a row, or within its last number
    "folder removed": (".mp4", ".csv"),  # the first or the last recording with all of its files
}


_REMEDY = re.compile(r"\b(copy|correct|give|save|take|fix|remove|rename|write|ask)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Outcome:
    """Outcome of one damaged tree."""

    layout: str
    fault: Fault
    result: str
    message: str  # the error, the new entries of the report, or what differs

    @property
    def clear(self) -> bool:
        return self.result in CLEAR


@dataclass(frozen=True)
class Whole:
    """A whole tree and the clip folder made of it."""

    tree: Tree
    content: dict[str, tuple[Any, ...]]
    report: Counter[str]


def write_trees(root: Path) -> dict[str, Tree]:
    """A small raw tree of each layout."""
    videos = {"train": 2, "val": 1, "test": 1}
    return {
        "imigue": write_imigue(root / "imigue", gestures=2, size=64, poses=["openpose"], **videos),
        "light": write_imigue(root / "light", gestures=2, size=64, poses=["light_hand"], **videos),
        "smg": write_smg(root / "smg", train=2, test=1, gestures=2, size=64),
        "ma52": write_ma52(root / "ma52", train=4, val=2, test=2, size=64),
    }


def prepare_whole(trees: dict[str, Tree], scratch: Path) -> dict[str, Whole]:
    """Prepare the whole trees; what is made of the spoilt ones is compared with this."""
    return {
        name: Whole(
            tree, *_content_and_report(_prepare(name, tree.root, scratch / f"whole {name}", 0.0), tree.root)
        )
        for name, tree in trees.items()
    }


def outcome(seed: int, whole: dict[str, Whole], scratch: Path) -> Outcome:
    """Break one of the trees and prepare it. Four seeds tolerate no clip that is left out, the next four any."""
    name = LAYOUTS[seed % 4]
    root, out = scratch / f"{seed} {name}", scratch / f"{seed} out"
    shutil.copytree(whole[name].tree.root, root)
    fault = corrupt(root, seed)
    try:
        return _judge(name, root, out, fault, whole[name], float(seed % 8 > 3))
    finally:
        shutil.rmtree(root)
        shutil.rmtree(out, ignore_errors=True)


def _prepare(name: str, root: Path, out: Path, tolerated: float) -> Clips:
    reader = "imigue" if name == "light" else name
    return mg.prepare(reader, root, out, size=32, workers=1, tolerated=tolerated, progress=False)


def _judge(name: str, root: Path, out: Path, fault: Fault, whole: Whole, tolerated: float) -> Outcome:
    sheets._read.cache_clear()
    try:
        clips = _prepare(name, root, out, tolerated)
    except MgkitError as error:
        message = str(error)
        good = _names(message, fault, root) and _REMEDY.search(message) and len(message) < 3000
        return Outcome(name, fault, "refused" if good else "unclear", message)
    except Exception:
        return Outcome(name, fault, "unclear", traceback.format_exc())
    content, report = _content_and_report(clips, root)
    new = report - whole.report
    gone = sorted(set(whole.content) - set(content))
    unnamed = [clip_id for clip_id in gone if not any(clip_id in entry for entry in new)]
    recordings = {clip_id.rsplit("_", 1)[0] for clip_id in unnamed}
    lost = [key for key in recordings if not any(key in entry for entry in new)]
    differs = [clip_id for clip_id in content if content[clip_id] != whole.content.get(clip_id)]
    plausible = fault.path.suffix in PLAUSIBLE.get(fault.kind, ())
    if new and not (lost and not plausible):
        return Outcome(name, fault, "reported", "; ".join(sorted(new)))
    if not gone and not differs:
        return Outcome(name, fault, "no matter", "")
    message = f"gone: {gone}; other content: {differs}"
    return Outcome(name, fault, "plausible" if plausible else "unclear", message)


def _names(message: str, fault: Fault, root: Path) -> bool:
    """True if an error names the damaged file, its recording or clip, or, where that is gone, the tree."""
    recording = fault.path.name.split("_")[0].split(".")[0]
    return fault.path.name in message or recording in message or str(root) in message


def _content_and_report(clips: Clips, root: Path) -> tuple[dict[str, tuple[Any, ...]], Counter[str]]:
    """Content by clip, and the report without the path of the tree and without `CHANCE`."""
    content = {}
    for clip_id in clips.ids:
        row = clips.row(clip_id)
        row.pop("pose_offset")
        video = clips.video(clip_id)
        pose = clips.pose(clip_id) if row["persons"] else np.zeros(0)
        content[clip_id] = (*row.values(), pose.tobytes(), b"" if video is None else video.read_bytes())
    reported = Counter(
        f"{e['what']}: {e['clip_id']} {e['detail']}".replace(str(root), "")
        for e in clips.report
        if e["what"] not in CHANCE
    )
    return content, reported


def main(count: int = 100, first: int = 0) -> int:
    """Print the outcomes of `count` damaged trees by kind of fault; every unclear one in full."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        whole = prepare_whole(write_trees(scratch), scratch)
        outcomes = []
        for seed in range(first, first + count):
            outcomes.append(outcome(seed, whole, scratch))
            one = outcomes[-1]
            line = (
                f"{seed:4} {one.layout:6} {one.fault.kind:18} {one.fault.path.name:26} {one.fault.detail:32}"
            )
            print(
                f"{line} {one.result}: {one.message.replace(folder, '')[: 300 if one.clear else None]}",
                flush=True,
            )
    results = (*CLEAR, "unclear")
    print(f"\n{'fault':20}" + "".join(f"{result:>11}" for result in results))
    for kind in [*sorted({one.fault.kind for one in outcomes}), "all"]:
        counts = Counter(one.result for one in outcomes if kind in (one.fault.kind, "all"))
        print(f"{kind:20}" + "".join(f"{counts[result]:11}" for result in results))
    return int(not all(one.clear for one in outcomes))


if __name__ == "__main__":
    sys.exit(main(*(int(word) for word in sys.argv[1:])))
