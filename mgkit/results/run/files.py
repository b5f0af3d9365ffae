"""Single files of a run folder, written and read; `mgkit.results.run.folder` lists them.

Every file is written whole or not at all. A file that cannot be read raises a `MgkitError` that gives its name and what
to do.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError, some
from mgkit.files import atomic, read_json
from mgkit.results.run.records import (
    OUTPUTS,
    PATHWAYS,
    Embeddings,
    Floats,
    Predictions,
    PrototypeHistory,
    check_names,
)

FORMAT = 2


@contextmanager
def naming(path: Path, remedy: str) -> Iterator[None]:
    """Put the name of a file, and the remedy, around an error about its contents."""
    try:
        yield
    except (MgkitError, ValueError, TypeError) as error:
        raise MgkitError(f"{path}: {str(error).removesuffix('.')}; {remedy}.") from None


def read_dict(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise MgkitError(f"{path} must hold a JSON object, not a {type(value).__name__}.")
    return value


def split_folder(root: str | Path, split: str) -> Path:
    """The folder of an evaluated split."""
    if not split or split in (".", "..") or any(mark in split for mark in "/\\"):
        raise MgkitError(f"{split!r} cannot be the name of a split: it becomes a folder.")
    return Path(root) / "splits" / split


def write_npz(path: Path, **arrays: Any) -> None:
    """Write arrays under their names, whole or not at all; a list of texts becomes an array of texts."""
    whole: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    with atomic(path) as temporary:
        np.savez(temporary, **whole)


def read_npz(
    path: Path, needed: Sequence[str] = (), remedy: str = "delete it and make it again"
) -> dict[str, Any]:
    """Read the arrays of a file; one that is broken, or lacks a needed array, raises a `MgkitError`."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (
        OSError, ValueError, TypeError, EOFError, KeyError, AttributeError, NotImplementedError, RuntimeError,
        zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise MgkitError(f"{path} cannot be read ({error}): {remedy}.") from None
    if missing := [name for name in needed if name not in arrays]:
        raise MgkitError(f"{path} lacks {some(missing)}: {remedy}.")
    return arrays


# ---------------------------------------------------------------------------------------------------------------------
# config.json


def read_config(path: Path) -> dict[str, Any]:
    """Read config.json of a run, with every key that `Run` relies on; a `MgkitError` names what is wrong."""
    config = read_dict(path)
    version = config.get("format")
    if not isinstance(version, int):
        raise MgkitError(
            f"{path}: format is {version!r}, not a number; this is not the config.json of a run."
        )
    if version != FORMAT:
        what = "upgrade mgkit" if version > FORMAT else "make the run again"
        raise MgkitError(f"{path} has format {version}, and this mgkit reads format {FORMAT}: {what}.")
    data = config.get("data")
    kinds: list[tuple[str, object, Any]] = [
        ("recipe", config.get("recipe"), dict), ("data", data, dict), ("pathways", config.get("pathways"), list),
        ("settings", config.get("settings", {}), dict),
    ]  # fmt: skip
    if isinstance(data, dict):
        missing = [key for key in ("root", "fingerprint", "classes", "skeleton", "splits") if key not in data]
        if missing:
            raise MgkitError(f"{path}: data lacks {some(missing)}.")
        kinds += [("data.root", data["root"], str | None), ("data.splits", data["splits"], dict)]
    for key, value, kind in kinds:
        if not isinstance(value, kind):
            raise MgkitError(f"{path}: {key!r} is missing or not of type {getattr(kind, '__name__', kind)}.")
    try:
        check_names(config["pathways"], PATHWAYS, "pathways")
    except MgkitError as error:
        raise MgkitError(f"{path}: {error}") from None
    return config


def plain(value: dict[str, Any], what: str) -> dict[str, Any]:
    """The dictionary as it comes back from JSON, so that what is compared is what is stored."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise MgkitError(
            f"{what} is not plain JSON ({error}): use numbers, texts, lists and dictionaries."
        ) from None


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Readable differences of two JSON values, except the path of the clip folder (its fingerprint counts), and the
    shape of its clips, which older runs do not have."""
    if where in ("data.root", "data.shape"):
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        found: list[str] = []
        for key in [*new, *(key for key in old if key not in new)]:
            found += differences(old.get(key), new.get(key), f"{where}.{key}" if where else key)
        return found
    if old == new:
        return []
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and isinstance(new[0], dict):
        pairs = enumerate(zip(old, new, strict=True))
        return [text for i, (a, b) in pairs for text in differences(a, b, f"{where}[{i}]")]
    if len(json.dumps([old, new])) > 80:
        return [where]
    return [f"{where} ({json.dumps(old)} there, {json.dumps(new)} now)"]


def keep_code(root: Path, files: Mapping[str, str]) -> None:
    """Write the files into `code/` of a run folder."""
    for name, text in files.items():
        path = root / "code" / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic(path) as temporary:
                temporary.write_text(text, encoding="utf-8")


# ---------------------------------------------------------------------------------------------------------------------
# history.csv


def append_history(root: str | Path, row: Mapping[str, Any]) -> None:
    """Add the row of one epoch to history.csv.

    A row of an epoch that is already there replaces it and drops the later ones: a run resumed at epoch 5 must not
    keep the row of a lost epoch 6. Rows may have different keys; missing values are empty cells.

    Args:
        row: "epoch" (a whole number; the first is 1) and numbers under these names, which figures and widgets
            look for:
            `loss` and `loss_<term>`: training loss and its terms, `ce_<pathway>` and `pr_<pathway>` among them;
            `train_top1_<output>`, `val_top1_<output>`: accuracy in [0, 1] of rgb, pose, fused; `val_macro_f1`;
            `tp_<pathway>`, `fn_<pathway>`, `fp_<pathway>`: clips over the epoch; `lowered_fn_<pathway>`,
            `lowered_fp_<pathway>`: those on which the terms of the refinement acted;
            `val_nearest_<pathway>`: accuracy of the nearest prototype alone, in [0, 1];
            `gate_<pathway>`: mean size |g| of the fusion module's gates in validation, 0 = identity;
            `learning_rate`, `clips_per_second`, `seconds`. Others are kept as they are.
    """
    path = Path(root) / "history.csv"
    if not isinstance(row.get("epoch"), int | np.integer):
        raise MgkitError(f"{path}: a row needs a whole number under 'epoch', not {row.get('epoch')!r}.")
    before = read_history(path)
    kept = before[before["epoch"] < int(row["epoch"])].to_dict("records")
    with atomic(path) as temporary:
        pd.DataFrame([*kept, dict(row)]).to_csv(temporary, index=False)


def read_history(path: Path) -> pd.DataFrame:
    """Read history.csv, checked; empty where there is none."""
    if not path.is_file():
        return pd.DataFrame({"epoch": pd.Series(dtype="int64")})
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' own parser errors are ValueErrors
        raise MgkitError(
            f"{path} cannot be read ({error}): delete it; training continues without it."
        ) from None
    epochs = table.get("epoch")
    whole = epochs is not None and pd.api.types.is_integer_dtype(epochs)
    if epochs is None or not (whole and epochs.is_monotonic_increasing and epochs.is_unique):
        raise MgkitError(f"{path}: the column epoch is missing or does not count upwards: delete the file.")
    return table


# ---------------------------------------------------------------------------------------------------------------------
# splits/<split>/ and prototypes.npz


def store_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions.parquet, with the columns that `folder.write_predictions` lists."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {
        "clip_id": pa.array(predictions.clip_ids, pa.string()),
        "label": pa.array(predictions.labels, pa.int64()),
    }
    for name, array in predictions.probabilities.items():
        flat = pa.array(array.ravel(), pa.float32())
        columns[name] = pa.FixedSizeListArray.from_arrays(flat, predictions.class_count)
    for what, distances in (("own", predictions.own), ("other", predictions.other)):
        for name, values in distances.items():
            columns[f"{name}_{what}"] = pa.array(values, pa.float32())
    with atomic(path) as temporary:
        pq.write_table(pa.table(columns), temporary)


def read_predictions(path: Path, classes: Classes) -> Predictions:
    import pyarrow as pa
    import pyarrow.parquet as pq

    remedy = "evaluate the split again"
    try:
        table = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise MgkitError(f"{path} cannot be read ({error}): {remedy}.") from None
    columns = set(table.column_names)
    missing = {"clip_id", "label"} - columns
    if missing:
        raise MgkitError(f"{path} lacks the column {some(sorted(missing))}: {remedy}.")
    scores: dict[str, Floats] = {}
    for name in OUTPUTS:
        if name not in columns:
            continue
        column = table[name].combine_chunks()
        size = getattr(column.type, "list_size", None)
        if size != len(classes) or column.null_count:
            raise MgkitError(
                f"{path}: {name} must be a list of {len(classes)} probabilities in every row; {remedy}."
            )
        scores[name] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, size)
    with naming(path, remedy):
        return Predictions(
            table["clip_id"].to_pylist(),
            table["label"].to_numpy(),
            scores,
            {name: table[f"{name}_own"].to_numpy() for name in PATHWAYS if f"{name}_own" in columns},
            {name: table[f"{name}_other"].to_numpy() for name in PATHWAYS if f"{name}_other" in columns},
            classes,
        )


def write_embeddings(root: str | Path, split: str, embeddings: Embeddings) -> None:
    """Write splits/<split>/embeddings.npz: `clip_id` (N,) and per pathway (N, D) float32."""
    write_npz(split_folder(root, split) / "embeddings.npz", clip_id=embeddings.clip_ids, **embeddings.vectors)


def read_embeddings(path: Path) -> Embeddings:
    remedy = "evaluate the split again"
    arrays = read_npz(path, ["clip_id"], remedy)
    with naming(path, remedy):
        return Embeddings(arrays.pop("clip_id").tolist(), arrays)


def write_prototypes(
    root: str | Path,
    epoch: int,
    prototypes: Mapping[str, npt.ArrayLike],
    updates: Mapping[str, npt.ArrayLike],
) -> None:
    """Add the prototypes of one epoch to prototypes.npz; the same epoch and later ones are replaced.

    Args:
        prototypes: per pathway (K, D).
        updates: per pathway (K,), how often each prototype has been updated since the start of training.
    """
    path = Path(root) / "prototypes.npz"
    history = PrototypeHistory(
        np.array([epoch]),
        {name: np.asarray(array)[None] for name, array in prototypes.items()},
        {name: np.asarray(array)[None] for name, array in updates.items()},
    )
    if path.is_file():
        before = read_prototypes(path)
        with naming(path, "train in another run folder"):
            history = before.continued(history)
    counts = {f"{name}_updates": array for name, array in history.updates.items()}
    write_npz(path, epoch=history.epochs, **history.vectors, **counts)


def read_prototypes(path: Path) -> PrototypeHistory:
    remedy = "delete it and train again"
    arrays = read_npz(path, ["epoch"], remedy)
    epochs = arrays.pop("epoch")
    updates = {
        name.removesuffix("_updates"): arrays.pop(name) for name in list(arrays) if name.endswith("_updates")
    }
    with naming(path, remedy):
        return PrototypeHistory(epochs, arrays, updates)
