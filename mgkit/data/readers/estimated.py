"""Key-points of `mgkit pose` for the clips of any reader: matched by video, with what they were estimated by.

`mgkit prepare READER SOURCE OUT --poses FOLDER` does this; a reader of your own may call `with_poses` itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

from mgkit.data.keypoints import KeyPoints, frames_of, points_of, read_keypoints
from mgkit.data.ledger import size_of
from mgkit.data.readers import RawClip, RawDataset, note, refuse
from mgkit.data.readers.files import video_name
from mgkit.errors import MgkitError, counted, some


def with_poses(data: RawDataset, poses: str | Path) -> RawDataset:
    """A dataset of videos with the key-points that `mgkit pose` estimated from them.

    A video is recognised by its name and the folders above it, as far as they were below the folder given to
    `mgkit pose`, and must have the size that it had then.

    Args:
        data: a dataset whose clips have videos and no key-points.
        poses: the folder of `mgkit pose`.

    Returns:
        The same clips with key-points; those whose video has none keep none, which is reported, as are estimators that
        differ between splits.

    Raises:
        MgkitError: no such folder, no key-points for any clip, clips that have some already, a video that has changed,
            or key-points of two layouts.
    """
    folder = Path(poses)
    files = [
        path
        for path in sorted(folder.rglob("*.npz"))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not folder.is_dir() or not files:
        raise MgkitError(
            f"{folder} holds no key-points of videos: make them with `mgkit pose VIDEOS {folder}`."
        )
    if any(clip.pose for clip in data.clips):
        raise MgkitError("the clips of this dataset have key-points of their own: leave poses out.")
    heads = {path: read_keypoints(path, points=False) for path in files}
    by_name: dict[str, list[Path]] = {}
    for path, head in heads.items():
        by_name.setdefault(PurePosixPath(head.origin.video).name, []).append(path)
    # The file of each clip.
    clips: list[RawClip] = []
    used: dict[str, Path] = {}  # by clip id
    changed: list[str] = []
    without: list[str] = []
    for clip in data.clips:
        found = None if clip.video is None else _file_of(clip.video, by_name, heads)
        if clip.video is None or found is None:
            without.append(clip.clip_id)
            clips.append(clip)
            continue
        if heads[found].origin.bytes not in (-1, size_of(clip.video)):
            changed.append(f"{clip.video} has another size than when {found} was made")
        used[clip.clip_id] = found
        clips.append(_posed(clip, found, heads[found]))
    refuse(list(dict.fromkeys(changed)), "Run `mgkit pose` again, which redoes what has changed.")
    if not used:
        raise MgkitError(
            f"{folder} holds key-points of {counted(len(files), 'video')}, but of none of these: {some(without, 3)}."
        )
    layouts = {heads[path].skeleton for path in used.values()}
    if len(layouts) > 1:
        names = some(sorted(layout.name for layout in layouts))
        raise MgkitError(
            f"{folder} holds key-points of several layouts ({names}): run `mgkit pose` with one --layout."
        )
    report = list(data.report)
    if without:
        report.append(
            note(
                "no pose",
                f"no key-points in {folder} for {counted(len(without), 'clip')}: {some(without, 3)}",
            )
        )
    spare = sorted(set(files) - set(used.values()))
    if spare:
        report.append(
            note("key-points not used", f"{counted(len(spare), 'file')} of no clip: {some(spare, 3)}")
        )
    origins = {clip_id: heads[path].origin for clip_id, path in used.items()}
    report += several(
        {clip.clip_id: clip.split for clip in clips}, {key: o.name for key, o in origins.items()}
    )
    return replace(
        data, clips=clips, skeleton=layouts.pop(), files=[*data.files, *sorted(set(used.values()))], report=report,
        origins=origins,
    )  # fmt: skip


def several(splits: Mapping[str, str], names: Mapping[str, str]) -> list[dict[str, str]]:
    """A note where clips were estimated by different estimators; `names` are those by clip id."""
    if len(set(names.values())) < 2:
        return []
    by_split: dict[str, Counter[str]] = {}
    for clip_id, name in names.items():
        by_split.setdefault(splits[clip_id], Counter())[name] += 1
    each = "; ".join(
        f"{split}: "
        + ", ".join(f"{name} ({counted(count, 'clip')})" for name, count in sorted(counts.items()))
        for split, counts in sorted(by_split.items())
    )
    return [
        note(
            "several estimators", f"{each}; their noise differs, which a network learns: estimate all by one"
        )
    ]


def _posed(clip: RawClip, path: Path, head: KeyPoints) -> RawClip:
    if clip.start == 0 and clip.end is None:
        return replace(clip, size=head.size, pose=partial(points_of, path))
    pose = partial(points_of, path, start=clip.start, end=clip.end)
    return replace(clip, size=head.size, pose=pose, pose_frames=partial(frames_of, path))


def _file_of(
    video: Path, by_name: Mapping[str, Sequence[Path]], heads: Mapping[Path, KeyPoints]
) -> Path | None:
    """The key-points whose video has most in common with the end of this path."""
    name = PurePosixPath(video_name(video, Path(video.anchor or ".")))
    fitting = {
        path: len(parts)
        for path in by_name.get(name.name, ())
        if name.parts[-len(parts := PurePosixPath(heads[path].origin.video).parts) :] == parts
    }
    best = max(fitting.values(), default=0)
    chosen = [path for path, count in fitting.items() if count == best]
    if len(chosen) > 1:
        raise MgkitError(f"{some(chosen)} may both be the key-points of {video}: keep one of them there.")
    return chosen[0] if chosen else None
