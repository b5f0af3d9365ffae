"""Checks of `prepare` before it makes anything: options, places, folders and datasets."""

from __future__ import annotations

import contextlib
import inspect
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import pandas as pd

from mgkit.data.ledger import Ledger
from mgkit.data.prepare.plan import impossible
from mgkit.data.readers import LEFT_OUT, RawClip, RawDataset, note
from mgkit.errors import MgkitError, counted, some
from mgkit.files import is_text, read_json, shown

MANIFEST = "prepare.json"
FORMAT = 2  # of a prepared folder


def check_places(source: Path, out: Path) -> None:
    """Refuse names that are not UTF-8, and a clip folder inside the dataset."""
    for path in (source, out):
        if not is_text(path):
            raise MgkitError(f"{shown(path)} is not UTF-8: rename the folder.")
    inside = source.is_dir() and out.resolve().is_relative_to(source.resolve())
    if inside:
        raise MgkitError(
            f"{out} is inside the dataset {source}, so that its videos would be read as part of it: choose a place "
            "next to it."
        )


def check_options(read: Callable[..., Any], options: dict[str, Any], name: str) -> None:
    """Refuse options that the reader does not have."""
    parameters = inspect.signature(read).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    known = [p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY and p.name != "cache"]
    unknown = [key for key in options if key not in parameters or key == "source"]
    if unknown:
        raise MgkitError(
            f"the reader {name} has no option {some(unknown)}; it has {some(known, 20) or 'none'}."
        )


def manifest(out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The manifest of an earlier call; {} when there was none. A folder of another kind is refused."""
    if not (out / MANIFEST).is_file():
        if (out / "clips.parquet").exists():
            raise MgkitError(
                f"{out} already holds a clip folder that `prepare` did not make: choose another folder."
            )
        return {}
    before = read_json(out / MANIFEST)
    if not isinstance(before, dict) or before.get("format") != FORMAT:
        raise MgkitError(
            f"{out} was prepared by another version of mgkit: choose another folder, or delete this one to prepare it "
            "again."
        )
    for key, what in (("reader", "reader"), ("size", "size"), ("margin", "margin")):
        if before.get(key) != settings[key]:
            raise MgkitError(
                f"{out} was prepared with {what} {before.get(key)}, not {settings[key]}: choose another folder, or "
                "delete this one to prepare it again."
            )
    return before if isinstance(before.get("files"), dict) else {}


def check_raw(raw: RawDataset, source: Path) -> None:
    """Refuse clips that no clip folder may have."""
    if not raw.clips:
        raise MgkitError(f"{source} has no clips.")
    for i, clip in enumerate(raw.clips):
        _check_types(clip, i)
    repeated = [clip_id for clip_id, count in Counter(c.clip_id for c in raw.clips).items() if count > 1]
    if repeated:
        raise MgkitError(f"{source}: clip ids occur twice: {some(repeated)}. Each clip needs its own id.")
    unsafe = [c.clip_id for c in raw.clips if not _safe(c.clip_id)]
    if unsafe:
        raise MgkitError(
            f"{source}: {some(map(repr, unsafe))} cannot name a file: use plain words as clip ids."
        )
    unnamed = [c.video for c in raw.clips if c.video and not is_text(c.video)]
    if unnamed:
        raise MgkitError(
            f"the name of {shown(unnamed[0])} is not UTF-8 ({counted(len(unnamed), 'such clip')}): rename it."
        )
    folded = Counter(c.clip_id.casefold() for c in raw.clips)
    alike = [c.clip_id for c in raw.clips if folded[c.clip_id.casefold()] > 1]
    if alike:
        raise MgkitError(
            f"{source}: clip ids differ in capital letters only ({some(alike)}), which some file systems cannot "
            "tell apart: rename them."
        )
    wrong = [c for c in raw.clips if not 0 <= c.label < len(raw.classes)]
    if wrong:
        raise MgkitError(
            f"{source}: label {wrong[0].label} of clip {wrong[0].clip_id!r} is outside the {len(raw.classes)} classes "
            f"({counted(len(wrong), 'such clip')}): correct the label or the class list."
        )


def _check_types(clip: RawClip, i: int) -> None:
    """Refuse the usual slips of a new reader: a label as text, a path that is not a Path."""
    kinds: dict[str, tuple[type | tuple[type, ...], str]] = {
        "clip_id": (str, "text"), "split": (str, "text"), "subject": (str, "text"), "source": (str, "text"),
        "label": ((int, np.integer), "a whole number, the index of a class"),
        "start": ((int, np.integer), "a whole number"), "end": ((int, np.integer, NoneType), "a whole number or None"),
        "video": ((Path, NoneType), "a pathlib.Path or None"),
    }  # fmt: skip
    for name, (kind, words) in kinds.items():
        value = getattr(clip, name)
        if not isinstance(value, kind) or (name == "split" and not value):
            raise MgkitError(
                f"the reader gave clip {i} ({clip.clip_id!r}) the {name} {value!r}: let it give {words}."
            )


def _safe(clip_id: str) -> bool:
    parts = clip_id.split("/")
    return (
        bool(clip_id.strip())
        and not set(clip_id) & set("\n\0\\")
        and is_text(clip_id)
        and not any(part == "" or part.startswith(".") for part in parts)
    )


def check_same_dataset(raw: RawDataset, ledger: Ledger, out: Path) -> None:
    """Refuse another dataset: a folder is brought up to date with its own, never turned into another one."""
    there = {file.removeprefix("videos/").removesuffix(".mp4") for file in ledger.files} - {"poses.npy"}
    if (out / "clips.parquet").is_file():
        with contextlib.suppress(OSError, ValueError, KeyError):  # a damaged table is made again
            there |= set(pd.read_parquet(out / "clips.parquet", columns=["clip_id"])["clip_id"])
    common = there & {clip.clip_id for clip in raw.clips}
    if 2 * len(common) < len(there):
        raise MgkitError(
            f"{out} was prepared from another source: it holds {counted(len(there), 'clip')}, {len(common)} of them "
            "also in this one. Choose another folder, or delete this one to prepare it again."
        )


def broken_before(raw: RawDataset) -> list[dict[str, str]]:
    """Notes on the clips that cannot be made, as far as their rows show, after those that the reader left out."""
    found = left_out(raw.report)
    for clip in raw.clips:
        reason = impossible(clip)
        if reason is not None:
            found.append(note(LEFT_OUT + reason[0], reason[1], clip.clip_id))
    return found


def left_out(report: list[dict[str, str]]) -> list[dict[str, str]]:
    """The entries of a report on clips that could not be made."""
    return [entry for entry in report if entry["what"].startswith(LEFT_OUT)]


def refuse_beyond(limit: int, broken: list[dict[str, str]], count: int) -> None:
    """Raise if more than `limit` of the `count` clips cannot be made; `broken` names them with the reasons."""
    if len(broken) <= limit:
        return
    kinds = Counter(entry["what"].removeprefix(LEFT_OUT) for entry in broken)
    first = {kind: next(e for e in broken if e["what"] == LEFT_OUT + kind) for kind in kinds}
    reasons = "; ".join(
        f"{kind} ({n}), {first[kind]['clip_id']}: {first[kind]['detail'].rstrip('.')}"
        for kind, n in kinds.items()
    )
    raise MgkitError(
        f"{len(broken)} of {counted(count, 'clip')} cannot be made, and {limit} may be left out: {reasons}. Fix or "
        "remove them and call again (what is finished is kept), or tolerate a larger share (--tolerated 0.2)."
    )
