"""How much of a small motion is left in the key-points of each estimator, and how restless a still person is.

    python benchmarks/pose_motion.py VIDEO[@FRAME] ... [--estimators holistic,holistic-legacy] [--onnx rtmw.onnx]
        [--pixels 3] [--hertz 3] [--shoulders 170] [--frames 60] [--write]

A frame of a real video is enlarged until the shoulders of its person are `--shoulders` pixels apart, moved sideways by
a known sine of `--pixels` at 30 frames per second, and given a camera's noise of two grey levels. What is left is the
amplitude at that frequency, fitted to each joint by least squares, over the known one: 1 is all of it, less is a
motion that the estimator has smoothed away, more is one that it exaggerates. The same frame with noise alone gives the
step of resting joints from one frame to the next. Ways that mgkit does not offer (MediaPipe's VIDEO mode, 0.10.21 with
its default) are measured beside its own, each also after `--smooth savgol7`.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from benchmarks.report import write_section
from benchmarks.timing import machine
from mgkit.data.prepare.points import SMOOTHING, smoothed
from mgkit.data.video import read_frames
from mgkit.pose.estimators import Estimate, Holistic, fill, get_estimator, quiet

FPS, NOISE = 30.0, 2.0
GROUPS = {"shoulders": ("left_shoulder", "right_shoulder"), "elbows": ("left_elbow", "right_elbow"),
          "wrists": ("left_wrist", "right_wrist")}  # fmt: skip
PAGE = Path(__file__).resolve().parents[1] / "docs" / "poses.md"
Way = Callable[[], contextlib.AbstractContextManager[Estimate]]


class Video(Holistic):
    """VIDEO mode, which mgkit does not use: its filter cannot be switched off."""

    def reset(self) -> None:
        from mediapipe.tasks.python import BaseOptions, vision

        self.close()
        options = vision.HolisticLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(self._task)), running_mode=vision.RunningMode.VIDEO
        )
        with quiet():
            self._landmarker = vision.HolisticLandmarker.create_from_options(options)
        self._shown = 0

    def __call__(self, frames: np.ndarray, fps: float) -> np.ndarray:
        import mediapipe as mp

        points = np.full((1, len(frames), 75, 3), np.nan, np.float32)
        sides = np.array(frames.shape[2:0:-1], np.float32)
        with quiet():
            for i, frame in enumerate(frames):
                image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(frame))
                found = self._landmarker.detect_for_video(image, round(1000 * self._shown / fps))
                self._shown += 1
                fill(
                    points[0, i],
                    found.pose_landmarks,
                    found.left_hand_landmarks,
                    found.right_hand_landmarks,
                    sides,
                )
        return points


@contextlib.contextmanager
def video_mode(task: Path) -> Iterator[Video]:
    estimate = Video(task)
    try:
        yield estimate
    finally:
        estimate.close()


def legacy_default(python: Path, folder: Path) -> contextlib.AbstractContextManager[Estimate]:
    """0.10.21 as it comes, with its filter."""
    from mgkit.pose.legacy import CHILD, Legacy

    source = CHILD.read_text(encoding="utf-8").replace("smooth_landmarks=False", "smooth_landmarks=True")
    child = folder / "with_filter.py"
    child.write_text(source, encoding="utf-8")
    return contextlib.closing(Legacy([str(python), "-I", str(child)]))


def ways(names: list[str], onnx: str | None, folder: Path) -> dict[str, tuple[Way, tuple[str, ...]]]:
    """Each way with the joints of its layout."""
    found: dict[str, tuple[Way, tuple[str, ...]]] = {}
    for name in names:
        one = get_estimator(name, model=onnx if name == "rtmw" else None)
        label = f"**`{name}`** ({one.version})"
        if name == "holistic":
            from mgkit.pose.weights import task_file

            found["mediapipe VIDEO mode, not offered"] = (partial(video_mode, task_file()), one.layout.joints)
        if name == "holistic-legacy":
            from mgkit.pose.legacy import environment

            start = partial(legacy_default, environment()[0], folder)
            found["0.10.21 with its filter, not offered"] = (start, one.layout.joints)
        found[label] = (one.start, one.layout.joints)
    return found


def moved(frame: np.ndarray, scale: float, shifts: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The frame enlarged and shifted sideways by each of `shifts` pixels, with noise (T, H, W, 3)."""
    height, width = frame.shape[:2]
    out = []
    for shift in shifts:
        matrix = np.array([[scale, 0, (scale - 1) / 2 + shift], [0, scale, (scale - 1) / 2]])
        size = (round(scale * width), round(scale * height))
        picture = cv2.warpAffine(frame, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        out.append((picture + generator.normal(0, NOISE, picture.shape)).clip(0, 255).astype(np.uint8))
    return np.stack(out)


def run(way: Way, frames: np.ndarray) -> np.ndarray:
    """(T, V, 2) of the person, NaN where not seen; 8 frames at a time, as from a video."""
    with way() as estimate:
        parts = [estimate(frames[i : i + 8], FPS) for i in range(0, len(frames), 8)]
    points = np.concatenate([np.asarray(part)[:1] for part in parts], axis=1)
    return np.asarray(points, np.float32)


def left_over(track: np.ndarray, hertz: float, pixels: float) -> float:
    """Amplitude at a frequency of (T,), as a share of `pixels`; NaN if it is seen in less than four frames of five."""
    seen = np.isfinite(track)
    if seen.mean() < 0.8:
        return np.nan
    time = np.arange(len(track)) / FPS
    base = np.stack(
        [np.sin(2 * np.pi * hertz * time), np.cos(2 * np.pi * hertz * time), np.ones_like(time), time], 1
    )
    fit = np.linalg.lstsq(base[seen], track[seen], rcond=None)[0]
    return float(np.hypot(fit[0], fit[1]) / pixels)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", nargs="+", help="VIDEO, or VIDEO@FRAME")
    parser.add_argument("--estimators", default="holistic,holistic-legacy")
    parser.add_argument("--onnx")
    parser.add_argument("--pixels", type=float, default=3)
    parser.add_argument("--hertz", type=float, default=3)
    parser.add_argument("--shoulders", type=float, default=170)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--write", action="store_true", help="into docs/poses.md")
    options = parser.parse_args()
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        every = ways(options.estimators.split(","), options.onnx, Path(folder))
        rows: dict[str, list[list[float]]] = {}
        for number, given in enumerate(options.videos):
            path, _, at = given.partition("@")
            frame = read_frames(path, [int(at or 0)])[0]
            generator = np.random.default_rng(number)
            way, joints = next(iter(every.values()))
            places = [joints.index(name) for name in GROUPS["shoulders"]]
            first = run(way, np.stack([frame] * 2))[0, -1, places, :2]
            width = float(np.linalg.norm(first[0] - first[1]))
            if not np.isfinite(width):
                raise SystemExit(f"nobody is seen in frame {at or 0} of {path}: choose another one.")
            time = np.arange(options.frames) / FPS
            shifts = options.pixels * np.sin(2 * np.pi * options.hertz * time)
            scale = options.shoulders / width
            motion = moved(frame, scale, shifts, generator)
            rest = moved(frame, scale, np.zeros(options.frames), generator)
            for name, (way, joints) in every.items():
                pair = [run(way, motion), run(way, rest)]
                for label, points in (
                    (name, pair),
                    (f"{name}, savgol7", [smoothed(p, SMOOTHING["savgol7"]) for p in pair]),
                ):
                    numbers = []
                    for group in GROUPS.values():
                        places = [joints.index(joint) for joint in group]
                        numbers.append(
                            np.nanmean(
                                [
                                    left_over(points[0][0, :, j, 0], options.hertz, options.pixels)
                                    for j in places
                                ]
                            )
                        )
                    for group in GROUPS.values():
                        places = [joints.index(joint) for joint in group]
                        numbers.append(
                            np.nanmean(np.linalg.norm(np.diff(points[1][0][:, places, :2], axis=0), axis=-1))
                        )
                    hands = [j for j, joint in enumerate(joints) if "_hand_" in joint]
                    tracks = [left_over(points[0][0, :, j, 0], options.hertz, options.pixels) for j in hands]
                    numbers.append(np.nanmean(tracks) if np.isfinite(tracks).any() else np.nan)
                    rows.setdefault(label, []).append(numbers)
            print(
                f"{given}: shoulders {width:.0f} px apart, enlarged {scale:.1f} times to "
                f"{motion.shape[2]} x {motion.shape[1]}"
            )
    names = ", ".join(GROUPS)
    lines = [
        f"| way | of the motion is left: {names} | step of resting joints, px: {names} | hand points |",
        "|---|---|---|---|",
    ]
    for label, numbers in rows.items():
        middle = np.nanmedian(np.array(numbers), axis=0)
        shares, steps, hand = (
            " / ".join(f"{v:.2f}" for v in part) for part in (middle[:3], middle[3:6], middle[6:])
        )
        lines.append(f"| {label} | {shares} | {steps} | {hand} |")
    lines += ["", f"Medians over {len(options.videos)} frames; {machine()}."]
    print("\n".join(lines))
    if options.write:
        write_section("pose motion", lines, PAGE)


if __name__ == "__main__":
    main()
