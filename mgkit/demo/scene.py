"""Pictures of the embedded dataset: a person at a table in a room, filmed by a camera.

The polygons of `mgkit.demo.figure` are filled frame by frame with OpenCV at twice the size, which averages
to soft edges, then lit and given a sensor's noise. Occlusion is just the order of the polygons.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgkit.demo.figure import THINGS, Layer, before_table, behind_table
from mgkit.demo.motion import Array, Motion
from mgkit.demo.people import Colour, Subject, blend, shade

Frames = npt.NDArray[np.uint8]

ASPECT = 1.25  # width of a frame over its height, unless asked for otherwise
TABLE = 44.0  # y of the table's far edge, body units
_OVER = 2  # supersampling
_SHIFT = 4  # fractional bits of OpenCV's coordinates
_BRIGHTEST = 1.5  # light is stored as bytes: 255 is this factor
_GRAIN_ZERO = 8  # noise is stored as bytes: this is none
_GRAIN_SLACK = 16  # the noise tile is larger than a frame by this and shifts from frame to frame


@dataclass(frozen=True)
class Camera:
    """Pixels = centre + zoom x body units, in frames of (height, width)."""

    height: int
    width: int
    zoom: float
    centre: tuple[float, float]
    brightness: float
    warmth: float

    def project(self, points: Array) -> Array:
        """Body units (..., 2) to continuous pixels (..., 2)."""
        return points * self.zoom + np.array(self.centre)


def make_camera(subject: Subject, size: int, rng: np.random.Generator, aspect: float = ASPECT) -> Camera:
    """The subject's camera with small changes from clip to clip; frames are `size` high and `aspect` times as wide."""
    scale = size / 128.0
    width = 2 * round(size * aspect / 2)
    zoom = subject.zoom * float(rng.uniform(0.98, 1.02))
    shift, lift, bright, warm = (float(value) for value in rng.uniform(-1.0, 1.0, 4))
    return Camera(
        height=size,
        width=width,
        zoom=zoom * scale,
        centre=(subject.centre * width + 4.0 * scale * shift, (115.0 - TABLE * zoom + 1.5 * lift) * scale),
        brightness=subject.brightness + 0.04 * bright,
        warmth=subject.warmth + 0.015 * warm,
    )


def render(motion: Motion, subject: Subject, camera: Camera, rng: np.random.Generator) -> Frames:
    """Draw a clip.

    Args:
        motion: T frames of movement.
        subject: the person and their room.
        camera: how they are filmed.
        rng: draws the thing in the hand and the sensor's noise.

    Returns:
        (T, H, W, 3) uint8 RGB frames.
    """
    import cv2

    thing = int(rng.integers(len(THINGS)))
    starts = rng.integers(0, _GRAIN_SLACK, (len(motion), 2))
    far = _compile(behind_table(motion, subject), camera)
    near = _compile(before_table(motion, subject, TABLE, thing), camera)
    room, table_row = _room(subject, camera)
    light, grain = _light(camera), _grain(subject, camera)
    no_grain = np.full_like(light, _GRAIN_ZERO)
    out = np.empty((len(motion), camera.height, camera.width, 3), dtype=np.uint8)
    for t, (row, column) in enumerate(starts):
        picture = room.copy()
        _fill(picture, far, t)
        picture[table_row:] = room[table_row:]
        _fill(picture, near, t)
        small = cv2.resize(picture, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
        lit = cv2.multiply(small, light, scale=_BRIGHTEST / 255.0)
        noise = grain[row : row + camera.height, column : column + camera.width]
        out[t] = cv2.subtract(cv2.add(lit, noise), no_grain)
    return out


@dataclass(frozen=True)
class _Drawing:
    points: npt.NDArray[np.int32]  # (T, n, 2) in OpenCV's fixed-point coordinates
    colour: tuple[int, int, int]
    shown: npt.NDArray[np.bool_] | None
    convex: bool


def _compile(layers: list[Layer], camera: Camera) -> list[_Drawing]:
    """Polygons in the fixed-point pixels of the supersampled picture."""
    drawings = []
    for layer in layers:
        # OpenCV puts whole numbers on the centres of pixels, mgkit on their edges.
        pixels = camera.project(layer.points) * _OVER - 0.5
        points = np.round(pixels * (1 << _SHIFT)).astype(np.int32)
        drawings.append(_Drawing(points, layer.colour, layer.shown, layer.convex))
    return drawings


def _fill(picture: Frames, drawings: list[_Drawing], t: int) -> None:
    import cv2

    for drawing in drawings:
        if drawing.shown is not None and not drawing.shown[t]:
            continue
        if drawing.convex:
            cv2.fillConvexPoly(picture, drawing.points[t], drawing.colour, cv2.LINE_AA, _SHIFT)
        else:
            cv2.fillPoly(picture, [drawing.points[t]], drawing.colour, cv2.LINE_AA, _SHIFT)


def _room(subject: Subject, camera: Camera) -> tuple[Frames, int]:
    """The empty room at twice the size, and the first row of the table in it."""
    import cv2

    height, width = camera.height * _OVER, camera.width * _OVER
    unit = camera.height * _OVER / 128.0
    rng = np.random.default_rng(subject.decor)
    down = np.linspace(1.06, 0.9, height)[:, None, None]
    across = np.linspace(1.04, 0.93, width)[None, :, None]
    room = np.clip(down * across * np.array(subject.wall), 0, 255).astype(np.uint8)
    # A pattern fills a frame of the usual width, or one that is wider.
    _decorate(room, subject, unit, max(128 * ASPECT, width / unit), rng)
    room = cv2.GaussianBlur(room, (0, 0), 1.6 * unit)  # out of focus
    edge = round(float(camera.project(np.array([0.0, TABLE]))[1]) * _OVER)
    rows = np.arange(height - edge)[:, None, None] / max(1, height - edge)
    grain = 1.0 + 0.03 * np.sin(
        np.arange(width) / (7.0 * unit) + 1.5 * np.sin(np.arange(width) / (31.0 * unit))
    )
    room[edge:] = np.clip((1.08 - 0.22 * rows) * grain[None, :, None] * np.array(subject.table), 0, 255)
    lip = max(1, round(1.2 * unit))
    room[edge : edge + lip] = shade(subject.table, 1.28)
    return room, edge


def _decorate(wall: Frames, subject: Subject, unit: float, wide: float, rng: np.random.Generator) -> None:
    """Draw one of four kinds of wall, `wide` units across; a unit is a pixel of a frame 128 high."""
    import cv2

    tint = blend(subject.wall, shade(subject.trim, 1.1), 0.35)

    def box(x: float, y: float, w: float, h: float, colour: Colour) -> None:
        first, last = [(round(a * unit), round(b * unit)) for a, b in ((x, y), (x + w, y + h))]
        cv2.rectangle(wall, first, last, colour, -1)

    def press_wall() -> None:
        for row in range(5):
            for column in range(int(wide) // 24 + 1):
                x, y = 4.0 + column * 24 + 12 * (row % 2), 6.0 + row * 24
                box(x, y, 13, 7, tint if (row + column) % 2 else shade(subject.wall, 1.1))
                box(x + 2, y + 2.5, 9, 2, subject.wall)

    def window() -> None:
        x, bars = float(rng.uniform(8, 110)), shade(subject.wall, 0.88)
        box(x - 2, 4, 44, 70, bars)
        box(x, 6, 40, 66, (206, 222, 234))
        box(x + 19, 6, 2, 66, bars)
        box(x, 40, 40, 2, bars)

    def shelves() -> None:
        for y in (28.0, 62.0, 96.0):
            x = 0.0
            while x < wide:
                w, h, tone = (float(value) for value in rng.uniform((3, 14, 0.6), (7, 24, 1.2)))
                if rng.random() < 0.8:
                    box(x, y - h, w, h, blend(subject.wall, shade((130, 110, 100), tone), 0.55))
                x += w + 0.6
            box(0, y, wide, 2.4, shade(subject.wall, 0.72))

    def panels() -> None:
        for column in range(int(wide) // 32):
            box(32.0 * column, 0, 0.8, 128, shade(subject.wall, 0.88))
        x, y = (float(value) for value in rng.uniform((6, 8), (120, 26)))
        box(x, y, 30, 24, shade(subject.trim, 0.7))
        box(x + 2, y + 2, 26, 20, tint)
        box(x + 2, y + 14, 26, 8, shade(tint, 0.8))

    (press_wall, window, shelves, panels)[int(rng.integers(4))]()


def _light(camera: Camera) -> Frames:
    """(H, W, 3) of light: brighter at the upper left, darker in the corners, warmer or colder."""
    y = np.linspace(-1.0, 1.0, camera.height)[:, None]
    x = np.linspace(-1.0, 1.0, camera.width)[None, :]
    light = camera.brightness * (1.0 - 0.05 * x - 0.04 * y - 0.09 * (x * x + y * y))
    colour = np.array([camera.warmth, 1.0, 2.0 - camera.warmth])
    return np.clip(np.round(light[:, :, None] * colour * 255.0 / _BRIGHTEST), 0, 255).astype(np.uint8)


def _grain(subject: Subject, camera: Camera) -> Frames:
    """A tile of sensor noise, larger than a frame."""
    rng = np.random.default_rng(subject.decor)
    noise = rng.normal(0.0, 1.6, (camera.height + _GRAIN_SLACK, camera.width + _GRAIN_SLACK, 3))
    return np.clip(np.round(noise) + _GRAIN_ZERO, 0, 2 * _GRAIN_ZERO).astype(np.uint8)
