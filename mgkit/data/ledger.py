"""The record of what was prepared from what: two small files in a clip folder, so that no work is lost or repeated.

    prepare.json     how the folder is made: reader, options, size, and the size and time of every source file
    prepare.jsonl    one line per source video that was looked at, and one per file that was written: its size, its
                     SHA-256, and a hash of what it was made from. Lines are added as the work proceeds, so that a
                     killed `prepare` loses only the videos in hand.

A file is kept if it has the recorded size and would be made from the same sources again. That takes a look at its
directory entry, not at its content; `damaged` reads the content too.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from mgkit.errors import MgkitError
from mgkit.files import atomic, sha256_of

NAME = "prepare.jsonl"


@dataclass(frozen=True)
class FileRecord:
    """One written file, by its path below the clip folder.

    Attributes:
        file: the path, with forward slashes.
        bytes: its size.
        sha256: of its content.
        made_from: hash of everything that decides its content; "" where that is not compared.
        looks: hash of its pictures, see `mgkit.data.report`; "" = not known.
        damaged: frames of the source that the decoder had to patch.
    """

    file: str
    bytes: int
    sha256: str
    made_from: str = ""
    looks: str = ""
    damaged: int = 0


@dataclass
class Ledger:
    """The records of one clip folder. Read one with `read_ledger`."""

    root: Path
    files: dict[str, FileRecord] = field(default_factory=dict)
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)

    def current(self, file: str, made_from: str) -> bool:
        """True if the file is there with its recorded size, and made from just this."""
        record = self.files.get(file)
        if record is None or record.made_from != made_from:
            return False
        return size_of(self.root / file) == record.bytes

    def add(self, files: Iterable[FileRecord], sources: Mapping[str, dict[str, Any]] | None = None) -> None:
        """Append records to the file."""
        lines = []
        for name, source in (sources or {}).items():
            if self.sources.get(name) != source:
                self.sources[name] = source
                lines.append({"source": name, **source})
        for record in files:
            if self.files.get(record.file) != record:
                self.files[record.file] = record
                lines.append(asdict(record))
        if lines:
            with (self.root / NAME).open("a", encoding="utf-8", newline="\n") as stream:
                stream.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))

    def rewrite(self, keep_files: Iterable[str], keep_sources: Iterable[str]) -> None:
        """Write the file again with these records only."""
        kept, sources = set(keep_files), set(keep_sources)
        self.files = {name: record for name, record in self.files.items() if name in kept}
        self.sources = {name: source for name, source in self.sources.items() if name in sources}
        lines: list[dict[str, Any]] = [
            {"source": name, **source} for name, source in sorted(self.sources.items())
        ]
        lines += [asdict(record) for _, record in sorted(self.files.items())]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        path = self.root / NAME
        if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
            with atomic(path) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="\n")


def read_ledger(root: Path) -> Ledger:
    """Read the records of a clip folder; none where there is no such file. An incomplete line counts as absent."""
    ledger = Ledger(root)
    path = root / NAME
    if not path.is_file():
        return ledger
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise MgkitError(f"{path} cannot be read ({error.strerror}).") from None
    kinds = {f.name: (int if f.name in ("bytes", "damaged") else str) for f in fields(FileRecord)}
    for line in text.split("\n"):
        try:
            value = json.loads(line)
        except ValueError:
            continue  # the last line of a killed process
        if isinstance(value, dict) and isinstance(value.get("source"), str):
            ledger.sources[value.pop("source")] = value
            continue
        record = value if isinstance(value, dict) else {}
        if all(type(record.get(name)) is kind for name, kind in kinds.items()):
            ledger.files[record["file"]] = FileRecord(**{name: record[name] for name in kinds})
    return ledger


def size_of(path: str | Path) -> int:
    """Bytes of a file; -1 where there is none."""
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def wrong_size(root: Path, files: Iterable[str]) -> list[str]:
    """The files that no longer have their recorded size, each with both sizes."""
    ledger = read_ledger(root)
    found = []
    for file in files:
        record = ledger.files.get(file)
        size = size_of(os.path.join(root, file)) if record else 0
        if record and size >= 0 and size != record.bytes:  # `load_clips` reports a missing one
            found.append(f"{file} (has {size} bytes, was written with {record.bytes})")
    return found


def damaged(root: Path, files: Sequence[str], tick: Callable[[int, int], object]) -> dict[str, str]:
    """Read files completely and compare them with what was written.

    Args:
        root: the clip folder.
        files: paths below it.
        tick: called after each file with the number done and the total.

    Returns:
        What is wrong with each file that is missing, differs, or was never recorded.
    """
    ledger = read_ledger(root)
    found = {}
    for done, file in enumerate(files, 1):
        record, size = ledger.files.get(file), size_of(root / file)
        if size < 0:
            found[file] = "is missing"
        elif record is None:
            found[file] = f"is not in {NAME}: it cannot be compared"
        elif size != record.bytes:
            found[file] = f"has {size} bytes, was written with {record.bytes}"
        elif sha256_of(root / file) != record.sha256:
            found[file] = "differs in content from what was written"
        tick(done, len(files))
    return found


def digest(*values: object) -> str:
    """A hash over plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def stamps(paths: Iterable[Path], source: Path) -> dict[str, list[int]]:
    """Size and time of files, and the time of each of their folders within the dataset (a new file changes it).

    Paths below `source` are named relative to it, so that a dataset may move with its times.
    """
    top = source if source.is_dir() else source.parent
    found: dict[str, list[int]] = {}
    folders: set[Path] = set()
    for path in paths:
        name = _name(path, top)
        try:
            stat = path.stat()
            found[name] = [stat.st_size, stat.st_mtime_ns]
        except OSError:
            found[name] = [-1, -1]
        if path.is_relative_to(top):
            folders.update(folder for folder in path.parents if folder.is_relative_to(top))
        else:
            folders.add(path.parent)
    if not source.is_dir():
        folders.discard(top)  # what else is next to an annotation file does not matter
    for folder in folders:
        try:
            found[_name(folder, top) + "/"] = [0, folder.stat().st_mtime_ns]
        except OSError:
            found[_name(folder, top) + "/"] = [-1, -1]
    return dict(sorted(found.items()))


def unchanged(before: Mapping[str, Any], source: Path) -> bool:
    """True if every file and folder of an earlier `stamps` still has its size and time."""
    top = source if source.is_dir() else source.parent
    for name, stamp in before.items():
        path = top / name.rstrip("/")
        try:
            stat = path.stat()
        except OSError:
            if stamp != [-1, -1]:
                return False
            continue
        now = [0 if name.endswith("/") else stat.st_size, stat.st_mtime_ns]
        if now != stamp:
            return False
    return bool(before)


def _name(path: Path, top: Path) -> str:
    return path.relative_to(top).as_posix() if path.is_relative_to(top) else path.absolute().as_posix()
