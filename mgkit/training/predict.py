"""The answer of a trained run for new clips and videos, without labels and without a clip folder.

A short video is one clip, a long one windows of the length of the training clips. Either passes through the code that
`prepare` and `test` use: the same crop, the same inputs, the same views. A video is decoded once, in order, and
pictures are held only until the windows that they are in have been answered.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from mgkit.data.batches.dataset import ClipDataset
from mgkit.data.batches.spec import view_times
from mgkit.data.clips import Clips, load_clips
from mgkit.data.keypoints import SEVERAL, convert, read_keypoints
from mgkit.data.prepare.cut import SourceError
from mgkit.data.prepare.footage import Footage, Span, clips_of, decoded, of_clip, open_footage, span_of
from mgkit.data.prepare.points import PoseRules
from mgkit.data.readers import note
from mgkit.data.readers.files import may_be_video, named_as_video, walk
from mgkit.data.readers.pyskl import (
    Annotation,
    check_points,
    load_annotations,
    read_pose,
    size_of,
    stated_layout,
)
from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError, counted, some
from mgkit.files import atomic, sha256_of
from mgkit.models import PrototypicalRefinement
from mgkit.progress import Progress, spoken
from mgkit.results.run.folder import ClipShape, Run, as_run
from mgkit.results.scores.prediction import Prediction, PredictionList, load_prediction
from mgkit.training import inference
from mgkit.training.inference import Network, check_whole, open_network
from mgkit.training.machine import cpu_threads

if TYPE_CHECKING:
    from mgkit.pose.estimators import Estimate

Points = npt.NDArray[np.float32]
Source = str | Path | npt.NDArray[np.floating[Any]]

CHUNK = 64  # windows that are held at a time
SAVED_EVERY = 10.0  # seconds: what a killed process loses at most
USUAL_RATE = 25.0  # frames per second, where nothing is known
SAVED = ".prediction.npz"
PICKLES = (".pkl", ".pickle")
POINTS = (".npz", ".npy")  # files of key-points
OTHER = "another estimator"


def predict(
    run: Run | str | Path,
    source: Source | Sequence[Source],
    *,
    poses: Source | None = None,
    window: float | Sequence[float] | None = None,
    stride: float | None = None,
    whole: bool | None = None,
    checkpoint: str = "best",
    views: int = 1,
    flip: bool = False,
    weights: Mapping[str, float] | None = None,
    rectification: float = 0.0,
    pose_fps: float | None = None,
    pose_step: float | None = None,
    pose_units: str | None = None,
    pose_size: str | tuple[int, int] | None = None,
    estimator: str | Estimate = "holistic",
    person: str = "largest",
    out: str | Path | None = None,
    replace: bool = False,
    batch_size: int | None = None,
    device: str = "auto",
    progress: bool = True,
    run_code: bool = False,
) -> Prediction | PredictionList:
    """Ask a run about a clip, a video or key-points that it has never seen.

        mg.predict("runs/mine", "clip.mp4", poses="poses/clip.npz")

    A video no longer than the longest training clip is one clip. A longer one becomes windows of the median length of
    the training clips: what each pathway says of each of them, embeddings included, is saved next to the video as
    `<name>.prediction.npz`. Killed or interrupted, the same call resumes there.

    Args:
        run: a run, or its folder. Its clip folder need not exist.
        source: a video; a folder of them; key-points (M, T, V, 3) in the layout of the run, as an array, `.npy`, or
            `.npz` with `points` (and, where known, `fps` and `size`); a PYSKL pickle, each of whose annotations is one
            source; or several of these. A video of a clip folder is taken as it was prepared, with its key-points.
        poses: key-points of the video: an array, a file, or a folder with `<name>.npz` for each video. By default the
            `.npz` of the video's name next to it, or in a folder `poses` there; if there are none and the run needs
            them they are estimated, into that folder.
        window: seconds of a window, or several lengths; makes windows of a short video, too.
        stride: seconds from one window to the next; by default a quarter of the (shortest) window.
        whole: True takes each source as one clip, whatever its length, False as windows.
        checkpoint, views, flip, weights, rectification: as of `mg.test`.
        pose_fps, pose_step, pose_units, pose_size: what is stated of the key-points, as for `mg.prepare`; key-points
            without a video need a size.
        estimator, person: as of `mg.pose.estimate`, for key-points that are estimated on the way.
        out: folder for the predictions, `<name>.npz` each, or the `.npz` of a single one; clips are saved only with it.
        replace: overwrite a prediction that was made with other settings.
        batch_size: windows a step; any value gives the same answer. The recipe's by default.
        device: "auto", "cpu", "cuda".
        progress: show a bar with the time left.
        run_code: as of `mg.test`.

    Returns:
        The prediction; a list of them for a folder, a pickle or several sources, whose `left_out` says which had none
        and why.

    Raises:
        MgkitError: no video or key-points where the run needs them, a video without frames, nobody who is seen,
            key-points of another layout, unit or rate, a window that is longer than its video, a saved prediction with
            other settings, and what `mg.test` refuses.
    """
    run = as_run(run)
    check_whole(views=views, batch_size=batch_size)
    lengths = [] if window is None else list(window) if isinstance(window, Sequence) else [window]
    for name, values in (("window", lengths), ("stride", [] if stride is None else [stride])):
        wrong = [value for value in values if not 0 < value < float("inf")]
        if wrong:
            raise MgkitError(f"{name} is {wrong[0]!r}: give seconds, above 0.")
    rules = PoseRules.of(pose_fps, pose_step, pose_units, pose_size)
    several, items = _items(source, poses)
    empty = Clips(run.root, clips_of({}, run.classes, run.skeleton).rows, run.classes, run.skeleton)
    network = open_network(run, empty, checkpoint, device, weights, rectification, run_code=run_code)
    shape = run.clip_shape()
    target = None if out is None else Path(out)
    if target is not None and target.suffix.lower() == ".npz" and several:
        raise MgkitError(f"out is {target}, one file for several predictions: give a folder.")
    trained_on = [str(name) for name in run.config["data"].get("estimators", [])]
    plan = _Plan(
        lengths, stride, whole, shape, rules, trained_on, estimator, person,
        target if target is None or target.suffix.lower() != ".npz" else target.parent, progress,
    )  # fmt: skip
    settings = {
        "run": run.name, "checkpoint": checkpoint, "epoch": network.epoch,
        "content": sha256_of(run.checkpoint(checkpoint))[:16], "views": views, "flip": flip,
        "weights": None if weights is None else dict(weights), "rectification": rectification,
        "size": shape.size + shape.size % 2,
    }  # fmt: skip
    asked = _Asked(
        network, views, flip, weights, rectification, batch_size or network.recipe.optimisation.batch_size
    )
    with (
        Progress("predict", progress, unit="windows" if len(items) == 1 else "videos") as bar,
        cpu_threads(network.device, 0),
    ):
        if flip and (warning := network.inputs.mirror_warning(run.classes)):
            bar.say(f"flip: {warning}")
        lost: dict[str, str] = {}
        said: list[str] = []

        def jobs() -> Iterator[_Job]:
            for item in items:
                try:
                    job = _begun(item, plan, network, settings, target, replace)
                except MgkitError as error:
                    if len(items) == 1:
                        raise
                    lost[item.name] = str(error)
                    bar.say(f"left out: {error}")
                else:
                    for entry in job.footage.notes:
                        if entry["what"] == OTHER and not said:
                            said.append(entry["detail"])  # once for a folder
                            bar.say(f"CAUTION: {entry['detail']}")
                        elif entry["what"] == SEVERAL:
                            bar.say(f"{item.name}: {SEVERAL}, {entry['detail']}")
                    yield job

        found = PredictionList(_answered(jobs(), len(items), asked, bar, lost))
    if not found:
        raise MgkitError(
            f"none of the {len(items)} can be predicted, the first because {next(iter(lost.values()))}"
        )
    found.left_out = lost
    return found if several else found[0]


# --- what is asked about --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Item:
    """One source: a video, key-points, or both; or a clip of a clip folder."""

    name: str
    video: Path | None
    poses: Path | Points | None
    clip: tuple[Path, str] | None = None  # clip folder and id
    file: Path | None = None  # next to which it is saved
    annotation: tuple[Path, Annotation] | None = None  # of a pickle


def _items(source: Any, poses: Source | None) -> tuple[bool, list[_Item]]:
    """The sources, and whether they are a list."""
    if isinstance(source, list | tuple):
        found = [item for one in source for item in _items(one, poses)[1]]
        if not found:
            raise MgkitError("there is nothing to predict: give a video, a folder, or key-points.")
        if (
            len(found) > 1
            and poses is not None
            and (isinstance(poses, np.ndarray) or not Path(poses).is_dir())
        ):
            raise MgkitError(
                f"one file of key-points cannot be that of {len(found)} videos: give a folder of them."
            )
        return True, found
    if isinstance(source, np.ndarray):
        return False, [_Item("key-points", None, np.asarray(source, np.float32))]
    path = Path(source)
    if path.is_dir():
        files = walk([path], [])
        videos = [file for file in files if may_be_video(file)]
        tables = [file for file in files if file.suffix.lower() in POINTS and not file.name.endswith(SAVED)]
        if not videos and not tables:
            raise MgkitError(f"{path} holds neither videos nor key-points (.npz, .npy): name another folder.")
        chosen = videos or tables
        if poses is not None and (isinstance(poses, np.ndarray) or not Path(poses).is_dir()):
            raise MgkitError(f"poses is one file for {len(chosen)} videos: give a folder of them.")
        return True, [_item(file, path, poses) for file in chosen]
    if not path.exists():
        raise MgkitError(f"there is no video {path}: check the path.")
    if path.suffix.lower() in PICKLES:
        annotations, _ = load_annotations(path, labelled=False)
        return True, [_Item(name, None, None, annotation=(path, one)) for name, one in annotations.items()]
    if path.suffix.lower() not in POINTS and not may_be_video(path):
        raise MgkitError(
            f"{path} is neither a video nor key-points (.npz, .npy, a PYSKL .pkl): name one of these, or a folder of "
            "them."
        )
    return False, [_item(path, path.parent, poses)]


def _item(path: Path, root: Path, poses: Source | None) -> _Item:
    below = path.relative_to(root)
    if path.suffix.lower() in POINTS:
        return _Item(below.with_suffix("").as_posix(), None, path, file=path)
    name = (below.with_suffix("") if named_as_video(path) else below).as_posix()
    folder = next((folder for folder in path.resolve().parents if (folder / "clips.parquet").is_file()), None)
    if folder is not None and poses is None:
        clips = _clip_folder(folder)
        video = path.resolve().relative_to(folder).as_posix()
        ids = clips.table.loc[clips.table["video"] == video, "clip_id"].tolist()
        if ids:
            return _Item(name, path, None, (folder, ids[0]), path)
    if isinstance(poses, np.ndarray):
        return _Item(name, path, np.asarray(poses, np.float32), file=path)
    if poses is None:
        places = [
            path.with_suffix(".npz"),
            path.parent / "poses" / f"{path.stem}.npz",
            root / "poses" / f"{name}.npz",
        ]
        there = next((place for place in places if place.is_file()), None)
        return _Item(name, path, there, file=path)
    given = Path(poses)
    if given.is_dir():
        # `mgkit pose` was given some folder above the video: the longest way that is there.
        plain = path.absolute().with_suffix("") if named_as_video(path) else path.absolute()
        ways = ["/".join(plain.parts[at:]) for at in range(1, len(plain.parts))]
        there = next(
            (place for way in ways for suffix in POINTS if (place := given / f"{way}{suffix}").is_file()),
            None,
        )
        if there is None:
            raise MgkitError(
                f"{given} has no key-points {name}.npz of {path}: add them, or leave the video out."
            )
        return _Item(name, path, there, file=path)
    if not given.is_file():
        raise MgkitError(f"there are no key-points {given}: check the path.")
    return _Item(name, path, given, file=path)


@lru_cache(maxsize=4)
def _clip_folder(folder: Path) -> Clips:
    return load_clips(folder)


def read_points(path: Path, skeleton: Skeleton) -> tuple[Points, float, tuple[int, int] | None, str]:
    """Key-points (M, T, V, 3) of a `.npz` or `.npy` in a layout, their frames per second (0 = not stated), frame size,
    and what they were estimated by ("" = not known).

    Raises:
        MgkitError: a broken file, one without `points`, or a layout that the one wanted does not follow from.
    """
    ours, stored = False, dict[str, Any]()
    try:
        if path.suffix.lower() == ".npy":
            stored["points"] = np.load(path, allow_pickle=False)
        else:
            with np.load(path, allow_pickle=False) as file:
                ours = {"skeleton", "estimator"} <= set(file)  # of `mgkit pose`
                stored |= {
                    name: file[name] for name in ("points", "fps", "size") if name in file and not ours
                }
        points = np.asarray(stored.get("points", ()), np.float32)
        fps, sides = float(stored.get("fps", 0)), [int(side) for side in np.ravel(stored.get("size", ()))]
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise MgkitError(
            f"{path} cannot be read as key-points ({type(error).__name__}): write them as .npz or .npy again."
        ) from None
    if ours:
        found = read_keypoints(path)
        try:
            return found.to(skeleton).points, found.fps, found.size, found.origin.name
        except MgkitError as error:
            raise MgkitError(f"{path}: {error}") from None
    if "points" not in stored:
        raise MgkitError(f"{path} has no array 'points' (persons, frames, joints, 3): write one.")
    size = (sides[0], sides[1]) if len(sides) == 2 else None
    return points, fps if np.isfinite(fps) and fps > 0 else 0.0, size, ""


# --- how it is looked at --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """What windows a source becomes, and what is stated of its key-points."""

    lengths: list[float]
    stride: float | None
    whole: bool | None
    shape: ClipShape
    rules: PoseRules
    estimators: list[str]  # of the training clips
    estimator: str | Estimate
    person: str
    out: Path | None  # folder that a user gave
    progress: bool

    def bounds(self, footage: Footage) -> list[tuple[int, int]]:
        """First frame and one past the last of each window, in the order of the latter."""
        count, fps = footage.frames, footage.fps or self.shape.fps or USUAL_RATE
        usual = self.shape.fps or fps  # without a rate, frames are compared
        asked = bool(self.lengths or self.stride)
        if self.whole or (self.whole is None and not asked and count / fps <= self.shape.longest / usual):
            return [(0, count)]
        seconds = sorted(self.lengths or [self.shape.frames / usual])
        shortest = max(1, round(seconds[0] * fps))
        # Of one parity, so that windows of several lengths have their middles in common.
        lengths = [shortest + 2 * round((max(1, round(length * fps)) - shortest) / 2) for length in seconds]
        step = max(1, round(self.stride * fps)) if self.stride else max(1, shortest // 4)
        found = {
            (start - (length - shortest) // 2, start + (length + shortest) // 2)
            for length in lengths
            for start in range(0, count - shortest + 1, step)
        }
        inside = sorted((b for b in found if b[0] >= 0 and b[1] <= count), key=lambda b: (b[1], b[0]))
        if not inside and self.lengths:
            raise MgkitError(
                f"{footage.name} lasts {count / fps:.2f} s, less than a window of {seconds[0]:g} s: give a "
                "shorter window, or take it as one clip (whole=True, --whole)."
            )
        return inside or [(0, count)]


def _opened(item: _Item, plan: _Plan, network: Network) -> Footage:
    """A source, checked against what the run reads."""
    reads = network.recipe.pathways
    needs_pose = "pose" in reads or network.inputs.centre != "picture"
    if item.clip is not None:
        footage = replace(of_clip(_clip_folder(item.clip[0]), item.clip[1]), name=item.name)
        if footage.points is None and needs_pose:
            raise MgkitError(
                f"{item.video} is a clip without key-points, which the run reads: give them (poses)."
            )
        return footage
    if "rgb" in reads and item.video is None:
        raise MgkitError(
            f"{item.name}: the run reads pictures, and there are key-points only: give the video as well."
        )
    layout = network.clips.skeleton
    points: Points | None = None
    fps, size, origin = 0.0, None, ""
    poses = item.poses
    report: list[dict[str, str]] = []
    if item.annotation is not None:
        pickle, annotation = item.annotation
        own = stated_layout(pickle, report) or layout
        poses = convert(read_pose(check_points(annotation, own, pickle, report)), own, layout)
        size = size_of(annotation, pickle)
    if poses is None and item.video is not None and (needs_pose or plan.shape.posed):
        poses = _estimated(item, plan, layout)
    if isinstance(poses, Path):
        points, fps, size, origin = read_points(poses, layout)
    elif poses is not None:
        points = poses
    if points is not None and not needs_pose and not plan.shape.posed:
        points = None  # the clips of the run show the whole picture
    rules = replace(plan.rules, smooth=plan.shape.smooth or None)
    if fps and item.video is not None and rules.fps is None and rules.step is None:
        rules = replace(rules, fps=fps)  # as the file says
    footage = open_footage(
        item.name, item.video, points, layout, fps=rules.fps or fps, size=size, rules=rules
    )
    footage.notes.extend(report)
    if isinstance(poses, Path) and origin:  # what `mgkit pose` found odd, but what is seen here again
        there = {entry["what"] for entry in footage.notes}
        notes = read_keypoints(poses, points=False).notes
        footage.notes.extend([entry for entry in notes if entry["what"] not in there])
    if footage.points is not None and not np.isfinite(footage.points[..., :2]).all(-1).any():
        raise MgkitError(
            f"{item.name}: nobody is seen in any of its {counted(footage.frames, 'frame')}, and the run needs "
            "key-points: check the video, or the estimator that they are from."
        )
    if origin and origin not in plan.estimators:
        detail = (
            f"{item.name} has key-points of {origin}, the training had those of "
            f"{some(plan.estimators) or 'something that is not recorded'}: their noise differs, which may cost "
            "accuracy"
        )
        footage.notes.append(note(OTHER, detail, item.name))
    return footage


def _estimated(item: _Item, plan: _Plan, layout: Skeleton) -> Path:
    """The file of the key-points of a video, which are estimated now unless they are there."""
    from mgkit.pose.folder import estimate

    assert item.video is not None
    folder = (plan.out or item.video.parent) / "poses"
    try:
        estimate(
            item.video, folder, plan.estimator, person=plan.person, layout=layout, progress=plan.progress
        )
    except SourceError:
        raise  # the video itself is at fault
    except MgkitError as error:
        raise MgkitError(
            f"{item.name}: the run needs key-points, there are none (poses, --poses), and they cannot be estimated: "
            f"{error}"
        ) from None
    return folder / f"{item.video.stem}.npz"


# --- answers --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Asked:
    """How the network is asked."""

    network: Network
    views: int
    flip: bool
    weights: Mapping[str, float] | None
    rectification: float
    batch_size: int

    def times(self, length: int) -> npt.NDArray[np.int64]:
        """The frames of a clip of which any view shows the picture."""
        spec = self.network.inputs
        if spec.rgb_stream != "frames":
            return np.arange(length)  # a stream makes its pictures of all of them
        return np.concatenate(
            [view_times(spec, length, (view + 0.5) / self.views)["rgb"] for view in range(self.views)]
        )

    def __call__(self, spans: Sequence[Span]) -> dict[str, npt.NDArray[Any]]:
        """What the network says of some spans, one row each: `probability_<output>`, `embedding_<pathway>`, `seen`."""
        network = self.network
        named = {str(i): span for i, span in enumerate(spans)}
        clips = clips_of(named, network.clips.classes, network.clips.skeleton)
        dataset = ClipDataset(clips, network.inputs, training=False, views=self.views, flip=self.flip)
        predictions, embeddings, _ = inference.predict(
            network.model, network.prototypes, dataset, embedding=network.embedding, device=network.device,
            autocast=network.autocast, weights=self.weights, rectification=self.rectification,
            batch_size=self.batch_size,
        )  # fmt: skip
        posed = [span.seen if span.pose is not None else np.nan for span in spans]
        found: dict[str, npt.NDArray[Any]] = {"seen": np.asarray(posed, np.float32)}
        found |= {f"probability_{name}": array for name, array in predictions.probabilities.items()}
        if embeddings is not None:
            found |= {f"embedding_{name}": array for name, array in embeddings.vectors.items()}
        return found


@dataclass(eq=False)
class _Job:
    """One source on its way to a prediction."""

    item: _Item
    footage: Footage
    bounds: list[tuple[int, int]]
    settings: dict[str, Any]
    path: Path | None
    finished: Prediction | None = None  # it was there already
    rows: list[int] = field(default_factory=list)  # those of `bounds` that have an answer
    answers: list[dict[str, npt.NDArray[Any]]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)  # why others have none
    done: int = 0  # of `bounds`
    before: int = 0  # of those, the ones of an earlier call
    kept: int = 0  # of `answers`, those that are on disk
    kept_rows: int = 0
    since: float = field(default_factory=time.monotonic)

    @property
    def parts(self) -> Path | None:
        """Folder for what has been answered of a long video."""
        if self.path is None or len(self.bounds) <= CHUNK:
            return None
        return self.path.with_name(f".{self.path.name}.parts")

    def add(
        self, rows: Sequence[int], answers: dict[str, npt.NDArray[Any]], lost: Sequence[str], done: int
    ) -> None:
        """Take in the answers for the next rows."""
        self.rows += rows
        if rows:
            self.answers.append(answers)
        self.lost += lost
        self.done = done
        if time.monotonic() - self.since > SAVED_EVERY:
            self.keep()

    def keep(self) -> None:
        """Write what is not yet on disk, as one file."""
        self.since = time.monotonic()
        if self.parts is None or self.kept == len(self.answers):
            return
        fresh = _stacked(self.answers[self.kept :])
        with atomic(self.parts / f"{self.kept_rows:08d}.npz") as temporary:
            arrays: dict[str, Any] = fresh
            np.savez(
                temporary, rows=np.asarray(self.rows[self.kept_rows :], np.int64), done=np.int64(self.done),
                lost=np.array(json.dumps(self.lost)), settings=np.array(_text(self.settings)), **arrays,
            )  # fmt: skip
        self.kept, self.kept_rows = len(self.answers), len(self.rows)

    def resume(self) -> None:
        """Take in what an earlier call with the same settings left on disk; what is of other settings is deleted."""
        assert self.parts is not None
        for file in sorted(self.parts.glob("[0-9]*.npz")):
            try:
                with np.load(file, allow_pickle=False) as stored:
                    found = {name: stored[name] for name in stored.files}
            except (OSError, ValueError, EOFError, zipfile.BadZipFile):
                found = {}
            same = found and str(found.pop("settings")) == _text(self.settings)
            if not same or int(file.stem) != len(self.rows):
                file.unlink(missing_ok=True)
                continue
            self.rows += found.pop("rows").tolist()
            self.done, self.lost = int(found.pop("done")), json.loads(str(found.pop("lost")))
            self.answers.append(found)
        self.kept, self.kept_rows, self.before = len(self.answers), len(self.rows), self.done

    def prediction(self, network: Network) -> Prediction:
        """What all the rows make together; saved, where it has a place."""
        if self.finished is not None:
            return self.finished
        if not self.rows:
            raise MgkitError(f"{self.lost[0]}.")
        frames = np.asarray(self.bounds, np.int64)[self.rows]
        order = np.lexsort((frames[:, 0], frames.sum(axis=1)))
        # One array after another, so that the answers are hardly held twice.
        found = {
            name: np.concatenate([one.pop(name) for one in self.answers])[order]
            for name in list(self.answers[0])
        }
        self.answers.clear()
        seen = found.pop("seen")

        def named(kind: str) -> dict[str, npt.NDArray[np.float32]]:
            return {name.removeprefix(kind): array for name, array in found.items() if name.startswith(kind)}

        notes = list(self.footage.notes)
        if self.lost:
            notes.append(note("windows left out", f"{len(self.lost)}: {some(self.lost, 2)}", self.item.name))
        made = Prediction(
            self.item.name, network.clips.classes, network.clips.skeleton, frames[order], float(self.footage.fps),
            named("probability_"), named("embedding_"), _prototypes(network), seen, self.settings, notes,
            played=_played(self.footage, frames[order]), footage=self.footage,
        )  # fmt: skip
        if self.path is None:
            return made
        made.save(self.path)
        if self.parts is not None:
            shutil.rmtree(self.parts, ignore_errors=True)
        return replace(made, path=self.path)


def _begun(
    item: _Item, plan: _Plan, network: Network, settings: dict[str, Any], target: Path | None, overwrite: bool
) -> _Job:
    """Open a source, plan its windows, and find what is there of it."""
    footage = _opened(item, plan, network)
    bounds = plan.bounds(footage)
    own = {
        **settings, "name": item.name, "windows": hashlib.sha256(np.asarray(bounds).tobytes()).hexdigest()[:16],
        "source": _digest_of(item, footage),
    }  # fmt: skip
    path = None
    if target is not None:
        path = target if target.suffix.lower() == ".npz" else target / f"{item.name}.npz"
    elif len(bounds) > 1 and item.file is not None:
        path = item.file.with_name(f"{item.file.stem}{SAVED}")
    job = _Job(item, footage, bounds, own, path)
    if path is not None and path.is_file():
        there = load_prediction(path)
        unlike = [key for key in own if there.settings.get(key) != own[key]]
        if not unlike:
            job.finished, job.done = replace(there, footage=footage), len(bounds)
        elif not overwrite:
            raise MgkitError(
                f"{path} was made with another {some(unlike)}: pass replace=True (--replace) to make it anew, or "
                "another `out` (--out)."
            )
    return job


def _answered(
    jobs: Iterator[_Job], sources: int, asked: _Asked, bar: Progress, lost: dict[str, str]
) -> Iterator[Prediction]:
    """The predictions of all sources in their order; windows of several of them are answered together."""
    network = asked.network
    waiting: list[_Job] = []  # begun, and not finished
    began, answered = time.monotonic(), 0

    def windows() -> Iterator[_Window]:
        for job in jobs:
            if job.finished is None and job.parts is not None:
                job.resume()
                if job.before:
                    bar.say(
                        f"{job.item.name}: {job.before:,} of {counted(len(job.bounds), 'window')} answered before"
                    )
            waiting.append(job)
            yield from _windows(job, asked)

    def ready() -> Iterator[Prediction]:
        while waiting and waiting[0].done >= len(waiting[0].bounds):
            job = waiting.pop(0)
            try:
                made = job.prediction(network)
            except MgkitError as error:
                if sources == 1:
                    raise
                lost[job.item.name] = str(error)
                bar.say(f"left out: {error}")
            else:
                yield made
            if sources > 1:
                bar.advance(1, sources)

    try:
        for chunk in _ahead(_chunks(windows()), network.device.type == "cuda"):
            spans = [(job, row, span) for job, row, span in chunk if isinstance(span, Span)]
            found = asked([span for _, _, span in spans]) if spans else {}
            for job in {id(job): job for job, _, _ in chunk}.values():
                mine = [i for i, (one, _, _) in enumerate(spans) if one is job]
                faults = [span for one, _, span in chunk if one is job and isinstance(span, str)]
                last = max(row for one, row, _ in chunk if one is job)
                answers = {name: array[mine] for name, array in found.items()}
                job.add([spans[i][1] for i in mine], answers, faults, last + 1)
            answered += len(spans)
            if spans:
                job = spans[-1][0]
                left = (time.monotonic() - began) / answered * (len(job.bounds) - job.done)
                text = f"{spoken(left)} left" if len(job.bounds) > 1 and bar.live else ""
                if sources == 1:
                    bar.advance(len(spans), len(job.bounds) - job.before, text)
                elif text:
                    bar.advance(
                        0,
                        sources,
                        f"{job.item.name}: {job.done} of {counted(len(job.bounds), 'window')}, {text}",
                    )
            yield from ready()
    finally:
        for job in waiting:
            job.keep()


_Window = tuple[_Job, int, "Span | str | None"]


def _windows(job: _Job, asked: _Asked) -> Iterator[_Window]:
    """The windows of a source that have no answer yet, with their rows; None once where there is none."""
    first, size = job.done, int(job.settings["size"])
    todo = job.bounds[first:]
    if job.finished is not None or not todo:
        yield job, len(job.bounds) - 1, None
        return
    found: Iterator[Span | str]
    if "rgb" in asked.network.recipe.pathways and not job.footage.prepared:
        found = decoded(job.footage, todo, size, asked.times)
    else:
        found = (span_of(job.footage, start, stop, size) for start, stop in todo)
    for row, span in enumerate(found, first):
        yield job, row, span


def _chunks(windows: Iterator[_Window]) -> Iterator[list[_Window]]:
    """Windows in handfuls."""
    while chunk := list(islice(windows, CHUNK)):
        yield chunk


def _ahead(chunks: Iterator[list[_Window]], threaded: bool) -> Iterator[list[_Window]]:
    """The same; beside a GPU the next one is decoded while this one is answered."""
    if not threaded:
        yield from chunks
        return
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = pool.submit(next, chunks, None)
            yield chunk


def _played(footage: Footage, frames: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(N, 2) start and end of windows as a player shows them, of a video whose rate varies; else (0, 2)."""
    if footage.times is None:
        return np.zeros((0, 2))
    step = 1 / footage.fps if footage.fps else 0.0
    return np.append(footage.times, footage.times[-1] + step)[frames]


def _stacked(answers: Sequence[dict[str, npt.NDArray[Any]]]) -> dict[str, npt.NDArray[Any]]:
    return {name: np.concatenate([one[name] for one in answers]) for name in answers[0]}


def _prototypes(network: Network) -> dict[str, npt.NDArray[np.float32]]:
    """Per pathway (K, D), NaN for a class that was never seen as a true positive."""
    found = {}
    for name, module in network.prototypes.items():
        bank = cast(PrototypicalRefinement, module)
        vectors = bank.prototypes.detach().float().cpu().numpy().copy()
        vectors[~bank.seen.cpu().numpy()] = np.nan
        found[name] = vectors
    return found


def _digest_of(item: _Item, footage: Footage) -> str:
    """Of what is looked at: the size and time of the video, and the key-points themselves."""
    found = hashlib.sha256()
    if item.video is not None:
        stat = item.video.stat()
        found.update(f"{item.video.name} {stat.st_size} {stat.st_mtime_ns}".encode())
    for row in () if footage.points is None else footage.points:
        found.update(np.ascontiguousarray(row).data)
    return found.hexdigest()[:16]


def _text(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)
