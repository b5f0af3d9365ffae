"""How a made clip of `mgkit.data.synthetic` looks: a person at a table in a room, drawn with OpenCV.

All shapes of a clip are laid out at once as polygons over time, from back to front, and then filled frame by frame
at twice the size, which averages to soft edges. Occlusion is the order of the layers: an arm that passes behind the
body is in the list a second time, before the torso.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgkit.data.synthetic_motion import Arm, Array, Motion
from mgkit.data.synthetic_people import Colour, Subject, blend, shade

Frames = npt.NDArray[np.uint8]

ASPECT = 1.25  # width of a frame over its height
TABLE = 44.0  # y of the table's edge in body units
_OVER = 2  # supersampling
_SHIFT = 4  # fractional bits of OpenCV's coordinates


@dataclass(frozen=True)
class Camera:
    """Pixels = centre + zoom x body units; for frames of (height, width)."""

    height: int
    width: int
    zoom: float
    centre: tuple[float, float]
    brightness: float
    warmth: float

    def project(self, points: Array) -> Array:
        """Body units to continuous pixels, (..., 2)."""
        return points * self.zoom + np.array(self.centre)


def make_camera(subject: Subject, size: int, rng: np.random.Generator) -> Camera:
    """The subject's camera with the small changes from clip to clip; frames are `size` high and a quarter wider."""
    scale = size / 128.0
    zoom = subject.zoom * float(rng.uniform(0.98, 1.02))
    shift, lift, bright, warm = rng.uniform(-1.0, 1.0, 4)
    width = 2 * round(size * ASPECT / 2)
    centre = (subject.centre * width + 4.0 * scale * shift, (113.0 - TABLE * zoom + 1.5 * lift) * scale)
    return Camera(
        size, width, zoom * scale, centre, subject.brightness + 0.04 * bright, subject.warmth + 0.015 * warm
    )


@dataclass(frozen=True)
class Layer:
    """One filled polygon over time: points (T, n, 2) in body units, its colour and the frames that show it."""

    points: Array
    colour: Colour
    shown: npt.NDArray[np.bool_] | None = None  # (T,), None = always
    convex: bool = True


def render(motion: Motion, subject: Subject, camera: Camera, rng: np.random.Generator) -> Frames:
    """Draw a clip.

    Args:
        motion: T frames of movement.
        subject: the person and room.
        camera: how they are filmed.
        rng: draws the thing in the hand and the sensor's noise.

    Returns:
        (T, H, W, 3) uint8 RGB frames.
    """
    import cv2

    body = _compile(_body(motion, subject), camera)
    things, colours = _things(motion, rng)
    front = _compile([*_arms(motion, subject, behind=False), *things], camera)
    room, table_row = _room(subject, camera)
    light, noise = _light(camera, subject), _noise(camera)
    starts = rng.integers(0, 16, (len(motion), 2))
    out = np.empty((len(motion), camera.height, camera.width, 3), dtype=np.uint8)
    for t in range(len(motion)):
        picture = room.copy()
        _fill(picture, body, t)
        picture[table_row:] = room[table_row:]
        _fill(picture, front, t)
        small = cv2.resize(picture, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
        lit = cv2.multiply(small, light, scale=1.5 / 255.0)
        row, column = starts[t]
        grain = noise[row : row + camera.height, column : column + camera.width]
        out[t] = cv2.subtract(cv2.add(lit, grain), np.full_like(grain, _NOISE_ZERO))
    del colours
    return out


# --- the person -----------------------------------------------------------------------------------------------------


def _body(motion: Motion, subject: Subject) -> list[Layer]:
    """All that stands behind the table, from back to front."""
    layers = _hair_behind(motion, subject)
    layers += _arms(motion, subject, behind=True)
    layers += _torso(motion, subject)
    layers += _head(motion, subject)
    return layers


def _torso(motion: Motion, subject: Subject) -> list[Layer]:
    frames, neck = len(motion), motion.neck
    right, left = motion.arms[0].shoulder, motion.arms[1].shoulder
    wide = subject.girth
    cap, chest, waist = 4.2 * wide, 17.5 * wide * subject.shoulder / 21, 16.0 * wide * subject.shoulder / 21
    outline = _closed(
        neck + (-5.2, -4.5),
        right + (2.0, -cap),
        right + (-cap, 0.5),
        neck * 0.7 + (-chest - 1.5, 22.0),
        neck * 0.3 + (-waist, 50.0),
        neck * 0.3 + (waist, 50.0),
        neck * 0.7 + (chest + 1.5, 22.0),
        left + (cap, 0.5),
        left + (-2.0, -cap),
        neck + (5.2, -4.5),
    )
    dark = shade(subject.top, 0.82)
    layers = [
        Layer(_rounded(outline), subject.top, convex=False),
        # The far side lies in shadow, and a fold runs down from each arm-pit.
        Layer(
            _closed(
                left + (cap, 0.5), left + (-1.0, 2.0), neck * 0.7 + (chest - 5.0, 24.0),
                neck * 0.3 + (waist - 6.0, 50.0), neck * 0.3 + (waist, 50.0), neck * 0.7 + (chest + 1.5, 22.0),
            ),
            dark,
            convex=False,
        ),
        Layer(_limb(neck + (-chest + 2, 13.0), neck + (-chest + 6, 25.0), 0.7, 0.2), dark),
    ]  # fmt: skip
    base = neck + (0.0, -3.5)
    throat = motion.head + (0.0, 6.0)
    neck_skin = shade(subject.skin, 0.88)
    collar_y = {"shirt": 3.0, "jacket": 6.0, "crew": 1.5, "hoodie": 2.0}[subject.cut]
    if subject.cut == "jacket":
        layers += [
            Layer(_closed(neck + (-6.0, -4.0), neck + (6.0, -4.0), neck + (0.6, 27.0), neck + (-0.6, 27.0)), subject.inner),
            Layer(_closed(neck + (-1.3, 3.5), neck + (1.3, 3.5), neck + (2.0, 22.0), neck + (0.0, 25.0), neck + (-2.0, 22.0)), subject.trim),
        ]
    layers += [
        Layer(_limb(base + (0.0, 4.0), throat, 5.6 * wide, 5.0 * wide), neck_skin),
        Layer(_closed(base + (-5.8 * wide, 2.0), base + (5.8 * wide, 2.0), base + (0.0, 3.0 + collar_y)), neck_skin),
        # The chin throws a shadow on the neck.
        Layer(_oval(throat + (0.6, 4.0), np.zeros(frames), 5.0 * wide, 2.6), shade(subject.skin, 0.76)),
    ]
    light = shade(subject.top, 1.18)
    if subject.cut == "jacket":
        for side in (-1.0, 1.0):
            layers.append(
                Layer(
                    _closed(
                        neck + (side * 6.6, -5.0), neck + (side * 5.0, -3.0), neck + (0.0, 27.0),
                        neck + (side * 3.5, 24.0), neck + (side * 9.5, 8.0),
                    ),
                    light,
                    convex=False,
                )
            )  # fmt: skip
    elif subject.cut == "shirt":
        for side in (-1.0, 1.0):
            layers.append(
                Layer(
                    _closed(neck + (side * 6.4, -5.5), neck + (side * 0.4, 3.2), neck + (side * 3.6, 6.4), neck + (side * 8.0, -1.0)),
                    light,
                )
            )
        layers.append(Layer(_limb(neck + (0.0, 4.0), neck * 0.5 + (0.0, 46.0), 0.45, 0.45), dark))
        layers += [Layer(_oval(neck * 0.8 + (0.0, y), np.zeros(frames), 0.7, 0.7), light) for y in (11.0, 20.0, 29.0, 38.0)]
    elif subject.cut == "crew":
        curve = [neck + (x, 2.4 - 0.16 * x * x) for x in (-6.6, -4.4, -2.2, 0.0, 2.2, 4.4, 6.6)]
        layers += [Layer(_limb(a, b, 0.9, 0.9), subject.trim) for a, b in zip(curve, curve[1:], strict=False)]
    else:
        for side in (-1.0, 1.0):
            layers.append(
                Layer(_closed(neck + (side * 5.0, -8.0), neck + (side * 10.0, -3.0), neck + (side * 4.0, 7.0), neck + (0.0, 4.5)), light)
            )
            layers.append(Layer(_limb(neck + (side * 2.2, 5.0), neck + (side * 2.6, 15.0), 0.5, 0.5), subject.inner))
        layers.append(Layer(_limb(neck + (0.0, 6.0), neck * 0.5 + (0.0, 46.0), 0.4, 0.4), dark))
    return layers


def _hair_behind(motion: Motion, subject: Subject) -> list[Layer]:
    """Hair that hangs or is tied behind the neck."""
    place = _on_head(motion, subject)
    if subject.style == "long":
        dark = shade(subject.hair, 0.8)
        outline = [(-10.4, -6), (-11.4, 4), (-11.6, 13), (-8, 19), (0, 20), (8, 19), (11.6, 13), (11.4, 4), (10.4, -6), (0, -13)]
        return [Layer(_rounded(place(outline)), dark, convex=False)]
    if subject.style == "bun":
        return [Layer(_oval(place([(1.5, -14.5)])[:, 0], motion.tilt, 5.0, 4.4), shade(subject.hair, 0.85))]
    return []


def _head(motion: Motion, subject: Subject) -> list[Layer]:
    frames, place, skin, hair = len(motion), _on_head(motion, subject), subject.skin, subject.hair
    size = subject.head

    def oval(x: float, y: float, rx: float, ry: float, colour: Colour) -> Layer:
        return Layer(_oval(place([(x, y)])[:, 0], motion.tilt, rx * size, ry * size), colour)

    def shape(points: list[tuple[float, float]], colour: Colour, convex: bool = False) -> Layer:
        return Layer(_rounded(place(points)), colour, convex=convex)

    layers = []
    for side in (-1.0, 1.0):
        layers += [oval(side * 9.5, 0.8, 1.9, 3.0, shade(skin, 0.9)), oval(side * 9.6, 0.9, 0.9, 1.8, shade(skin, 0.74))]
    face = [(-9.3, -5), (-9.4, 2), (-7.8, 7.6), (-3.8, 12.0), (0, 12.9), (3.8, 12.0), (7.8, 7.6), (9.4, 2), (9.3, -5), (5.5, -11.5), (-5.5, -11.5)]
    layers.append(shape(face, skin))
    # Light falls from the upper left: one cheek in shadow, the other lit.
    layers.append(shape([(4.5, -8), (9.1, -4), (9.2, 2), (7.6, 7.4), (3.8, 11.8), (6.6, 4), (6.8, -3)], shade(skin, 0.9)))
    layers.append(oval(-3.6, 3.6, 3.2, 2.6, shade(skin, 1.06)))
    layers.append(oval(-1.5, -7.0, 4.6, 2.2, shade(skin, 1.05)))
    if subject.beard:
        layers.append(
            shape(
                [(-9.3, 0), (-8.0, 7.6), (-3.9, 12.3), (0, 13.3), (3.9, 12.3), (8.0, 7.6), (9.3, 0), (7.4, 4.2), (4, 5.6), (0, 4.9), (-4, 5.6), (-7.4, 4.2)],
                blend(skin, hair, 0.62),
            )
        )
    lips = blend(shade(skin, 0.8), (176, 82, 82), 0.45)
    layers += [oval(0.0, 7.4, 3.1, 1.0, lips), oval(0.0, 7.15, 3.0, 0.35, shade(lips, 0.62))]
    layers += [oval(0.9, 2.0, 1.3, 3.0, shade(skin, 0.93)), oval(0.4, 3.9, 1.9, 0.95, shade(skin, 0.84)), oval(-0.3, 2.9, 0.8, 0.9, shade(skin, 1.08))]
    shut = motion.eyes
    for side in (-1.0, 1.0):
        layers.append(oval(side * 3.8, -1.9, 2.3, 1.7, shade(skin, 0.86)))
        centre = place([(side * 3.7, -1.8)])[:, 0]
        layers.append(Layer(_oval(centre, motion.tilt, 1.75 * size, 1.05 * size * shut), (244, 242, 238)))
        layers.append(Layer(_oval(centre + motion.gaze * (0.45, 0.15), motion.tilt, 0.95 * size, 0.98 * size * shut), blend(hair, (50, 40, 40), 0.6)))
        lid = shade(skin, 0.55)
        layers.append(shape([(side * 2.0, -2.6), (side * 3.7, -3.1), (side * 5.5, -2.4), (side * 3.7, -2.5)], lid))
        brow = blend(hair, (60, 46, 40), 0.3)
        layers.append(shape([(side * 1.8, -4.8), (side * 4.0, -5.6), (side * 5.9, -4.6), (side * 4.0, -4.7)], brow))
    if subject.glasses:
        frame = (44, 42, 48)
        for side in (-1.0, 1.0):
            ring = place([(side * 3.8 + 2.9 * np.cos(a), -1.7 + 2.3 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 13)])
            layers += [Layer(_limb(ring[:, k], ring[:, k + 1], 0.28, 0.28), frame) for k in range(12)]
            ends = place([(side * 6.7, -2.0), (side * 9.3, -0.6)])
            layers.append(Layer(_limb(ends[:, 0], ends[:, 1], 0.3, 0.3), frame))
        bridge = place([(-0.9, -1.9), (0.9, -1.9)])
        layers.append(Layer(_limb(bridge[:, 0], bridge[:, 1], 0.3, 0.3), frame))
    layers += _hair_front(subject, shape)
    del frames
    return layers


def _hair_front(subject: Subject, shape: object) -> list[Layer]:
    assert callable(shape)
    hair, lit = subject.hair, shade(subject.hair, 1.3)
    fringes: dict[str, list[tuple[float, float]]] = {
        "short": [(-9.9, 0), (-10.4, -7), (-7, -13.2), (0, -15.2), (7, -13.2), (10.4, -7), (9.9, 0), (8.8, -5), (5.5, -8.4), (-2, -8.8), (-6.5, -7.6), (-8.8, -4)],
        "parted": [(-10, 1), (-10.6, -7), (-6.5, -13.8), (1, -15.4), (7.5, -13), (10.6, -7), (10, 1), (9, -4), (6, -7), (-3.4, -11.2), (-7, -7.4), (-8.9, -3)],
        "long": [(-11, 12), (-11.4, -4), (-8, -13), (0, -15.4), (8, -13), (11.4, -4), (11, 12), (8.8, 3), (8.6, -4), (5, -8.6), (-1, -11.6), (-5, -8.6), (-8.6, -4), (-8.8, 3)],
        "bun": [(-9.7, -1), (-10.2, -7), (-6.6, -13), (0, -14.6), (6.6, -13), (10.2, -7), (9.7, -1), (8.6, -6), (5, -9.6), (0, -10.4), (-5, -9.6), (-8.6, -6)],
        "cropped": [(-9.5, -3), (-9.9, -7.5), (-6.4, -12.6), (0, -14.0), (6.4, -12.6), (9.9, -7.5), (9.5, -3), (8.4, -7), (5, -9.4), (0, -10), (-5, -9.4), (-8.4, -7)],
    }  # fmt: skip
    shine = [(-7.6, -8.6), (-5.4, -12.4), (-0.6, -13.8), (-2, -12.6), (-5.6, -9.6)]
    return [shape(fringes[subject.style], hair), shape([(float(x), float(y)) for x, y in shine], lit)]


def _on_head(motion: Motion, subject: Subject):  # type: ignore[no-untyped-def]
    """A function from points of the upright head to (T, n, 2) of the moving one."""
    cos, sin = np.cos(motion.tilt)[:, None], np.sin(motion.tilt)[:, None]

    def place(points: list[tuple[float, float]]) -> Array:
        x, y = np.asarray(points, dtype=np.float64).T * subject.head
        return motion.head[:, None] + np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)

    return place


def _arms(motion: Motion, subject: Subject, behind: bool) -> list[Layer]:
    """Both arms: upper arms, forearms, hands. In frames where an arm is behind the body only its far half is."""
    layers: list[Layer] = []
    return layers


def _things(motion: Motion, rng: np.random.Generator):  # type: ignore[no-untyped-def]
    return [], None
