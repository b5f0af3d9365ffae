"""The drawn person as filled shapes over time, from back to front, in body units.

A shape is a polygon for every frame of the clip, so that a whole clip is laid out by a few array operations. Parts of
the head are written for an upright head whose centre is the origin, and turned with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mgkit.demo.motion import Arm, Array, Motion
from mgkit.demo.people import Colour, Subject, blend, shade


@dataclass(frozen=True)
class Layer:
    """One filled polygon over time: points (T, n, 2) in body units, its colour and the frames that show it."""

    points: Array
    colour: Colour
    shown: npt.NDArray[np.bool_] | None = None  # (T,), None = always
    convex: bool = True


def polygon(*corners: Array) -> Array:
    """(T, n, 2) from n moving corners (T, 2)."""
    return np.stack(corners, axis=1)


def rounded(points: Array) -> Array:
    """A closed outline with its corners cut twice (Chaikin): (T, n, 2) to (T, 4n, 2)."""
    for _ in range(2):
        after = np.roll(points, -1, axis=1)
        cut = np.stack([0.75 * points + 0.25 * after, 0.25 * points + 0.75 * after], axis=2)
        points = cut.reshape(len(points), -1, 2)
    return points


def oval(centre: Array, tilt: Array | float, rx: Array | float, ry: Array | float, count: int = 16) -> Array:
    """(T, count, 2) of an ellipse; centre (T, 2), tilt in radians and radii may change over time."""
    turn = np.arange(count) * 2 * np.pi / count
    x = np.cos(turn) * np.reshape(rx, (-1, 1))
    y = np.sin(turn) * np.reshape(ry, (-1, 1))
    cos, sin = np.cos(np.reshape(tilt, (-1, 1))), np.sin(np.reshape(tilt, (-1, 1)))
    return centre[:, None] + np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)


def limb(start: Array, end: Array, r0: float, r1: float, count: int = 6) -> Array:
    """(T, 2 count, 2) of a tapered capsule between two moving points with radii r0 and r1."""
    along = end - start
    angle = np.arctan2(along[:, 1], along[:, 0])[:, None]
    half = np.linspace(np.pi / 2, 3 * np.pi / 2, count)
    back, ahead = angle + half, angle + half + np.pi
    first = start[:, None] + r0 * np.stack([np.cos(back), np.sin(back)], axis=-1)
    last = end[:, None] + r1 * np.stack([np.cos(ahead), np.sin(ahead)], axis=-1)
    return np.concatenate([first, last], axis=1)


def mix(first: Array, second: Array, share: float) -> Array:
    """A point between two, `share` (0 to 1) of the way from the first to the second."""
    return first + (second - first) * share


# --- head ---

Points = Sequence[tuple[float, float]]

_HAIRLINES: dict[str, Points] = {
    "short": (
        (-9.9, 0), (-10.4, -7), (-7, -13.2), (0, -15.2), (7, -13.2), (10.4, -7), (9.9, 0),
        (8.8, -5), (5.5, -8.4), (-2, -8.8), (-6.5, -7.6), (-8.8, -4),
    ),
    "parted": (
        (-10, 1), (-10.6, -7), (-6.5, -13.8), (1, -15.4), (7.5, -13), (10.6, -7), (10, 1),
        (9, -4), (6, -7), (-3.4, -11.2), (-7, -7.4), (-8.9, -3),
    ),
    "long": (
        (-11, 12), (-11.4, -4), (-8, -13), (0, -15.4), (8, -13), (11.4, -4), (11, 12),
        (8.8, 3), (8.6, -4), (5, -8.6), (-1, -11.6), (-5, -8.6), (-8.6, -4), (-8.8, 3),
    ),
    "bun": (
        (-9.7, -1), (-10.2, -7), (-6.6, -13), (0, -14.6), (6.6, -13), (10.2, -7), (9.7, -1),
        (8.6, -6), (5, -9.6), (0, -10.4), (-5, -9.6), (-8.6, -6),
    ),
    "cropped": (
        (-9.5, -3), (-9.9, -7.5), (-6.4, -12.6), (0, -14.0), (6.4, -12.6), (9.9, -7.5), (9.5, -3),
        (8.4, -7), (5, -9.4), (0, -10), (-5, -9.4), (-8.4, -7),
    ),
}  # fmt: skip
_FACE: Points = (
    (-9.3, -5), (-9.4, 2), (-7.8, 7.6), (-3.8, 12.0), (0, 12.9), (3.8, 12.0), (7.8, 7.6), (9.4, 2), (9.3, -5),
    (5.5, -11.5), (-5.5, -11.5),
)  # fmt: skip
_FACE_SHADOW: Points = ((4.5, -8), (9.1, -4), (9.2, 2), (7.6, 7.4), (3.8, 11.8), (6.6, 4), (6.8, -3))
_BEARD: Points = (
    (-9.3, 0), (-8.0, 7.6), (-3.9, 12.3), (0, 13.3), (3.9, 12.3), (8.0, 7.6), (9.3, 0),
    (7.4, 4.2), (4, 5.6), (0, 4.9), (-4, 5.6), (-7.4, 4.2),
)  # fmt: skip
_LONG_HAIR: Points = (
    (-10.4, -6), (-11.4, 4), (-11.6, 13), (-8, 19), (0, 20), (8, 19), (11.6, 13), (11.4, 4), (10.4, -6), (0, -13),
)  # fmt: skip
_SHINE: Points = ((-7.6, -8.6), (-5.4, -12.4), (-0.6, -13.8), (-2, -12.6), (-5.6, -9.6))

_CAP: Points = (
    (-11.0, -5.5), (-11.2, -12), (-7.6, -18), (0, -19.6), (7.6, -18), (11.2, -12), (11.0, -5.5), (0, -7.5),
)  # fmt: skip
_PEAK: Points = ((-10.6, -7.2), (0, -9.4), (10.6, -7.2), (9.4, -4.6), (0, -6.0), (-9.4, -4.6))


@dataclass(frozen=True)
class _Head:
    """Draws parts of the upright head, centre at the origin, as layers of the moving one."""

    centre: Array
    tilt: Array
    size: float

    def place(self, points: Points) -> Array:
        """(T, n, 2)."""
        x, y = np.asarray(points, dtype=np.float64).T * self.size
        cos, sin = np.cos(self.tilt)[:, None], np.sin(self.tilt)[:, None]
        return self.centre[:, None] + np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)

    def shape(self, points: Points, colour: Colour) -> Layer:
        return Layer(rounded(self.place(points)), colour, convex=False)

    def oval(self, at: tuple[float, float], rx: float, ry: Array | float, colour: Colour) -> Layer:
        return Layer(oval(self.place([at])[:, 0], self.tilt, rx * self.size, ry * self.size), colour)

    def line(self, points: Points, radius: float, colour: Colour) -> list[Layer]:
        path = self.place(points)
        return [
            Layer(limb(path[:, k], path[:, k + 1], radius, radius, 3), colour) for k in range(len(points) - 1)
        ]


def hair_behind(motion: Motion, subject: Subject) -> list[Layer]:
    """Hair that hangs or is tied behind the neck."""
    head = _Head(motion.head, motion.tilt, subject.head)
    if subject.style == "long":
        return [head.shape(_LONG_HAIR, shade(subject.hair, 0.8))]
    if subject.style == "bun":
        return [head.oval((1.5, -14.5), 5.0, 4.4, shade(subject.hair, 0.85))]
    return []


def head_and_hair(motion: Motion, subject: Subject) -> list[Layer]:
    head = _Head(motion.head, motion.tilt, subject.head)
    face = _Head(motion.head + motion.turn, motion.tilt, subject.head)
    skin, hair = subject.skin, subject.hair
    layers: list[Layer] = []
    for side in (-1.0, 1.0):
        layers.append(head.oval((side * 9.5, 0.8), 1.9, 3.0, shade(skin, 0.9)))
        layers.append(head.oval((side * 9.6, 0.9), 0.9, 1.8, shade(skin, 0.74)))
    layers.append(head.shape(_FACE, skin))
    # Light falls from the upper left: one cheek in shadow, the other lit.
    layers.append(head.shape(_FACE_SHADOW, shade(skin, 0.91)))
    layers.append(face.oval((-3.6, 3.6), 3.2, 2.6, shade(skin, 1.05)))
    layers.append(face.oval((-1.5, -7.0), 4.6, 2.2, shade(skin, 1.04)))
    if subject.beard:
        layers.append(head.shape(_BEARD, blend(skin, hair, 0.62)))
    layers += _mouth(motion, subject, face)
    layers += [
        face.oval((0.9, 2.0), 1.3, 3.0, shade(skin, 0.93)),
        face.oval((0.4, 3.9), 1.9, 0.95, shade(skin, 0.84)),
        face.oval((-0.3, 2.9), 0.8, 0.9, shade(skin, 1.06)),
    ]
    for side in (-1.0, 1.0):
        layers += _eye(motion, subject, face, side)
    if subject.glasses or motion.look == "glasses":
        frame = (44, 42, 48)
        turn = np.linspace(0, 2 * np.pi, 11)
        for side in (-1.0, 1.0):
            ring = [(side * 3.8 + 2.9 * float(np.cos(a)), 2.3 * float(np.sin(a)) - 1.7) for a in turn]
            layers += face.line(ring, 0.28, frame)
            layers += face.line([(side * 6.7, -2.0), (side * 9.3, -0.6)], 0.3, frame)
        layers += face.line([(-0.9, -1.9), (0.9, -1.9)], 0.3, frame)
    layers.append(head.shape(_HAIRLINES[subject.style], hair))
    layers.append(head.shape(_SHINE, shade(hair, 1.3)))
    if motion.look == "hat":
        layers += _hat(subject, head)
    return layers


def _mouth(motion: Motion, subject: Subject, face: _Head) -> list[Layer]:
    """Lips; pressed or between puffed cheeks while the gesture that does so is on."""
    skin = subject.skin
    lips = blend(shade(skin, 0.8), (176, 82, 82), 0.45)
    opening = shade(lips, 0.6)
    usual = [
        face.shape([(-3.6, 6.7), (0.0, 7.3), (3.6, 6.7), (2.2, 8.3), (0.0, 8.8), (-2.2, 8.3)], lips),
        *face.line([(-3.0, 7.0), (-1.2, 7.5), (1.2, 7.5), (3.0, 7.0)], 0.3, opening),
    ]
    changed: list[Layer] = []
    if motion.look == "pressed lips":
        # Drawn in until a thin line is left, longer than the mouth was, over a chin that is tensed.
        changed = [face.oval((0.0, 10.0), 3.0, 1.4, shade(skin, 0.8))]
        changed += face.line([(-4.6, 8.0), (-1.5, 7.4), (1.5, 7.4), (4.6, 8.0)], 0.6, shade(lips, 0.5))
    elif motion.look == "puffed cheeks":
        for side in (-1.0, 1.0):
            changed.append(face.oval((side * 7.4, 6.2), 4.2, 4.1, shade(skin, 0.84)))
            changed.append(face.oval((side * 7.1, 6.0), 3.7, 3.6, shade(skin, 1.03)))
        changed.append(face.oval((0.0, 7.8), 1.9, 1.6, opening))
    if not changed:
        return usual
    on = motion.active > 0.4
    return [replace(layer, shown=~on) for layer in usual] + [replace(layer, shown=on) for layer in changed]


def _hat(subject: Subject, head: _Head) -> list[Layer]:
    """A cap, in the colour of a seam of the clothes, with its peak to the front."""
    cloth = subject.trim
    return [
        head.shape(_CAP, shade(cloth, 0.7)),
        head.shape([(x * 0.94, y * 0.96) for x, y in _CAP], cloth),
        head.shape(_PEAK, shade(cloth, 0.5)),
        head.shape([(x * 0.96, y + 0.5) for x, y in _PEAK], shade(cloth, 0.8)),
    ]


def _eye(motion: Motion, subject: Subject, head: _Head, side: float) -> list[Layer]:
    skin, hair = subject.skin, subject.hair
    centre = head.place([(side * 3.7, -1.8)])[:, 0]
    pupil = centre + motion.gaze * (0.45, 0.15)
    size, iris = head.size, blend(hair, (50, 40, 40), 0.6)
    return [
        head.oval((side * 3.8, -1.9), 2.3, 1.7, shade(skin, 0.88)),
        Layer(oval(centre, head.tilt, 1.75 * size, 1.05 * size * motion.eyes), (244, 242, 238)),
        Layer(oval(pupil, head.tilt, 0.95 * size, 0.98 * size * motion.eyes, 10), iris),
        head.shape(
            [(side * 2.0, -2.6), (side * 3.7, -3.1), (side * 5.5, -2.4), (side * 3.7, -2.5)],
            shade(skin, 0.55),
        ),
        head.shape(
            [(side * 1.8, -4.8), (side * 4.0, -5.6), (side * 5.9, -4.6), (side * 4.0, -4.7)],
            blend(hair, (60, 46, 40), 0.3),
        ),
    ]


# Bright and saturated, unlike skin, clothes and rooms: (body, face) of a phone, a notebook and a toy.
THINGS: tuple[tuple[Colour, Colour], ...] = (
    ((30, 60, 120), (120, 235, 255)),
    ((200, 150, 0), (255, 235, 60)),
    ((150, 20, 90), (255, 80, 190)),
)


def behind_table(motion: Motion, subject: Subject) -> list[Layer]:
    """Hair behind the neck, arms behind the body, torso, neck and head."""
    layers = hair_behind(motion, subject)
    for arm in motion.arms:
        if arm.behind.any():
            layers += _forearm(arm, subject, arm.behind)
    return layers + _torso(motion, subject) + _neck(motion, subject) + head_and_hair(motion, subject)


def before_table(motion: Motion, subject: Subject, table: float, thing: int) -> list[Layer]:
    """Upper arms, and the forearms and hands that are not behind the body, with what they hold.

    `table` is the y of the table's far edge. `thing` is an index into `THINGS`; it shows in the frames that
    `motion.thing` names.
    """
    layers = [_shadow(arm, subject, table) for arm in motion.arms]
    layers += [layer for arm in motion.arms for layer in _upper_arm(arm, subject)]
    for arm in motion.arms:
        layers += _forearm(arm, subject, ~arm.behind)
    if motion.thing.any():
        layers += _thing(motion, subject, thing)
    return layers


# --- torso ---


def _torso(motion: Motion, subject: Subject) -> list[Layer]:
    neck, right, left = motion.neck, motion.arms[0].shoulder, motion.arms[1].shoulder
    build = subject.girth * subject.shoulder / 21.0
    cap, chest, waist = 4.2 * subject.girth, 17.5 * build, 16.0 * build
    ribs, hips = neck * 0.7, neck * 0.3  # the body sways about the seat
    dark = shade(subject.top, 0.84)
    outline = polygon(
        neck + (-4.6, -6.0),
        right + (3.0, -cap),
        right + (-cap, 0.5),
        ribs + (-chest - 1.5, 22.0),
        hips + (-waist, 52.0),
        hips + (waist, 52.0),
        ribs + (chest + 1.5, 22.0),
        left + (cap, 0.5),
        left + (-3.0, -cap),
        neck + (4.6, -6.0),
    )
    shadow = polygon(
        left + (cap - 1.0, 0.5),
        left + (-1.0, 2.0),
        ribs + (chest - 5.0, 24.0),
        hips + (waist - 6.0, 50.0),
        hips + (waist, 50.0),
        ribs + (chest + 0.5, 22.0),
    )
    fold = limb(ribs + (2.0 - chest, 13.0), ribs + (6.0 - chest, 25.0), 0.7, 0.2)
    return [
        Layer(rounded(outline), subject.top, convex=False),
        Layer(shadow, dark, convex=False),
        Layer(fold, dark),
    ]


def _neck(motion: Motion, subject: Subject) -> list[Layer]:
    """The neck and what is worn around it."""
    neck, throat = motion.neck, motion.head + (0.0, 6.0)
    ribs, wide = neck * 0.7, 5.6 * subject.girth
    skin, light, dark = shade(subject.skin, 0.9), shade(subject.top, 1.2), shade(subject.top, 0.8)
    layers: list[Layer] = []
    if subject.cut == "jacket":
        v = polygon(neck + (-6.0, -4.0), neck + (6.0, -4.0), neck + (0.6, 27.0), neck + (-0.6, 27.0))
        tie = ((-1.4, 3.5), (1.4, 3.5), (2.1, 22.0), (0.0, 25.0), (-2.1, 22.0))
        layers += [Layer(v, subject.inner), Layer(polygon(*(neck + p for p in tie)), subject.trim)]
    depth = {"shirt": 6.5, "jacket": 4.5, "crew": 4.0, "hoodie": 5.5}[subject.cut]
    layers += [
        Layer(limb(neck + (0.0, 0.0), throat, wide, 0.94 * wide), skin),
        Layer(polygon(neck + (-wide, -1.0), neck + (wide, -1.0), neck + (0.0, depth)), skin),
        # The chin throws a shadow on the neck.
        Layer(oval(throat + (0.6, 4.2), 0.0, 0.92 * wide, 2.8), shade(subject.skin, 0.78)),
    ]
    seam = limb(neck + (0.0, 6.0), neck * 0.4 + (0.0, 46.0), 0.4, 0.4)
    if subject.cut == "jacket":
        lapel = ((6.4, -5.5), (4.6, -3.0), (0.0, 27.0), (3.5, 24.0), (9.0, 8.0))
        for side in (-1.0, 1.0):
            layers.append(Layer(polygon(*(neck + (side * x, y) for x, y in lapel)), light, convex=False))
        layers.append(Layer(limb(neck + (0.0, 27.0), neck * 0.4 + (0.0, 46.0), 0.4, 0.4), dark))
    elif subject.cut == "shirt":
        collar = ((6.2, -6.0), (0.5, 4.2), (3.8, 7.2), (8.0, -1.0))
        for side in (-1.0, 1.0):
            layers.append(Layer(polygon(*(neck + (side * x, y) for x, y in collar)), light))
        layers.append(Layer(seam, dark))
        layers += [Layer(oval(ribs + (0.0, y), 0.0, 0.7, 0.7, 8), light) for y in (11.0, 20.0, 29.0, 38.0)]
    elif subject.cut == "crew":
        curve = [neck + (x, 4.0 - 0.15 * x * x) for x in (-6.2, -4.4, -2.2, 0.0, 2.2, 4.4, 6.2)]
        layers += [Layer(limb(a, b, 0.9, 0.9), subject.trim) for a, b in pairwise(curve)]
    else:
        hood = ((4.6, -8.0), (9.6, -4.0), (4.6, 7.5), (0.0, 5.0))
        for side in (-1.0, 1.0):
            layers.append(Layer(polygon(*(neck + (side * x, y) for x, y in hood)), light))
            cord = limb(neck + (side * 2.2, 5.0), neck + (side * 2.6, 15.0), 0.5, 0.5)
            layers.append(Layer(cord, subject.inner))
        layers.append(Layer(seam, dark))
    return layers


# --- arms and hands ---


def _shadow(arm: Arm, subject: Subject, table: float) -> Layer:
    """The shadow of a hand near the table."""
    near = arm.wrist[:, 1] > table - 3.0
    middle = arm.wrist + 4.0 * arm.palm
    middle = np.stack([middle[:, 0] + 1.5, np.maximum(middle[:, 1] + 2.6, table + 3.2)], axis=1)
    return Layer(oval(middle, 0.0, 9.0, 2.8), shade(subject.table, 0.74), near)


def _upper_arm(arm: Arm, subject: Subject) -> list[Layer]:
    wide, top = subject.girth, subject.top
    edge, lit = shade(top, 0.78), shade(top, 1.1)
    start, end = arm.shoulder, arm.elbow
    # No edge at the shoulder, where the sleeve and the rest of the garment are one.
    layers = [Layer(limb(mix(start, end, 0.35), end, 4.9 * wide, 4.4 * wide, 8), edge)]
    if not subject.sleeve:
        layers.append(Layer(limb(start, end, 4.4 * wide, 3.6 * wide, 8), subject.skin))
        end = mix(start, end, 0.66)
    layers.append(Layer(limb(start, end, 4.6 * wide, 3.9 * wide, 8), top))
    high, low = mix(start, end, 0.25) + (-1.2, -0.4), mix(start, end, 0.85) + (-1.1, -0.4)
    layers.append(Layer(limb(high, low, 2.2 * wide, 1.3 * wide), lit))
    return layers


def _forearm(arm: Arm, subject: Subject, shown: npt.NDArray[np.bool_]) -> list[Layer]:
    wide, thick = subject.girth, 0.45 if subject.sleeve else 0.0
    cloth = subject.top if subject.sleeve else subject.skin
    edge, lit = shade(cloth, 0.76), shade(cloth, 1.1 if subject.sleeve else 1.04)
    start, end = arm.elbow, arm.wrist
    r0, r1 = (3.6 + thick) * wide, (2.5 + thick) * wide
    layers = [
        Layer(limb(start, end, r0 + 0.5, r1 + 0.5, 8), edge, shown),
        Layer(limb(start, end, r0, r1, 8), cloth, shown),
        Layer(
            limb(mix(start, end, 0.1) + (-0.9, -0.9), mix(start, end, 0.85) + (-0.6, -0.6), 1.5, 0.9),
            lit,
            shown,
        ),
    ]
    if subject.sleeve:
        cuff = limb(mix(start, end, 0.93), mix(start, end, 1.0), r1 + 0.3, r1 + 0.3)
        layers.append(Layer(cuff, shade(subject.inner if subject.cut == "jacket" else cloth, 0.9), shown))
    return layers + _hand(arm, subject, shown)


def _hand(arm: Arm, subject: Subject, shown: npt.NDArray[np.bool_]) -> list[Layer]:
    skin, scale = subject.skin, subject.hand / 13.0
    edge, knuckles = shade(skin, 0.66), arm.knuckles
    heel = 2.3 * scale * np.stack([-arm.palm[:, 1], arm.palm[:, 0]], axis=1)
    # The outline goes round by way of the thumb's root, whichever side of the palm that is.
    thumb_side = np.sign(((knuckles[:, 0] - arm.wrist) * heel).sum(axis=1, keepdims=True))
    heel = heel * thumb_side
    palm = polygon(
        arm.wrist + heel,
        knuckles[:, 0],
        mix(knuckles[:, 1], arm.tips[:, 1], 0.1),
        mix(knuckles[:, 2], arm.tips[:, 2], 0.1),
        mix(knuckles[:, 4], arm.tips[:, 4], 0.1),
        arm.wrist - heel,
    )
    middle = palm.mean(axis=1, keepdims=True)
    layers = [
        Layer(middle + (palm - middle) * 1.2, edge, shown, convex=False),
    ]
    for k in (4, 3, 2, 1):
        root, tip = knuckles[:, k], arm.tips[:, k]
        layers.append(Layer(limb(root, tip, 1.75 * scale, 1.5 * scale), edge, shown))
        layers.append(Layer(limb(root, tip, 1.3 * scale, 1.05 * scale), skin, shown))
    layers.append(Layer(middle + (palm - middle) * 1.06, skin, shown, convex=False))
    layers.append(
        Layer(oval(middle[:, 0] + (-0.5, -0.5), 0.0, 1.7 * scale, 1.5 * scale, 8), shade(skin, 1.05), shown)
    )
    return layers + _thumb(arm, subject, shown)


def _thumb(arm: Arm, subject: Subject, shown: npt.NDArray[np.bool_]) -> list[Layer]:
    scale, root, tip = subject.hand / 13.0, arm.knuckles[:, 0], arm.tips[:, 0]
    return [
        Layer(limb(root, tip, 2.0 * scale, 1.65 * scale), shade(subject.skin, 0.7), shown),
        Layer(limb(root, tip, 1.6 * scale, 1.2 * scale), subject.skin, shown),
    ]


def _thing(motion: Motion, subject: Subject, thing: int) -> list[Layer]:
    """The thing in the acting hand, or in both hands where they are close together, below the thumbs."""
    acting = motion.arms[motion.acting]
    other = motion.arms[1 - motion.acting]
    grips = [arm.wrist + 7.0 * arm.palm for arm in (acting, other)]
    together = float(np.linalg.norm(grips[0] - grips[1], axis=1)[motion.thing].mean()) < 14.0
    centre = (grips[0] + grips[1]) / 2 if together else grips[0]
    # Held upright between two hands, along the palm in one.
    lean = 0.35 * (acting.palm[:, 1] - acting.palm[motion.thing, 1].mean())
    angle = lean - 0.15 if together else np.arctan2(acting.palm[:, 1], acting.palm[:, 0]) + np.pi / 2
    x_axis = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    y_axis = np.stack([-np.sin(angle), np.cos(angle)], axis=1)
    case, face = THINGS[thing]

    def card(half_width: float, half_height: float) -> Array:
        corners = ((-1, -1), (1, -1), (1, 1), (-1, 1))
        return polygon(*(centre + i * half_width * x_axis + j * half_height * y_axis for i, j in corners))

    shown = motion.thing
    layers = [Layer(card(4.3, 6.3), case, shown), Layer(card(3.5, 5.4), face, shown)]
    layers.append(Layer(card(1.6, 0.5), case, shown))
    for arm in motion.arms if together else (acting,):
        layers += _thumb(arm, subject, shown)
    return layers
