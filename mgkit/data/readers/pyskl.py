"""PYSKL / MMAction2 annotation pickles, with or without a folder of videos named after the clips; read and written.

Layout: `{'split': {name: [frame_dir]}, 'annotations': [{'frame_dir', 'label', 'total_frames', 'img_shape': (h, w),
'keypoint': (M, T, V, 2), 'keypoint_score': (M, T, V)}]}`, or a bare list of annotations. Class names and the joint
layout are not part of it: they come from `<name>.meta.json` next to the pickle (`{"classes": [...], "groups": [...],
"skeleton": layout name, or a layout}`, or "joints": names and "skeleton": edges) or from arguments.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.data.clips import Classes, Clips
from mgkit.data.readers import RawClip, RawDataset, mark_unseen, note
from mgkit.data.readers.files import may_be_video, named_as_video, only, walk
from mgkit.data.readers.tables import read_text
from mgkit.data.skeletons import LAYOUTS, Skeleton, get_skeleton
from mgkit.errors import MgkitError, counted, some
from mgkit.files import read_json, write_json
from mgkit.pickles import load_pickle, write_pickle

Annotation = dict[str, Any]
_NUMBERED = re.compile(
    r'"?(?P<before>\d+)"?\s*[,;:.)\s]\s*(?P<name>\S.*)|(?P<named>.*\S)\s*[,;\t]\s*"?(?P<after>\d+)"?'
)
Report = list[dict[str, str]]


def read_pyskl(
    source: str | Path,
    *,
    videos: str | Path | None = None,
    skeleton: str | Path | Skeleton | None = None,
    classes: Sequence[str] | None = None,
    splits: Sequence[str] | str | None = None,
) -> RawDataset:
    """Read an annotation pickle.

    Args:
        source: the pickle.
        videos: folder with one video per clip, named `<frame_dir>.mp4` (or any other format), at any depth, in any
            capital letters, with or without `_rgb`, `_color` or `_video` behind the name.
        skeleton: joint layout: coco17, openpose18, body25, openpose137, imigue22, light_hand35, ma52_28, kinect25,
            kinect20, penn13, mediapipe33, holistic75, wholebody133, or a .json file; needed unless the meta file names
            it.
        classes: class names in label order; needed unless the meta file has them (else `class 0`, ... are used,
            which is reported).
        splits: which named splits to take (`("train", "test")` or `"train,test"`). All by default; a clip in two of
            them is refused, since one training must not see it on both sides: name the disjoint ones. A file without
            splits is one split, "all".

    Raises:
        MgkitError: a broken file, a clip in two splits, a repeated id, a label outside the classes, a missing video,
            or poses whose joints do not fit the layout.
    """
    source = Path(source)
    # What there is, and what its joints mean.
    report: Report = []
    found, split = load_annotations(source)
    meta_path = source.with_suffix(".meta.json")
    meta = _meta(meta_path) if meta_path.is_file() else {}
    layout = _skeleton(skeleton, meta, list(found.values()), source, report)
    # Which annotations belong to which of the splits taken.
    if not split:
        report.append(note("no splits", f"{source.name} names none: every clip is in the split 'all'"))
        split = {"all": list(found)}
    wanted = splits.split(",") if isinstance(splits, str) else splits
    member = _membership(split, wanted, source)
    unknown = sorted(set(member) - set(found))
    if unknown:
        raise MgkitError(
            f"{source}: no annotation of {counted(len(unknown), 'clip')} that its splits list ({some(unknown)}): the "
            "pose file has other clip ids than its split lists; make both from the same set."
        )
    for clip_id in found:
        if clip_id not in member:
            report.append(note("in no split", "left out: it is in none of the splits taken", clip_id))
    annotations = {clip_id: annotation for clip_id, annotation in found.items() if clip_id in member}
    if not annotations:
        raise MgkitError(f"{source}: the splits taken ({some(wanted or split)}) list no clip.")

    # What their labels mean, and their videos.
    labels = {clip_id: _label(annotation, source) for clip_id, annotation in annotations.items()}
    names = _classes(classes, meta, labels, source, report)
    pictures = _videos(videos, annotations, source, report)
    sizes = {clip_id: size_of(annotation, source) for clip_id, annotation in annotations.items()}
    clips = []
    for clip_id, annotation in annotations.items():
        if not 0 <= labels[clip_id] < len(names):
            from_one = min(labels.values()) == 1 and max(labels.values()) == len(names)
            remedy = "labels count from 0, and these from 1: subtract 1" if from_one else "correct it"
            raise MgkitError(
                f"{source}: clip {clip_id!r} has label {labels[clip_id]}, outside the {len(names)} classes: {remedy}, "
                "or give the full list of classes."
            )
        video = pictures.get(clip_id)
        points = check_points(annotation, layout, source, report)
        if not len(points["keypoint"]):  # nobody: what its frame would have been does not matter
            sizes[clip_id] = sizes[clip_id] or next((size for size in sizes.values() if size), None)
        clips.append(
            RawClip(
                clip_id=clip_id,
                split=member[clip_id],
                label=labels[clip_id],
                size=sizes[clip_id],
                subject=_subject(annotation.get("subject")),
                video=video,
                source=video.name if video else source.name,
                pose=partial(read_pose, points),
            )
        )
    files = [source, *([meta_path] if meta else []), *(clip.video for clip in clips if clip.video)]
    return RawDataset(clips, names, layout, files, report)


def load_annotations(
    source: Path, *, labelled: bool = True
) -> tuple[dict[str, Annotation], dict[str, list[str]]]:
    """Read the annotations of a pickle by clip id, and its splits ({} where it names none).

    `labelled` asks for a 'label' in each.

    Raises:
        MgkitError: not an annotation file, an annotation without a usable id, an id twice, a broken 'split'.
    """
    content = load_pickle(source)
    if isinstance(content, list):
        content = {"annotations": content}
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        raise MgkitError(f"{source} is not a PYSKL annotation file: it has no list 'annotations'.")
    if not content["annotations"]:
        raise MgkitError(f"{source} has no clips: its list 'annotations' is empty.")
    found: dict[str, Annotation] = {}
    for i, annotation in enumerate(content["annotations"]):
        clip_id = _id(annotation, source, i, labelled)
        if clip_id in found:
            raise MgkitError(f"{source}: clip id {clip_id!r} occurs twice (second time in annotation {i}).")
        found[clip_id] = annotation
    split = content.get("split")
    if split is None:
        return found, {}
    if not isinstance(split, dict):
        raise MgkitError(
            f"{source}: 'split' is a {type(split).__name__}, not a dictionary {{name: [frame_dir, ...]}}: write it so, "
            "or leave it out for one split."
        )
    for name, listed in split.items():
        if not str(name).strip():
            raise MgkitError(
                f"{source}: 'split' has a split without a name ({name!r}): name it, or leave it out."
            )
        listed = listed.tolist() if isinstance(listed, np.ndarray) else listed
        if not isinstance(listed, list | tuple) or not all(isinstance(clip_id, str) for clip_id in listed):
            raise MgkitError(
                f"{source}: the split {name!r} is not a list of clip ids (frame_dir): write it so."
            )
    return found, {str(name): [str(clip_id) for clip_id in listed] for name, listed in split.items()}


def stated_layout(source: Path, report: Report) -> Skeleton | None:
    """The joint layout that the meta file next to a pickle states; None where there is none."""
    meta_path = source.with_suffix(".meta.json")
    return _layout(None, _meta(meta_path), source, report) if meta_path.is_file() else None


def check_points(annotation: Annotation, layout: Skeleton, source: Path, report: Report) -> Annotation:
    """The parts of an annotation that `read_pose` needs, checked: shapes and kinds of key-points and scores.

    Where nobody was seen (no 'keypoint', None, [], no persons), key-points are (0, T, V, 2) with T = total_frames, 0
    where that is not known either.
    """
    clip_id = str(annotation["frame_dir"])
    points, score = annotation.get("keypoint"), annotation.get("keypoint_score")
    shape, stated = _shape(points), annotation.get("total_frames")
    count = int(stated) if isinstance(stated, int | np.integer) and stated > 0 else None
    if _nobody(points):
        empty = np.zeros((0, count or (shape[1] if len(shape) == 4 else 0), len(layout), 2), dtype=np.float32)
        return {"keypoint": empty, "keypoint_score": None}
    turned = count is not None and len(shape) == 4 and shape[0] == count and count > shape[1] + 1
    if len(shape) != 4 or shape[2:] != (len(layout), 2) or turned:
        frames = f", and total_frames is {count}" if turned else ""
        raise MgkitError(
            f"{source}: 'keypoint' of clip {clip_id!r} has shape {shape}{frames}; the layout {layout.name} asks for "
            f"(persons, frames, {len(layout)}, 2){_how_to_turn(shape, len(layout), count)}."
        )
    if score is not None and _shape(score) != shape[:3]:
        raise MgkitError(
            f"{source}: 'keypoint_score' of clip {clip_id!r} has shape {_shape(score)}, but 'keypoint' {shape}."
        )
    for name, values in (("keypoint", points), ("keypoint_score", score)):
        if values is not None and np.asarray(values).dtype.kind not in "fiu":
            raise MgkitError(
                f"{source}: {name!r} of clip {clip_id!r} does not hold numbers: make it an array of float."
            )
    if "total_frames" in annotation and not np.array_equal(stated, shape[1]):  # type: ignore[arg-type]
        report.append(
            note(
                "frame count",
                f"total_frames is {stated}, and 'keypoint' has {counted(shape[1], 'pose')}",
                clip_id,
            )
        )
    lost = ~np.isfinite(np.asarray(points)).all(-1)
    if score is not None:
        scores = np.asarray(score)
        lost |= ~np.isfinite(scores)
        high = np.isfinite(scores) & (scores > 1.001)
        if high.any():
            detail = (
                f"{high.sum()} of {counted(high.size, 'score')}, up to {scores[high].max():g}: taken as 1"
            )
            report.append(note("scores above 1", detail, clip_id))
    if broken := int(lost.sum()):
        report.append(
            note("empty cells", f"{counted(broken, 'point')} without a finite number: not seen", clip_id)
        )
    return {"keypoint": points, "keypoint_score": score}


def _how_to_turn(shape: tuple[int, ...], joints: int, frames: int | None) -> str:
    """How an array of this shape becomes (persons, frames, joints, 2), in words; "" where it cannot."""
    if shape[-2:] == (joints, 3):
        return ": write the third number of each joint as 'keypoint_score'"
    if len(shape) == 3 and shape[1:] == (joints, 2):
        return ": give keypoint[None], one person"
    for axes in permutations(range(len(shape))):
        turned = tuple(shape[axis] for axis in axes)
        if len(turned) == 4 and turned[2:] == (joints, 2) and frames in (None, turned[1]):
            return f": np.transpose(keypoint, {axes}) gives {turned}; turn 'keypoint_score' with it"
    return ""


def _nobody(points: Any) -> bool:
    """True if key-points are what stands for nobody: None, an empty list or array, no persons."""
    return points is None or 0 in _shape(points)


def _shape(values: Any) -> tuple[int, ...]:
    """The shape of an array or of nested lists; () of anything else, such as lists of unequal length."""
    try:
        return np.shape(values)
    except ValueError:
        return ()


def read_pose(annotation: Annotation) -> npt.NDArray[np.float32]:
    """(M, T, V, 3) with NaN where a joint was not seen: score 0, a non-finite number, or the origin as filler."""
    return mark_unseen(annotation["keypoint"], annotation["keypoint_score"])


def size_of(annotation: Annotation, source: Path) -> tuple[int, int] | None:
    """(width, height) of the frame that the key-points live in; None where it is not stated."""
    for name in ("img_shape", "original_shape"):
        given = annotation.get(name)
        if given is None:
            continue
        try:
            shape = np.asarray(given)
        except ValueError:  # lists of unequal length
            shape = np.zeros(1)
        if shape.size == 0:
            continue
        if shape.shape not in ((2,), (3,)) or shape.dtype.kind not in "iuf" or not (shape[:2] > 0).all():
            raise MgkitError(
                f"{source}: {name!r} of clip {annotation['frame_dir']!r} is {given!r}: it must be two numbers of "
                "pixels, (height, width)."
            )
        return int(shape[1]), int(shape[0])
    return None


def _subject(value: Any) -> str:
    """A subject as text; "" for None or NaN, which a table writes where there is none."""
    if value is None or (isinstance(value, float) and not value.is_integer()):
        return ""
    return str(int(value)) if isinstance(value, float) else str(value)


def _id(annotation: Any, source: Path, i: int, labelled: bool) -> str:
    needed = ("frame_dir", "label") if labelled else ("frame_dir",)
    if not isinstance(annotation, dict) or any(key not in annotation for key in needed):
        raise MgkitError(f"{source}: annotation {i} lacks {' or '.join(map(repr, needed))}.")
    clip_id = annotation["frame_dir"]
    if not isinstance(clip_id, str):
        raise MgkitError(f"{source}: 'frame_dir' of annotation {i} is {clip_id!r}: write it as text.")
    if not clip_id.strip() or "\n" in clip_id or _leaves(clip_id):
        raise MgkitError(
            f"{source}: 'frame_dir' of annotation {i} is {clip_id!r}: use a name without '..' or a leading '/'."
        )
    return str(clip_id)


def _label(annotation: Annotation, source: Path) -> int:
    label = annotation["label"]
    if not isinstance(label, int | np.integer) or isinstance(label, bool):
        raise MgkitError(
            f"{source}: 'label' of clip {annotation['frame_dir']!r} is {label!r}, not a whole number."
        )
    return int(label)


def _leaves(name: str) -> bool:
    """True if a file of this name could be outside its folder."""
    return Path(name).is_absolute() or ".." in Path(name).parts


def _membership(split: dict[str, list[str]], wanted: Sequence[str] | None, source: Path) -> dict[str, str]:
    """The split of each clip; a clip in two of the wanted splits is an error."""
    absent = [name for name in wanted or () if name not in split]
    if absent:
        raise MgkitError(f"{source} has no split {some(absent)}; it has {some(split) or 'none'}.")
    member: dict[str, str] = {}
    for name in wanted or list(split):
        for clip_id in split[name]:
            if member.setdefault(clip_id, name) != name:
                raise MgkitError(
                    f"{source}: clip {clip_id!r} is in the splits {member[clip_id]!r} and {name!r}; name the "
                    f"disjoint ones to take (there are {some(split, 20)}), for example --splits train,test."
                )
    return member


def _videos(
    folder: str | Path | None, annotations: dict[str, Annotation], source: Path, report: Report
) -> dict[str, Path]:
    """The video of each clip; a clip without one is refused, a video without a clip is reported."""
    if folder is None:
        return {}
    folder = Path(folder)
    if not folder.is_dir():
        raise MgkitError(f"there is no video folder {folder}.")
    there = [path for path in walk([folder], report) if may_be_video(path)]
    found = find_videos(list(annotations), folder, there, report)
    lost = [clip_id for clip_id in annotations if clip_id not in found]
    used = set(found.values())
    spare = [path for path in there if path not in used]
    if lost:
        left = some(path.relative_to(folder) for path in spare) or "none"
        raise MgkitError(
            f"{folder} has no video for {len(lost)} of {counted(len(annotations), 'clip')} of {source.name}: "
            f"{some(lost)}. Looked for {lost[0]}.mp4 (or any other format), also in other capital letters, below "
            f"other folders and with {', '.join(ENDINGS)} behind the name; videos there that belong to no clip: "
            f"{left}."
        )
    if spare:
        names = some(path.relative_to(folder) for path in spare)
        report.append(
            note(
                "no pose",
                f"no annotation of {counted(len(spare), 'video')} of {folder.name} ({names}): not used",
            )
        )
    return found


# Of the names of videos, where others hold depth or infrared.
ENDINGS = ("_rgb", "_color", "_colour", "_video")


def find_videos(
    clip_ids: Sequence[str], folder: Path, videos: Sequence[Path], report: Report
) -> dict[str, Path]:
    """The video of each clip, as far as there is one.

    A video is that of the clip whose id its path ends in, in any capital letters and with or without one of ENDINGS
    behind it; an id with folders also stands for its last part. The most literal match counts: the whole path before a
    part of it, a name as it is before one with an ending.

    Args:
        clip_ids: ids, with or without the suffix of a video.
        folder: the folder of the videos.
        videos: files below it.
        report: what was found under another name is added to it.

    Raises:
        MgkitError: two different videos that are equally likely, or one that two clips would share.
    """
    ends: dict[str, list[tuple[int, Path]]] = {}
    for path in videos:
        name = path.relative_to(folder)
        parts = _key((name.with_suffix("") if named_as_video(path) else name).as_posix()).split("/")
        bare = next((parts[-1].removesuffix(end) for end in ENDINGS if parts[-1].endswith(end)), "")
        for cost, last in enumerate((parts[-1], bare)):
            for first in range(len(parts)) if last else ():
                ends.setdefault("/".join([*parts[first:-1], last]), []).append((2 * first + cost, path))
    found: dict[str, Path] = {}
    other: list[str] = []
    for clip_id in clip_ids:
        key = _key(clip_id).replace("\\", "/")  # as Windows writes folders
        key = key[: -len(Path(key).suffix)] if named_as_video(Path(key)) else key
        matches = ends.get(key) or ends.get(key.rpartition("/")[2], [])
        if not matches:
            continue
        least = min(cost for cost, _ in matches)
        likely = sorted({path for cost, path in matches if cost == least})
        literal = [path for path in likely if clip_id in path.as_posix()]  # in the same capital letters
        found[clip_id] = only({clip_id: literal or likely}, report)[clip_id]
        if found[clip_id].relative_to(folder).with_suffix("").as_posix() != clip_id:
            other.append(f"{clip_id} is {found[clip_id].relative_to(folder)}")
    shared: dict[Path, list[str]] = {}
    for clip_id, path in found.items():
        shared.setdefault(path, []).append(clip_id)
    for path, ids in shared.items():
        if len(ids) > 1:
            raise MgkitError(
                f"{path} would be the video of {len(ids)} clips ({some(ids)}): name each video after its clip."
            )
    if other:
        report.append(note("videos of other names", f"{len(other)} found: {some(other, 3)}"))
    return found


def _key(name: str) -> str:
    """A name to compare: accents written in one way, small letters."""
    return unicodedata.normalize("NFC", name).casefold()


def _meta(path: Path) -> dict[str, Any]:
    meta = read_json(path)
    if not isinstance(meta, dict):
        raise MgkitError(f"{path} must be an object with classes, groups and skeleton.")
    return meta


def _skeleton(
    given: Any, meta: dict[str, Any], annotations: list[Annotation], source: Path, report: Report
) -> Skeleton:
    """The layout given, or that of the meta file; refused where the key-points have another number of joints."""
    shapes = [_shape(points) for a in annotations if not _nobody(points := a.get("keypoint"))]
    if not shapes:
        raise MgkitError(
            f"{source}: nobody was seen in any clip: 'keypoint' (persons, frames, joints, 2) is empty or missing in "
            f"all annotations; the first has {some(annotations[0], 9)}."
        )
    counts = Counter(shape[2] for shape in shapes if len(shape) == 4 and shape[3] in (2, 3))
    joints = counts.most_common(1)[0][0] if counts else None
    fitting = [name for name, layout in LAYOUTS.items() if len(layout) == joints]
    hint = f"one of {some(fitting)}" if fitting else f"one of {', '.join(LAYOUTS)}"
    layout = _layout(given, meta, source, report)
    if layout is None:
        raise MgkitError(
            f"{source} does not name the joints of its {joints or '?'} key-points: give the layout with --skeleton "
            f"({hint}, or a .json file)."
        )
    if joints not in (None, len(layout)):
        raise MgkitError(
            f"{source}: its key-points have {joints} joints, but the layout {layout.name} has {len(layout)}: give "
            f"another one with --skeleton ({hint}, or a .json file)."
        )
    return layout


def _layout(given: Any, meta: dict[str, Any], source: Path, report: Report) -> Skeleton | None:
    if given is not None:
        return get_skeleton(given)
    named = meta.get("skeleton")
    if isinstance(named, str):
        return get_skeleton(named)
    if isinstance(named, dict):
        return Skeleton.from_dict(named, where=str(source.with_suffix(".meta.json")))
    if isinstance(meta.get("joints"), list):
        words = [str(joint) for joint in meta["joints"]]
        layout = {"name": source.stem, "joints": words, "edges": named or [], "pairs": _mirrored(words)}
        made = Skeleton.from_dict(layout, where=str(source.with_suffix(".meta.json")))
        detail = (
            f"{len(made)} joints, {counted(len(made.edges), 'edge')} and "
            f"{counted(len(made.pairs), 'left/right pair')} by its meta file"
        )
        report.append(note("joint layout", f"{source.name}: {detail}"))
        return made
    return None


def _mirrored(joints: list[str]) -> list[list[int]]:
    """Left/right pairs by name: left_x / right_x, or l_x / r_x."""
    index = {joint: i for i, joint in enumerate(joints)}
    other = {"left_": "right_", "l_": "r_"}
    names = [
        (joint, other[p] + joint.removeprefix(p)) for joint in joints for p in other if joint.startswith(p)
    ]
    return [[index[a], index[b]] for a, b in names if b in index]


def _classes(
    given: Sequence[str] | None, meta: dict[str, Any], labels: dict[str, int], source: Path, report: Report
) -> Classes:
    if given is not None:
        return Classes(tuple(given))
    if meta.get("classes"):
        path = source.with_suffix(".meta.json")
        groups = meta.get("groups")
        if isinstance(groups, str):  # a remark, often on what the splits keep apart
            detail = (
                f'"groups" of {path.name} is a text, not a list of one name per class: no groups of classes'
            )
            report.append(note("class groups", detail))
            groups = None
        return Classes.from_dict({**meta, "names": meta["classes"], "groups": groups}, where=str(path))
    used = set(labels.values())
    count = 1 + max(used)
    unused = sorted(set(range(count)) - used)
    last = next(clip_id for clip_id, label in labels.items() if label == count - 1)
    if len(unused) > len(used):
        raise MgkitError(
            f"{source}: clip {last!r} has label {count - 1}, but its clips have only {counted(len(used), 'label')} "
            "and there are no class names to check it against: correct it, or give the class names with --classes."
        )
    report.append(note("class names", f"{source.name} has none: numbered class 0 to class {count - 1}"))
    if unused:
        detail = (
            f"label {some(unused)} has no clip, but becomes a class because clip {last!r} has label {count - 1}: give "
            "the class names with --classes if that is not intended"
        )
        report.append(note("classes without clips", detail))
    return Classes(tuple(f"class {i}" for i in range(count)))


def read_classes(path: str | Path) -> list[str]:
    """Class names from a file: a JSON list (or {"classes": [...]}), or one name per line.

    Names may stand beside their numbers, which count from 0 or from 1, in any order: `0 wave`, `wave,0`, {"wave": 0}.
    """
    path = Path(path)
    if not path.is_file():
        raise MgkitError(
            f"there is no file {path} of class names: give a .json, or a text file with one name per line."
        )
    if path.suffix == ".json":
        value = read_json(path)
        names = value.get("classes", value) if isinstance(value, dict) else value
        if isinstance(names, dict):
            names = _by_number([f"{name},{number}" for name, number in names.items()])
    else:
        lines = [line.strip() for line in read_text(path)[0].splitlines() if line.strip()]
        headed = len(lines) > 2 and re.search("[,;\t]", lines[0])
        names = _by_number(lines) or (_by_number(lines[1:]) if headed else None) or lines
    if not isinstance(names, list) or not names or not all(isinstance(name, str | int) for name in names):
        raise MgkitError(
            f"{path} does not hold a list of class names: write one name per line, in label order."
        )
    return [str(name) for name in names]


def _by_number(lines: Sequence[str]) -> list[str] | None:
    """Names that stand before or after numbers, in the order of these; None unless they count from 0 or from 1."""
    pairs = []
    for line in lines:
        found = _NUMBERED.fullmatch(line)
        if not found:
            return None
        pairs.append((int(found["before"] or found["after"]), found["name"] or found["named"]))
    pairs.sort()
    first = pairs[0][0] if pairs else -1
    if first not in (0, 1) or [number for number, _ in pairs] != list(range(first, first + len(pairs))):
        return None
    return [name.strip().strip('"') for _, name in pairs]


# --- writing --------------------------------------------------------------------------------------------------------


def write_pyskl(clips: Clips, path: str | Path) -> Path:
    """Write the key-points of a clip folder as an annotation pickle, and `<name>.meta.json` with the rest.

    Key-points are float32 in pixels of the prepared video; 0 with score 0 where not seen. Any numpy reads the file.
    The meta file holds class names, groups, the non-gesture class and the joint layout, as `read_pyskl` takes them.

    Args:
        clips: a clip folder or a selection of it. Each split becomes a named split.
        path: the pickle to write, `.pkl`.

    Returns:
        `path`.

    Raises:
        MgkitError: a clip without a pose, or a file that cannot be written.
    """
    path = Path(path)
    bare = clips.table.loc[clips.table["pose_offset"] < 0, "clip_id"].tolist()
    if bare or not len(clips):
        raise MgkitError(
            f"{clips.root}: {some(bare) or 'an empty selection'} has no pose to write: select clips that have one."
        )
    annotations = []
    for row in clips.table.to_dict("records"):
        pose = clips.pose(row["clip_id"])
        shape = (int(row["height"]), int(row["width"]))
        points = np.nan_to_num(pose, nan=0.0)
        annotations.append(
            {
                "frame_dir": str(row["clip_id"]),
                "label": int(row["label"]),
                "total_frames": int(row["frames"]),
                "img_shape": shape,
                "original_shape": shape,
                "keypoint": np.ascontiguousarray(points[..., :2]),
                "keypoint_score": np.ascontiguousarray(points[..., 2]),
                "subject": str(row["subject"]),
            }
        )
    split = {name: [str(clip_id) for clip_id in clips.split(name).ids] for name in clips.splits}
    classes = clips.classes.to_dict()
    meta = {"classes": classes.pop("names"), **classes, "skeleton": clips.skeleton.to_dict()}
    write_json(path.with_suffix(".meta.json"), meta)
    write_pickle(path, {"split": split, "annotations": annotations})
    return path
