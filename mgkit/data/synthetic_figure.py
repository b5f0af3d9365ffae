"""The person of `mgkit.data.synthetic` as filled shapes over time, from back to front, in body units."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mgkit.data.synthetic_head import hair_behind, head_and_hair
from mgkit.data.synthetic_motion import Arm, Array, Motion
from mgkit.data.synthetic_people import Colour, Subject, shade
from mgkit.data.synthetic_shapes import Layer, limb, mix, oval, polygon, rounded

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
    """What a hand near the table throws on it."""
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
    """What the acting hand holds, or both hands where they are close together; the thumbs lie over it."""
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
