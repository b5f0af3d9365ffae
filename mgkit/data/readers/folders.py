"""Videos in class folders: `<class>/<clip>.mp4`, or `<split>/<class>/<clip>.mp4`. No key-points.

A video is what the decoder opens, whatever its name. A file that might be one by its name and cannot be opened is a
clip that is left out, which counts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from mgkit.data.clips import Classes
from mgkit.data.ledger import size_of
from mgkit.data.readers import LEFT_OUT, NO_SKELETON, RawClip, RawDataset, note
from mgkit.data.readers.files import (
    OTHER_SUFFIXES,
    VIDEO_SUFFIXES,
    may_be_video,
    same_content,
    video_name,
    walk,
)
from mgkit.data.readers.tables import read_pairs
from mgkit.data.report import natural
from mgkit.data.splits import split_by_name
from mgkit.errors import MgkitError, counted, some
from mgkit.files import is_text, shown

Report = list[dict[str, str]]


def read_folders(
    source: str | Path,
    *,
    classes: Sequence[str] | None = None,
    split_table: str | Path | Mapping[str, str] | None = None,
    subject_table: str | Path | Mapping[str, str] | None = None,
) -> RawDataset:
    """Read videos in one folder per class.

    Args:
        source: the folder. Its folders are classes, or, if all of them are named train, val or test (in any usual
            spelling), splits that hold classes.
        classes: class names in label order; by default the names of the folders, numbers in them in numerical order.
        split_table: csv or mapping `clip, split`, where a clip is its path below `source` without the suffix
            (`wave/001`). Without splits every clip is in "all".
        subject_table: csv or mapping `clip, subject`.

    Returns:
        Clips named by their path below `source` without the suffix of a video, so that 001 may be in every folder.

    Raises:
        MgkitError: no folder, no videos, a class folder that is not in `classes`, two videos of one clip, or the
            same video in two splits.
    """
    source = Path(source)
    if not source.is_dir():
        raise MgkitError(f"there is no folder {source}.")
    # Folders of splits that hold classes, or folders of classes?
    report: Report = []
    files = walk([source], report)
    tops = sorted(path.name for path in _folders(source))
    named = {top: split for top in tops if (split := split_by_name(top))}
    by_split = bool(tops) and len(named) == len(tops)
    if not by_split and len(set(named.values())) > 1:
        others = some(top for top in tops if top not in named)
        raise MgkitError(
            f"{source} holds the splits {some(named)}, but also {others}: move that elsewhere, or, if all are "
            "classes, put them below folders of splits."
        )
    # Videos by clip id, the path below the folder of all.
    depth = 2 if by_split else 1
    videos: dict[str, Path] = {}
    stray: list[Path] = []
    other: list[Path] = []
    unopened: list[Path] = []
    for path in files:
        below = path.relative_to(source)
        if not may_be_video(path):
            kind = path.suffix.lower()
            inside = len(below.parts) > depth and kind and kind not in OTHER_SUFFIXES
            (unopened if inside else other).append(below)
        elif len(below.parts) <= depth:
            stray.append(below)
        else:
            clip_id = video_name(path, source)
            if clip_id in videos:
                raise MgkitError(
                    f"{videos[clip_id]} and {path} are two videos of one clip: rename or remove one."
                )
            videos[clip_id] = path
    for below in unopened:
        if unicodedata.normalize("NFC", below.with_suffix("").as_posix()) in videos:
            other.append(below)  # something that goes with a video
        else:
            detail = f"{source / below} cannot be opened: convert it to MP4, or remove it"
            report.append(note(f"{LEFT_OUT}not a video", detail, below.as_posix()))
    for what, paths in (("not a video", sorted(other)), ("in no class folder", stray)):
        if paths:
            report.append(note(what, f"{counted(len(paths), 'file')} not used: {some(paths)}"))
    if not videos:
        found = f"it has {counted(len(files), 'file')}: {some(path.relative_to(source) for path in files)}"
        raise MgkitError(
            f"{source} has no videos in class folders (<class>/<clip>.mp4, or any other format of video): "
            f"{found if files else 'it has no files'}."
        )

    # Classes and splits.
    kinds = {clip_id: clip_id.split("/")[depth - 1] for clip_id in videos}
    held = [source / top for top in tops] if by_split else [source]
    known = {unicodedata.normalize("NFC", path.name) for top in held for path in _folders(top)}
    names = _order(known, classes, source, report)
    empty = [name for name in names if name not in kinds.values()]
    if empty:
        report.append(note("classes without clips", f"no video in {some(empty)}"))
    if by_split:
        splits = {clip_id: named[path.relative_to(source).parts[0]] for clip_id, path in videos.items()}
    else:
        splits = dict.fromkeys(videos, "all")
    given = read_pairs(split_table, videos, ("clip", "split"), report=report, suffixes=VIDEO_SUFFIXES)
    subjects = read_pairs(subject_table, videos, ("clip", "subject"), report=report, suffixes=VIDEO_SUFFIXES)
    splits |= given
    if not by_split and not given:
        detail = "no folders train, val, test: every clip is in the split 'all'; split_table gives others"
        report.append(note("no splits", detail))
    _no_leak(videos, splits)
    index = {name: i for i, name in enumerate(names)}
    clips = [
        RawClip(
            clip_id=clip_id,
            split=splits[clip_id],
            label=index[kinds[clip_id]],
            subject=subjects.get(clip_id, ""),
            video=path,
            source=path.relative_to(source).as_posix(),
        )
        for clip_id, path in videos.items()
    ]
    return RawDataset(clips, Classes(tuple(names)), NO_SKELETON, list(videos.values()), report)


def _folders(place: Path) -> list[Path]:
    found = [
        path for path in place.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX"))
    ]
    for path in found:
        if not is_text(path):
            raise MgkitError(f"the name of the folder {shown(path)} is not UTF-8: rename it.")
    return found


def _order(known: set[str], classes: Sequence[str] | None, source: Path, report: Report) -> list[str]:
    if classes is not None:
        unknown = sorted(known - set(classes))
        if unknown:
            raise MgkitError(
                f"{source}: the class folder {some(unknown)} is not in the list of classes: add it there."
            )
        return list(classes)
    names = sorted(known, key=natural)
    if names != sorted(known):
        detail = f"in numerical order: {some(names, 12)}; sorted as text: {some(sorted(known), 12)}"
        report.append(note("class order", detail))
    return names


def _no_leak(videos: dict[str, Path], splits: dict[str, str]) -> None:
    """Refuse the same video in two splits. Only files of equal size are read."""
    by_size: dict[int, list[str]] = {}
    for clip_id, path in videos.items():
        size = size_of(path)
        if size >= 0:  # else a link to nowhere, which `prepare` reports
            by_size.setdefault(size, []).append(clip_id)
    for alike in by_size.values():
        for i, a in enumerate(alike):
            for b in alike[i + 1 :]:
                if splits[a] != splits[b] and same_content(videos[a], videos[b]):
                    raise MgkitError(
                        f"{videos[a]} ({splits[a]}) and {videos[b]} ({splits[b]}) are the same video in two splits, "
                        "which must be disjoint: remove one."
                    )
