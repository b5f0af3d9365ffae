"""The embedded dataset: reproducible, honest key-points, and classes that differ where the table promises it."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mgkit.data.skeletons import IMIGUE22
from mgkit.data.video import probe, read_frames
from mgkit.demo import dataset as synthetic
from mgkit.demo.dataset import DEMO_CLASSES, ClipPlan, make_clip, plan_clips, write_raw
from mgkit.demo.estimator import observe
from mgkit.demo.gestures import GESTURES, PLACES
from mgkit.demo.motion import joints, move
from mgkit.demo.people import make_subject
from mgkit.demo.scene import make_camera, render
from mgkit.errors import MgkitError
from mgkit.files import read_json

SMALL = {"train": 8, "val": 2, "test": 2, "size": 64, "progress": False}
JOINT = {name: i for i, name in enumerate(IMIGUE22.joints)}


def plan(gesture: str, index: int = 0, size: int = 64) -> ClipPlan:
    return ClipPlan("x", "train", DEMO_CLASSES.index(gesture), gesture, 1, index, size, 0)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("made") / "raw", workers=1, **SMALL)


def annotations(root: Path) -> dict:
    with (root / "annotations.pkl").open("rb") as file:
        return pickle.load(file)


def test_layout(raw: Path) -> None:
    content = annotations(raw)
    assert set(content) == {"split", "annotations"}
    assert {name: len(ids) for name, ids in content["split"].items()} == {"train": 8, "val": 2, "test": 2}
    ids = [clip_id for split in content["split"].values() for clip_id in split]
    assert sorted(ids) == sorted(a["frame_dir"] for a in content["annotations"])
    assert len(set(ids)) == len(ids)
    for a in content["annotations"]:
        frames = a["total_frames"]
        assert a["keypoint"].shape == (1, frames, 22, 2)
        assert a["keypoint_score"].shape == (1, frames, 22)
        assert a["keypoint"].dtype == a["keypoint_score"].dtype == np.float32
        assert a["img_shape"] == a["original_shape"] == (64, 80)
        assert 0 <= a["label"] < len(DEMO_CLASSES)
        assert 24 <= frames <= 64
        score, points = a["keypoint_score"], a["keypoint"]
        assert score.min() >= 0
        assert score.max() <= 1
        assert np.isfinite(points).all()
        assert (points[score == 0] == 0).all()
        info = probe(raw / "videos" / f"{a['frame_dir']}.mp4")
        assert (info.frames, info.fps, info.height, info.width) == (frames, 25.0, 64, 80)
    meta = read_json(raw / "annotations.meta.json")
    assert meta["classes"] == list(DEMO_CLASSES)
    assert len(meta["groups"]) == len(DEMO_CLASSES)
    assert meta["skeleton"] == "imigue22"
    assert DEMO_CLASSES[meta["non_gesture"]] == "illustrative"


@pytest.mark.slow
def test_same_data_whatever_the_workers(raw: Path, tmp_path: Path) -> None:
    """Spawned workers give the same files; run as a user's script would."""
    script = tmp_path / "make.py"
    script.write_text(
        "from mgkit.demo.dataset import write_raw\n"
        f"if __name__ == '__main__':\n    write_raw({str(tmp_path / 'raw')!r}, workers=2, **{SMALL!r})\n"
    )
    root = Path(synthetic.__file__).parents[2]
    subprocess.run([sys.executable, str(script)], check=True, cwd=root, env=None, timeout=60)
    assert (tmp_path / "raw" / "annotations.pkl").read_bytes() == (raw / "annotations.pkl").read_bytes()
    for video in (raw / "videos").iterdir():
        assert (tmp_path / "raw" / "videos" / video.name).read_bytes() == video.read_bytes()


def test_a_clip_depends_on_its_plan_alone() -> None:
    first, frames = make_clip(plan("touch chin"))
    again, frames_again = make_clip(plan("touch chin"))
    without, none = make_clip(plan("touch chin"), frames=False)
    other, _ = make_clip(plan("touch chin", index=1), frames=False)
    assert frames is not None
    assert frames_again is not None
    assert none is None
    assert (frames == frames_again).all()
    for clip in (again, without):
        assert (clip.keypoint == first.keypoint).all()
        assert (clip.score == first.score).all()
    assert other.keypoint.shape != first.keypoint.shape or (other.keypoint != first.keypoint).any()


def test_nothing_to_do_when_complete(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "run_jobs", lambda *_: pytest.fail("made again"))
    assert write_raw(raw, **SMALL) == raw


def test_an_interrupted_run_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: Path) -> None:
    out = tmp_path / "raw"
    write = synthetic.write_video
    written: list[str] = []

    def interrupted(path: str, *rest: object) -> int:
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(Path(path).name)
        return write(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(synthetic, "write_video", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_raw(out, workers=1, **SMALL)
    assert sorted(path.name for path in (out / "videos").iterdir()) == sorted(written)  # nothing half-written
    assert not (out / "annotations.pkl").exists()
    assert read_json(out / "dataset.json")["complete"] is False

    later: list[str] = []
    monkeypatch.setattr(
        synthetic, "write_video", lambda path, *r: (later.append(Path(path).name), write(path, *r))
    )
    write_raw(out, workers=1, **SMALL)
    assert not set(later) & set(written)
    assert len(later) + len(written) == 12
    assert (out / "annotations.pkl").read_bytes() == (raw / "annotations.pkl").read_bytes()
    assert read_json(out / "dataset.json")["complete"] is True


def test_a_lost_video_is_made_again(tmp_path: Path) -> None:
    out = write_raw(tmp_path / "raw", workers=1, **SMALL)
    video = next((out / "videos").iterdir())
    before = video.read_bytes()
    video.unlink()
    write_raw(out, workers=1, **SMALL)
    assert video.read_bytes() == before


def test_folders_of_others_are_left_alone(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match="another seed"):
        write_raw(raw, **{**SMALL, "seed": 1})
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(MgkitError, match="not empty"):
        write_raw(tmp_path, **SMALL)
    with pytest.raises(MgkitError, match="is a file"):
        write_raw(tmp_path / "thesis.txt", **SMALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ("rub hands", "fly away")}, "no gesture fly away"),
        ({"classes": ("rub hands",)}, "two or more"),
        ({"classes": ("rub hands", "rub hands")}, "different"),
        ({"train": 3}, "3 training"),
        ({"val": -1}, "-1 validation"),
        ({"size": 63}, "63 pixels"),
        ({"size": 32}, "32 pixels"),
        ({"imbalance": 0.5}, "imbalance is 0.5"),
        ({"imbalance": float("nan")}, "imbalance is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"classes": "imigue"}, "no set of classes 'imigue': use one of imigue32"),
        ({"tail": 0.1}, "tail is 0.1"),
        ({"faults": -1.0}, "faults is -1"),
        ({"variety": 4.0}, "variety is 4"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_refused_arguments(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(MgkitError, match=message):
        write_raw(tmp_path / "raw", **{**SMALL, **change})


def test_the_plan() -> None:
    plans = plan_clips()
    people = {s: {p.subject for p in plans if p.split == s} for s in ("train", "val", "test")}
    assert {s: len(p) for s, p in people.items()} == {"train": 25, "val": 6, "test": 10}
    assert not people["train"] & people["val"]
    assert not (people["train"] | people["val"]) & people["test"]
    for split, total in (("train", 400), ("val", 100), ("test", 200)):
        counts = Counter(p.gesture for p in plans if p.split == split)
        assert sum(counts.values()) == total
        assert set(counts) == set(DEMO_CLASSES)
        assert counts["illustrative"] / counts["bite nails"] == pytest.approx(2.5, rel=0.15)
    # Everyone does several things: a subject does not give the class away.
    classes_of = {s: {p.gesture for p in plans if p.subject == s} for s in people["train"]}
    assert min(len(names) for names in classes_of.values()) >= 5
    equal = Counter(p.label for p in plan_clips(train=80, val=0, test=0, imbalance=1))
    assert set(equal.values()) == {10}


def test_clips_of_a_split_stay_when_another_grows() -> None:
    small = [p for p in plan_clips(train=16, val=8, test=8) if p.split == "train"]
    large = [p for p in plan_clips(train=16, val=80, test=8) if p.split == "train"]
    assert small == large


@pytest.mark.parametrize(
    ("one", "other"), [("touch neck", "scratch back"), ("rub hands", "play with things")]
)
def test_pairs_that_differ_in_the_picture_only(one: str, other: str) -> None:
    for index in range(3):
        first, seen = make_clip(plan(one, index))
        second, seen_too = make_clip(plan(other, index))
        assert (first.truth == second.truth).all()
        assert (first.keypoint == second.keypoint).all()
        assert (first.score == second.score).all()
        assert seen is not None
        assert seen_too is not None
        changed = np.abs(seen.astype(int) - seen_too).max(axis=3) > 40
        assert changed.sum(axis=(1, 2)).max() > 20  # pixels, in frames 64 high


@pytest.mark.parametrize(("fast", "slow"), [("bite nails", "touch chin"), ("rub hands", "cross fingers")])
def test_pairs_that_differ_in_tempo_only(fast: str, slow: str) -> None:
    """In single frames finger tips are spread alike; from frame to frame they differ by far."""
    spread, step = {}, {}
    for name in (fast, slow):
        spreads, steps = [], []
        for index in range(12):
            rng = np.random.default_rng([5, index])
            subject = make_subject("S", rng)
            motion = move(GESTURES[name], subject, 60, rng)
            arm = motion.arms[motion.acting]
            held = motion.active > 0.99
            tip = arm.tips[held, 2] - motion.head[held]
            spreads.append(tip.std(axis=0).max())
            steps.append(np.linalg.norm(np.diff(tip, axis=0), axis=1).mean())
        spread[name], step[name] = np.mean(spreads), np.mean(steps)
    assert spread[fast] == pytest.approx(spread[slow], rel=0.3)
    assert step[fast] > 2.5 * step[slow]


def test_either_hand_acts() -> None:
    """Both hands take turns, as mirror images of each other."""
    plans = [plan("touch neck", index) for index in range(40)]
    raised = []
    for p in plans:
        truth = make_clip(p, frames=False)[0].truth
        wrists = truth[:, [JOINT["right_wrist"], JOINT["left_wrist"]], 1].min(axis=0)
        raised.append(int(wrists.argmin()))
        highest = truth[truth[:, JOINT[("right_wrist", "left_wrist")[raised[-1]]], 1].argmin()]
        side = highest[JOINT[("right_wrist", "left_wrist")[raised[-1]]], 0] - highest[JOINT["neck"], 0]
        assert side < 0 if raised[-1] == 0 else side > 0  # the subject's right is on the left of the picture
    assert 10 <= sum(raised) <= 30


@pytest.mark.parametrize("gesture", DEMO_CLASSES)
def test_key_points_lie_on_the_picture(gesture: str) -> None:
    """Skin is where the true joints of hands and face are, but for a hand behind the body."""
    rng = np.random.default_rng([3, DEMO_CLASSES.index(gesture)])
    subject = replace(make_subject("S", rng), skin=(230, 60, 60), beard=False, glasses=False, brightness=1.0)
    motion = move(GESTURES[gesture], subject, 40, rng)
    camera = make_camera(subject, 128, rng)
    frames = render(motion, subject, camera, rng).astype(int)
    points = camera.project(joints(motion, subject))
    height, width = frames.shape[1:3]
    assert ((points >= 0) & (points < (width, height))).mean() > 0.99

    def skin(joint: str, near: np.ndarray) -> float:
        at = np.clip(np.floor(points[near, JOINT[joint]]).astype(int), 0, (width - 1, height - 1))
        red, green, _ = frames[near, at[:, 1], at[:, 0]].T
        return float((red > green + 60).mean())

    everywhere = np.ones(len(motion), dtype=bool)
    low = motion.active < 0.05
    acting = ("right", "left")[motion.acting]
    covers_face = GESTURES[gesture].place == "chin"
    assert skin("nose", low if covers_face and low.any() else everywhere) > 0.95
    for side, arm in zip(("right", "left"), motion.arms, strict=True):
        free = ~arm.behind & ~motion.thing
        assert skin(f"{side}_middle_tip", free) > 0.85
    if GESTURES[gesture].behind:
        arm = motion.arms[motion.acting]
        assert arm.behind.any()
        assert skin(f"{acting}_wrist", arm.behind) < 0.3


def test_first_and_last_pixel_convention() -> None:
    """Key-points are continuous: the projection of a point and the pixel that covers it agree to half a pixel."""
    rng = np.random.default_rng(1)
    subject = replace(make_subject("S", rng), skin=(250, 40, 40), beard=False, glasses=False)
    motion = move(GESTURES["rub hands"], subject, 24, rng)
    camera = make_camera(subject, 256, rng)
    frames = render(motion, subject, camera, rng).astype(int)
    ears = camera.project(joints(motion, subject))[0, [JOINT["right_ear"], JOINT["left_ear"]]]
    row = round(float(ears[:, 1].mean()))
    red = (frames[0, row, :, 0] > frames[0, row, :, 1] + 60).nonzero()[0]
    middle = (red.min() + red.max() + 1) / 2
    assert middle == pytest.approx(ears[:, 0].mean(), abs=3.0)


def test_key_points_have_an_estimators_faults() -> None:
    rng = np.random.default_rng(0)
    still = np.tile(rng.uniform(20, 100, (1, 22, 2)), (4000, 1, 1))
    hidden = np.ones((4000, 2))
    hidden[:, 1] = 2.5
    points, score = observe(still, hidden, 1.0, rng)
    lost = score == 0
    tips = np.array([joint.endswith("tip") for joint in IMIGUE22.joints])
    left = np.array([joint.startswith("left") for joint in IMIGUE22.joints])
    assert lost[:, ~tips].mean() < 0.01
    assert 0.03 < lost[:, tips & ~left].mean() < 0.15
    assert lost[:, tips & left].mean() > 1.5 * lost[:, tips & ~left].mean()
    error = np.where(lost[:, :, None], np.nan, points - still)
    assert 0.3 < np.nanmedian(np.abs(error)) < 0.9
    one = error[:, JOINT["nose"], 0]
    kept = np.isfinite(one[1:] * one[:-1]) & (np.abs(one[1:]) < 3) & (np.abs(one[:-1]) < 3)
    assert np.corrcoef(one[1:][kept], one[:-1][kept])[0, 1] > 0.4  # jitter is correlated in time
    far = np.linalg.norm(error, axis=2) > 5
    assert 0.0005 < far.mean() < 0.02
    assert score[far].mean() < score[~far & ~lost].mean() - 0.2  # outliers look doubtful


def test_every_gesture_has_a_place() -> None:
    assert {gesture.place for gesture in GESTURES.values()} <= set(PLACES)
    assert set(DEMO_CLASSES) <= set(GESTURES)
    assert {gesture.dynamics for gesture in GESTURES.values()} == {"fast", "slow", "free"}


def test_videos_show_what_was_drawn(raw: Path) -> None:
    """The encoded frames are those of the plan, up to compression."""
    first = plan_clips(**{key: value for key, value in SMALL.items() if key != "progress"})[0]  # type: ignore[arg-type]
    drawn = make_clip(first)[1]
    assert drawn is not None
    written = read_frames(raw / "videos" / f"{first.clip_id}.mp4", [0, len(drawn) - 1])
    assert np.abs(written.astype(int) - drawn[[0, -1]]).mean() < 6


@pytest.mark.slow
def test_a_whole_set_with_other_people_and_worse_key_points(tmp_path: Path) -> None:
    small = {
        "classes": "imigue32",
        "train": 32,
        "val": 0,
        "test": 2,
        "size": 64,
        "progress": False,
        "workers": 1,
    }
    extras = {"tail": 4.0, "faults": 2.0, "variety": 2.0}
    out = write_raw(tmp_path / "raw", **small, **extras)  # type: ignore[arg-type]
    meta = read_json(out / "annotations.meta.json")
    assert len(meta["classes"]) == len(meta["groups"]) == 32
    assert meta["classes"][meta["non_gesture"]] == "illustrative"
    assert {a["label"] for a in annotations(out)["annotations"]} == set(range(32))
    assert {key: read_json(out / "dataset.json")[key] for key in extras} == extras
    assert write_raw(out, **small, **extras) == out  # type: ignore[arg-type]
    with pytest.raises(MgkitError, match="another tail"):
        write_raw(out, **small, **{**extras, "tail": None})  # type: ignore[arg-type]
    with pytest.raises(MgkitError, match="another faults"):
        write_raw(out, **small, **{**extras, "faults": 1.0})  # type: ignore[arg-type]


# What the default demo was when it was first published. Its results are quoted, so it may never change.
PLANS = "af5f206e6d210d42b9fb8829524d0ef4793a3c01053a339df1efb4ba47086308"
CLIPS = {  # the first training clip of each class: key-points and scores, frames as OpenCV 5.0.0 fills them
    "S04_train0000": ("171f6379f32433f4", "ab50c83c69de52a4"),
    "S07_train0001": ("a6f2f18e901ca887", "2ad019749711f747"),
    "S10_train0003": ("03da0ebebdec469e", "56a699e656edb42d"),
    "S21_train0004": ("9b76e279fd283fe3", "04808158095d40d3"),
    "S19_train0006": ("15220c7efae1e042", "ab32b591b10ea16a"),
    "S12_train0007": ("18c7f5d76db6621c", "b10eedc93315e36c"),
    "S11_train0010": ("e94d0fe9307f234a", "8bd44bb7fda622ab"),
    "S15_train0015": ("5e033219233ad93d", "dfc3bc9e5b4dbffd"),
}


def digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]


def test_the_default_demo_stays_what_it_is() -> None:
    import cv2

    plans = plan_clips()
    assert hashlib.sha256(repr(plans).encode()).hexdigest() == PLANS
    assert {p.gesture for p in plans if p.clip_id in CLIPS} == set(DEMO_CLASSES)
    for p in plans:
        if p.clip_id not in CLIPS:
            continue
        clip, frames = make_clip(p)
        assert digest(clip.keypoint, clip.score) == CLIPS[p.clip_id][0], p.clip_id
        assert frames is not None
        if cv2.__version__ == "5.0.0":  # others may fill the edge of a polygon differently
            assert digest(frames) == CLIPS[p.clip_id][1], p.clip_id
