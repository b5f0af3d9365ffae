"""iMiGUE as distributed for the MiGA challenge: untrimmed videos, each with a label file and key-points.

Below any folders:

    <VVVV>.mp4               25 frames per second, 1280 x 720
    <VVVV>_label.csv         raw class, first frame, last frame: no header, frames from 0, the last one belongs to the
                             clip; raw classes are 1 to 31, and 99 for what is not a micro-gesture
    <VVVV>_openpose.xlsx     137 points per frame: 0-24 BODY_25, 25-94 face, 95-115 left hand, 116-136 right hand
    <VVVV>_light_hand.csv    35 points per frame after an index: BODY_25, then two blocks of five finger tips, whose
                             sides are not reliable
"""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mgkit.data.readers import RawClip, RawDataset, frame_size_of, load_classes, mark_unseen, note, refuse
from mgkit.data.readers.background import Source, add_background
from mgkit.data.readers.files import VIDEO, PairTable, Roots, Track, folders, named, recordings, walk
from mgkit.data.readers.tables import Sheet, Span, read_spans
from mgkit.data.skeletons import get_skeleton
from mgkit.errors import MgkitError, counted, some

FPS = 25.0
FRAME = (1280, 720)
UNTRUSTED = "the class column of test label files cannot be trusted: report no score from it"


def read_imigue(
    source: str | Path,
    *,
    cache: Path | None = None,
    skeletons: Roots = None,
    videos: Roots = None,
    points: Literal[22, 25, 35, 36, 137] = 22,
    keypoints: Literal["auto", "openpose", "light_hand"] = "auto",
    split_table: PairTable = None,
    subject_table: PairTable = None,
    test_labels: Literal["keep", "hide"] = "keep",
    frame_size: str | None = None,
    class_file: str | Path | None = None,
    background: float = 0,
    background_seed: int = 0,
) -> RawDataset:
    """Read iMiGUE.

    Args:
        source: the folder that holds everything, or one of the parts.
        cache: folder for converted spreadsheets; reading one takes minutes, each is read once.
        skeletons: a further folder, or several (`a,b`), if label files and key-points are elsewhere. Every file is
            searched for in all folders given.
        videos: a further folder, or several, if the videos are elsewhere.
        points: which points of a frame: 22 (upper body and finger tips, the usual set), 25 (BODY_25), 35 (BODY_25 and
            finger tips, which is what light-hand files hold; 36, which counts their index as well, means the same) or
            137 (all of OpenPose: body, face, hands; only the spreadsheets have them).
        keypoints: "openpose" (the spreadsheets), "light_hand", or "auto": per video the spreadsheet where there is
            one, else the light-hand file.
        split_table: csv or mapping `video, split` that overrides the folders; else a video's split is that of the
            folder that its label file is in (train, validate, test in any usual spelling).
        subject_table: csv or mapping `video, subject`; iMiGUE itself does not name subjects.
        test_labels: "keep" takes the class column of test files as it is, "hide" gives every test clip class 0.
            Either way the report warns that they cannot be trusted.
        frame_size: width and height that the key-points live in (`1280x720`); by default that of the video,
            1280 x 720 without one.
        class_file: another class list (.json), the last of which is raw 99; for datasets in the same layout.
        background: cut this many clips per labelled one where nothing is labelled, as one more class `non_gesture` (0.5
            = one for two; see docs/datasets.md); 0 = none.
        background_seed: of the draw of their places and lengths.

    Returns:
        Clips `<VVVV>_<row of the label file, from 0>`, 32 classes (31 = not a micro-gesture); background
        `<VVVV>_background<number>`.

    Raises:
        MgkitError: an unknown option; no label files; files of one name with different content; a video in two
            splits; a row that is not a clip, or whose class is not in the list (test: class 0 instead, reported).
    """
    # Check the options.
    report: list[dict[str, str]] = []
    if points == 36:
        report.append(note("points", "36 asked for: a light-hand row is an index and 35 points; 35 are read"))
        points = 35
    if points not in LAYOUTS:
        raise MgkitError(f"points is {points!r}: use one of {some(LAYOUTS)}.")
    for value, name, known in (
        (keypoints, "keypoints", ("auto", "openpose", "light_hand")),
        (test_labels, "test_labels", ("keep", "hide")),
    ):
        if value not in known:
            raise MgkitError(f"{name} is {value!r}: use one of {some(known)}.")
    if points == 137 and keypoints == "light_hand":
        raise MgkitError(
            "light-hand files hold 35 points: use points=35, or keypoints='openpose' for all 137."
        )
    problems: list[str] = []
    frame = frame_size_of(frame_size)
    classes = load_classes("imigue", class_file)
    cache = None if cache is None else Path(cache)
    # Find the files of each video.
    roots = folders(source, skeletons, videos)
    files = walk(roots, report)
    found = named(files, r"(.+)_label\.csv")
    other = [found.pop(name)[0].name for name in list(found) if not any(mark.isdecimal() for mark in name)]
    if other:  # `train_label.csv` is not of one video
        report.append(note("label file without a number", f"not read: {some(other)}"))
    if not found:
        raise MgkitError(
            f"{some(roots)}: no file <VVVV>_label.csv below it: give the folder that iMiGUE was unpacked into."
        )
    tables = _tables(files, points, keypoints, report)
    parts = recordings(
        found, named(files, rf"(.+)\.{VIDEO}"), tables, roots,
        split_table=split_table, subject_table=subject_table, report=report,
    )  # fmt: skip
    # Each row of a label file is a clip.
    clips: list[RawClip] = []
    sources: list[Source] = []
    for part in parts:
        tested = test_labels if part.split == "test" else ""
        spans = read_spans(part.labels, base=0, report=report, problems=problems)
        rows = [(span, _label(span, part.labels, len(classes), tested, report, problems)) for span in spans]
        track = None
        if part.points:
            light = part.points.suffix.lower() == ".csv"
            convert = partial(_points, points=points)
            track = Track(part.points, 3 * (35 if light else 137), convert, index=light, cache=cache)
        shape: dict[str, Any] = {"track": track, "size": frame or (None if part.video else FRAME), "fps": FPS}
        clips += part.clips(rows, **shape)
        labelled = tuple((span.start, span.end) for span in spans)
        sources.append(Source(part.name, part.split, labelled, part.video, partial(part.clip, **shape)))
    refuse(problems)
    if not clips:
        raise MgkitError(f"{some(roots)}: none of its {counted(len(parts), 'label file')} has a row.")
    test = sum(clip.split == "test" for clip in clips)
    if test:
        how = "all given class 0" if test_labels == "hide" else "taken as they are"
        report.append(note("test labels", f"{counted(test, 'clip')}, {how}; {UNTRUSTED}"))
    used = [path for part in parts for path in part.files]
    if background:
        clips, classes = add_background(clips, classes, sources, background, background_seed, report)
    return RawDataset(clips, classes, get_skeleton(LAYOUTS[points]), used, report)


def _label(
    span: Span,
    path: Path,
    count: int,
    tested: str,
    report: list[dict[str, str]],
    problems: list[str],
) -> int:
    """The label of a raw class: one less, and the last of `count` for 99. `tested` is "", or `test_labels` in test."""
    if tested == "hide":
        return 0
    if span.raw == 99 or 1 <= span.raw < count:
        return count - 1 if span.raw == 99 else span.raw - 1
    if tested:
        detail = f"{path.name} row {span.line}: {span.raw}, given class 0"
        report.append(note("test label outside the list", detail))
    else:
        problems.append(f"{path} row {span.line}: class {span.raw}, which is not 1 to {count - 1} or 99")
    return 0


def _tables(
    files: list[Path], points: int, keypoints: str, report: list[dict[str, str]]
) -> dict[str, list[Path]]:
    """Files with key-points by the name of the video."""
    openpose = named(files, r"(.+)_openpose\.xlsx") if keypoints != "light_hand" else {}
    light = named(files, r"(.+)_light_hand\.csv") if keypoints != "openpose" and points != 137 else {}
    mixed = sorted(set(light) - set(openpose))
    if openpose and mixed:
        detail = f"only light-hand key-points for {counted(len(mixed), 'video')} ({some(mixed)}), the others OpenPose's"
        report.append(note("two kinds of key-points", f"{detail}: keypoints= takes one kind alone"))
    return {**light, **openpose}


LAYOUTS = {22: "imigue22", 25: "body25", 35: "light_hand35", 137: "openpose137"}

_RIGHT_WRIST, _LEFT_WRIST = 4, 7
_TIPS = [4, 8, 12, 16, 20]  # of the 21 points of a hand
_BODY = list(range(25))
_SEATED = [*range(8), *range(15, 19)]  # BODY_25 without what hangs below the chest
_FINGERS = [95 + tip for tip in _TIPS] + [116 + tip for tip in _TIPS]  # in OpenPose's 137: left, right
_PICK = {
    137: {22: [*_SEATED, *_FINGERS], 25: _BODY, 35: [*_BODY, *_FINGERS], 137: list(range(137))},
    35: {22: [*_SEATED, *range(25, 35)], 25: _BODY, 35: list(range(35))},
}


@lru_cache(maxsize=1)  # the clips of one video are asked for in a row
def _points(sheet: Sheet, points: int) -> tuple[npt.NDArray[np.float32], str]:
    """(T, points, 3) of a whole video, and for light-hand files a phrase on what was done about the sides."""
    values = sheet.values.reshape(len(sheet.values), -1, 3)
    values, sides = mark_unseen(values[..., :2], values[..., 2]), ""
    if values.shape[1] == 35:
        values, sides = sides_by_wrist(values)
    return values[:, _PICK[values.shape[1]][points]], sides if points != 25 else ""


def sides_by_wrist(points: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], str]:
    """Give each block of finger tips to the nearer wrist.

    Args:
        points: (T, 35, 3): BODY_25, five finger tips, five finger tips; NaN = not seen.

    Returns:
        The same with the left hand's tips at 25-29 and the right hand's at 30-34, and a phrase on what was done. The
        two blocks go to different hands, so that the sum of their distances to the wrists is smallest; one block or
        one wrist alone decides by what there is of it. Where nothing decides, the order of the file stays.
    """
    hands = points[:, 25:, :2].reshape(-1, 2, 5, 2)
    wrists = points[:, [_LEFT_WRIST, _RIGHT_WRIST], :2]
    seen = np.isfinite(hands).all(-1).sum(-1, keepdims=True)  # (T, 2, 1) tips
    middle = np.nansum(hands, axis=2) / np.where(seen == 0, np.nan, seen)  # (T, 2, xy), NaN where none
    distance = np.linalg.norm(middle[:, :, None] - wrists[:, None], axis=-1)  # (T, block, wrist)
    kept, swapped = distance[:, [0, 1], [0, 1]], distance[:, [0, 1], [1, 0]]
    known, other = np.isfinite(kept).sum(1), np.isfinite(swapped).sum(1)
    decided = (known == other) & (known > 0)  # one block and one wrist have nothing to be compared with
    swap = decided & (np.nansum(swapped, 1) < np.nansum(kept, 1))
    any_tips = (seen > 0).any((1, 2))
    undecided = any_tips & ~decided
    turned = points.copy()
    turned[swap, 25:30], turned[swap, 30:] = points[swap, 30:], points[swap, 25:30]
    done = f"by the nearest wrist; the other way round in {swap.sum()} of {counted(any_tips.sum(), 'frame')} with hands"
    if undecided.any():
        done += f", {undecided.sum()} could not be decided and stay as they are"
    return turned, done
