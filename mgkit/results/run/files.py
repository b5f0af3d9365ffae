"""Reading and writing the single files of a run folder; `runs` says what belongs in them.

Every file is written whole or not at all. A file that cannot be read raises a `MgkitError` that names it and says what
to do.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
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


class naming:
    """Puts the file's name, and what to do, around a `MgkitError` that says what is wrong inside it."""

    def __init__(self, path: Path, remedy: str) -> None:
        self.path, self.remedy = path, remedy

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, MgkitError | ValueError | TypeError):
            raise MgkitError(f"{self.path}: {str(error).removesuffix('.')}; {self.remedy}.") from None


def read_dict(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise MgkitError(f"{path} must hold a JSON object, not a {type(value).__name__}.")
    return value


def split_folder(root: str | Path, split: str) -> Path:
    if not split or split in (".", "..") or any(mark in split for mark in "/\\"):
        raise MgkitError(f"{split!r} cannot be the name of a split: it becomes a folder.")
    return Path(root) / "splits" / split


# ---------------------------------------------------------------------------------------------------------------------
# config.json


def read_config(path: Path) -> dict[str, Any]:
    """config.json of a run, with every key that `Run` relies on; raises a `MgkitError` that names what is amiss."""
    config = read_dict(path)
    version = config.get("format")
    if not isinstance(version, int):
        raise MgkitError(
            f"{path}: format is {version!r}, not a number; this is not the config.json of a run."
        )
    if version != FORMAT:
        what = "upgrade mgkit" if version > FORMAT else "make the run again"
        raise MgkitError(f"{path} has format {version}, and this mgkit reads format {FORMAT}: {what}.")
    wanted = {"recipe": dict, "data": dict, "pathways": list}
    for key, kind in wanted.items():
        if not isinstance(config.get(key), kind):
            raise MgkitError(f"{path}: {key!r} is missing or not a {kind.__name__}.")
    data = config["data"]
    missing = [key for key in ("root", "fingerprint", "classes", "skeleton", "splits") if key not in data]
    if missing:
        raise MgkitError(f"{path}: data lacks {some(missing)}.")
    try:
        check_names(config["pathways"], PATHWAYS, "pathways")
    except MgkitError as error:
        raise MgkitError(f"{path}: {error}") from None
    if not isinstance(config.get("settings", {}), dict):
        raise MgkitError(f"{path}: 'settings' is not a dict.")
    if not isinstance(data["root"], str | None):
        raise MgkitError(f"{path}: data.root is not a path.")
    if not isinstance(data["splits"], dict):
        raise MgkitError(f"{path}: data.splits is not a dictionary of class counts.")
    return config


def plain(value: dict[str, Any], what: str) -> dict[str, Any]:
    """The dictionary as JSON will give it back, so that what is compared is what is stored."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise MgkitError(
            f"{what} is not plain JSON ({error}): use numbers, texts, lists and dictionaries."
        ) from None


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Readable differences of two JSON values, leaving out the way to the clip folder (its fingerprint counts)."""
    if where == "data.root":
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        found: list[str] = []
        for key in [*new, *(key for key in old if key not in new)]:
            found += differences(old.get(key), new.get(key), f"{where}.{key}" if where else key)
        return found
    if old == new:
        return []
    if len(json.dumps([old, new])) > 80:
        return [where]
    return [f"{where} ({json.dumps(old)} there, {json.dumps(new)} now)"]


# ---------------------------------------------------------------------------------------------------------------------
# history.csv


def append_history(root: str | Path, row: Mapping[str, Any]) -> None:
    """Add the row of one epoch to history.csv.

    A row of an epoch that is already there replaces it and drops the later ones: a run resumed at epoch 5 must not
    keep what a lost epoch 6 said. Rows may have different keys; missing values are empty cells.

    Args:
        row: "epoch" (a whole number; the first is 1) and numbers under these names, which figures and widgets
            look for:
            `loss` and `loss_<term>`: training loss and its terms, `ce_<pathway>` and `pr_<pathway>` among them;
            `train_top1_<output>`, `val_top1_<output>`: accuracy in [0, 1] of rgb, pose, fused; `val_macro_f1`;
            `tp_<pathway>`, `fn_<pathway>`, `fp_<pathway>`: clips over the epoch;
            `learning_rate`, `clips_per_second`, `seconds`. Others are kept as they are.
    """
    path = Path(root) / "history.csv"
    epoch = row.get("epoch")
    if isinstance(epoch, bool) or not isinstance(epoch, int | np.integer):
        raise MgkitError(f"{path}: a row needs a whole number under 'epoch', not {epoch!r}.")
    before = read_history(path)
    kept = before[before["epoch"] < int(epoch)].to_dict("records")
    table = pd.DataFrame([*kept, dict(row)])
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)


def read_history(path: Path) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame({"epoch": pd.Series(dtype="int64")})
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' own parser errors are ValueErrors
        raise MgkitError(
            f"{path} cannot be read ({error}): delete it; training goes on without it."
        ) from None
    epochs = table.get("epoch")
    if (
        epochs is None
        or not pd.api.types.is_integer_dtype(epochs)
        or not (epochs.is_monotonic_increasing and epochs.is_unique)
    ):
        raise MgkitError(f"{path}: the column epoch is missing or does not count upwards: delete the file.")
    return table


# ---------------------------------------------------------------------------------------------------------------------
# splits/<split>/ and prototypes.npz


def store_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions.parquet, laid out as `runs.write_predictions` says."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = predictions.class_count
    columns: dict[str, Any] = {
        "clip_id": pa.array(predictions.clip_ids, pa.string()),
        "label": pa.array(predictions.labels, pa.int64()),
    }
    for name, array in predictions.probabilities.items():
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(array.ravel(), pa.float32()), count)
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
    arrays: dict[str, Any] = {"clip_id": np.array(embeddings.clip_ids, dtype=str), **embeddings.vectors}
    with atomic(split_folder(root, split) / "embeddings.npz") as temporary:
        np.savez(temporary, **arrays)


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
    new = PrototypeHistory(
        np.array([epoch]),
        {name: np.asarray(array)[None] for name, array in prototypes.items()},
        {name: np.asarray(array)[None] for name, array in updates.items()},
    )
    if path.is_file():
        old = read_prototypes(path)
        keep = old.epochs < epoch
        if keep.any():
            for name, array in new.vectors.items():
                if name not in old.vectors or old.vectors[name].shape[1:] != array.shape[1:]:
                    raise MgkitError(
                        f"{path}: the {name} prototypes of epoch {epoch} differ in shape from earlier ones."
                    )
            new = PrototypeHistory(
                np.concatenate([old.epochs[keep], new.epochs]),
                {
                    name: np.concatenate([old.vectors[name][keep], array])
                    for name, array in new.vectors.items()
                },
                {
                    name: np.concatenate([old.updates[name][keep], array])
                    for name, array in new.updates.items()
                },
            )
    arrays: dict[str, Any] = {"epoch": new.epochs, **new.vectors}
    arrays.update({f"{name}_updates": array for name, array in new.updates.items()})
    with atomic(path) as temporary:
        np.savez(temporary, **arrays)


def read_prototypes(path: Path) -> PrototypeHistory:
    arrays = read_npz(path)
    if "epoch" not in arrays:
        raise MgkitError(f"{path} lacks the array epoch: delete it and train again.")
    epochs = arrays.pop("epoch")
    updates = {
        name.removesuffix("_updates"): arrays.pop(name) for name in list(arrays) if name.endswith("_updates")
    }
    with naming(path, "delete it and train again"):
        return PrototypeHistory(epochs, arrays, updates)


def read_npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (
        OSError,
        ValueError,
        TypeError,
        EOFError,
        KeyError,
        AttributeError,
        NotImplementedError,
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise MgkitError(f"{path} cannot be read ({error}): delete it and make it again.") from None
