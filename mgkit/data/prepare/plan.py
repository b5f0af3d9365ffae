"""The clips of one source video: each is planned from its label and its pose, all are cut in one pass.

Runs in a worker process. A clip that cannot be made is left out with a note that names it and its file; only what
concerns all clips (a full disk, a bug) is raised.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.data.ledger import FileRecord, digest
from mgkit.data.prepare.cut import (
    FORMAT,
    Crop,
    Cut,
    Source,
    SourceError,
    SourceInfo,
    open_source,
    person_crop,
)
from mgkit.data.prepare.looks import BEFORE_TURN, Look
from mgkit.data.prepare.points import UNITS, USUAL_RATE, PoseRules, Unusable, incoming
from mgkit.data.readers import LEFT_OUT, RawClip, note, pose_notes
from mgkit.data.report import picture_hash
from mgkit.errors import counted, some
from mgkit.files import LONGEST_NAME

MARGIN = 0.25  # of the half side, added around the joints: the published setting

Pose = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Job:
    """Clips of one source video (or of none), where to write them, and what is known from before."""

    clips: tuple[RawClip, ...]
    out: Path
    size: int
    joints: int
    threads: int
    source: Mapping[str, Any] | None  # `SourceInfo` as it was recorded
    files: Mapping[str, FileRecord]
    rules: PoseRules


@dataclass
class Made:
    """Result of a job: rows and poses by clip id, notes, and records for the next time."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    poses: dict[str, Pose] = field(default_factory=dict)
    looks: dict[str, Look] = field(default_factory=dict)
    notes: list[dict[str, str]] = field(default_factory=list)
    files: list[FileRecord] = field(default_factory=list)
    kept: list[FileRecord] = field(default_factory=list)  # files that were there already and are up to date
    source: dict[str, Any] | None = None


@dataclass(frozen=True)
class _Plan:
    clip: RawClip
    pose: Pose | None
    look: Look | None
    crop: Crop
    frames: int
    fps: float  # 0 = not known
    file: str  # "" = no video

    @property
    def stop(self) -> int:
        return self.clip.start + self.frames


def make(job: Job, stopped: Callable[[], bool] | None = None) -> Made:
    """Make the clips of a job.

    Args:
        job: what to make.
        stopped: asked at each frame; once it is True a `KeyboardInterrupt` is raised.

    Raises:
        MgkitError: a video cannot be written.
    """
    made = Made()
    video = job.clips[0].video
    with contextlib.ExitStack() as stack:
        # The source video: as recorded if it is the same file, else probed.
        source: Source | None = None
        info: SourceInfo | None = None
        if video is not None:
            try:
                info = _as_noted(video, job.source)
                if info is None:
                    source = stack.enter_context(open_source(video, job.threads))
                    info = source.info
            except SourceError as error:
                kind = "video cannot be read" if video.is_file() else "video missing"
                _leave_out(made, job.clips, kind, str(error))
                return made
            made.source = info.to_dict()
            made.notes += oddities(video, info, [clip.clip_id for clip in job.clips])
        # A plan for each clip that can be made.
        plans = []
        for clip in job.clips:
            try:
                plans.append(_plan(clip, info, job, made.notes))
            except Unusable as reason:
                _leave_out(made, [clip], reason.kind, reason.detail)
        if video is not None and info is not None:
            # Cut those that are not there yet, in one pass.
            made.notes += _out_of_step(video, info, plans, job.rules)
            todo = []
            for plan in plans:
                record = job.files.get(plan.file)
                if record is not None and record.made_from == _made_from(plan, info, video, job.size):
                    made.kept.append(record)
                else:
                    todo.append(plan)
            if todo:
                try:
                    source = source or stack.enter_context(open_source(video, job.threads))
                except SourceError as error:
                    _leave_out(made, [plan.clip for plan in todo], "video cannot be read", str(error))
                    plans = [plan for plan in plans if plan not in todo]
                    todo = []
            if todo and source is not None:
                plans = _cut(made, source, todo, plans, job, stopped)
            made.notes += _damaged(video, plans, [*made.files, *made.kept])
    for plan in plans:
        made.rows[plan.clip.clip_id] = _row(plan, job.size)
        if plan.look is not None:
            made.looks[plan.clip.clip_id] = plan.look
        if plan.pose is not None:
            made.poses[plan.clip.clip_id] = moved(plan.pose[:, : plan.frames], plan.crop, job.size)
    return made


def _cut(
    made: Made, source: Source, todo: Sequence[_Plan], plans: list[_Plan], job: Job,
    stopped: Callable[[], bool] | None,
) -> list[_Plan]:  # fmt: skip
    """Write the videos of `todo`; return the plans that can be made, and leave out the others."""
    cuts = [
        Cut(plan.clip.clip_id, job.out / plan.file, plan.clip.start, plan.stop, plan.crop) for plan in todo
    ]
    results = source.cut(cuts, job.size, source.info.fps or USUAL_RATE, stopped)
    for plan in todo:
        result = results[plan.clip.clip_id]
        if isinstance(result, str):
            _leave_out(made, [plan.clip], "video cannot be read", result)
            plans = [other for other in plans if other is not plan]
            continue
        made_from = _made_from(plan, source.info, source.path, job.size)
        looks = picture_hash(result.looks)
        made.files.append(
            FileRecord(plan.file, result.bytes, result.sha256, made_from, looks, result.damaged)
        )
    return plans


def moved(pose: Pose, crop: Crop, size: int) -> Pose:
    """Key-points (M, T, V, 3) from source pixels to pixels of the prepared video."""
    out = pose.astype(np.float32, copy=True)
    out[..., 0] = (pose[..., 0] - crop.x) * (size / crop.side)
    out[..., 1] = (pose[..., 1] - crop.y) * (size / crop.side)
    return out


# --- planning -------------------------------------------------------------------------------------------------------


def impossible(clip: RawClip) -> tuple[str, str] | None:
    """The reason why a clip cannot be made, as far as its row shows; None = it may."""
    where = f"{clip.source or clip.video}, frames {clip.start} to {clip.end}"
    if clip.end is not None and clip.end <= clip.start:
        return "end before start", f"{where}: correct the label"
    if clip.start < 0:
        return "start before the video", f"{where}: frames are counted from 0"
    if clip.video is not None and not clip.video.is_file():
        return "video missing", f"there is no video {clip.video}: copy it there"
    longest = max(len(part.encode()) for part in f"{clip.clip_id}.mp4".split("/"))
    if clip.video is not None and longest > LONGEST_NAME:
        return "name too long", f"{clip.video}: its file would have a name of {longest} bytes: rename it"
    return None


def _plan(clip: RawClip, info: SourceInfo | None, job: Job, notes: list[dict[str, str]]) -> _Plan:
    reason = impossible(clip)
    if reason is not None:
        raise Unusable(*reason)
    if info is not None and clip.start >= info.frames:
        raise Unusable(
            "starts after the end of the video",
            f"{clip.video} has {counted(info.frames, 'frame')}, the clip would start at frame {clip.start}",
        )
    size, picture = frame_size(clip, info, job.rules)
    pose = look = None
    if clip.pose is not None:
        pose, done, look = incoming(clip, info, size, picture, job.joints, job.rules)
        notes += [*done, *pose_notes(clip.clip_id, pose, size)]
    if clip.notes is not None:
        notes += clip.notes(**job.rules.span(clip, info))
    # The length by label, video and pose: the shortest counts.
    lengths: dict[str, int] = {}
    if clip.end is not None:
        lengths["label"] = clip.end - clip.start
    if info is not None:
        lengths["video"] = min(lengths.get("label", info.frames), info.frames - clip.start)
    if pose is not None:
        lengths["pose"] = pose.shape[1]
    if not lengths:
        raise Unusable("no frames", f"{clip.source}: it has neither a video, nor a pose, nor an end")
    frames = min(lengths.values())
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{what} {count}" for what, count in lengths.items())
        if 2 * frames < lengths.get("label", frames):
            name = clip.video or clip.source
            raise Unusable(
                "less than half is there", f"frames by {found} of {name}: correct the label or the file"
            )
        notes.append(note("lengths differ", f"frames by {found}: the shortest is kept", clip.clip_id))
    # Usable, but odd.
    if frames == 1:
        notes.append(note("one frame", f"the clip is a single frame of {clip.source}", clip.clip_id))
    if pose is not None and not np.isfinite(pose[:, :frames]).all(-1).any():
        notes.append(note("no person", "no joint was seen: the whole frame is kept", clip.clip_id))
    fps = info.fps if info is not None else clip.fps or job.rules.fps or 0.0
    file = "" if clip.video is None else f"videos/{clip.clip_id}.mp4"
    return _Plan(clip, pose, look, person_crop(pose, size, MARGIN), frames, fps, file)


def frame_size(
    clip: RawClip, info: SourceInfo | None, rules: PoseRules
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(width, height) of the source frame, and of the picture that pixels refer to."""
    stated = rules.size if isinstance(rules.size, tuple) else clip.size
    if info is None and (stated is None or (min(stated) < 16 and rules.units != "pixels")):
        found = "" if stated is None else f" larger than {stated[0]} x {stated[1]}"
        raise Unusable(
            "no frame size",
            f"{clip.source}: it has neither a video nor a frame size (img_shape){found}: state it, --pose-size 640x480",
        )
    if info is None:
        assert stated is not None
        return stated, stated
    frame = info.width, info.height
    if stated is None or rules.size is not None or rules.units in UNITS:
        return frame, stated or frame
    if stated != frame:
        turned = f" (after the turn by {info.turned} degrees that the file asks for)" if info.turned else ""
        remedy = "give the videos that the poses were made from"
        if stated == frame[::-1] and info.turned % 180:
            remedy = f"they {BEFORE_TURN}"
        elif stated == frame[::-1]:
            remedy += ", or, if img_shape is (width, height), write it as (height, width)"
        elif abs(stated[0] * frame[1] / (stated[1] * frame[0]) - 1) < 0.02:
            remedy += ", or scale the poses to the video with --pose-size stated"
        raise Unusable(
            "video and pose of different sizes",
            f"{clip.video} is {frame[0]} x {frame[1]} pixels{turned}, but the poses are for {stated[0]} x {stated[1]}: "
            f"{remedy}",
        )
    return frame, frame


def oddities(video: Path, info: SourceInfo, clip_ids: Sequence[str]) -> list[dict[str, str]]:
    """Notes on a source video that is usable, but unusual; they name some of the clips that are made from it."""
    notes, names = [], f" ({some(clip_ids, 3)})" if clip_ids else ""
    if not info.steady:
        text = f"{video}: frames last {info.fastest:.0f} to {info.slowest:.0f} ms; frames are counted, times ignored"
        notes.append(note("variable frame rate", f"{text}{names}"))
    if info.turned:
        text = f"{video}: turned by {info.turned} degrees, as the file asks{names}"
        notes.append(note("rotated video", text))
    if not info.fps:
        text = f"{video} does not state any: taken as {USUAL_RATE:g}{names}"
        notes.append(note("frame rate not known", text))
    return notes


def _out_of_step(
    video: Path, info: SourceInfo, plans: Sequence[_Plan], rules: PoseRules
) -> list[dict[str, str]]:
    """A note if the number of frames with key-points differs from that of the whole video."""
    clip = next((plan.clip for plan in plans if plan.clip.pose_frames), None)
    if clip is None or clip.pose_frames is None:
        return []
    step = rules.steps(clip, info) or 1.0
    frames = round(clip.pose_frames() * step)
    if abs(frames - info.frames) < max(1, step):
        return []
    names = some([plan.clip.clip_id for plan in plans], 3)
    text = (
        f"{video.name} has {counted(info.frames, 'frame')}, its key-points {frames}: if rows are missing or doubled, "
        f"joints are out of step from there on ({names})"
    )
    return [note("video and key-points of different lengths", text)]


def _damaged(video: Path, plans: Sequence[_Plan], records: Sequence[FileRecord]) -> list[dict[str, str]]:
    """Notes on clips that were cut from frames that the decoder had to patch."""
    patched = {record.file: record.damaged for record in records if record.damaged}
    text = "frames of {} are damaged and patched by the decoder: kept, but copy the video again"
    return [
        note("damaged pictures", f"{patched[plan.file]} {text.format(video)}", plan.clip.clip_id)
        for plan in plans
        if plan.file in patched
    ]


def _as_noted(video: Path, noted: Mapping[str, Any] | None) -> SourceInfo | None:
    """The record of a video from before, if its size and time have not changed."""
    if noted is None:
        return None
    try:
        info = SourceInfo(**noted)
        stat = video.stat()
    except (TypeError, OSError):
        return None
    return info if (info.bytes, info.mtime_ns) == (stat.st_size, stat.st_mtime_ns) else None


def _made_from(plan: _Plan, info: SourceInfo, video: Path, size: int) -> str:
    """Hash of everything that decides the pictures of a clip."""
    crop = plan.crop
    source = (video.name, info.bytes, info.mtime_ns)
    return digest(FORMAT, size, source, plan.clip.start, plan.stop, crop.x, crop.y, crop.side)


def _leave_out(made: Made, clips: Sequence[RawClip], kind: str, detail: str) -> None:
    made.notes += [note(LEFT_OUT + kind, detail, clip.clip_id) for clip in clips]


def _row(plan: _Plan, size: int) -> dict[str, Any]:
    clip, crop = plan.clip, plan.crop
    return {
        "clip_id": clip.clip_id,
        "split": clip.split,
        "label": clip.label,
        "subject": clip.subject,
        "source": clip.source,
        "start": clip.start,
        "end": plan.stop,
        "frames": plan.frames,
        "fps": plan.fps,
        "width": size,
        "height": size,
        "video": plan.file,
        "persons": 0 if plan.pose is None else plan.pose.shape[0],
        "crop_x": float(crop.x),
        "crop_y": float(crop.y),
        "crop_width": float(crop.side),
        "crop_height": float(crop.side),
    }
