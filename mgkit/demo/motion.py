"""Movements of the drawn people: `move` animates a gesture, `joints` gives the joints, in body units (see `people`).

Fast and slow are sines of the same amplitude, so that no single frame shows their tempo. They also spread the fingers
differently, by three pixels at the tips: easy to see in key-points, hardly in a picture of this size.

The generator is used in the same order for every gesture, so that two that differ in the picture only have exactly the
same joints for the same seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgkit.data.skeletons import FINGERS, IMIGUE22
from mgkit.demo.gestures import PLACES, POSTURES, Gesture, Place
from mgkit.demo.people import Subject

Array = npt.NDArray[np.float64]

FPS = 25.0
FAST = (3.0, 4.0)  # Hz, well below the 6.25 Hz that 32 frames of a 64-frame clip still resolve
SLOW = (0.5, 0.9)  # Hz
SWING = 3.0  # of the wrist, body units to each side
# How much more the thumb, index, ... little finger are curled than in the place's shape; reversed for the other tempo.
SPREAD = {"fast": (0.0, -0.3, -0.1, 0.25, 0.4), "slow": (0.0, 0.4, 0.25, -0.1, -0.3), "free": (0.0,) * 5}


# Finger roots and straight finger vectors of a hand of length 13 whose fingers point along the first axis; the
# second axis points to the thumb. Order as in FINGERS.
_ROOTS = np.array([[2.0, 2.6], [6.3, 2.5], [6.7, 0.9], [6.3, -0.8], [5.4, -2.4]])
_FINGERS = np.array([[4.6, 3.2], [6.0, 0.9], [6.3, 0.25], [6.0, -0.5], [4.8, -1.2]])


@dataclass(frozen=True)
class Arm:
    """One arm over time, each (T, 2) in body units; tips and knuckles (T, 5, 2) in the order of `FINGERS`."""

    shoulder: Array
    elbow: Array
    wrist: Array
    palm: Array  # unit vector from the wrist to the fingers
    knuckles: Array
    tips: Array
    behind: npt.NDArray[np.bool_]  # (T,) drawn behind the body


@dataclass(frozen=True)
class Motion:
    """One animated clip of T frames in body units.

    Attributes:
        arms: the subject's right arm, then the left.
        neck: (T, 2) pit of the neck.
        head: (T, 2) centre of the head.
        tilt: (T,) radians, positive turns the head clockwise in the picture.
        breath: (T,) in [-1, 1].
        eyes: (T,) 1 = open, 0 = shut.
        gaze: (T, 2) of the pupils, in [-1, 1].
        thing: (T,) there is something in the hand or hands.
        active: (T,) 0 = idle, 1 = the gesture is on.
        acting: index into `arms` of the hand that acts; both act where the place says so.
        hidden: (T, 2) how easily the tips of the right and left hand get lost, 1 = as usual.
        turn: (T, 2) shift of the features of the face within the head.
        knees, feet: (T, 2) shift of each knee and foot away from the middle, and down.
        look: what else shows, see `Gesture`.
    """

    arms: tuple[Arm, Arm]
    neck: Array
    head: Array
    tilt: Array
    breath: Array
    eyes: Array
    gaze: Array
    thing: npt.NDArray[np.bool_]
    active: Array
    acting: int
    hidden: Array
    turn: Array
    knees: Array
    feet: Array
    look: str = ""

    def __len__(self) -> int:
        return len(self.neck)


def clip_length(rng: np.random.Generator) -> int:
    """Frames of a clip: 24 to 64, about 44."""
    return int(np.clip(round(rng.normal(44.0, 10.0)), 24, 64))


def move(
    gesture: Gesture, subject: Subject, frames: int, rng: np.random.Generator, active: Array | None = None
) -> Motion:
    """Animate one clip of a gesture.

    Args:
        gesture: what is done; `thing`, `behind` and `look` change nothing but the picture.
        subject: who does it.
        frames: T.
        rng: source of everything that varies; used the same way for every gesture.
        active: (T,) how far the gesture is on, 0 to 1; drawn if not given.
    """
    time = np.arange(frames) / FPS
    lively, place = subject.liveliness, PLACES[gesture.place]
    drawn = _envelope(frames, rng)
    active = drawn if active is None else active
    acting = int(rng.integers(2))
    breath = np.sin(2 * np.pi * (rng.uniform(0.22, 0.32) * subject.tempo * time + rng.random()))
    sway = _wander(time, 2, 0.1, 0.35, rng) * (1.1, 0.4) * lively
    nod = _wander(time, 3, 0.15, 0.6, rng) * (1.0, 0.6, 0.05) * lively
    gaze = _wander(time, 2, 0.1, 0.5, rng)
    eyes = _blinks(frames, rng)
    neck = sway + _columns(0.0, -0.45 * breath)
    head = neck + nod[:, :2] + (0.0, -subject.neck)

    # All draws below happen for both hands and all dynamics, whatever the gesture needs of them.
    strength = float(rng.uniform(0.85, 1.15))
    swing = strength * _oscillation(time, gesture.dynamics, subject.tempo, rng)
    habits = [_habit(time, gesture.dynamics == "free", lively, rng) for _ in range(2)]
    two_handed_talk = bool(rng.random() < 0.5)

    posture, side = POSTURES[gesture.posture], (-1.0, 1.0)[acting]
    effort = active * (posture.hold + posture.swing * swing)

    def shift(by: tuple[float, float]) -> Array:
        return _columns(by[0] * side * effort, by[1] * effort)

    neck = neck + shift(posture.neck)
    head = head + shift(posture.neck) + shift(posture.head)

    arms, hidden = [], np.ones((frames, 2))
    for i, outwards in enumerate((-1.0, 1.0)):
        acts = i == acting or place.both or (gesture.dynamics == "free" and two_handed_talk)
        reach = active if acts and gesture.place != "table" else np.zeros(frames)
        hidden[:, i] += (place.hidden - 1.0) * reach
        behind = (reach > 0.55) if gesture.behind else np.zeros(frames, dtype=np.bool_)
        # In two-handed places the hands work against each other, like hands that are rubbed.
        push = swing * (outwards if place.both else 1.0)
        anchor = head + (0.0, subject.neck) if place.on_head else neck
        shoulder = neck * (1.0, 0.8) + _columns(outwards * subject.shoulder, 5.5 - 0.5 * breath)
        shoulder = shoulder + _columns(0.0, posture.shoulders * effort)
        spread = np.array(SPREAD[gesture.dynamics])
        arms.append(_arm(subject, place, outwards, reach, behind, anchor, shoulder, push, spread, habits[i]))
    tilt = nod[:, 2] + (0.03 * active * side if place.on_head else 0.0) + posture.tilt * side * effort
    return Motion(
        arms=(arms[0], arms[1]),
        neck=neck,
        head=head,
        tilt=tilt,
        breath=breath,
        eyes=eyes,
        gaze=gaze,
        thing=(active > 0.4) if gesture.thing else np.zeros(frames, dtype=np.bool_),
        active=active,
        acting=acting,
        hidden=hidden,
        turn=shift(posture.turn),
        knees=effort[:, None] * posture.knees,
        feet=effort[:, None] * posture.feet,
        look=gesture.look,
    )


def joints(motion: Motion, subject: Subject) -> Array:
    """True joints (T, 22, 2) of `IMIGUE22` in body units."""
    points = body_points(motion, subject)
    return np.stack([points[joint] for joint in IMIGUE22.joints], axis=1)


def body_points(motion: Motion, subject: Subject) -> dict[str, Array]:
    """The joints of `IMIGUE22` by name, (T, 2) each, in body units."""
    right, left = motion.arms

    def on_face(x: float, y: float) -> Array:
        return on_head(motion, subject, x, y) + motion.turn

    places = {
        "nose": on_face(0.0, 2.2),
        "neck": motion.neck,
        "right_eye": on_face(-3.7, -1.8),
        "left_eye": on_face(3.7, -1.8),
        "right_ear": on_head(motion, subject, -9.3, 0.5),
        "left_ear": on_head(motion, subject, 9.3, 0.5),
    }
    for side, arm in (("right", right), ("left", left)):
        places |= {f"{side}_shoulder": arm.shoulder, f"{side}_elbow": arm.elbow, f"{side}_wrist": arm.wrist}
        places |= {f"{side}_{finger}_tip": arm.tips[:, k] for k, finger in enumerate(FINGERS)}
    return places


def on_head(motion: Motion, subject: Subject, x: float, y: float) -> Array:
    """(T, 2) place of a point (x, y) of an upright head whose centre is the origin."""
    cos, sin = np.cos(motion.tilt), np.sin(motion.tilt)
    turned = np.stack([cos * x - sin * y, sin * x + cos * y], axis=1)
    return motion.head + subject.head * turned


@dataclass(frozen=True)
class _Habit:
    """Differences of one hand from clip to clip, in body units and radians."""

    offset: Array  # (2,) from the place
    rest: Array  # (2,) from the place on the table
    turn: float
    curl: float
    drift: Array  # (T, 2) idle movement
    free: Array  # (T, 4) large movement: x, y, turn, curl; zero unless the hand wanders


def _habit(time: Array, free: bool, lively: float, rng: np.random.Generator) -> _Habit:
    return _Habit(
        offset=rng.normal(0.0, 1.0, 2) * (1.3, 1.1),
        rest=rng.uniform(-1.0, 1.0, 2) * (3.5, 1.6),
        turn=float(rng.normal(0.0, 0.13)),
        curl=float(rng.normal(0.0, 0.06)),
        drift=_wander(time, 2, 0.15, 0.5, rng) * 0.35 * lively,
        free=_wander(time, 4, 0.35, 1.1, rng) * float(free),
    )


def _arm(
    subject: Subject,
    place: Place,
    side: float,
    reach: Array,
    behind: npt.NDArray[np.bool_],
    anchor: Array,
    shoulder: Array,
    swing: Array,
    spread: Array,
    habit: _Habit,
) -> Arm:
    """Animate one arm; `side` is -1 for the subject's right and 1 for the left, which mirrors all places."""
    table = PLACES["table"]
    # Places are written for a right hand and an average build.
    grow = np.array([-side * subject.shoulder / 21.0, 1.0])
    flip = np.array([-side, 1.0])
    fingers = np.array(place.fingers) / np.hypot(*place.fingers)
    busy = reach[:, None] ** 3  # the small movement begins when the hand has arrived
    rest = np.array(table.wrist) * grow + habit.rest * flip
    target = anchor + np.array(place.wrist) * grow + habit.offset * flip
    target = target + busy * (SWING * swing[:, None] * fingers * flip + habit.free[:, :2] * (7.5, 8.5))
    s = reach[:, None]
    wrist = (1 - s) ** 2 * rest + 2 * s * (1 - s) * np.array(place.via) * grow + s**2 * target
    wrist = wrist + habit.drift * (1 - 0.6 * s)
    hint = (np.array(table.elbow) * (1 - s) + np.array(place.elbow) * s) * grow
    hint = hint + 0.25 * habit.free[:, :2] * busy * 8.0 + 0.5 * (shoulder - shoulder.mean(axis=0))
    elbow = _bend(shoulder, wrist, hint, subject.upper_arm, subject.forearm)

    rest_angle = np.arctan2(table.fingers[1], table.fingers[0])
    angle = rest_angle + (np.arctan2(fingers[1], fingers[0]) - rest_angle) * reach + habit.turn
    angle = angle + (0.12 * swing + 0.35 * habit.free[:, 2]) * busy[:, 0]
    palm = np.stack([np.cos(angle) * -side, np.sin(angle)], axis=1)
    thumb = np.stack(
        [np.sin(angle) * -side, -np.cos(angle)], axis=1
    )  # the thumb is up when the fingers point inwards
    closed = table.curl + (place.curl - table.curl) * reach + habit.curl
    # Fingers stretch as the hand goes forward, each a little later than the one before it.
    t = np.arange(len(swing))
    lag = np.stack([np.interp(t - 0.12 * k, t, swing) for k in range(len(FINGERS))], axis=1)
    closed = np.clip(closed[:, None] + (spread + 0.2 * habit.free[:, 3:] - 0.25 * lag) * busy, -0.1, 0.95)
    scale = subject.hand / 13.0
    axes = np.stack([palm, thumb], axis=1) * scale  # (T, 2 axes, xy)
    knuckles = wrist[:, None] + _ROOTS @ axes
    straight = _FINGERS @ axes
    tips = knuckles + straight * (1.0 - 0.75 * closed)[:, :, None]
    return Arm(shoulder, elbow, wrist, palm, knuckles, tips, behind)


def _bend(shoulder: Array, wrist: Array, hint: Array, upper: float, fore: float) -> Array:
    """Elbows (T, 2): the point nearest to the hint that both bones reach.

    A bone that points towards the camera looks shorter than it is, so lengths are upper bounds in the picture;
    alternating projections on the two discs settle in a few rounds. A wrist out of reach stretches both bones.
    """
    far = np.linalg.norm(wrist - shoulder, axis=1, keepdims=True)
    stretch = np.maximum(1.0, far / (0.995 * (upper + fore)))
    elbow = hint
    for _ in range(12):
        for root, length in ((shoulder, upper), (wrist, fore)):
            away = elbow - root
            distance = np.linalg.norm(away, axis=1, keepdims=True)
            elbow = root + away * np.minimum(1.0, length * stretch / np.maximum(distance, 1e-6))
    return elbow


def _envelope(frames: int, rng: np.random.Generator) -> Array:
    """(T,) how far the gesture is on: a smooth rise and, in some clips, a fall within the clip."""
    rise, fall = rng.uniform(5.0, 9.0, 2)
    starts_in_place, stays = rng.random(2) < (0.3, 0.45)
    start = -rise if starts_in_place else float(rng.uniform(0.0, 0.16)) * frames
    end = frames + 1.0 if stays else frames * float(rng.uniform(0.9, 1.0)) - fall * 0.6
    t = np.arange(frames)
    return smooth_step((t - start) / rise) * (1.0 - smooth_step((t - end) / fall))


def _columns(x: Array | float, y: Array | float) -> Array:
    """(T, 2) from two columns, either of which may be one number."""
    return np.stack(np.broadcast_arrays(x, y), axis=-1)


def smooth_step(x: Array) -> Array:
    """Minimum-jerk step from 0 to 1."""
    x = np.clip(x, 0.0, 1.0)
    return x**3 * (10.0 - 15.0 * x + 6.0 * x**2)


def _wander(time: Array, count: int, low: float, high: float, rng: np.random.Generator) -> Array:
    """(T, count) smooth random movement in about [-1, 1]: three sines between `low` and `high` Hz each."""
    frequency = rng.uniform(low, high, (3, 1, count))
    phase = rng.random((3, 1, count))
    weight = rng.uniform(0.3, 0.7, (3, 1, count))
    return np.asarray((weight * np.sin(2 * np.pi * (frequency * time[None, :, None] + phase))).sum(axis=0))


def _oscillation(time: Array, dynamics: str, tempo: float, rng: np.random.Generator) -> Array:
    """(T,) in [-1, 1]: a sine whose frequency wavers a little; zero for free movement."""
    share, phase = rng.random(2)
    waver = _wander(time, 1, 0.3, 0.9, rng)[:, 0]
    if dynamics == "free":
        return np.zeros_like(time)
    low, high = FAST if dynamics == "fast" else SLOW
    frequency = (low + share * (high - low)) * tempo * (1.0 + 0.05 * waver)
    return np.sin(2 * np.pi * (np.cumsum(frequency) / FPS + phase))


def _blinks(frames: int, rng: np.random.Generator) -> Array:
    """(T,) eyes: 1 = open; a blink of four frames every few seconds."""
    eyes = np.ones(frames)
    for start in np.flatnonzero(rng.random(frames) < 1 / 70):
        for k, value in enumerate((0.5, 0.0, 0.1, 0.6)):
            if start + k < frames:
                eyes[start + k] = min(eyes[start + k], value)
    return eyes
