"""MA-52 (Micro-Action): trimmed clips `SSSS_VV_NNNN.mp4` (subject, video, instance), label lists, poses in pickles.

Below any folder: `{train,val,test}_list_videos.txt` with lines `name.mp4 label` (the labels of the test list are all 0:
dummies), and `MA52_{train,val,test}.pkl` in the PYSKL layout with 28 points (OpenPose's 18, then five finger tips
per hand).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from mgkit.data.clips import Classes
from mgkit.data.readers import NO_SKELETON, RawClip, RawDataset, load_classes, note, refuse
from mgkit.data.readers.files import VIDEO, Roots, folders, named, only, walk
from mgkit.data.readers.pyskl import check_points, load_annotations, read_pose, size_of
from mgkit.data.readers.tables import read_rows, whole
from mgkit.data.skeletons import get_skeleton
from mgkit.errors import MgkitError, counted, some

Report = list[dict[str, str]]
SPLITS = ("train", "val", "test")


def read_ma52(
    source: str | Path,
    *,
    skeletons: Roots = None,
    videos: Roots = None,
    class_file: str | Path | None = None,
) -> RawDataset:
    """Read MA-52.

    Args:
        source: the folder that holds everything, or one of the parts.
        skeletons: a further folder, or several (`a,b`), if the pickles are elsewhere. Every file is searched for in all
            folders given.
        videos: a further folder, or several, if the videos are elsewhere.
        class_file: another class list (.json), for datasets in the same layout.

    Returns:
        Clips `SSSS_VV_NNNN` of the splits that have a list (a split without one: of its pickle), 52 classes in 7
        groups (body classes). Their subject is SSSS, their source SSSS_VV.

    Raises:
        MgkitError: neither lists nor pickles; a clip in two splits, or twice with two labels; a row that is not a clip;
            a label that is not 0 to 51; files of one name with different content; key-points of another layout.
    """
    report: Report = []
    problems: list[str] = []
    roots = folders(source, skeletons, videos)
    files = walk(roots, report)
    lists = only(named(files, r"(train|val|test)_list_videos\.txt"), report)
    pickles = only(named(files, r"MA52_(train|val|test)\.pkl"), report)
    if not lists and not pickles:
        raise MgkitError(
            f"{some(roots)}: no train_list_videos.txt or MA52_train.pkl below it: give MA-52's folder."
        )
    classes, layout = load_classes("ma52", class_file), get_skeleton("ma52_28")
    # Splits and labels by the lists, or by the pickle of a split without one.
    poses: dict[str, tuple[Path, dict[str, Any]]] = {}
    labels: dict[str, tuple[str, int]] = {}
    for split in SPLITS:
        found = {}
        if split in pickles:
            found = _poses(pickles[split], split in lists)
            _add_poses(poses, found, pickles[split], problems)
        if split in lists:
            listed = _list(lists[split], classes, report, problems)
        else:
            listed = {clip_id: int(annotation["label"]) for clip_id, annotation in found.items()}
            if listed:
                detail = f"no {split}_list_videos.txt: labels and clips are those of {pickles[split].name}"
                report.append(note("no list", detail))
        for clip_id, label in listed.items():
            if not 0 <= label < len(classes):
                problems.append(
                    f"{pickles[split]}: clip {clip_id!r} has label {label}, which is not 0 to {len(classes) - 1}"
                )
            if clip_id in labels:
                where = lists.get(split) or pickles[split]
                problems.append(
                    f"{where}: clip {clip_id!r} is in the splits {labels[clip_id][0]!r} and {split!r}"
                )
            labels[clip_id] = (split, label)
    refuse(problems)
    _compare(labels, poses, report)

    # Videos and key-points by clip id.
    seen = named(files, rf"(\d+_\d+_\d+)\.{VIDEO}")
    pictures = only({clip_id: seen[clip_id] for clip_id in seen if clip_id in labels}, report)
    missing: dict[str, list[str]] = {"no video": [], "no pose": [], "neither video nor pose": []}
    clips: list[RawClip] = []
    for clip_id, (split, label) in labels.items():
        video, pose = pictures.get(clip_id), poses.get(clip_id)
        if not video or not pose:
            what = "no video" if pose else "no pose" if video else "neither video nor pose"
            missing[what].append(clip_id)
            if not video and not pose:
                continue
        path, annotation = pose or (Path(), {})
        parts = clip_id.split("_")
        clips.append(
            RawClip(
                clip_id=clip_id,
                split=split,
                label=label,
                size=size_of(annotation, path) if pose else None,
                subject=parts[0],
                video=video,
                source="_".join(parts[:2]),
                pose=partial(read_pose, check_points(annotation, layout, path, report)) if pose else None,
            )
        )
    if not clips:
        raise MgkitError(
            f"{some(roots)}: {counted(len(labels), 'clip')} listed, but no video or key-points of any."
        )
    # Report what is missing or left over.
    for what, ids in missing.items():
        if ids and not (what == "no video" and not pictures) and not (what == "no pose" and not poses):
            done = "left out" if what.startswith("neither") else "kept without"
            report.append(note(what, f"{counted(len(ids), 'clip')} {done}: {some(ids)}"))
    for what, unlisted in (("video in no list", seen), ("pose in no list", poses)):
        spare = sorted(set(unlisted) - set(labels))
        if spare:
            report.append(note(what, f"{len(spare)} not used: {some(spare)}"))
    _dummies(labels, report)
    used = [*lists.values(), *pickles.values(), *pictures.values()]
    return RawDataset(clips, classes, layout if poses else NO_SKELETON, used, report)


def _list(path: Path, classes: Classes, report: Report, problems: list[str]) -> dict[str, int]:
    """Labels of a list by clip id."""
    listed: dict[str, int] = {}
    for row in read_rows(path, 2, numbers=(1,), report=report, problems=problems):
        name, label = Path(row.cells[0].replace("\\", "/")).name, whole(row.cells[1])
        clip_id = Path(name).stem
        if not named([Path(name)], r"(\d+_\d+_\d+)\.\w+"):
            problems.append(f"{path} row {row.line}: {name!r} is not named SSSS_VV_NNNN.mp4")
        elif label is None or not 0 <= label < len(classes):
            problems.append(
                f"{path} row {row.line}: label {row.cells[1]!r}, which is not 0 to {len(classes) - 1}"
            )
        elif clip_id in listed and listed[clip_id] != label:
            problems.append(
                f"{path} row {row.line}: {clip_id} has label {label}, and {listed[clip_id]} before"
            )
        elif clip_id in listed:
            report.append(
                note("repeated row", f"{path.name} row {row.line} names it again: taken once", clip_id)
            )
        else:
            listed[clip_id] = label
    return listed


def _poses(path: Path, listed: bool) -> dict[str, dict[str, Any]]:
    """Annotations by clip id; where there is no list they must have labels."""
    found, _ = load_annotations(path, labelled=not listed)
    return {Path(clip_id).name.removesuffix(".mp4"): annotation for clip_id, annotation in found.items()}


def _add_poses(
    poses: dict[str, tuple[Path, dict[str, Any]]],
    found: dict[str, dict[str, Any]],
    path: Path,
    problems: list[str],
) -> None:
    for clip_id, annotation in found.items():
        if clip_id in poses:
            problems.append(f"{path}: clip {clip_id!r} is in {poses[clip_id][0].name} too")
        poses[clip_id] = (path, annotation)


def _compare(
    labels: dict[str, tuple[str, int]], poses: dict[str, tuple[Path, dict[str, Any]]], report: Report
) -> None:
    """Report where a pickle disagrees with the lists, which count. Test labels are dummies in either."""
    for clip_id, (split, label) in labels.items():
        path, annotation = poses.get(clip_id, (Path(), {}))
        other = annotation.get("label", label)
        if annotation and not path.stem.lower().endswith(f"_{split}"):
            report.append(
                note("splits differ", f"{split} in the list, but in {path.name}: the list counts", clip_id)
            )
        if split != "test" and other != label:
            detail = f"{label} in the list, {other} in {path.name}: the list counts"
            report.append(note("labels differ", detail, clip_id))


def _dummies(labels: dict[str, tuple[str, int]], report: Report) -> None:
    test = [label for split, label in labels.values() if split == "test"]
    if test and not any(test):
        detail = f"all {len(test)} are 0: dummies, report no score on this split"
        report.append(note("test labels", detail))
