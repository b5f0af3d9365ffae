"""The head of the person of `mgkit.data.synthetic`: hair, face and what is worn, from back to front.

Parts are written for an upright head whose centre is the origin, and turned with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mgkit.data.synthetic_motion import Array, Motion
from mgkit.data.synthetic_people import Colour, Subject, blend, shade
from mgkit.data.synthetic_shapes import Layer, limb, oval, rounded

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
