"""The files of a dataset below a folder, wherever its owner or the user has put them.

For untrimmed videos `recordings` puts together a label file, its video and key-points, its split and its subject.
"""

from __future__ import annotations

import filecmp
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mgkit.data.readers import RawClip, note
from mgkit.data.readers.tables import Sheet, Span, empty_cells, read_pairs, read_sheet
from mgkit.data.splits import split_by_name
from mgkit.data.video import is_video
from mgkit.errors import MgkitError, counted, some
from mgkit.files import is_text, shown

# Of names that are those of videos whatever is in the file: what cannot be decoded is left out by name.
VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".qt", ".avi", ".divx", ".mkv", ".webm", ".wmv", ".asf", ".flv", ".f4v", ".mpg", ".mpeg",
    ".m2v", ".mts", ".m2ts", ".ts", ".vob", ".3gp", ".3g2", ".ogv", ".mxf",
)  # fmt: skip
VIDEO = "(?:" + "|".join(suffix[1:] for suffix in VIDEO_SUFFIXES) + ")"  # in a pattern
# Of names that are of something else, without a look into the file: there may be a hundred thousand of them.
OTHER_SUFFIXES = frozenset(
    ".txt .md .rst .csv .tsv .json .jsonl .xml .yaml .yml .toml .ini .log .html .htm .pdf .doc .docx .xls .xlsx .ods "
    ".jpg .jpeg .png .bmp .tif .tiff .webp .svg .ico .heic .npy .npz .pkl .pickle .mat .h5 .hdf5 .parquet .pt .pth "
    ".wav .mp3 .m4a .aac .flac .ogg .srt .vtt .ass .eaf .textgrid .zip .gz .tar .7z .rar .db .lnk .py .ipynb .sh .m "
    ".sha256 .md5".split()
)

Roots = str | Path | Sequence[str | Path] | None


def folders(*roots: Roots) -> list[Path]:
    """The folders given (`a,b` names two), each of which must exist; one inside another is searched with it, once."""
    listed: list[Path] = []
    for given in roots:
        if isinstance(given, str) and "," in given and not Path(given).exists():
            given = [part.strip() for part in given.split(",") if part.strip()]
        if given is not None:
            listed += [Path(given)] if isinstance(given, str | os.PathLike) else [Path(g) for g in given]
    for folder in listed:
        if not folder.is_dir():
            raise MgkitError(f"there is no folder {folder}: give one that holds files of the dataset.")
    return listed


def walk(roots: Sequence[Path], report: list[dict[str, str]]) -> list[Path]:
    """Every file below the roots, sorted by path; links are followed, each real folder once.

    Hidden files (`._0001.mp4` of a Mac, `~$` locks of a spreadsheet) and names that are not UTF-8 are left out and
    counted in the report.

    Raises:
        MgkitError: a folder that may not be read: its content is unknown.
    """

    def refused(error: OSError) -> None:
        raise MgkitError(
            f"{shown(error.filename)} cannot be read ({error.strerror}): give yourself access, or move it elsewhere."
        ) from None

    files: list[Path] = []
    hidden: list[str] = []
    unnamed: list[str] = []
    seen: set[str] = set()
    for root in roots:
        for folder, below, names in os.walk(root, onerror=refused, followlinks=True):
            real = os.path.realpath(folder)
            if real in seen:
                below.clear()
                continue
            seen.add(real)
            unnamed += [shown(Path(folder, name)) for name in [*below, *names] if not is_text(name)]
            skipped = {name for name in below if name.startswith(".") or name == "__MACOSX"}
            below[:] = [name for name in sorted(below) if name not in skipped and is_text(name)]
            for name in names:
                if name.startswith((".", "~$")):
                    hidden.append(name)
                elif is_text(name):
                    files.append(Path(folder, name))
    if hidden:
        report.append(note("hidden files", f"{len(hidden)} not looked at: {some(sorted(hidden))}"))
    if unnamed:
        detail = f"{len(unnamed)} not looked at: {some(sorted(unnamed))}: rename them"
        report.append(note("names that are not UTF-8", detail))
    return sorted(files)


def named(files: Sequence[Path], pattern: str) -> dict[str, list[Path]]:
    """The files whose whole name matches, by the first group of the pattern (case does not matter)."""
    found: dict[str, list[Path]] = {}
    for path in files:
        match = re.fullmatch(pattern, path.name, re.IGNORECASE)
        if match:
            found.setdefault(match[1], []).append(path)
    return dict(sorted(found.items()))


def named_as_video(path: Path) -> bool:
    """Whether the name of a file is that of a video, in capital letters or not."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def video_name(path: Path, root: Path) -> str:
    """The name of a clip that is a whole video: its path below a folder, without the suffix of a video."""
    below = path.relative_to(root)
    return unicodedata.normalize("NFC", (below.with_suffix("") if named_as_video(path) else below).as_posix())


def may_be_video(path: Path) -> bool:
    """Whether a file is a video by its name, or, where its name does not say what it is, by its content."""
    return named_as_video(path) or (path.suffix.lower() not in OTHER_SUFFIXES and is_video(path))


def only(found: dict[str, list[Path]], report: list[dict[str, str]]) -> dict[str, Path]:
    """One file per key. Identical copies are reported and the first is taken; different content is refused.

    Raises:
        MgkitError: two files of one name with different content; both are named.
    """
    chosen = {}
    for key, paths in found.items():
        first = paths[0]
        for other in paths[1:]:
            if not same_content(first, other):
                raise MgkitError(
                    f"{first} and {other} have the same name but not the same content: remove the wrong one, or "
                    "give a folder that holds only one."
                )
        if len(paths) > 1:
            report.append(note("found twice", f"{some(paths)}: the same content, the first is read"))
        chosen[key] = first
    return chosen


def same_content(first: Path, other: Path) -> bool:
    """True if two files hold the same bytes; one that cannot be read (a link to nowhere) raises a `MgkitError`."""
    try:
        return filecmp.cmp(first, other, shallow=False)
    except OSError as error:
        raise MgkitError(
            f"{error.filename or other} cannot be read ({error.strerror}) nor compared with the other file of its "
            f"name, {first if error.filename != str(first) else other}: fix it, or remove it."
        ) from None


def split_by_folder(path: Path, roots: Sequence[Path], report: list[dict[str, str]]) -> str | None:
    """The split named by the nearest folder around a file, below the root that it was found in; else that named by the
    root, which is reported, since its name may mean something else."""
    root = max((r for r in roots if path.is_relative_to(r)), key=lambda r: len(r.parts))
    for name in reversed(path.relative_to(root).parts[:-1]):
        split = split_by_name(name)
        if split:
            return split
    split = split_by_name(root.resolve().name)
    if split:
        entry = note(
            "split by the folder given",
            f"{root.resolve().name} is taken to mean {split}: split_table overrides it",
        )
        if entry not in report:
            report.append(entry)
    return split


def splits_of(
    found: dict[str, list[Path]],
    roots: Sequence[Path],
    given: dict[str, str] | None,
    report: list[dict[str, str]],
) -> dict[str, str]:
    """The split of each key: as given, else by the folders that its files are in.

    Raises:
        MgkitError: a key is in two splits, or some keys have one and others none.
    """
    splits: dict[str, str] = {}
    lost = []
    for key, paths in found.items():
        if given and key in given:
            splits[key] = given[key]
            continue
        here = {split: path for path in paths if (split := split_by_folder(path, roots, report))}
        if len(here) > 1:
            (a, first), (b, second) = list(here.items())[:2]
            raise MgkitError(
                f"{key} is in the splits {a} ({first}) and {b} ({second}), which must be disjoint: remove one, "
                "or give its split with split_table (a csv `video,split`)."
            )
        if here:
            splits[key] = next(iter(here))
        else:
            lost.append(key)
    if lost and splits:
        raise MgkitError(
            f"no folder around {found[lost[0]][0]} is named train, val or test, nor around "
            f"{counted(len(lost) - 1, 'other')} ({some(lost)}): give split_table, a csv `video,split`."
        )
    if lost:
        splits = dict.fromkeys(lost, "all")
        detail = "no folder is named train, val or test: every clip is in the split 'all'; split_table gives others"
        report.append(note("no splits", detail))
    return splits


# --- untrimmed videos -----------------------------------------------------------------------------------------------

PairTable = str | Path | Mapping[str, str] | None


@dataclass(frozen=True)
class Track:
    """Key-points of a recording in a sheet of numbers, read when a clip asks for them, in whatever process.

    Attributes:
        path: the sheet.
        columns, index, cache: see `read_sheet`.
        convert: a function at the top of a module, from the sheet to points (T, V, 3) and a phrase on what was done
            about the sides of the hands ("" = nothing).
        used: the columns whose empty cells are reported; None = all.
    """

    path: Path
    columns: int
    convert: Callable[[Sheet], tuple[npt.NDArray[np.float32], str]]
    index: bool = False
    cache: Path | None = None
    used: tuple[int, ...] | None = None

    def sheet(self) -> Sheet:
        return read_sheet(self.path, self.columns, index=self.index, cache=self.cache)

    def frames(self) -> int:
        """Number of frames in the file."""
        return len(self.sheet().values)

    def pose(self, start: int, end: int) -> npt.NDArray[np.float32]:
        """(1, T, V, 3) of the frames start to end - 1: x, y in pixels, score; NaN where not seen.

        T is smaller than end - start where the file ends earlier; one that ends before the clip starts is refused.
        """
        points, _ = self.convert(self.sheet())
        if start >= len(points):
            raise MgkitError(
                f"{self.path} has {counted(len(points), 'frame')}; the clip would start at frame {start}."
            )
        return points[None, start:end]

    def notes(self, clip_id: str, first: bool, start: int, end: int) -> list[dict[str, str]]:
        """Report entries on these frames; and, for the first clip of a recording, on the whole file."""
        sheet, name = self.sheet(), self.path.name
        values = sheet.values[start:end]
        empty = empty_cells(values if self.used is None else values[:, self.used])
        found = [note("empty cells", f"{name}: {empty}", clip_id)] if empty else []
        if first:
            found += [note("pose file", f"{name} has {oddity}") for oddity in sheet.oddities]
            sides = self.convert(sheet)[1]
            found += [note("finger sides", f"{name}: {sides}")] if sides else []
        return found


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

    def clips(
        self,
        labelled: Iterable[tuple[Span, int]],
        track: Track | None,
        *,
        size: tuple[int, int] | None,
        fps: float = 0.0,
    ) -> Iterator[RawClip]:
        """A clip `<name>_<row>` for each row of the label file and its label."""
        first = True  # clip of this file that can be cut: its notes are about the whole file too
        for span, label in labelled:
            clip_id = f"{self.name}_{span.index}"
            yield self.clip(
                clip_id, label, span.start, span.end, track=track, size=size, fps=fps, first=first
            )
            first = first and not span.frames

    def clip(
        self,
        clip_id: str,
        label: int,
        start: int,
        end: int,
        *,
        track: Track | None,
        size: tuple[int, int] | None,
        fps: float = 0.0,
        first: bool = False,
    ) -> RawClip:
        """One clip; the notes of the `first` of a recording are about the whole file too."""
        where = {"start": start, "end": end}
        return RawClip(
            clip_id=clip_id,
            split=self.split,
            label=label,
            size=size,
            subject=self.subject,
            video=self.video,
            source=self.source,
            start=start,
            end=end,
            fps=fps,
            pose=partial(track.pose, **where) if track else None,
            notes=partial(track.notes, clip_id, first, **where) if track else None,
            pose_frames=track.frames if track else None,
        )


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
    """Match label files, videos and key-points by name.

    Args:
        found, videos, points: files by the name of the recording, see `named`.
        roots: the folders that they were found in.
        split_table, subject_table: csv or mapping `video, split` and `video, subject`; other splits are those of the
            folders around the label files.
        report: mismatches are added to it: a video without key-points and the reverse (kept, if the others have
            them), a label file with neither (left out), either of them without a label file (not used).

    Raises:
        MgkitError: two different files of one name, a recording in two splits, a broken table, or nothing left over.
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
        report.append(
            note(
                "numbers left out",
                f"no file of {some(between)}, though there are neighbouring ones",
            )
        )
    for name in sorted((set(videos) | set(points)) - set(labels)):
        here = [path.name for files in (videos, points) for path in files.get(name, [])]
        report.append(note("no label file", f"{some(here)}: not used"))
    if not kept:
        raise MgkitError(
            f"{some(roots)}: {counted(len(labels), 'label file')}, but neither videos nor key-points for them: give "
            "the folders that hold those as well."
        )
    return kept


def _gaps(names: set[str]) -> list[str]:
    """Names like `0007` or `Sample0007` that are missing between the first and the last of these.

    None where most of the numbers are missing: then this is a part of the dataset.
    """
    matches = [match for name in names if (match := re.fullmatch(r"(\D*)(\d+)", name))]
    if len({(match[1], len(match[2])) for match in matches}) != 1 or len(matches) != len(names):
        return []
    numbers = [int(match[2]) for match in matches]
    if max(numbers) - min(numbers) >= 2 * len(numbers):
        return []
    wide = len(matches[0][2])
    return [f"{matches[0][1]}{i:0{wide}}" for i in range(min(numbers), max(numbers)) if i not in set(numbers)]
