"""The plain forms of a score file: parquet, npz and CSV. `score_files` says what is in them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from mgkit.data.clips import Classes
from mgkit.data.readers.tables import is_number, read_text
from mgkit.errors import MgkitError, some
from mgkit.files import atomic
from mgkit.results.score_records import Raw, Scores
from mgkit.results.storage import read_npz


def _about(scores: Scores) -> str:
    """What beside the arrays a file says of itself, as JSON."""
    classes = None if scores.classes is None else scores.classes.to_dict()
    return json.dumps({"classes": classes, "split": scores.split, "name": scores.name}, ensure_ascii=False)


def _described(text: str | bytes | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not all(
        isinstance(value.get(k), str | None) for k in ("split", "name")
    ):
        raise MgkitError("its notes about classes, split and name are damaged")
    classes = value.get("classes")
    return {
        "classes": None if classes is None else Classes.from_dict(classes, "its class list"),
        "split": value.get("split"),
        "name": value.get("name"),
    }


def write_parquet(path: Path, scores: Scores) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {"clip_id": pa.array(scores.clip_ids, pa.string())}
    if scores.labels is not None:
        columns["label"] = pa.array(scores.labels, pa.int64())
    flat = pa.array(scores.probabilities.ravel(), pa.float32())
    columns["probabilities"] = pa.FixedSizeListArray.from_arrays(flat, scores.class_count)
    table = pa.table(columns).replace_schema_metadata({"mgkit": _about(scores)})
    with atomic(path) as temporary:
        pq.write_table(table, temporary)


def read_parquet(path: Path) -> Raw:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
        titles = table.column_names
        ids = [str(clip_id) for clip_id in table["clip_id"].to_pylist()] if "clip_id" in titles else []
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise MgkitError(f"it cannot be read ({error}): make it again") from None
    if not {"clip_id", "probabilities"} <= set(titles):
        raise MgkitError(f"it needs columns clip_id and probabilities, and has {some(titles)}")
    column = table["probabilities"].combine_chunks()
    listed = pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)
    counts = set(pc.list_value_length(column).to_pylist()) if listed else set()
    if len(counts) != 1 or None in counts or not pa.types.is_floating(column.type.value_type):
        raise MgkitError("its column probabilities does not hold the same count of numbers in every row")
    if column.flatten().null_count or table["clip_id"].null_count:
        raise MgkitError("it has rows with an empty id or number")
    values = column.flatten().to_numpy(zero_copy_only=False).reshape(len(table), counts.pop())
    labels = None
    if "label" in titles:
        if table["label"].null_count or not pa.types.is_integer(table["label"].type):
            raise MgkitError("its column label does not hold a whole number in every row")
        labels = table["label"].to_numpy()
    about = _described((table.schema.metadata or {}).get(b"mgkit"))
    return Raw(values, ids, labels, **about)


def write_npz(path: Path, scores: Scores) -> None:
    arrays: dict[str, Any] = {
        "clip_id": np.asarray(scores.clip_ids), "probabilities": scores.probabilities,
        "about": np.asarray(_about(scores)),
    }  # fmt: skip
    if any(clip_id.endswith("\0") for clip_id in scores.clip_ids):
        raise MgkitError(
            f"{path}: a clip id ends in a zero byte, which an array cannot hold: write a parquet."
        )
    if scores.labels is not None:
        arrays["label"] = scores.labels
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def read_npz_scores(path: Path) -> Raw:
    arrays = read_npz(path)
    lacking = [name for name in ("clip_id", "probabilities") if name not in arrays]
    if lacking:
        raise MgkitError(f"it lacks the array {some(lacking)} (there is {some(arrays) or 'none'})")
    ids, labels, about = arrays["clip_id"], arrays.get("label"), arrays.get("about")
    if (
        ids.ndim != 1
        or ids.dtype.kind not in "Uiu"
        or len(ids) != len(np.atleast_1d(arrays["probabilities"]))
    ):
        raise MgkitError(f"its clip_id has shape {ids.shape}, type {ids.dtype}; one id a row is expected")
    described = _described(None if about is None else str(about))
    return Raw(arrays["probabilities"], [str(clip_id) for clip_id in ids.tolist()], labels, **described)


def write_csv(path: Path, scores: Scores) -> None:
    count = scores.class_count
    names = list(map(str, range(count))) if scores.classes is None else list(scores.classes.names)
    odd = [
        text
        for text in (*scores.clip_ids, *names)
        if not text or text != text.strip() or set(text) & {*"\r\n\0"}
    ]
    if odd:
        raise MgkitError(
            f"{path}: names that are empty, broken over lines or begin or end in blanks ({some(map(repr, odd))}) would "
            "be lost in a CSV: write a parquet."
        )
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["clip_id", "label", *names])
        for i, clip_id in enumerate(scores.clip_ids):
            label = "" if scores.labels is None else int(scores.labels[i])
            writer.writerow([clip_id, label, *(f"{p:.9g}" for p in scores.probabilities[i].tolist())])


def read_csv(path: Path) -> Raw:
    """Nine digits tell every float32 apart. Columns 0, 1, ... are classes without names."""
    text, _ = read_text(path)
    if not text.lstrip().startswith("clip_id"):
        raise MgkitError("it must begin with a row of titles, clip_id first")
    mark = text.lstrip()[len("clip_id") :][:1]
    if mark not in (",", ";", "\t"):
        raise MgkitError("its titles must be parted by commas, semicolons or tabs")
    lines = csv.reader(io.StringIO(text), delimiter=mark)
    rows = [row for row in lines if any(cell.strip() for cell in row)]
    if len(rows) < 2:
        raise MgkitError("it has titles and no clip")
    titles = [title.strip() for title in rows[0]]
    first = 2 if titles[1:2] == ["label"] else 1
    names = titles[first:]
    for number, row in enumerate(rows[1:], 1):
        if len(row) != len(titles):
            raise MgkitError(f"row {number} of the clips has {len(row)} cells, its titles {len(titles)}")
        odd = [cell for cell in row[first:] if not is_number(cell)]
        if odd:
            raise MgkitError(
                f"row {number} of the clips ({row[0]}) has {odd[0]!r} where a number is expected"
            )
    given = [row[1].strip() for row in rows[1:]] if first == 2 else []
    labels = None
    if any(given):
        bad = [row[0] for row, cell in zip(rows[1:], given, strict=True) if not cell.isdecimal()]
        if bad:
            raise MgkitError(f"the label of {some(bad)} is not a class number")
        labels = np.asarray([int(cell) for cell in given])
    # A float32 is nearest to its nine digits in float32 as in float64.
    values = np.asarray([[float(cell) for cell in row[first:]] for row in rows[1:]], np.float64)
    unnamed = names == [str(k) for k in range(len(names))]
    classes = None if unnamed or not names else Classes(tuple(names))
    with np.errstate(over="ignore"):  # beyond float32 it is infinite, and refused as that
        values = values.astype(np.float32)
    return Raw(values, [row[0].strip() for row in rows[1:]], labels, classes)
