"""Score files: probabilities of clips by any system, keyed by clip id, read and written in four formats.

    .parquet   `clip_id`, `label` if known, `probabilities` (a list of K float32); class names, split and name of the
               system as metadata
    .npz       arrays `clip_id` (N,), `probabilities` (N, K), `label` (N,) if known, `about` (the same metadata)
    .csv       one row per clip: `clip_id`, `label` (a class number, or empty), one column per class under its name
    .pkl       results of PYSKL or MMAction2 (see `pickles`), read without running anything

The first three give back what was written, to the last bit of each float32; a CSV has no class groups. Rows are
probabilities unless the caller declares logits: a wrong guess would go through every later step without a trace.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mgkit.data.clips import Classes
from mgkit.data.readers.tables import is_number, read_text
from mgkit.errors import MgkitError, counted, some
from mgkit.files import atomic
from mgkit.results.run.files import read_npz
from mgkit.results.run.folder import Run, as_run
from mgkit.results.run.records import Floats, Ints, Predictions, check_ids, common_sum
from mgkit.results.scores import pickles
from mgkit.results.scores.scores import Raw, Scores

__all__ = ["read", "write"]

Kind = Literal["auto", "probabilities", "logits"]
SUFFIXES = (".parquet", ".npz", ".csv", ".pkl", ".pickle")
ROUNDED = 1e-2  # tolerance of the sum of a row that the caller declares to be probabilities


def read(
    path: str | Path,
    *,
    clip_ids: Sequence[str] | None = None,
    annotations: str | Path | None = None,
    split: str | None = None,
    labels: Sequence[int] | Mapping[str, int] | npt.NDArray[Any] | None = None,
    classes: Classes | Sequence[str] | None = None,
    kind: Kind = "auto",
    name: str | None = None,
) -> Scores:
    """Read a score file.

    Args:
        path: a .parquet, .npz, .csv or .pkl file as described above.
        clip_ids: for a file without ids (pickles of PYSKL and most of MMAction2) the ids in the order of its rows; for
            a file with ids the clips to return, in this order; the file must hold exactly these.
        annotations: instead of `clip_ids`, the PYSKL annotation pickle of the results: the clips of `split` and their
            labels, in the order of the annotations, which is that of the results.
        split: the split of the scores, kept with them.
        labels: true classes in [0, K), by clip id, or in the order of clip_ids, else of the rows.
        classes: the class list in the order of the columns.
        kind: "probabilities" or "logits" (a softmax is applied; rows that are not negative and all have the same sum,
            as percentages have, are refused). "auto" accepts rows that are not negative and sum to 1 within 1e-3, and
            refuses all others. "probabilities" allows sums within 1e-2, as of rounded numbers, and divides such rows by
            their sum.
        name: of the system; by default the one in the file, else the name of the file.

    Raises:
        MgkitError: a file that cannot be read, is not a score file or holds more than plain data; ids that are missing,
            unknown, or not as many as the rows; rows that are not probabilities; a split, labels or classes that
            contradict those in the file.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise MgkitError(f"{path} is not a score file: its name must end in {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise MgkitError(f"there is no score file {path}.")
    if kind not in ("auto", "probabilities", "logits"):
        raise MgkitError(f"kind is {kind!r}: use auto, probabilities or logits.")
    if annotations is not None:
        if clip_ids is not None or labels is not None:
            raise MgkitError("annotations hold ids and labels: give no clip_ids or labels in addition.")
        clip_ids, labels = pickles.annotation_order(annotations, split)
    try:
        scores = _checked(_read(path), clip_ids, split, labels, classes, kind, path.stem)
        scores = scores if name is None else replace(scores, name=name)
    except MgkitError as error:
        message = f"{str(error).removesuffix('.')}."
        raise MgkitError(message if message.startswith(str(path)) else f"{path}: {message}") from None
    except csv.Error as error:
        raise MgkitError(f"{path} is not a table ({error}): write it again.") from None
    return scores if clip_ids is None else scores.select([str(clip_id) for clip_id in clip_ids])


def _read(path: Path) -> Raw:
    match path.suffix.lower():
        case ".parquet":
            return read_parquet(path)
        case ".npz":
            return read_npz_scores(path)
        case ".csv":
            return read_csv(path)
    return pickles.read_result_pickle(path)


def write(
    path: str | Path,
    scores: Scores | Predictions | Run | str | Path,
    *,
    split: str = "test",
    output: str | None = None,
    layout: Literal["pyskl", "mmaction2"] | None = None,
    clip_ids: Sequence[str] | None = None,
) -> Path:
    """Write a score file, whole or not at all; `read` gives it back.

    Args:
        path: the file; the suffix determines the format.
        scores: the scores; or predictions, a run or its folder, of which one output is written.
        split: the evaluated split of a run.
        output: "rgb", "pose" or "fused" of predictions or a run; by default the best.
        layout: of a pickle: "pyskl", a list of K numbers per clip without ids, or "mmaction2", a list of dictionaries
            of tensors, with the id under `frame_dir`.
        clip_ids: the clips to write, in this order; all by default. A PYSKL pickle must be in the order of its
            annotations (`pickles.annotation_order`): it has no ids.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise MgkitError(f"{path} would not be a score file: end its name in {', '.join(SUFFIXES)}.")
    pickled = suffix in (".pkl", ".pickle")
    if pickled and layout not in ("pyskl", "mmaction2"):
        raise MgkitError(f"{path}: choose the layout of the pickle, layout='pyskl' or layout='mmaction2'.")
    if layout is not None and not pickled:
        raise MgkitError(f"{path}: layout={layout!r} is for pickles; end its name in .pkl.")
    if not isinstance(scores, Scores | Predictions):
        run = as_run(scores)
        scores = Scores.of(run.predictions(split), output, split=split, name=run.name)
    elif isinstance(scores, Predictions):
        scores = Scores.of(scores, output)
    elif output is not None:
        raise MgkitError("output is for predictions: scores have only one.")
    if clip_ids is not None:
        scores = scores.select(clip_ids)
    formats = {".parquet": write_parquet, ".npz": write_npz, ".csv": write_csv}
    layouts = {"pyskl": pickles.write_pyskl_results, "mmaction2": pickles.write_mmaction2}
    (formats[suffix] if layout is None else layouts[layout])(path, scores)
    return path


# ---------------------------------------------------------------------------------------------------------------------
# The contents of a file against the arguments of the caller


def _checked(
    raw: Raw, clip_ids: Any, split: str | None, labels: Any, classes: Any, kind: Kind, stem: str
) -> Scores:
    """The contents of a file with the arguments of the caller, in the order of the file."""
    values = raw.values
    if values.ndim != 2 or not values.shape[1] or values.dtype.kind not in "fiu":
        raise MgkitError(
            f"its scores have shape {values.shape}, type {values.dtype}; (clips, classes) numbers are expected."
        )
    if raw.labels is not None and np.shape(raw.labels) != (len(values),):
        raise MgkitError(
            f"it has labels of shape {np.shape(raw.labels)} for {counted(len(values), 'row')} of scores."
        )
    order = None if clip_ids is None else check_ids(clip_ids)
    if raw.clip_ids is not None:
        ids = check_ids(raw.clip_ids)
        if order is not None:
            _check_same_clips(ids, order)
    elif order is None:
        raise MgkitError(
            f"it holds {counted(len(values), 'row')} and no clip ids: pass clip_ids= in the order of the rows, or "
            "annotations= and split= of a PYSKL annotation file."
        )
    else:
        ids = order
    if len(ids) != len(values):
        raise MgkitError(
            f"it holds {counted(len(values), 'row')} of scores for {counted(len(ids), 'clip id')}."
        )
    if raw.split is not None and split not in (None, raw.split):
        raise MgkitError(f"it holds scores of the split {raw.split!r}, not of {split!r}.")
    truth = _labels(ids, raw.labels, labels, order or ids)
    return Scores(
        ids, _probabilities(values, ids, kind), truth, _agreed(raw.classes, classes),
        raw.split if split is None else split, raw.name or stem,
    )  # fmt: skip


def _probabilities(values: npt.NDArray[Any], ids: list[str], kind: Kind) -> Floats:
    """(N, K) float32 probabilities of the values in a file; never a guess."""
    from scipy.special import softmax

    bad = ~np.isfinite(values).all(1)
    if bad.any():
        raise MgkitError(
            f"the scores of {some(ids[i] for i in np.flatnonzero(bad))} are not finite: make the file again."
        )
    total = common_sum(values)
    if kind == "logits":
        if total is not None:
            raise MgkitError(
                f"its rows are not negative and all sum to about {total:.4g}, as logits do not: leave out kind='logits'"
                + ("" if total == 1 else f", and divide the scores by {total:.4g} first")
            )
        return np.asarray(softmax(values.astype(np.float64), axis=1), np.float32)
    sums = values.sum(1, dtype=np.float64)
    allowed = ROUNDED if kind == "probabilities" else 1e-3
    wrong = np.flatnonzero((np.abs(sums - 1) > allowed) | (values.min(1) < -1e-6))
    if len(wrong):
        i = int(wrong[0])
        raise MgkitError(
            f"the scores of {counted(len(wrong), 'clip')} are not probabilities ({ids[i]}: lowest "
            f"{values[i].min():.4g}, sum {sums[i]:.4g}); "
            + (
                f"every row sums to about {total:.4g}: divide them by it in the file"
                if total not in (None, 1.0)
                else "pass kind='logits' if they are logits"
                + ("" if kind == "probabilities" else ", kind='probabilities' if they were rounded")
            )
        )
    off = np.abs(sums - 1) > 1e-3
    if off.any():
        values = values.astype(np.float64)
        values[off] /= sums[off, None]
    return values.astype(np.float32)


def _check_same_clips(there: list[str], wanted: list[str]) -> None:
    missing, extra = sorted(set(wanted) - set(there)), sorted(set(there) - set(wanted))
    if missing or extra:
        parts = [f"lacks {some(missing)}"] if missing else []
        parts += [f"has {some(extra)}, which clip_ids does not"] if extra else []
        raise MgkitError(
            f"it holds {counted(len(there), 'clip')}, and clip_ids has {len(wanted)}: it {' and '.join(parts)}"
        )


def _agreed(there: Classes | None, given: Classes | Sequence[str] | None) -> Classes | None:
    if given is None:
        return there
    classes = given if isinstance(given, Classes) else Classes(tuple(str(name) for name in given))
    if there is not None and there.names != classes.names:
        odd = [f"{a!r} for {b!r}" for a, b in zip(there.names, classes.names, strict=False) if a != b]
        odd = odd or [f"{len(there)} classes for {len(classes)}"]
        raise MgkitError(f"its classes are not those given, in the order given ({some(odd, 3)})")
    return classes


def _labels(
    ids: list[str], there: Ints | None, given: Any, order: Sequence[str]
) -> npt.NDArray[np.int64] | None:
    """(N,) labels in the order of the file's ids; `order` is that of given labels which are a sequence."""
    if given is None:
        return there
    if not isinstance(given, Mapping):
        values = np.asarray(given)
        if values.shape != (len(ids),):
            raise MgkitError(
                f"it holds {counted(len(ids), 'clip')}, and is given {counted(values.size, 'label')}: give one per "
                "clip."
            )
        given = dict(zip(map(str, order), values.tolist(), strict=True))
    lacking = [clip_id for clip_id in ids if clip_id not in given]
    if lacking:
        raise MgkitError(f"the labels given lack {some(lacking)}: give one for every clip.")
    labels = np.asarray([given[clip_id] for clip_id in ids])
    if labels.dtype.kind not in "iu":
        raise MgkitError(f"the labels given are {labels.dtype}, not whole numbers")
    if there is not None and (labels != there).any():
        odd = [f"{ids[i]} ({there[i]}, given {labels[i]})" for i in np.flatnonzero(labels != there)]
        raise MgkitError(f"its labels are not those given: {some(odd)}. find out which are right.")
    return labels.astype(np.int64)


def _about(scores: Scores) -> str:
    """The metadata of a file, as JSON."""
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
        raise MgkitError("its metadata (classes, split, name) is damaged")
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
        raise MgkitError("its column probabilities does not hold equally many numbers in every row")
    if column.flatten().null_count or table["clip_id"].null_count:
        raise MgkitError("it has rows with an empty id or number")
    values = column.flatten().to_numpy(zero_copy_only=False).reshape(len(table), counts.pop())
    labels = None
    if "label" in titles:
        if table["label"].null_count or not pa.types.is_integer(table["label"].type):
            raise MgkitError("its column label has rows without a whole number")
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
        raise MgkitError(f"its clip_id has shape {ids.shape}, type {ids.dtype}; one id per row is expected")
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
    """Nine digits distinguish every float32. Columns 0, 1, ... are classes without names."""
    text, _ = read_text(path)
    if not text.lstrip().startswith("clip_id"):
        raise MgkitError("it must begin with a row of titles, clip_id first")
    mark = text.lstrip()[len("clip_id") :][:1]
    if mark not in (",", ";", "\t"):
        raise MgkitError("its titles must be separated by commas, semicolons or tabs")
    lines = csv.reader(io.StringIO(text), delimiter=mark)
    rows = [row for row in lines if any(cell.strip() for cell in row)]
    if len(rows) < 2:
        raise MgkitError("it has titles but no clips")
    titles = [title.strip() for title in rows[0]]
    first = 2 if titles[1:2] == ["label"] else 1
    names = titles[first:]
    for number, row in enumerate(rows[1:], 1):
        if len(row) != len(titles):
            raise MgkitError(
                f"row {number} of the clips has {counted(len(row), 'cell')}, its titles {len(titles)}"
            )
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
    with np.errstate(over="ignore"):  # beyond float32 it is infinite, and refused as such
        values = values.astype(np.float32)
    return Raw(values, [row[0].strip() for row in rows[1:]], labels, classes)
