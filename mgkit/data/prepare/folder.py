"""Raw dataset to clip folder: cut, person crop, resize, re-encode, in the same way for every dataset.

The crop of a clip is one square around every joint seen in it, with a margin; the part outside the source frame is
black. It is recorded, so that each pixel and joint can be traced back. Key-points move with it. A clip without any
seen joint keeps the whole frame, which is reported.

The same call resumes an interrupted or killed one, skips what is up to date and redoes what changed in the source
(`mgkit.data.ledger`). The result does not depend on the number of workers, nor on interruptions.
"""

from __future__ import annotations

import inspect
import json
import os
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from mgkit.data.clips import Clips, load_clips, write_clip_folder
from mgkit.data.ledger import NAME, FileRecord, Ledger, read_ledger, size_of, stamps, unchanged
from mgkit.data.prepare.checks import (
    FORMAT,
    MANIFEST,
    broken_before,
    check_options,
    check_places,
    check_raw,
    check_same_dataset,
    left_out,
    manifest,
    refuse_beyond,
)
from mgkit.data.prepare.looks import Look, check_looks, corner
from mgkit.data.prepare.plan import MARGIN, Job, Made, Pose, make
from mgkit.data.prepare.points import SMOOTHING, PoseRules
from mgkit.data.readers import RawClip, RawDataset, note
from mgkit.data.readers.estimated import with_poses
from mgkit.data.readers.options import get_reader, listed, plain_reader
from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError, counted, some
from mgkit.files import exclusive, sha256_of, write_json
from mgkit.parallel import cores, run_jobs
from mgkit.progress import Progress

__all__ = ["MANIFEST", "NAME", "TOLERATED", "prepare"]

TOLERATED = 0.05  # share of the clips that may be left out before the whole is refused
EARLY = 32  # clips after which key-points that are wrong throughout are refused
BATCH = 8  # clips sent to a worker at a time, where videos have few each


def prepare(
    reader: str | Callable[..., RawDataset],
    source: str | Path,
    out: str | Path,
    *,
    size: int = 256,
    workers: int | None = None,
    strict: bool = False,
    tolerated: float = TOLERATED,
    pose_fps: float | None = None,
    pose_step: float | None = None,
    pose_units: str | None = None,
    pose_size: str | tuple[int, int] | None = None,
    poses: str | Path | None = None,
    smooth: str | None = None,
    progress: bool = True,
    **options: Any,
) -> Clips:
    """Make a clip folder from a raw dataset, resume one, or bring one up to date.

    Args:
        reader: the layout of the source, one of `mgkit.data.readers.options.READERS`, or your own function
            `reader(source, **options) -> RawDataset`, also as a `functools.partial` with some of them.
        source: the dataset: a folder; for "pyskl" the pickle.
        out: the clip folder. An unfinished one is completed; a finished one is returned as it is, unless a source
            file has another size or time: then what depends on it is made again, and clips that left the source are
            removed.
        size: side of the prepared square videos, pixels.
        workers: processes; one per core by default.
        strict: refuse if a single clip cannot be made. By default such clips are left out and reported.
        tolerated: share of the clips that may be left out before the whole is refused.
        pose_fps: poses per second of the key-points, where it is not the rate of the videos: they are resampled. A
            clip without a video records it as its rate.
        pose_step: the same, as frames of the video from one pose to the next (5; 0.5 = two poses per frame). 1 says
            that lengths differ for another reason: each clip is cut to the shortest.
        pose_units: "shares" of the frame (0 to 1), "centred" shares (-1 to 1), "percent" or "pixels". By default they
            are pixels and checked to be; "pixels" is taken as it is.
        pose_size: width and height of the picture that the pixels refer to (`1280x720`), where the frame size in the
            file is wrong or missing, or the videos have another size; "stated" takes the size that the file gives.
            The points are scaled to the video.
        poses: the folder of `mgkit pose`, for a dataset of videos: their key-points, matched by video.
        smooth: "savgol7", a filter without delay over seven poses, or "none". By default key-points of `mgkit pose`,
            which come as estimated, are smoothed, and others are not.
        progress: show progress and the time left.
        **options: what the reader takes, see `mgkit prepare READER --help`.

    Returns:
        The prepared clips; `report_table` of them lists what was odd.

    Raises:
        MgkitError: see the reader; too many clips that cannot be made (named with the reasons); a folder that
            holds something else, or was made with other settings; no space.
    """
    if size < 16 or size % 2:
        raise MgkitError(f"size is {size}: use an even number of pixels, 16 or more.")
    if workers is not None and workers < 1:
        raise MgkitError(f"workers is {workers}: give 1 or more, or None for one per core.")
    if not 0 <= tolerated <= 1:
        raise MgkitError(f"tolerated is {tolerated}: give a share from 0 to 1.")
    rules = PoseRules.of(pose_fps, pose_step, pose_units, pose_size)
    if smooth not in (None, "none", *SMOOTHING):
        raise MgkitError(f"smooth is {smooth!r}: use {' or '.join([*SMOOTHING, 'none'])}.")
    # What the folder is made by: it must be the same in every call.
    reader, options = plain_reader(reader, options)
    read = get_reader(reader)
    out, source = Path(out), Path(source)
    made_by = reader if isinstance(reader, str) else f"{reader.__module__}.{reader.__qualname__}"
    check_places(source, out)
    settings = {"format": FORMAT, "reader": made_by, "size": size, "margin": MARGIN}
    options = {key: value for key, value in options.items() if value is not None}
    check_options(read, options, made_by)
    options = {key: listed(read, key, value) for key, value in options.items()}
    stated = {f"pose_{key}": value for key, value in asdict(rules).items() if value is not None}
    given = {key: value for key, value in (("poses", poses), ("smooth", smooth)) if value is not None}
    plain = _plain({**options, **stated, **given})
    before = manifest(out, settings)
    # Nothing has changed since it was finished: there is nothing to do.
    if before.get("complete") and before.get("options") == plain and unchanged(before["files"], source):
        try:
            clips = load_clips(out)
        except MgkitError:
            pass  # a file was lost or damaged: it is made again
        else:
            broken = left_out(clips.report)
            count = len(clips) + len(broken)
            refuse_beyond(0 if strict else int(tolerated * count), broken, count)
            return clips
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MgkitError(
            f"{out} cannot be made a folder ({error.strerror}): choose another place for the clip folder."
        ) from None
    with exclusive(out), Progress("prepare", progress) as bar:
        # Read the dataset, and refuse it before anything is made if too much of it cannot be.
        if "cache" in inspect.signature(read).parameters:
            options["cache"] = options.get("cache") or out / "cache"
        raw = read(source, **options)
        options.pop("cache", None)
        check_raw(raw, source)
        if poses is not None:
            raw = with_poses(raw, poses)
        if smooth in SMOOTHING or (smooth is None and raw.origins):
            rules = replace(rules, smooth=smooth or next(iter(SMOOTHING)))
        rules.check(raw.clips, source)
        files = stamps({*map(Path, raw.files), *(clip.video for clip in raw.clips if clip.video)}, source)
        ledger = read_ledger(out)
        check_same_dataset(raw, ledger, out)
        broken = broken_before(raw)
        lost = left_out(raw.report)  # by the reader, which gives no clip for them
        count = len(raw.clips) + len(lost)
        limit = 0 if strict else int(tolerated * count)
        if len(broken) > limit and not (out / "clips.parquet").is_file():
            write_json(out / "report.json", [*raw.report, *broken[len(lost) :]])
        refuse_beyond(limit, broken, count)
        try:
            _clean(out)
            # Unfinished until all is done: nobody should read an old table over new videos.
            write_json(out / MANIFEST, {**settings, "complete": False})
            (out / "clips.parquet").unlink(missing_ok=True)
            clips = _make(raw, out, size, workers, bar, ledger, limit, rules)
            write_json(out / MANIFEST, {**settings, "complete": True, "options": plain, "files": files})
        except OSError as error:
            raise MgkitError(
                f"{error.filename or out} cannot be written ({error.strerror or error}): check free space and "
                "permissions, then call again (what is finished is kept)."
            ) from error
    return clips


def _make(
    raw: RawDataset, out: Path, size: int, workers: int | None, bar: Progress, ledger: Ledger, limit: int,
    rules: PoseRules,
) -> Clips:  # fmt: skip
    jobs = _jobs(raw, out, size, workers or cores(), ledger, rules)
    looks: dict[str, Look] = {}
    lost = left_out(raw.report)
    rows: dict[str, dict[str, Any]] = {}
    notes: dict[str, list[dict[str, str]]] = {}
    sources: set[str] = set()
    files: set[str] = set()
    new = 0
    with _Spool(out) as poses:
        # Collect the clips of all videos, in whatever order they are finished.
        for job, made in _made(jobs, workers):
            name = str(job.clips[0].video)
            ledger.add(made.files, {name: made.source} if made.source else None)
            sources.add(name)
            files.update(record.file for record in (*made.files, *made.kept))
            new += len(made.files)
            rows.update(made.rows)
            for clip_id, pose in made.poses.items():
                poses.add(clip_id, pose)
            notes[job.clips[0].clip_id] = made.notes
            broken = [entry for entries in notes.values() for entry in left_out(entries)]
            if len(lost) + len(broken) > limit:
                write_json(out / "report.json", [*raw.report, *broken])
            refuse_beyond(limit, [*lost, *broken], len(raw.clips) + len(lost))
            # A dataset that is wrong throughout is refused before hours of cutting.
            if len(looks) < EARLY <= len(looks) + len(made.looks):
                check_looks({**looks, **made.looks}, rules.units, 0.9)
            looks.update(made.looks)
            bar.advance(len(job.clips), len(raw.clips))
        looks = {clip.clip_id: looks[clip.clip_id] for clip in raw.clips if clip.clip_id in looks}
        check_looks(looks, rules.units)
        doubts = corner(looks) if rules.as_given else []
        # Write the folder in the order of the dataset, without files of clips that are gone.
        kept = [clip for clip in raw.clips if clip.clip_id in rows]
        if not kept:
            raise MgkitError(
                f"none of the {counted(len(raw.clips), 'clip')} can be made: see {out / 'report.json'}."
            )
        report = [*raw.report, *doubts, *(e for clip in raw.clips for e in notes.get(clip.clip_id, []))]
        stale = set(ledger.files) - files - {"poses.npy"}
        for file in stale:
            (out / file).unlink(missing_ok=True)
        ledger.rewrite(files, sources)
        clips = write_clip_folder(
            out,
            [rows[clip.clip_id] for clip in kept],
            (poses.get(clip.clip_id) for clip in kept),
            raw.classes,
            raw.skeleton,
            report,
            _origin(raw, rules, [clip.clip_id for clip in kept]),
        )
    # The report is complete once the splits have been compared.
    if (out / "poses.npy").is_file():
        ledger.add([FileRecord("poses.npy", size_of(out / "poses.npy"), sha256_of(out / "poses.npy"))])
    report += [note(row["what"], row["detail"]) for row in clips.leakage().to_dict("records")]
    useless = _nothing_to_learn(clips)
    report += useless
    write_json(out / "report.json", report)
    for entry in useless:
        bar.say(f"prepare: WARNING {entry['what']}: {entry['detail']}")
    _say(bar, report, new, len(files) - new, len(stale))
    return load_clips(out)


def _origin(raw: RawDataset, rules: PoseRules, clip_ids: Sequence[str]) -> dict[str, Any] | None:
    """What `poses.json` of the folder says: by what the key-points were estimated, and whether they were smoothed."""
    if not raw.origins and rules.smooth is None:
        return None
    counts: dict[str, int] = {}
    for clip_id in clip_ids:
        if clip_id in raw.origins:
            origin = raw.origins[clip_id]
            said = {
                "estimator": origin.estimator,
                "version": origin.version,
                "model": origin.model,
                **origin.options,
            }
            counts[json.dumps(said)] = counts.get(json.dumps(said), 0) + 1
    estimators = [{**json.loads(said), "clips": count} for said, count in counts.items()]
    return {"smoothing": rules.smooth or "none", "estimators": estimators}


def _jobs(raw: RawDataset, out: Path, size: int, workers: int, ledger: Ledger, rules: PoseRules) -> list[Job]:
    """One job per source video, the longest first, so that none is left over at the end."""
    groups: dict[object, list[RawClip]] = {}
    for i, clip in enumerate(raw.clips):
        groups.setdefault(str(clip.video) if clip.video else (clip.source, i // 64), []).append(clip)
    filmed = sum(group[0].video is not None for group in groups.values())
    # Fewer videos than cores: let the decoder use the others.
    threads = max(1, workers // filmed) if filmed else 1

    def length(group: list[RawClip]) -> int:
        return sum((clip.end or clip.start) - clip.start + 1 for clip in group)

    jobs = []
    for group in sorted(groups.values(), key=length, reverse=True):
        names = [f"videos/{clip.clip_id}.mp4" for clip in group]
        # A file that was lost or has another size is made again.
        known = {
            name: ledger.files[name]
            for name in names
            if name in ledger.files and size_of(out / name) == ledger.files[name].bytes
        }
        source = ledger.sources.get(str(group[0].video))
        jobs.append(Job(tuple(group), out, size, len(raw.skeleton), threads, source, known, rules))
    return jobs


def _made(jobs: Sequence[Job], workers: int | None) -> Iterator[tuple[Job, Made]]:
    """Make all jobs, in any order, in this process or in several."""
    for job in jobs:  # poses alone are computed faster than they are sent
        if job.clips[0].video is None:
            yield job, make(job)
    # Videos of one clip each are sent in handfuls, larger ones alone.
    batches: list[list[Job]] = []
    free = 0
    for job in jobs:
        if job.clips[0].video is None:
            continue
        if free < len(job.clips):
            batches.append([])
            free = BATCH
        batches[-1].append(job)
        free -= len(job.clips)
    if min(workers or cores(), len(batches)) > 1:
        try:
            pickle.dumps(batches[0])
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise MgkitError(
                f"the reader's clips cannot be sent to other processes ({error}): let each `pose` be a "
                "`functools.partial` of a function at the top of a module, or give workers=1."
            ) from None
    for batch, results in run_jobs(_make_batch, batches, workers):
        yield from zip(batch, results, strict=True)


def _make_batch(batch: list[Job], stopped: Callable[[], bool]) -> list[Made]:
    return [make(job, stopped) for job in batch]


def _nothing_to_learn(clips: Clips) -> list[dict[str, str]]:
    """Notes on a folder that any network would get right, or none could: of one class, or without any joint."""
    found = []
    labels = set(clips.labels.tolist())
    if len(labels) == 1:
        name = clips.classes.names[labels.pop()]
        found.append(
            note("one class only", f"{counted(len(clips), 'clip')}, all {name!r}: a training will be refused")
        )
    posed = clips.table.loc[clips.table["pose_offset"] >= 0, "clip_id"].tolist()
    if posed and not any(bool(np.isfinite(clips.pose(clip_id)[..., :2]).any()) for clip_id in posed):
        found.append(note("no joint in any clip", f"all {len(posed)} poses are empty: check the key-points"))
    return found


class _Spool:
    """Poses on disk until all are there and can be put in order: those of all clips may not fit into memory."""

    def __init__(self, out: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=out)  # noqa: SIM115  (closed by __exit__)
        self._where: dict[str, tuple[int, tuple[int, ...]]] = {}

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, clip_id: str, pose: Pose) -> None:
        self._where[clip_id] = (self._file.seek(0, os.SEEK_END), pose.shape)
        self._file.write(np.ascontiguousarray(pose, dtype=np.float32).tobytes())

    def get(self, clip_id: str) -> Pose | None:
        if clip_id not in self._where:
            return None
        at, shape = self._where[clip_id]
        self._file.seek(at)
        return np.frombuffer(self._file.read(4 * int(np.prod(shape))), dtype=np.float32).reshape(shape)


def _clean(out: Path) -> None:
    """Remove what a killed process was writing: the temporary files of `mgkit.files.atomic`."""
    for name in (
        "poses.npy",
        "clips.parquet",
        "classes.json",
        "skeleton.json",
        "report.json",
        MANIFEST,
        NAME,
    ):
        stem, _, suffix = name.partition(".")
        for path in out.glob(f".{stem}-????????.{suffix}"):
            path.unlink(missing_ok=True)
    for path in (out / "videos").rglob(".*-????????.mp4"):
        path.unlink(missing_ok=True)


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Options as JSON, to be compared with those of the next call."""

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, Skeleton):
            return value.to_dict()
        if isinstance(value, dict):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, str | int | float | bool) or value is None:
            return value
        return [plain(item) for item in value] if isinstance(value, Iterable) else repr(value)

    return {key: plain(value) for key, value in options.items() if key != "cache"}


# --- messages -------------------------------------------------------------------------------------------------------


def _say(bar: Progress, report: list[dict[str, str]], new: int, kept: int, removed: int) -> None:
    if (new and kept) or removed:
        bar.say(f"prepare: {counted(new, 'video')} made, {kept} kept, {removed} removed")
    broken = [entry["clip_id"] for entry in left_out(report)]
    if broken:
        bar.say(
            f"prepare: WARNING {counted(len(broken), 'clip')} left out ({some(broken)}): see report_table()"
        )
