"""Breaks a tree of files in a seeded way, as disks, networks, spreadsheets and people do.

    done = corrupt(tree, seed=17)      # one fault; the same seed does the same to the same tree

For a test that whatever reads the tree either copes and says so or refuses with a `MgkitError`, never anything else.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TABLES = (".csv", ".txt")


@dataclass(frozen=True)
class Fault:
    """What was done to which file, and to which rows or bytes of it."""

    kind: str
    path: Path
    detail: str


def corrupt(root: Path, seed: int, kind: str | None = None) -> Fault:
    """Do one thing to one file below `root`.

    Args:
        root: a folder that may be spoilt: a copy.
        seed: chooses the fault, the file and the place in it.
        kind: one of `KINDS`, or None for any.

    Returns:
        What was done; a fault that some file below the root can have is always done.
    """
    rng = np.random.default_rng([seed, 2024])
    files = sorted(path for path in root.rglob("*") if path.is_file())
    for chosen in [kind] if kind else [str(k) for k in rng.permutation(list(KINDS))]:
        suffixes, act = KINDS[chosen]
        fitting = [
            path for path in files if path.stat().st_size and path.suffix in (suffixes or (path.suffix,))
        ]
        if fitting:
            path = fitting[int(rng.integers(len(fitting)))]
            return Fault(chosen, path, act(path, root, rng))
    raise ValueError(f"no file below {root} can have the fault {kind}")


# --- any file -------------------------------------------------------------------------------------------------------


def _flip_bytes(path: Path, root: Path, rng: np.random.Generator) -> str:
    content = bytearray(path.read_bytes())
    places = sorted({int(i) for i in rng.integers(0, len(content), max(1, len(content) // 2000))})
    for at in places:
        content[at] ^= int(rng.integers(1, 256))
    path.write_bytes(bytes(content))
    return f"{len(places)} of {len(content)} bytes"


def _truncate(path: Path, root: Path, rng: np.random.Generator) -> str:
    content = path.read_bytes()
    kept = int(rng.integers(0, len(content)))
    path.write_bytes(content[:kept])
    return f"{kept} of {len(content)} bytes kept"


def _empty(path: Path, root: Path, rng: np.random.Generator) -> str:
    path.write_bytes(b"")
    return "all bytes gone"


def _zeros(path: Path, root: Path, rng: np.random.Generator) -> str:
    content = bytearray(path.read_bytes())
    first = int(rng.integers(0, len(content)))
    count = min(len(content) - first, 512)
    content[first : first + count] = bytes(count)
    path.write_bytes(bytes(content))
    return f"{count} zeros from byte {first}"


def _remove(path: Path, root: Path, rng: np.random.Generator) -> str:
    path.unlink()
    return "file gone"


def _remove_folder(path: Path, root: Path, rng: np.random.Generator) -> str:
    if path.parent == root:
        return _remove(path, root, rng)
    shutil.rmtree(path.parent)
    return f"folder {path.parent.name} gone"


def _exchange(path: Path, root: Path, rng: np.random.Generator) -> str:
    """Two files of one kind trade contents, where there are two: they belong to each other's video then."""
    others = [p for p in sorted(root.rglob(f"*{path.suffix}")) if p != path]
    if not others:
        return _truncate(path, root, rng)
    other = others[int(rng.integers(len(others)))]
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)
    return f"contents traded with {other.name}"


def _copy_beside(path: Path, root: Path, rng: np.random.Generator) -> str:
    """The same file a second time in another folder, as after unpacking twice."""
    folder = root / f"{path.parent.name} (1)"
    folder.mkdir(exist_ok=True)
    shutil.copy(path, folder / path.name)
    return f"copied to {folder.name}"


# --- tables ---------------------------------------------------------------------------------------------------------


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def _delete_rows(path: Path, root: Path, rng: np.random.Generator) -> str:
    lines = _lines(path)
    gone = {int(i) for i in rng.integers(0, len(lines), max(1, len(lines) // 10))}
    path.write_bytes(b"".join(line for i, line in enumerate(lines) if i not in gone))
    return f"rows {sorted(gone)}"


def _swap_rows(path: Path, root: Path, rng: np.random.Generator) -> str:
    lines = _lines(path)
    first, second = (int(i) for i in rng.integers(0, len(lines), 2))
    if first == second:
        second = (first + 1) % len(lines)
    lines[first], lines[second] = lines[second], lines[first]
    path.write_bytes(b"".join(lines))
    return f"rows {first} and {second}"


def _repeat_row(path: Path, root: Path, rng: np.random.Generator) -> str:
    lines = _lines(path)
    at = int(rng.integers(len(lines)))
    lines.insert(at, lines[at])
    path.write_bytes(b"".join(lines))
    return f"row {at}"


def _change_cell(path: Path, root: Path, rng: np.random.Generator) -> str:
    """Put something into one cell that does not belong there."""
    lines = _lines(path)
    row = int(rng.integers(len(lines)))
    line = lines[row]
    end = b"\n" if line.endswith(b"\n") else b""
    separator = b"," if b"," in line else b" "
    cells = line.removesuffix(end).split(separator)
    column = int(rng.integers(len(cells)))
    odd = (b"", b"nan", b"-1", b"1e400", b"0", b"32", b"100000", b"abc", b'"', "ä".encode("latin1"), b"3;4")
    others = [value for value in odd if value != cells[column]]
    cells[column] = others[int(rng.integers(len(others)))]
    lines[row] = separator.join(cells) + end
    path.write_bytes(b"".join(lines))
    return f"row {row}, column {column} = {cells[column]!r}"


def _drop_cell(path: Path, root: Path, rng: np.random.Generator) -> str:
    lines = _lines(path)
    row = int(rng.integers(len(lines)))
    lines[row] = lines[row].partition(b"," if b"," in lines[row] else b" ")[2]
    path.write_bytes(b"".join(lines))
    return f"first cell of row {row}"


def _other_line_ends(path: Path, root: Path, rng: np.random.Generator) -> str:
    """Saved on Windows: a byte order mark, other line ends, an empty last row."""
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    return "BOM and CRLF"


def _transcode(path: Path, root: Path, rng: np.random.Generator) -> str:
    path.write_bytes(path.read_bytes().decode("utf-8", "replace").encode("utf-16"))
    return "UTF-16"


# Which files a fault fits (None = any) and what does it.
KINDS: dict[str, tuple[tuple[str, ...] | None, Callable[[Path, Path, np.random.Generator], str]]] = {
    "bytes flipped": (None, _flip_bytes),
    "truncated": (None, _truncate),
    "emptied": (None, _empty),
    "zeros inside": (None, _zeros),
    "removed": (None, _remove),
    "folder removed": (None, _remove_folder),
    "contents exchanged": (None, _exchange),
    "copied next to it": (None, _copy_beside),
    "rows deleted": (TABLES, _delete_rows),
    "rows swapped": (TABLES, _swap_rows),
    "row repeated": (TABLES, _repeat_row),
    "cell changed": (TABLES, _change_cell),
    "cell dropped": (TABLES, _drop_cell),
    "line ends": (TABLES, _other_line_ends),
    "transcoded": (TABLES, _transcode),
}
