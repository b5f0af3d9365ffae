"""Untrimmed videos: for each label file the video and the key-points that go with it, its split and its subject."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mgkit.data.readers import note
from mgkit.data.readers.tables import read_pairs
from mgkit.data.readers.trees import only, splits_of
from mgkit.errors import MgkitError, some

PairTable = str | Path | Mapping[str, str] | None


@dataclass(frozen=True)
class Recording:
    """One untrimmed video and its files; it has a video, key-points, or both."""

    name: str
    labels: Path
    video: Path | None
    points: Path | None
    split: str
    subject: str

    @property
    def source(self) -> str:
        """The name that its clips record as their source."""
        return (self.video or self.points or self.labels).name

    @property
    def files(self) -> list[Path]:
        return [path for path in (self.labels, self.points, self.video) if path]


def recordings(
    found: dict[str, list[Path]],
    videos: dict[str, list[Path]],
    points: dict[str, list[Path]],
    roots: Sequence[Path],
    *,
    split_table: PairTable,
    subject_table: PairTable,
    report: list[dict[str, str]],
) -> list[Recording]:
    """Put together what belongs together.

    Args:
        found, videos, points: files by the name of the recording, see `trees.named`.
        roots: the folders that they were found in.
        split_table, subject_table: csv or mapping `video, split` and `video, subject`; splits not told by it are those
            of the folders around the label files.
        report: what does not match is added to it: a video without key-points and the reverse (kept, if the others
            have them), a label file with neither (left out), either of them without a label file (not used).

    Raises:
        MgkitError: two different files of one name, a recording in two splits, a broken table, or nothing left.
    """
    labels = only(found, report)
    pictures, tables = (
        only({name: files[name] for name in files if name in found}, report) for files in (videos, points)
    )
    given = read_pairs(split_table, labels, ("video", "split"), report=report)
    subjects = read_pairs(subject_table, labels, ("video", "subject"), report=report)
    splits = splits_of(found, roots, given, report)
    kept = []
    for name, path in labels.items():
        video, table = pictures.get(name), tables.get(name)
        if not video and not table:
            detail = f"{path.name}: left out, neither its video nor its key-points were found"
            report.append(note("neither video nor pose", detail))
            continue
        if not video and pictures:
            report.append(note("no video", f"{path.name}: no video found, its clips have poses only"))
        if not table and tables:
            report.append(note("no pose", f"{path.name}: no key-points found, its clips have video only"))
        kept.append(Recording(name, path, video, table, splits[name], subjects.get(name, "")))
    between = _gaps({*labels, *videos, *points})
    if between:
        report.append(note("numbers left out", f"no file of {some(between)}, though of the numbers around"))
    for name in sorted((set(videos) | set(points)) - set(labels)):
        here = [path.name for files in (videos, points) for path in files.get(name, [])]
        report.append(note("no label file", f"{some(here)}: not used"))
    if not kept:
        raise MgkitError(
            f"{some(roots)}: {len(labels)} label files, but neither videos nor key-points to go with them: give the "
            "folders that hold those as well."
        )
    return kept


def _gaps(names: set[str]) -> list[str]:
    """Names like `0007` or `Sample0007` between the first and the last of these that are not among them.

    None where they are most of the numbers: then somebody has taken a part of the dataset.
    """
    matches = [match for name in names if (match := re.fullmatch(r"(\D*)(\d+)", name))]
    if len({(match[1], len(match[2])) for match in matches}) != 1 or len(matches) != len(names):
        return []
    numbers = [int(match[2]) for match in matches]
    if max(numbers) - min(numbers) >= 2 * len(numbers):
        return []
    wide = len(matches[0][2])
    return [f"{matches[0][1]}{i:0{wide}}" for i in range(min(numbers), max(numbers)) if i not in set(numbers)]
