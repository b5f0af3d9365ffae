"""Result pickles of PYSKL and MMAction2, read without running anything, and written so that those toolboxes read them.

PYSKL (and MMAction 0.x) write a list of one (K,) array per clip, in the order of their annotation file and without ids.
MMAction2 1.x writes a list of one dictionary per clip with tensors `pred_score` (K,), `pred_label` and `gt_label` (1,),
early versions `pred_scores` and `gt_labels` with the tensor under "item"; it has an id only if the configuration
keeps `frame_dir` (or another of `ID_KEYS`) as a meta key.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mgkit.data.readers.pyskl import load_annotations
from mgkit.errors import MgkitError, some
from mgkit.files import atomic
from mgkit.pickles import load_pickle, write_pickle
from mgkit.results.scores.scores import Raw, Scores

__all__ = ["annotation_order", "read_result_pickle", "write_mmaction2", "write_pyskl_results"]

ID_KEYS = ("clip_id", "frame_dir", "video_id", "filename")
LABEL_KEYS = ("gt_label", "gt_labels")


def annotation_order(path: str | Path, split: str | None = None) -> tuple[list[str], list[int]]:
    """Ids and labels of the clips of one split of a PYSKL annotation file, in the order in which those toolboxes test.

    That is the order of the annotations; the order of the split's own list does not matter to them.

    Raises:
        MgkitError: not an annotation file, an unknown split, several splits and none named, a clip without annotation.
    """
    path = Path(path)
    found, splits = load_annotations(path)
    if split is None and splits:
        raise MgkitError(f"{path} has the splits {some(splits, 10)}: pass split=, that of the scores.")
    if split is not None and split not in splits:
        raise MgkitError(f"{path} has no split {split!r}; it has {some(splits, 10) or 'none'}.")
    wanted = set(splits[split]) if split is not None else set(found)
    lost = sorted(wanted - set(found))
    if lost:
        raise MgkitError(f"{path}: {some(lost)} of the split {split!r} have no annotation: repair the file.")
    ids = [clip_id for clip_id in found if clip_id in wanted]
    odd = [clip_id for clip_id in ids if not isinstance(found[clip_id]["label"], int | np.integer)]
    if odd:
        raise MgkitError(f"{path}: the label of {some(odd)} is not a whole number: repair the file.")
    return ids, [int(found[clip_id]["label"]) for clip_id in ids]


def read_result_pickle(path: Path) -> Raw:
    """A result pickle of either toolbox, an (N, K) array, or a dictionary {clip id: (K,) scores}."""
    content = load_pickle(path)
    ids: list[str] | None = None
    labels = None
    if isinstance(content, dict):
        ids, rows = [str(key) for key in content], list(content.values())
    elif isinstance(content, list | tuple) and content and all(isinstance(one, dict) for one in content):
        rows = [_score(one, i) for i, one in enumerate(content)]
        labels, ids = _gt_labels(content), _ids(content)
    elif isinstance(content, list | tuple) or (isinstance(content, np.ndarray) and content.ndim):
        rows = list(content)
    else:
        rows = []
    if not rows:
        raise MgkitError(
            "it holds no results: a list of one row of scores per clip (PYSKL), or of one dictionary with pred_score "
            "per clip (MMAction2), is expected"
        )
    arrays = [_row(row, i) for i, row in enumerate(rows)]
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) != 1:
        i = next(i for i, n in enumerate(lengths) if n != lengths[0])
        raise MgkitError(f"row {i} has {lengths[i]} scores, row 0 has {lengths[0]}")
    return Raw(np.stack(arrays), ids, labels)


def write_pyskl_results(path: Path, scores: Scores) -> None:
    """A list of one (K,) float32 array per clip. Only the order relates rows to clips."""
    write_pickle(path, [np.ascontiguousarray(row) for row in scores.probabilities])


def write_mmaction2(path: Path, scores: Scores) -> None:
    """A list of one dictionary per clip: `frame_dir`, tensors `pred_score`, `pred_label` and `gt_label` if known.

    Tensors, since the tools of MMAction2 that read such files call methods of theirs.
    """
    import torch

    predicted = scores.predicted()
    entries: list[dict[str, Any]] = []
    for i, clip_id in enumerate(scores.clip_ids):
        entry: dict[str, Any] = {"frame_dir": clip_id}
        entry["pred_score"] = torch.from_numpy(scores.probabilities[i].copy())  # its own storage
        entry["pred_label"] = torch.tensor([int(predicted[i])])
        if scores.labels is not None:
            entry["gt_label"] = torch.tensor([int(scores.labels[i])])
        entries.append(entry)
    with atomic(path) as temporary, temporary.open("wb") as file:
        pickle.dump(entries, file, protocol=2)


def _row(row: Any, i: int) -> Any:
    try:
        array = np.asarray(row)
    except ValueError:
        array = np.zeros(0)
    if array.ndim == 2 and len(array) == 1:  # one view of one clip
        array = array[0]
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "fiu":
        raise MgkitError(
            f"row {i} has shape {array.shape}, type {array.dtype}; (classes,) numbers are expected"
        )
    return array


def _item(value: Any) -> Any:
    return value["item"] if isinstance(value, dict) and "item" in value else value


def _score(entry: dict[str, Any], i: int) -> Any:
    for key in ("pred_score", "pred_scores"):
        if key in entry:
            return _item(entry[key])
    raise MgkitError(f"entry {i} has no pred_score (there is {some(entry) or 'nothing'})")


def _gt_labels(entries: Sequence[dict[str, Any]]) -> Any:
    """(N,) labels if every entry has one, None if none has."""
    found = [next((_item(entry[key]) for key in LABEL_KEYS if key in entry), None) for entry in entries]
    if all(value is None for value in found):
        return None
    out = []
    for i, value in enumerate(found):
        array = np.asarray(-1.0 if value is None else value)
        if array.size != 1 or array.dtype.kind not in "iu":
            raise MgkitError(
                f"gt_label of entry {i} is {'missing' if value is None else f'of shape {array.shape}'}; one whole "
                "number is expected"
            )
        out.append(int(array.reshape(-1)[0]))
    return np.asarray(out, np.int64)


def _ids(entries: Sequence[dict[str, Any]]) -> list[str] | None:
    """Ids if every entry has one under the same key."""
    for key in ID_KEYS:
        if all(isinstance(entry.get(key), str) for entry in entries):
            return [entry[key] for entry in entries]
    return None
