"""The table of gestures: complete, distinct where its columns differ, and movements that do what their rows promise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest

from mgkit.data.skeletons import IMIGUE22, KINECT25, LAYOUTS, OPENPOSE137, get_skeleton
from mgkit.demo.dataset import plan_clips
from mgkit.demo.estimator import observe
from mgkit.demo.gestures import CLASS_SETS, GESTURES, PLACES, POSTURES, Gesture, gestures_of
from mgkit.demo.motion import move
from mgkit.demo.people import make_subject, vary
from mgkit.demo.scene import make_camera, render
from mgkit.errors import MgkitError
from tests.made.joints import joints

EVERY_SET = pytest.mark.parametrize("name", CLASS_SETS)
IMIGUE = CLASS_SETS["imigue32"]


def filmed(gesture: Gesture, seed: int = 0, frames: int = 30, size: int = 64):
    """A motion at full activity throughout, and a function that draws it."""
    rng = np.random.default_rng([8, seed])
    subject = make_subject("S", np.random.default_rng([9, seed]))
    motion = move(gesture, subject, frames, rng, np.ones(frames))
    camera = make_camera(subject, size, rng)
    return motion, subject, lambda: render(motion, subject, camera, np.random.default_rng(0))


@pytest.mark.parametrize(("name", "count"), [("imigue32", 32), ("smg17", 17), ("ma52", 52)])
def test_sets_are_complete(name: str, count: int) -> None:
    gestures = CLASS_SETS[name]
    assert len({g.name for g in gestures}) == len(gestures) == count
    assert gestures_of(name) == gestures
    for g in gestures:
        assert g.place in PLACES
        assert g.posture in POSTURES
        assert g.dynamics in ("fast", "slow", "free")
        assert g.look in ("", "hat", "glasses", "puffed cheeks", "pressed lips")


def test_labels_of_imigue_are_the_published_ones() -> None:
    names = [g.name for g in IMIGUE]
    assert names[:3] == ["turtle neck", "deep breath", "touch hat"]
    assert [names.index(n) for n in ("bite nails", "play or adjust hair", "put arms behind body", "head up")] == [
        9, 12, 18, 27
    ]  # fmt: skip
    assert names[31] == "illustrative"


def test_body_classes_of_ma52_go_by_label() -> None:
    groups = Counter(g.group for g in CLASS_SETS["ma52"])
    assert list(groups.items()) == [
        ("body", 5), ("head", 6), ("upper limb", 13), ("lower limb", 8), ("body-hand", 6), ("head-hand", 10),
        ("leg-hand", 4),
    ]  # fmt: skip


def test_a_name_in_two_sets_is_one_movement() -> None:
    for g in (g for gestures in CLASS_SETS.values() for g in gestures):
        assert replace(g, group="") == replace(GESTURES[g.name], group="")


def joints_key(gesture: Gesture) -> tuple[str, ...]:
    """What key-points show: gestures with the same key have the same joints."""
    return gesture.place, gesture.posture, gesture.dynamics


def picture_key(gesture: Gesture) -> tuple[str, ...]:
    """What a single picture shows: gestures with the same key look alike in it."""
    free = "free" if gesture.dynamics == "free" else ""
    return gesture.place, gesture.posture, free, str(gesture.behind), str(gesture.thing), gesture.look


@EVERY_SET
def test_both_pathways_together_tell_all_classes_and_neither_does_alone(name: str) -> None:
    gestures = CLASS_SETS[name]
    assert len({(joints_key(g), picture_key(g)) for g in gestures}) == len(gestures)
    for key in (joints_key, picture_key):
        assert len({key(g) for g in gestures}) < len(gestures)


def test_as_many_twins_as_the_documentation_says() -> None:
    joints_alike = Counter(joints_key(g) for g in IMIGUE)
    assert sum(n for n in joints_alike.values() if n > 1) == 16
    pictures_alike = Counter(picture_key(g) for g in IMIGUE)
    assert sum(n for n in pictures_alike.values() if n > 1) == 12


def twins(key: Callable[[Gesture], tuple[str, ...]]) -> list[tuple[Gesture, Gesture]]:
    """Pairs of iMiGUE's classes that share a key."""
    return [(a, b) for a, b in combinations(IMIGUE, 2) if key(a) == key(b)]


@pytest.mark.slow
@pytest.mark.parametrize(("one", "other"), twins(joints_key), ids=lambda g: g.name)
def test_twins_in_joints_differ_in_the_picture(one: Gesture, other: Gesture) -> None:
    for seed in range(2):
        first, subject, draw = filmed(one, seed, 12, 128)
        second, _, draw_too = filmed(other, seed, 12, 128)
        assert np.array_equal(joints(first, subject), joints(second, subject))
        assert np.array_equal(first.hidden, second.hidden)
        changed = np.abs(draw().astype(int) - draw_too()).max(axis=3) > 30
        assert changed.sum(axis=(1, 2)).mean() > 20  # pixels, in frames 128 high


@pytest.mark.parametrize(("one", "other"), twins(picture_key), ids=lambda g: g.name)
def test_twins_in_pictures_differ_in_tempo(one: Gesture, other: Gesture) -> None:
    """Joints of single frames lie alike; from frame to frame they move at another speed."""
    fast, slow = (one, other) if one.dynamics == "fast" else (other, one)
    where, step = {}, {}
    for gesture in (fast, slow):
        points = []
        for seed in range(8):
            motion, subject, _ = filmed(gesture, seed, 60)
            points.append(joints(motion, subject))
        steps = [np.linalg.norm(np.diff(p, axis=0), axis=2).mean(axis=0) for p in points]
        where[gesture.name] = np.mean([p.mean(axis=0) for p in points], axis=0)
        step[gesture.name] = np.mean(steps, axis=0).max()
    assert np.abs(where[fast.name] - where[slow.name]).max() < 3.5  # body units, of finger tips mostly
    assert step[fast.name] > 2.0 * step[slow.name]


@EVERY_SET
def test_every_gesture_moves_joints_of_a_whole_body(name: str) -> None:
    """No two classes of a set have the same joints unless their keys say so; all stay finite and near the person."""
    seen = {}
    for gesture in CLASS_SETS[name]:
        motion, subject, _ = filmed(gesture)
        points = joints(motion, subject, get_skeleton("ma52_28"))
        assert np.isfinite(points).all()
        assert np.abs(points).max() < 130
        key = joints_key(gesture)
        for other, other_points in seen.items():
            assert (key == other) == np.array_equal(points, other_points)
        seen[key] = points


def test_postures_do_what_they_are_called() -> None:
    def nose_of(posture: str) -> tuple[float, np.ndarray]:
        """Side of the acting hand, and joints against those of the same person at rest."""
        base = Gesture("x", "", "table", "slow")
        rest, subject, _ = filmed(base)
        moved, _, _ = filmed(replace(base, posture=posture))
        change = (joints(moved, subject, OPENPOSE137) - joints(rest, subject, OPENPOSE137)).mean(axis=0)
        return (-1.0, 1.0)[rest.acting], change

    at = {joint: i for i, joint in enumerate(OPENPOSE137.joints)}
    _, shrug = nose_of("shrug")
    assert shrug[at["left_shoulder"], 1] < -2
    assert shrug[at["right_shoulder"], 1] < -2
    assert shrug[at["nose"], 1] > 1
    _, back = nose_of("tip back")
    assert back[at["nose"], 1] < back[at["chin"], 1] < 0  # the features go up in the face
    side, aside = nose_of("look aside")
    assert side * aside[at["nose"], 0] > side * aside[at["right_ear"], 0] > 0
    _, parted = nose_of("part knees")
    assert parted[at["right_knee"], 0] < 0 < parted[at["left_knee"], 0]
    _, rise = nose_of("rise")
    assert rise[at["neck"], 1] < -1


@pytest.mark.parametrize("layout", [s for s in LAYOUTS if s not in ("mediapipe33", "holistic75")])
def test_joints_in_every_layout_agree(layout: str) -> None:
    motion, subject, _ = filmed(GESTURES["touch chin"])
    skeleton = get_skeleton(layout)
    points = joints(motion, subject, skeleton)
    assert points.shape == (30, len(skeleton), 2)
    known = joints(motion, subject)
    for i, joint in enumerate(IMIGUE22.joints):
        if joint in skeleton.joints:
            assert np.array_equal(points[:, skeleton.joints.index(joint)], known[:, i])
    x = points.mean(axis=0)[:, 0]
    shoulders = [skeleton.joints.index(f"{side}_shoulder") for side in ("right", "left")]
    assert x[shoulders[0]] < x[shoulders[1]]  # the subject's right is on the left of the picture


def test_hands_and_face_of_openpose137_hang_on_the_body() -> None:
    motion, subject, _ = filmed(GESTURES["illustrative"])
    points, at = joints(motion, subject, OPENPOSE137), {j: i for i, j in enumerate(OPENPOSE137.joints)}
    for side in ("left", "right"):
        assert np.array_equal(points[:, at[f"{side}_wrist"]], points[:, at[f"{side}_hand_wrist"]])
        assert np.allclose(points[:, at[f"{side}_eye"]], points[:, at[f"{side}_pupil"]])
    for a, b in OPENPOSE137.edges:
        if a >= 25:
            assert np.linalg.norm(points[:, a] - points[:, b], axis=1).max() < 11


def test_the_made_people_have_no_other_joints() -> None:
    motion, subject, _ = filmed(GESTURES["touch chin"])
    with pytest.raises(MgkitError, match="no left_mouth, which the layout holistic75"):
        joints(motion, subject, get_skeleton("holistic75"))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(MgkitError, match=r"set of classes 'smg': use one of imigue32, smg17, ma52"):
        gestures_of("smg")
    with pytest.raises(MgkitError, match="no gesture wink"):
        gestures_of(["wink"])


def test_a_long_tail() -> None:
    plans = plan_clips("imigue32", train=12_893, val=777, test=4_562, tail=3765)
    counts = Counter(p.label for p in plans if p.split == "train")
    assert len(counts) == 32
    assert sum(counts.values()) == 12_893
    ordered = [counts[label] for label in range(32)]
    assert all(b >= a - 1 for a, b in pairwise(ordered))  # whole clips
    assert ordered[0] <= 4
    assert ordered[-1] > 0.6 * 12_893
    val = Counter(p.label for p in plans if p.split == "val")
    assert sum(val.values()) == 777
    assert len(val) < 32  # rare classes have none, as in real validation splits
    few = Counter(p.label for p in plan_clips("imigue32", train=32, val=0, test=0, tail=100.0))
    assert few == dict.fromkeys(range(32), 1)


def test_faults_by_degree() -> None:
    points = np.tile(np.random.default_rng(0).uniform(20, 100, (1, 22, 2)), (600, 1, 1))
    lost, error = [], []
    for faults in (0.0, 1.0, 3.0):
        seen, score = observe(points, np.ones((600, 2)), 1.0, np.random.default_rng(1), faults=faults)
        lost.append(float((score == 0).mean()))
        error.append(float(np.median(np.abs(seen - points)[score > 0])))
    assert lost[0] == 0
    assert error[0] < 1e-5
    assert lost[0] < lost[1] < lost[2]
    assert error[0] < error[1] < error[2]


def test_doubt_goes_with_error() -> None:
    points = np.tile(np.random.default_rng(0).uniform(20, 100, (1, 25, 2)), (3000, 1, 1))
    seen, score = observe(points, np.ones((3000, 2)), 1.0, np.random.default_rng(1), KINECT25)
    error = np.linalg.norm(seen - points, axis=2)[score > 0]
    assert np.corrcoef(error, score[score > 0])[0, 1] < -0.3


def test_variety_by_degree() -> None:
    people = [make_subject("S", np.random.default_rng(i)) for i in range(30)]
    tempos = [np.std([vary(p, v).tempo for p in people]) for v in (0.0, 1.0, 2.0)]
    assert tempos == pytest.approx([0.0, tempos[1], 2 * tempos[1]])
    assert vary(people[0], 1.0) is people[0]
    assert vary(people[0], 2.0).skin == people[0].skin
