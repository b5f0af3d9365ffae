"""The table of gestures of the embedded dataset, and the places and postures in it.

A new class is a row in one of the tables at the end and, where none fits, a row in `PLACES` or `POSTURES`. Independent
properties make a gesture:

- place: where a hand goes, with its hand shape and elbow; "table" = the hands rest;
- posture: what head, shoulders, torso and legs do meanwhile; "" = nothing;
- dynamics: "fast" (3 to 4 Hz), "slow" (0.5 to 0.9 Hz) or "free" (large wandering movement);
- behind: the hand passes behind the body or the head instead of in front: same joints, other picture;
- thing: there is something in the hand: same joints, other picture;
- look: what else shows and moves no joint: a hat, glasses, puffed cheeks, pressed lips.

Names of the 32 classes of iMiGUE, the 17 of SMG and the 52 of MA-52 are rows. A gesture that a seated
upper body cannot show is replaced by the nearest one that it can. Legs are the least true: they are under the table, so
that a gesture of the legs shows in the joints of layouts that have legs, and in pictures only as the torso moving along
with it; a hand on a leg is a hand that disappears below the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from mgkit.errors import MgkitError, some

Vector = tuple[float, float]


@dataclass(frozen=True)
class Gesture:
    """One class: see the module docstring for what its properties mean."""

    name: str
    group: str
    place: str
    dynamics: str
    behind: bool = False
    thing: bool = False
    look: str = ""
    posture: str = ""


@dataclass(frozen=True)
class Place:
    """Target of a right hand (body units, x < 0 is the subject's right); a left hand is its mirror image.

    Attributes:
        wrist: target of the wrist.
        fingers: direction in which the fingers point.
        elbow: where the elbow would like to be.
        via: a point that bends the path of the wrist from the table to its target.
        curl: 0 = fingers straight, 1 = fist.
        on_head: the target follows the head, else the torso.
        both: both hands go there.
        hidden: how often an estimator loses the finger tips there, as a factor.
    """

    wrist: Vector
    fingers: Vector
    elbow: Vector
    via: Vector
    curl: float
    on_head: bool = False
    both: bool = False
    hidden: float = 1.0


@dataclass(frozen=True)
class Posture:
    """Movement of the body during a gesture, in body units and radians.

    Sideways movements go to the side of the acting hand.

    Attributes:
        neck: shift of the pit of the neck, which takes torso, shoulders and head along.
        head: shift of the head against the neck.
        turn: shift of the features of the face within the head: x = the head turns aside, y < 0 = it tips back.
        tilt: of the head.
        shoulders: shift down of both shoulders, negative = up.
        knees, feet: shift of each knee and foot away from the middle, and down.
        hold, swing: of all this, how much is held and how much swings to each side of that with the dynamics.
    """

    neck: Vector = (0.0, 0.0)
    head: Vector = (0.0, 0.0)
    turn: Vector = (0.0, 0.0)
    tilt: float = 0.0
    shoulders: float = 0.0
    knees: Vector = (0.0, 0.0)
    feet: Vector = (0.0, 0.0)
    hold: float = 0.6
    swing: float = 0.4


PLACES: dict[str, Place] = {
    "table": Place((-14.0, 46.0), (0.8, 0.25), (-28.0, 33.0), (-14.0, 46.0), 0.25),
    "chin": Place((-8.5, 4.0), (6.0, -12.0), (-27.0, 28.0), (-20.0, 24.0), 0.3, on_head=True, hidden=1.5),
    "mouth": Place((-11.5, 0.5), (9.0, -8.0), (-29.0, 25.0), (-22.0, 22.0), 0.1, on_head=True, hidden=1.5),
    "cheek": Place((-15.0, -4.0), (6.5, -11.0), (-32.0, 22.0), (-26.0, 20.0), 0.2, on_head=True, hidden=1.5),
    "nose": Place((-11.0, -5.0), (8.5, -9.5), (-30.0, 20.0), (-24.0, 18.0), 0.45, on_head=True, hidden=1.5),
    "eye": Place((-13.5, -12.0), (8.0, -10.5), (-33.0, 15.0), (-26.0, 14.0), 0.35, on_head=True, hidden=1.5),
    "forehead": Place((-15.0, -21.0), (9.5, -8.5), (-35.0, 9.0), (-30.0, 8.0), 0.1, on_head=True, hidden=1.5),
    "ear": Place((-11.8, -14.5), (6.0, -11.0), (-38.0, 13.0), (-34.0, 16.0), 0.2, on_head=True, hidden=1.5),
    "nape": Place((-17.0, -6.0), (11.0, -3.0), (-39.0, 6.0), (-37.0, 14.0), 0.1, on_head=True, hidden=2.5),
    "face": Place((-6.5, -4.5), (1.5, -12.0), (-21.0, 26.0), (-16.0, 22.0), 0.05, on_head=True, both=True, hidden=2.0),
    "neck": Place((-17.5, 5.0), (12.5, -7.0), (-38.0, 13.0), (-37.0, 20.0), 0.15, hidden=2.5),
    "shoulder": Place((7.0, 12.0), (10.0, -5.0), (-18.0, 30.0), (-10.0, 30.0), 0.2, hidden=1.5),
    "throat": Place((-9.5, 9.5), (9.0, -7.0), (-29.0, 28.0), (-20.0, 26.0), 0.35, hidden=1.5),
    "chest": Place((-11.5, 20.0), (9.5, -4.0), (-31.0, 29.0), (-18.0, 32.0), 0.25, hidden=1.5),
    "forearm": Place((8.0, 38.0), (9.0, 2.0), (-21.0, 36.0), (-4.0, 38.0), 0.3, hidden=1.5),
    "folded": Place((9.0, 29.0), (9.0, -1.5), (-27.0, 33.0), (-6.0, 38.0), 0.2, both=True, hidden=2.0),
    "hips": Place((-15.5, 34.0), (10.0, 3.0), (-43.0, 24.0), (-26.0, 40.0), 0.3, both=True, hidden=1.5),
    "front": Place((-9.5, 34.0), (8.5, -3.5), (-29.0, 31.0), (-12.0, 40.0), 0.3, both=True, hidden=1.5),
    "steeple": Place((-6.5, 33.0), (2.5, -12.0), (-29.0, 33.0), (-11.0, 38.0), 0.0, both=True, hidden=1.2),
    "fist": Place((-19.0, 35.0), (5.0, -9.0), (-31.0, 33.0), (-17.0, 40.0), 0.9),
    "tapping": Place((-11.0, 47.0), (8.0, 4.5), (-28.0, 35.0), (-12.0, 44.0), 0.1),
    "stretched": Place((-33.0, 45.0), (-6.0, 3.0), (-31.0, 25.0), (-24.0, 44.0), 0.05, both=True),
    "drawn in": Place((-23.0, 41.0), (9.0, 0.0), (-36.0, 26.0), (-20.0, 44.0), 0.4, both=True),
    "spread": Place((-34.0, 31.0), (-11.0, -3.0), (-30.0, 27.0), (-26.0, 38.0), 0.0, both=True),
    "raised": Place((-31.0, 1.0), (-1.5, -12.0), (-33.0, 27.0), (-30.0, 24.0), 0.05),
    "lap": Place((-13.0, 54.0), (5.0, 10.0), (-29.0, 31.0), (-20.0, 46.0), 0.2, hidden=2.5),
    "knee": Place((-18.0, 60.0), (3.0, 10.0), (-28.0, 34.0), (-24.0, 48.0), 0.2, both=True, hidden=2.5),
    "air": Place((-17.0, 24.0), (-1.0, -8.0), (-31.0, 28.0), (-20.0, 34.0), 0.2),
}  # fmt: skip

POSTURES: dict[str, Posture] = {
    "": Posture(),
    "shrug": Posture(shoulders=-6.0, head=(0.0, 4.0)),
    "rise": Posture(neck=(0.0, -4.5), shoulders=-1.0),
    "stand up": Posture(neck=(0.0, -15.0), head=(1.0, 0.0)),
    "sway": Posture(neck=(9.0, 1.0), tilt=0.08, hold=0.0, swing=0.8),
    "turn away": Posture(neck=(5.0, 0.5), head=(3.0, 0.0), turn=(3.0, 0.0)),
    "lean": Posture(neck=(2.0, 7.0), head=(0.0, 3.0), turn=(0.0, 2.5)),
    "tip back": Posture(head=(0.0, -1.5), turn=(0.0, -3.6)),
    "bow": Posture(head=(0.0, 3.5), turn=(0.0, 3.0)),
    "look aside": Posture(head=(1.6, 0.0), turn=(2.8, 0.0)),
    "tilt": Posture(head=(4.0, 0.8), tilt=0.3),
    "jiggle": Posture(neck=(0.0, 1.0), knees=(0.5, -3.0), feet=(0.0, -1.0), hold=0.5, swing=0.5),
    "curl legs": Posture(neck=(0.6, 0.6), knees=(-1.0, -3.0), feet=(0.0, -9.0)),
    "part knees": Posture(neck=(0.0, 0.8), knees=(9.0, 0.0), feet=(7.0, 0.0)),
    "close knees": Posture(neck=(0.0, -0.8), knees=(-8.0, 0.0), feet=(-7.0, 0.0)),
    "cross legs": Posture(neck=(3.0, 1.0), tilt=0.04, knees=(-13.0, -4.0), feet=(-16.0, -6.0)),
    "feet forward": Posture(neck=(0.0, 1.4), feet=(2.0, 9.0)),
    "feet back": Posture(neck=(0.0, -1.0), knees=(0.0, 1.0), feet=(0.0, -6.0)),
    "tiptoe": Posture(neck=(0.0, -0.7), knees=(0.0, -4.0), feet=(0.0, -1.0)),
}

# In the order of iMiGUE's labels, 0 to 31.
_IMIGUE = (
    Gesture("turtle neck", "body", "table", "slow", posture="shrug"),
    Gesture("deep breath", "body", "table", "slow", posture="rise", look="puffed cheeks"),
    Gesture("touch hat", "head and hand", "forehead", "slow", look="hat"),
    Gesture("touch face", "head and hand", "cheek", "slow"),
    Gesture("touch forehead", "head and hand", "forehead", "slow"),
    Gesture("cover face", "head and hand", "face", "slow"),
    Gesture("rub eyes", "head and hand", "eye", "fast"),
    Gesture("touch other face part", "head and hand", "eye", "slow"),
    Gesture("touch ears", "head and hand", "ear", "slow"),
    Gesture("bite nails", "head and hand", "chin", "fast"),
    Gesture("touch chin", "head and hand", "chin", "slow"),
    Gesture("touch neck", "body and hand", "neck", "slow"),
    Gesture("play or adjust hair", "head and hand", "ear", "slow", behind=True),
    Gesture("adjust tie", "body and hand", "chest", "fast"),
    Gesture("touch chest", "body and hand", "chest", "slow"),
    Gesture("scratch back", "body and hand", "neck", "slow", behind=True),
    Gesture("fold arms", "hands", "folded", "slow"),
    Gesture("tidy sleeve", "hands", "forearm", "slow"),
    Gesture("put arms behind body", "body and hand", "hips", "slow", behind=True),
    Gesture("move torso", "body", "table", "slow", posture="sway"),
    Gesture("sit straight", "body", "table", "slow", posture="rise"),
    Gesture("scratch arm", "hands", "forearm", "fast"),
    Gesture("rub hands", "hands", "front", "fast"),
    Gesture("cross fingers", "hands", "front", "slow"),
    Gesture("minaret gesture", "hands", "steeple", "slow"),
    Gesture("play with things", "hands", "front", "fast", thing=True),
    Gesture("hold back arms", "body and hand", "folded", "slow", behind=True),
    Gesture("head up", "head", "table", "slow", posture="tip back"),
    Gesture("bite or press lips", "head", "table", "slow", posture="tip back", look="pressed lips"),
    Gesture("arms akimbo", "body and hand", "hips", "slow"),
    Gesture("shake or shrug shoulders", "body", "table", "fast", posture="shrug"),
    Gesture("illustrative", "non-gesture", "air", "free"),
)

# In the order of SMG's classes 1 to 17.
_SMG = (
    Gesture("turtling neck and shoulder", "body", "table", "slow", posture="shrug"),
    Gesture("rubbing eyes and forehead", "head and hand", "eye", "fast"),
    Gesture("folding arms", "hands", "folded", "slow"),
    Gesture("touching or covering suprasternal notch", "body and hand", "throat", "slow"),
    Gesture("moving legs", "legs", "table", "fast", posture="jiggle"),
    Gesture("touching or scratching neck", "body and hand", "neck", "slow"),
    Gesture("folding arms behind body", "body and hand", "folded", "slow", behind=True),
    Gesture("rubbing hands and crossing fingers", "hands", "front", "fast"),
    Gesture("arms akimbo", "body and hand", "hips", "slow"),
    Gesture("crossing legs", "legs", "table", "slow", posture="cross legs"),
    Gesture("scratching some part of body", "body and hand", "forearm", "fast"),
    Gesture("scratching or touching facial parts other than eyes", "head and hand", "cheek", "slow"),
    Gesture("playing or adjusting hair", "head and hand", "ear", "slow", behind=True),
    Gesture("holding arms", "hands", "forearm", "slow"),
    Gesture("pulling shirt collar", "body and hand", "throat", "fast"),
    Gesture("playing with jewellery or other objects", "hands", "front", "fast", thing=True),
    Gesture("illustrative hand gestures (non-micro-gesture)", "non-gesture", "air", "free"),
)

# In the order of MA-52's labels, 0 to 51.
_MA52 = (
    Gesture("shaking body", "body", "table", "fast", posture="sway"),
    Gesture("sitting straightly", "body", "table", "slow", posture="rise"),
    Gesture("shrugging", "body", "table", "fast", posture="shrug"),
    Gesture("turning around", "body", "table", "slow", posture="turn away"),
    Gesture("rising up", "body", "table", "slow", posture="stand up"),
    Gesture("bowing head", "head", "table", "slow", posture="bow"),
    Gesture("head up", "head", "table", "slow", posture="tip back"),
    Gesture("tilting head", "head", "table", "slow", posture="tilt"),
    Gesture("turning head", "head", "table", "slow", posture="look aside"),
    Gesture("nodding", "head", "table", "fast", posture="bow"),
    Gesture("shaking head", "head", "table", "fast", posture="look aside"),
    Gesture("scratching arms", "upper limb", "forearm", "fast"),
    Gesture("playing objects", "upper limb", "front", "fast", thing=True),
    Gesture("putting hands together", "upper limb", "steeple", "slow"),
    Gesture("rubbing hands", "upper limb", "front", "fast"),
    Gesture("pointing oneself", "upper limb", "chest", "slow"),
    Gesture("clenching fist", "upper limb", "fist", "slow"),
    Gesture("stretching arms", "upper limb", "stretched", "slow"),
    Gesture("retracting arms", "upper limb", "drawn in", "slow"),
    Gesture("waving", "upper limb", "raised", "fast"),
    Gesture("spreading hands", "upper limb", "spread", "slow"),
    Gesture("hands touching fingers", "upper limb", "front", "slow"),
    Gesture("other finger movements", "upper limb", "tapping", "fast"),
    Gesture("illustrative gestures", "upper limb", "air", "free"),
    Gesture("shaking legs", "lower limb", "table", "fast", posture="jiggle"),
    Gesture("curling legs", "lower limb", "table", "slow", posture="curl legs"),
    Gesture("spread legs", "lower limb", "table", "slow", posture="part knees"),
    Gesture("closing legs", "lower limb", "table", "slow", posture="close knees"),
    Gesture("crossing legs", "lower limb", "table", "slow", posture="cross legs"),
    Gesture("stretching feet", "lower limb", "table", "slow", posture="feet forward"),
    Gesture("retracting feet", "lower limb", "table", "slow", posture="feet back"),
    Gesture("tiptoe", "lower limb", "table", "fast", posture="tiptoe"),
    Gesture("scratching or touching neck", "body-hand", "neck", "slow"),
    Gesture("scratching or touching chest", "body-hand", "chest", "fast"),
    Gesture("scratching or touching back", "body-hand", "neck", "slow", behind=True),
    Gesture("scratching or touching shoulder", "body-hand", "shoulder", "slow"),
    Gesture("arms akimbo", "body-hand", "hips", "slow"),
    Gesture("crossing arms", "body-hand", "folded", "slow"),
    Gesture("playing or tidying hair", "head-hand", "ear", "slow", behind=True),
    Gesture("scratching or touching hindbrain", "head-hand", "nape", "slow", behind=True),
    Gesture("scratching or touching forehead", "head-hand", "forehead", "slow"),
    Gesture("scratching or touching face", "head-hand", "cheek", "slow"),
    Gesture("rubbing eyes", "head-hand", "eye", "fast"),
    Gesture("touching nose", "head-hand", "nose", "slow"),
    Gesture("touching ears", "head-hand", "ear", "slow"),
    Gesture("covering face", "head-hand", "face", "slow"),
    Gesture("covering mouth", "head-hand", "mouth", "slow"),
    Gesture("pushing glasses", "head-hand", "eye", "slow", look="glasses"),
    Gesture("patting legs", "leg-hand", "lap", "fast", behind=True),
    Gesture("touching legs", "leg-hand", "lap", "slow", behind=True),
    Gesture("scratching legs", "leg-hand", "knee", "fast", behind=True),
    Gesture("scratching feet", "leg-hand", "knee", "fast", behind=True, posture="lean"),
)

CLASS_SETS: dict[str, tuple[Gesture, ...]] = {"imigue32": _IMIGUE, "smg17": _SMG, "ma52": _MA52}
"""Whole datasets by name, in the order of their labels. A name that two sets share is the same movement in both."""

# The first set that has a name defines its movement and group.
GESTURES: dict[str, Gesture] = {}
for _gesture in chain(*CLASS_SETS.values()):
    GESTURES.setdefault(_gesture.name, _gesture)


def gestures_of(classes: str | Sequence[str]) -> tuple[Gesture, ...]:
    """The gestures of a whole set by its name, or of class names of any set.

    Raises:
        MgkitError: an unknown set or class; the known ones are named.
    """
    if isinstance(classes, str):
        if classes not in CLASS_SETS:
            raise MgkitError(
                f"there is no set of classes {classes!r}: use one of {some(CLASS_SETS)}, or a list of names."
            )
        return CLASS_SETS[classes]
    unknown = [name for name in classes if name not in GESTURES]
    if unknown:
        raise MgkitError(f"there is no gesture {some(unknown)}: use some of {some(GESTURES, 40)}.")
    return tuple(GESTURES[name] for name in classes)
