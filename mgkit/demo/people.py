"""The drawn people: body, looks, habits, room and camera of each subject of the embedded dataset.

Lengths are in body units: one unit is a pixel of a frame 128 pixels high at zoom 1. The origin is the pit of the
neck, x points to the right of the picture and y down. A subject faces the camera, so their right hand is on the
left of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

Colour = tuple[int, int, int]

SKIN: tuple[Colour, ...] = (
    (236, 198, 172), (230, 186, 154), (218, 170, 136), (208, 154, 116), (176, 122, 88), (139, 92, 64), (106, 70, 50),
)  # fmt: skip
HAIR: tuple[Colour, ...] = (
    (32, 26, 26), (58, 40, 30), (92, 60, 38), (128, 84, 48), (196, 156, 96), (158, 78, 44), (150, 150, 152),
)  # fmt: skip
# Muted on purpose: only the thing in a hand is bright and saturated.
CLOTHES: tuple[Colour, ...] = (
    (54, 66, 92), (70, 92, 112), (98, 70, 84), (62, 88, 74), (116, 88, 66), (86, 86, 94), (46, 48, 56),
    (122, 116, 104), (88, 58, 58), (72, 76, 118), (134, 122, 128), (60, 100, 104),
)  # fmt: skip
WALLS: tuple[Colour, ...] = (
    (186, 192, 200), (206, 198, 184), (172, 188, 184), (188, 180, 196), (160, 174, 194), (200, 188, 186),
    (150, 158, 166),
)  # fmt: skip
TABLES: tuple[Colour, ...] = (
    (146, 112, 82), (112, 84, 64), (176, 150, 118), (92, 94, 100), (70, 72, 84), (132, 128, 126),
)  # fmt: skip
STYLES = ("short", "parted", "long", "bun", "cropped")
TOPS = ("shirt", "jacket", "crew", "hoodie")


@dataclass(frozen=True)
class Subject:
    """One made person with the room and the camera of their recording.

    Attributes:
        name: `"S01"`, `"S02"`, ...
        skin, hair, top, inner, trim: colours of the skin, the hair, the clothes, what shows under a jacket, a seam.
        style: hair style, one of `STYLES`.
        cut: clothes, one of `TOPS`.
        sleeve: long sleeves; else the forearms are bare.
        beard, glasses: worn or not.
        shoulder: half the shoulder width.
        upper_arm, forearm, hand: lengths; `hand` from the wrist to the tip of the middle finger.
        girth: thickness of limbs and torso as a factor.
        head: size of the head as a factor.
        neck: distance from the pit of the neck to the centre of the head.
        tempo: speed of everything the subject does, as a factor.
        liveliness: size of idle movements, as a factor.
        zoom: pixels a body unit in a frame 128 high.
        centre: place of the neck across the frame, as a fraction of its width.
        brightness, warmth: of the light, as factors (warmth scales red up and blue down).
        wall, table: colours of the room.
        decor: seed of the pattern on the wall.
    """

    name: str
    skin: Colour
    hair: Colour
    top: Colour
    inner: Colour
    trim: Colour
    style: str
    cut: str
    sleeve: bool
    beard: bool
    glasses: bool
    shoulder: float
    upper_arm: float
    forearm: float
    hand: float
    girth: float
    head: float
    neck: float
    tempo: float
    liveliness: float
    zoom: float
    centre: float
    brightness: float
    warmth: float
    wall: Colour
    table: Colour
    decor: int


def _pick(rng: np.random.Generator, colours: tuple[Colour, ...], spread: float = 8.0) -> Colour:
    """One colour of a palette, slightly changed so that no two subjects share it exactly."""
    red, green, blue = colours[int(rng.integers(len(colours)))] + rng.normal(0.0, spread, 3)
    return shade((red, green, blue), 1.0)


def shade(colour: tuple[float, float, float], factor: float) -> Colour:
    """A colour made darker (factor < 1) or lighter (> 1), as ints in 0 to 255."""
    red, green, blue = (round(min(255.0, max(0.0, channel * factor))) for channel in colour)
    return red, green, blue


def blend(first: Colour, second: Colour, share: float) -> Colour:
    """A colour between two, `share` (0 to 1) of the way from the first to the second."""
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return shade((red, green, blue), 1.0)


# About what a subject's measures, habits and recording vary; lengths are those of an average build.
_MIDDLE = {
    "shoulder": 21.3, "upper_arm": 30.6, "forearm": 28.1, "hand": 13.5, "girth": 1.02, "head": 1.01, "neck": 20.1,
    "tempo": 1.0, "liveliness": 1.0, "zoom": 1.235, "centre": 0.5, "brightness": 0.98, "warmth": 1.005,
}  # fmt: skip


def vary(subject: Subject, variety: float) -> Subject:
    """The same person, whose measures, tempo, camera and light differ `variety` times as much from the average."""
    if variety == 1.0:
        return subject
    changed = {key: middle + (getattr(subject, key) - middle) * variety for key, middle in _MIDDLE.items()}
    return replace(subject, **changed)


def make_subject(name: str, rng: np.random.Generator) -> Subject:
    """Draw one person, their room and their camera."""
    skin = _pick(rng, SKIN, 5.0)
    dark = sum(skin) < 480
    hair = _pick(rng, HAIR[:3] if dark else HAIR, 4.0)
    top = _pick(rng, CLOTHES)
    cut = TOPS[int(rng.integers(len(TOPS)))]
    style = STYLES[int(rng.integers(len(STYLES)))]
    size = float(rng.uniform(0.94, 1.07))
    return Subject(
        name=name,
        skin=skin,
        hair=hair,
        top=top,
        inner=blend(_pick(rng, WALLS), (236, 236, 236), 0.5),
        trim=shade(_pick(rng, CLOTHES), 1.25),
        style=style,
        cut=cut,
        sleeve=cut in ("jacket", "hoodie") or bool(rng.random() < 0.4),
        beard=style in ("short", "cropped", "parted") and bool(rng.random() < 0.35),
        glasses=bool(rng.random() < 0.25),
        shoulder=float(rng.uniform(19.5, 23.0)) * size,
        upper_arm=float(rng.uniform(29.0, 32.0)) * size,
        forearm=float(rng.uniform(26.5, 29.5)) * size,
        hand=float(rng.uniform(12.6, 14.2)) * size,
        girth=float(rng.uniform(0.92, 1.12)),
        head=float(rng.uniform(0.96, 1.06)),
        neck=float(rng.uniform(19.3, 20.8)) * size,
        tempo=float(rng.uniform(0.94, 1.06)),
        liveliness=float(rng.uniform(0.7, 1.3)),
        zoom=float(rng.uniform(1.16, 1.31)),
        centre=float(rng.uniform(0.39, 0.61)),
        brightness=float(rng.uniform(0.9, 1.06)),
        warmth=float(rng.uniform(0.95, 1.06)),
        wall=_pick(rng, WALLS),
        table=_pick(rng, TABLES),
        decor=int(rng.integers(2**31)),
    )
