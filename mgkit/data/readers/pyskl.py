"""PYSKL / MMAction2 annotation pickles, alone or beside a folder of videos named after the clips.

Layout: `{'split': {name: [frame_dir]}, 'annotations': [{'frame_dir', 'label', 'total_frames', 'img_shape': (h, w),
'keypoint': (M, T, V, 2), 'keypoint_score': (M, T, V)}]}`, or a bare list of annotations. Class names and the joint
layout are not part of it: they come from `<name>.meta.json` beside the pickle (`{"classes": [...], "groups": [...],
"skeleton": layout name}`) or from arguments.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.data.clips import Classes
from mgkit.data.readers import RawClip, RawDataset, note
from mgkit.data.skeletons import LAYOUTS, Skeleton, get_skeleton
from mgkit.errors import MgkitError, some
from mgkit.files import read_json

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm")

# Numpy arrays as written by numpy 1 and 2, and nothing else: a pickle can otherwise run any code when it is read.
_ADMITTED = {
    (module, name)
    for core in ("numpy.core", "numpy._core")
    for module, name in ((f"{core}.multiarray", "_reconstruct"), (f"{core}.multiarray", "scalar"),
                         (f"{core}.numeric", "_frombuffer"))
} | {("numpy", "ndarray"), ("numpy", "dtype"), ("collections", "OrderedDict")}  # fmt: skip


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # how protocol 2 carries bytes
            return _latin1
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the text encoding {encoding}")
    return text.encode("latin1")


def load_pickle(path: str | Path) -> Any:
    """Read a pickle of plain containers and numpy arrays; anything else is refused before it can run.

    Raises:
        MgkitError: the file is missing, is not a pickle, is cut short, or holds other objects.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MgkitError(f"{path} cannot be read ({error.strerror}).") from None
    try:
        return _ArraysOnly(io.BytesIO(content)).load()
    except pickle.UnpicklingError as error:
        raise MgkitError(
            f"{path} was not read: {error}. Only numpy arrays and plain containers are admitted, since a pickle can "
            "run code; nothing of it was run. Ask its author for a file with arrays only."
        ) from None
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise MgkitError(f"{path} is not a readable pickle ({type(error).__name__}: {error}).") from None


def read_pyskl(
    source: str | Path,
    *,
    videos: str | Path | None = None,
    skeleton: str | Path | Skeleton | None = None,
    classes: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
) -> RawDataset:
    """Read an annotation pickle.

    Args:
        source: the pickle.
        videos: folder with one video a clip, named `<frame_dir>.mp4` (or .avi, .mkv, .mov, .webm).
        skeleton: joint layout; needed unless the meta file names it.
        classes: class names in label order; needed unless the meta file has them (else `class 0`, ... are used and
            the report says so).
        splits: which named splits to take. All by default; a clip in two of them is refused, since one training
            must not see it on both sides (name the disjoint ones, for example `("train", "test")`).

    Raises:
        MgkitError: a broken file, a clip in two splits, a repeated id, a label outside the classes, a missing video,
            or poses whose joints do not fit the layout.
    """
    source = Path(source)
    content = load_pickle(source)
    if isinstance(content, list):
        content = {
            "annotations": content,
            "split": {"all": [_id(a, source, i) for i, a in enumerate(content)]},
        }
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        raise MgkitError(f"{source} is not a PYSKL annotation file: it has no list 'annotations'.")
    if not content["annotations"]:
        raise MgkitError(f"{source} has no clips: its list 'annotations' is empty.")
    meta_path = source.with_suffix(".meta.json")
    meta = read_json(meta_path) if meta_path.is_file() else {}
    report: list[dict[str, str]] = []

    member = _membership(content.get("split") or {}, splits, source)
    folder = None if videos is None else Path(videos)
    if folder is not None and not folder.is_dir():
        raise MgkitError(f"there is no video folder {folder}.")
    seen: set[str] = set()
    annotations = []
    for i, annotation in enumerate(content["annotations"]):
        clip_id = _id(annotation, source, i)
        if clip_id in seen:
            raise MgkitError(f"{source}: clip id {clip_id!r} stands twice (second time in annotation {i}).")
        seen.add(clip_id)
        if clip_id in member:
            annotations.append(annotation)
        else:
            report.append(note("in no split", "left out: it stands in none of the splits taken", clip_id))
    unknown = sorted(set(member) - seen)
    if unknown:
        raise MgkitError(
            f"{source}: {len(unknown)} clips are listed in a split but have no annotation ({some(unknown)}): the "
            "pose file has other clip ids than its split lists; make both from the same set."
        )

    layout = _skeleton(skeleton, meta, annotations, source)
    names = _classes(classes, meta, annotations, source, report)
    clips, lost = [], []
    for annotation in annotations:
        clip_id = str(annotation["frame_dir"])
        label = int(annotation["label"])
        if not 0 <= label < len(names):
            raise MgkitError(
                f"{source}: clip {clip_id!r} has label {label}, outside the {len(names)} classes: correct it, or give "
                "the full list of classes."
            )
        video = None
        if folder is not None:
            video = next((p for s in VIDEO_SUFFIXES if (p := folder / f"{clip_id}{s}").is_file()), None)
            if video is None:
                lost.append(clip_id)
        shape = np.shape(annotation.get("keypoint"))
        if len(shape) != 4 or shape[2:] != (len(layout), 2) or 0 in shape:
            raise MgkitError(
                f"{source}: 'keypoint' of clip {clip_id!r} has shape {shape}; the layout {layout.name} asks for "
                f"(persons, frames, {len(layout)}, 2)."
            )
        if annotation.get("total_frames", shape[1]) != shape[1]:
            report.append(
                note("frame count", f"says {annotation['total_frames']}, has {shape[1]} poses", clip_id)
            )
        height, width = (
            int(v) for v in annotation.get("img_shape") or annotation.get("original_shape") or (0, 0)
        )
        if height <= 0 or width <= 0:
            raise MgkitError(f"{source}: clip {clip_id!r} has no 'img_shape' (height, width).")
        clips.append(
            RawClip(
                clip_id=clip_id,
                split=member[clip_id],
                label=label,
                size=(width, height),
                subject=str(annotation.get("subject", "")),
                video=video,
                source=video.name if video else source.name,
                pose=partial(_pose, annotation),
            )
        )
    if lost:
        raise MgkitError(
            f"{folder} has no video for {len(lost)} of {len(clips)} clips of {source.name}: {some(lost)}."
        )
    files = [source, *([meta_path] if meta else []), *(clip.video for clip in clips if clip.video)]
    return RawDataset(clips, names, layout, files, report)


def _id(annotation: Any, source: Path, i: int) -> str:
    if not isinstance(annotation, dict) or "frame_dir" not in annotation or "label" not in annotation:
        raise MgkitError(f"{source}: annotation {i} lacks 'frame_dir' or 'label'.")
    clip_id = annotation["frame_dir"]
    if not isinstance(clip_id, str) or not clip_id.strip() or "\n" in clip_id or _leaves(clip_id):
        raise MgkitError(
            f"{source}: 'frame_dir' of annotation {i} is {clip_id!r}: use a name without '..' or a leading '/'."
        )
    if not isinstance(annotation["label"], int | np.integer) or isinstance(annotation["label"], bool):
        raise MgkitError(
            f"{source}: 'label' of clip {clip_id!r} is {annotation['label']!r}, not a whole number."
        )
    return clip_id


def _leaves(name: str) -> bool:
    """Whether a file of this name could lie outside its folder."""
    return Path(name).is_absolute() or ".." in Path(name).parts


def _membership(split: dict[str, Any], wanted: Sequence[str] | None, source: Path) -> dict[str, str]:
    """The split each clip stands in; a clip in two of the wanted splits is an error."""
    absent = [name for name in wanted or () if name not in split]
    if absent:
        raise MgkitError(f"{source} has no split {some(absent)}; it has {some(split) or 'none'}.")
    member: dict[str, str] = {}
    for name in wanted or list(split):
        for clip_id in map(str, split[name]):
            if member.setdefault(clip_id, name) != name:
                raise MgkitError(
                    f"{source}: clip {clip_id!r} stands in the splits {member[clip_id]!r} and {name!r}; name the "
                    f"disjoint ones to take (there are {some(split, 20)}), for example --splits train,test."
                )
    return member


def _skeleton(given: Any, meta: dict[str, Any], annotations: list[Any], source: Path) -> Skeleton:
    if given is not None:
        return get_skeleton(given)
    if isinstance(meta.get("skeleton"), str):
        return get_skeleton(meta["skeleton"])
    joints = np.shape(annotations[0].get("keypoint"))[2:3]
    raise MgkitError(
        f"{source} does not say which joints its {joints[0] if joints else '?'} key-points are: give the layout, for "
        f"example --skeleton {LAYOUTS['coco17'].name} (one of {', '.join(LAYOUTS)}, or a .json file)."
    )


def _classes(
    given: Sequence[str] | None,
    meta: dict[str, Any],
    annotations: list[Any],
    source: Path,
    report: list[dict[str, str]],
) -> Classes:
    if given is not None:
        return Classes(tuple(given))
    if meta.get("classes"):
        groups = meta.get("groups")
        return Classes(
            tuple(meta["classes"]), None if groups is None else tuple(groups), meta.get("non_gesture")
        )
    count = 1 + max(int(annotation["label"]) for annotation in annotations)
    report.append(note("class names", f"{source.name} has none: numbered class 0 to class {count - 1}"))
    return Classes(tuple(f"class {i}" for i in range(count)))


def _pose(annotation: dict[str, Any]) -> npt.NDArray[np.float32]:
    """(M, T, V, 3) with NaN where a joint was not seen: score 0, a non-finite number, or the origin as filler."""
    xy = np.asarray(annotation["keypoint"], dtype=np.float32)
    given = annotation.get("keypoint_score")
    score = np.ones(xy.shape[:3], np.float32) if given is None else np.asarray(given, dtype=np.float32)
    if score.shape != xy.shape[:3]:
        raise MgkitError(
            f"clip {annotation['frame_dir']!r}: 'keypoint_score' has shape {score.shape}, 'keypoint' {xy.shape}."
        )
    pose = np.concatenate([xy, np.clip(score, 0, 1)[..., None]], axis=-1)
    unseen = ~np.isfinite(pose).all(-1) | (pose[..., 2] <= 0) | (xy == 0).all(-1)
    pose[unseen] = np.nan
    return pose


def read_classes(path: str | Path) -> list[str]:
    """Class names from a file: a JSON list (or {"classes": [...]}), or one name a line."""
    path = Path(path)
    if not path.is_file():
        raise MgkitError(
            f"there is no file {path} of class names: give a .json, or a text file with one name a line."
        )
    if path.suffix == ".json":
        value = read_json(path)
        names = value.get("classes") if isinstance(value, dict) else value
    else:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if not isinstance(names, list) or not names:
        raise MgkitError(f"{path} holds no list of class names.")
    return [str(name) for name in names]
