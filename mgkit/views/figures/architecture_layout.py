"""Where everything of the overview of a network goes, in points; `architecture` draws it.

`u` runs along the pathways, `v` across them, whichever way the page is used: from left to right where the width
allows it, otherwise from top to bottom.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mgkit.views.figures.architecture_words import input_shape, input_words, shape_text, skeletal
from mgkit.views.figures.style import LEAST, SMALL, text_width

Line = tuple[str, bool]  # a text, and whether it is the bold one
MARGIN, GAP = 2.0, 10.0
NODE = 3.8  # radius of the circles in which features meet
STEP = 1.14  # of a line's size to the next line
STRIP = 4.2  # height of the row of residual blocks
OUTPUTS, LOSSES = ("logits", "embedding", "auxiliary"), ("entropy", "refinement", "auxiliary loss")


@dataclass(frozen=True)
class Box:
    """A box with its lines of text; `pathway` is its colour, `cells` the number of residual blocks and their kind."""

    u: float
    v: float
    du: float
    dv: float
    lines: tuple[Line, ...]
    pathway: str = "fused"
    kind: str = "solid"  # "plain" for inputs, "dashed" for what exists in training only
    cells: tuple[int, bool] | None = None

    @property
    def start(self) -> float:
        return self.u - self.du / 2

    @property
    def end(self) -> float:
        return self.u + self.du / 2


@dataclass(frozen=True)
class Path:
    """A line through points (u, v); `heads` says at which of its ends it has an arrow head."""

    points: tuple[tuple[float, float], ...]
    pathway: str = "fused"
    heads: tuple[bool, bool] = (False, True)
    dashed: bool = False
    stopped: bool = False  # no gradient across it


@dataclass(frozen=True)
class Layout:
    """Everything to draw. `size` is (along, across); nodes are (u, v, "gate", "concat" or "dot", pathway)."""

    across_page: bool
    size: tuple[float, float]
    boxes: list[Box] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    nodes: list[tuple[float, float, str, str]] = field(default_factory=list)
    labels: list[tuple[float, float, str]] = field(default_factory=list)


def line_size(line: Line) -> float:
    return SMALL if line[1] else LEAST


def size_of(lines: Sequence[Line], cells: bool = False, border: float = 6.0) -> tuple[float, float]:
    """Width and height that lines of text need, borders included, and the row of blocks below them if there is one."""
    width = max(text_width(line[0], line_size(line)) * (1.1 if line[1] else 1) for line in lines)
    return width + border, sum(line_size(line) * STEP for line in lines) + 5 + (STRIP + 2 if cells else 0)


def lay_out(outline: Mapping[str, Any], width: float) -> Layout:
    """The overview in `width` points."""
    plan = _Plan(outline, along=True)
    natural = plan.columns[-1][1] + MARGIN
    if natural <= width:
        # What is left over goes to the gaps, and to the boxes as long as they stay compact.
        count = len(plan.columns)
        wider = min(14.0, 0.5 * (width - natural) / count)
        gap = GAP + (width - natural - wider * count) / max(1, count - 1)
        return _place(_Plan(outline, along=True, gap=gap, wider=wider), width)
    return _place(_Plan(outline, along=False, room=width), width)


class _Plan:
    """The columns (rows, where the page is used from top to bottom) and the size of each box in them."""

    def __init__(
        self, outline: Mapping[str, Any], along: bool, gap: float = GAP, wider: float = 0, room: float = 0
    ):
        self.outline, self.along = outline, along
        self.lanes = outline["pathways"]
        self.two = len(self.lanes) == 2
        self.losses = {(term["name"], term["pathway"]): term for term in outline.get("losses", ())}
        # Of a network without a loss everything is shown; of a trained one, the embedding only where it is used.
        self.embedded = all(lane["head"]["embedding"] is not None for lane in self.lanes) and (
            not self.losses or any(name == "refinement" for name, _ in self.losses)
        )
        self.fusion_lines = {item["after"]["rgb"]: self._fusion_text(item) for item in outline["fusions"]}
        self.lateral_after = {_rgb_stage(item) for item in outline["laterals"]}
        self.parts = [self._lane(lane) for lane in self.lanes]
        self._across(room)
        self._along(gap, wider)

    def _fusion_text(self, item: Mapping[str, Any]) -> tuple[Line, ...]:
        tokens = "channels" if item["axis"] == "channel" else "frames"
        if self.along:
            return (("Fusion", True), (tokens, False), (f"{item['hidden']} wide", False))
        size = f"{item['hidden']} wide, {item['heads']} head" + ("s" if item["heads"] > 1 else "")
        return (("Fusion", True), (f"attends along {tokens}", False), (size, False))

    def _lane(self, lane: Mapping[str, Any]) -> dict[int, Box]:
        """The boxes of a pathway up to its last stage by column, placed nowhere yet."""
        name, first = lane["name"], 1 if self.two and lane["name"] == "pose" else 0
        stem = lane["stem"]["shape"]
        given, given_size = input_words(lane)
        size = _scale(self.lanes)
        parts: dict[int, tuple[list[Line], str, tuple[int, bool] | None, list[int]]] = {
            first: ([(given, True), (given_size, False)], "plain", None, input_shape(lane)),
            first + 1: ([("Norm" if skeletal(lane) else "Stem", True), (shape_text(stem), False)], "solid", None, stem),
        }  # fmt: skip
        for i, stage in enumerate(lane["stages"]):
            count = f"{stage['blocks']} block" + ("s" if stage["blocks"] > 1 else "")
            after = shape_text(stage["shape"])
            lines = [(f"Stage {i + 1}", True), (after, False), (count, False)]
            if not self.along:
                lines = [(f"Stage {i + 1}: {count}", True), (after, False)]
            parts[first + 2 + i] = (lines, "solid", (stage["blocks"], stage["inflated"]), stage["shape"])
        boxes = {}
        for column, (lines, kind, cells, shape) in parts.items():
            wide, high = size_of(lines, cells is not None)
            # Sizes across the lanes follow the size of the map; `_across` knows how much room there is.
            du, dv = (wide, high) if self.along else (high, wide)
            boxes[column] = Box(0, size(shape), du, dv, tuple(lines), name, kind, cells)
        return boxes

    def head_lines(self, lane: Mapping[str, Any]) -> dict[str, tuple[Line, ...]]:
        """Texts of the boxes behind the last stage."""
        head, name = lane["head"], lane["name"]
        lines: dict[str, tuple[Line, ...]] = {"logits": (("Logits", True), (str(head["classes"]), False))}
        if self.embedded:
            lines["embedding"] = (("Embedding", True), (str(head["embedding"]), False))
        if term := self.losses.get(("cross-entropy", name)):
            times = () if term["weight"] == 1 else ((f"× {term['weight']:g}", False),)
            words = ("Cross-entropy",) if self.along else ("Cross-", "entropy")
            lines["entropy"] = (*((word, True) for word in words), *times)
        if term := self.losses.get(("refinement", name)):
            classes, width = term["prototypes"]
            weight = f"loss × {term['weight']:g}"
            tail = (
                ((f"refinement {weight}", False),) if self.along else (("refinement", False), (weight, False))
            )
            lines["refinement"] = (("Prototypes", True), (f"{classes}×{width}", False), *tail)
        if head.get("semantic"):
            lines["auxiliary"] = (("Semantic", True), (str(head["semantic"]), False))
        elif head.get("groups"):
            lines["auxiliary"] = (("Groups", True), (f"{head['groups']} × logits", False))
        if term := self.losses.get(("semantic", name)):
            words = ("Class vectors",) if self.along else ("Class", "vectors")
            lines["auxiliary loss"] = (
                *((word, True) for word in words),
                (f"error × {term['weight']:g}", False),
            )
        elif term := self.losses.get(("groups", name)):
            words = ("Cross-entropies",) if self.along else ("Cross-", "entropies")
            lines["auxiliary loss"] = (*((word, True) for word in words), (f"× {term['weight']:g}", False))
        return lines

    def rows(self, lane: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Outputs of a head and what they are trained with, from the side of the prediction outwards."""
        lines = self.head_lines(lane)
        every = (("logits", "entropy"), ("embedding", "refinement"), ("auxiliary", "auxiliary loss"))
        return [row for row in every if row[0] in lines]

    @property
    def prediction(self) -> tuple[Line, ...]:
        words = (
            ("softmax",) if not self.two else ("mean of softmax",) if self.along else ("mean of", "softmax")
        )
        return (("Prediction", True), *((word, False) for word in words))

    def _across(self, room: float) -> None:
        """Half the size of a lane across, the distance of two lanes, and the size of each box between these."""
        least = max(box.dv for part in self.parts for box in part.values())
        pick = 1 if self.along else 0
        border = 6.0 if self.along else 4.5
        texts = [lines for lane in self.lanes for lines in self.head_lines(lane).values()]
        heads = [size_of(lines, border=border)[pick] for lines in texts]
        count = max(len(self.rows(lane)) for lane in self.lanes)
        together = count * max(heads) + 4 * (count - 1)
        if self.along:
            most = max(least + 16, together)
            self.apart = most + 34 if self.two else 0.0
        else:
            most = max(least, together)
            # Between the lanes: the prediction between the heads, the fusion and its arrows between the lines.
            apart = most + size_of(self.prediction)[0] + 12
            apart = max([apart, *(size_of(lines)[0] + 56 for lines in self.fusion_lines.values())])
            spare = max(0.0, room - 2 * MARGIN - most - apart)
            grow = min(30.0, spare / 3) if self.two else 30.0
            most += grow
            self.apart = apart + grow + min(40.0, spare / 3) if self.two else 0.0
        self.half = most / 2
        self.head_dv = (most - 4 * (count - 1)) / count if count > 1 else max(heads)
        for part in self.parts:
            for column, box in part.items():
                part[column] = replace(box, dv=least + box.v * (most - least), v=0.0)

    def _along(self, gap: float, wider: float) -> None:
        """Start and end of each column."""
        widths: dict[int, float] = {}
        for part in self.parts:
            for column, box in part.items():
                widths[column] = max(widths.get(column, 0), box.du)
        last = max(widths)
        rows = [self.head_lines(lane) for lane in self.lanes]
        pick = 0 if self.along else 1
        widths[last + 1] = max(
            *(size_of(lines[key])[pick] for lines in rows for key in OUTPUTS if key in lines),
            size_of(self.prediction)[pick] if self.along or not self.two else 0,
        )
        training = [size_of(lines[key])[pick] for lines in rows for key in LOSSES if key in lines]
        if training:
            widths[last + 2] = max(training)
        self.head_column = last + 1
        at, self.columns = MARGIN, []
        for column in sorted(widths):
            self.columns.append((at, at + widths[column] + wider))
            # Column c holds RGB stage c - 1, see `_lane`.
            at += widths[column] + wider + self.meeting_size(column - 1, gap)

    def meeting_size(self, stage: int, gap: float) -> float:
        """Length of the gap behind an RGB stage, in which lanes meet or not."""
        lateral, fused = stage in self.lateral_after, stage in self.fusion_lines
        if not (lateral or fused):
            return gap
        block = size_of(self.fusion_lines[stage])[0 if self.along else 1] if fused else 8.0
        return (14.0 if lateral else 5.0) + block + (10.0 if lateral else 5.0) + 0.5 * (gap - GAP)


def _rgb_stage(lateral: Mapping[str, Any]) -> int:
    """The RGB stage behind which a lateral crosses: where it comes from, or the one before where it goes to."""
    return int(lateral["after"] if lateral["from"] == "rgb" else lateral["before"] - 1)


def _scale(lanes: Sequence[Mapping[str, Any]]) -> Any:
    """A function of a shape: 0 for the smallest map of the network, 1 for the largest, by the logarithm of its side."""

    def side(shape: Sequence[int]) -> float:  # joints stay as many as they are: of key-points the frames tell
        return math.log2(shape[1]) if len(shape) == 3 else math.log2(shape[2] * shape[3]) / 2

    every = [side(part["shape"]) for lane in lanes for part in (lane["stem"], *lane["stages"])]
    every += [side(input_shape(lane)) for lane in lanes]
    low, high = min(every), max(every)
    return lambda shape: (side(shape) - low) / (high - low) if high > low else 0.5


def _place(plan: _Plan, width: float) -> Layout:
    used = plan.apart + 2 * plan.half
    beside = (
        0.0 if plan.two else 8 + size_of(plan.prediction)[1 if plan.along else 0]
    )  # the prediction, at the side of one lane
    if plan.along:
        across = used + beside
        first = plan.half
    else:
        across = width
        first = (width - used - beside) / 2 + plan.half
    size = (width if plan.along else plan.columns[-1][1] + MARGIN, across)
    layout = Layout(plan.along, size)
    centres = {lane["name"]: first + i * plan.apart for i, lane in enumerate(plan.lanes)}
    inward = {name: 1.0 if i == 0 else -1.0 for i, name in enumerate(centres)}
    for lane, part in zip(plan.lanes, plan.parts, strict=True):
        name = lane["name"]
        v = centres[name]
        placed = []
        for column, box in part.items():
            start, end = plan.columns[column]
            placed.append(replace(box, u=(start + end) / 2, du=end - start, v=v))
        layout.boxes.extend(placed)
        for one, other in itertools.pairwise(placed):
            layout.paths.append(Path(((one.end, v), (other.start, v)), name))
        _place_head(layout, plan, lane, placed[-1], inward[name])
    for stage in sorted(plan.lateral_after | set(plan.fusion_lines)):
        _place_meeting(layout, plan, stage, centres, inward)
    _place_prediction(layout, plan, centres)
    return layout


def _place_head(layout: Layout, plan: _Plan, lane: Mapping[str, Any], last: Box, inward: float) -> None:
    """Logits, embedding and what else a head has behind the last stage, and the losses behind these."""
    name, lines, v = lane["name"], plan.head_lines(lane), last.v
    rows = plan.rows(lane)
    outermost = inward * (plan.half - plan.head_dv / 2) if len(rows) > 1 else 0.0
    training = {"auxiliary"} if lane["head"].get("semantic") else set()  # nothing of it is in the prediction
    boxes = {}
    for i, row in enumerate(rows):
        for key in row:
            if key in lines:
                start, end = plan.columns[plan.head_column + (key in LOSSES)]
                kind = "dashed" if key in LOSSES or key in training else "solid"
                at = v + outermost - inward * i * (plan.head_dv + 4)
                boxes[key] = Box((start + end) / 2, at, end - start, plan.head_dv, lines[key], name, kind)
    layout.boxes.extend(boxes.values())
    turn = (last.end + boxes["logits"].start) / 2
    for key, loss in reversed(rows):  # a dashed line first: it shares its beginning with the others
        box = boxes[key]
        points = ((last.end, v), (turn, v), (turn, box.v), (box.start, box.v))
        layout.paths.append(Path(points, name, dashed=key in training))
        if loss in boxes:
            layout.paths.append(Path(((box.end, box.v), (boxes[loss].start, box.v)), name, dashed=True))
    if "refinement" in boxes:
        # The refinement reads the prediction as well: what is a true positive, and how sure it is.
        one, other = boxes["logits"], boxes["refinement"]
        turn = one.end + 0.35 * (other.start - one.end)
        into = other.v + inward * other.dv * 0.28
        points = ((one.end, one.v), (turn, one.v), (turn, into), (other.start, into))
        layout.paths.append(Path(points, name, dashed=True))


def _place_meeting(
    layout: Layout, plan: _Plan, stage: int, centres: Mapping[str, float], inward: Mapping[str, float]
) -> None:
    """Fusion and laterals in the gap behind an RGB stage."""
    start, end = plan.columns[stage + 1][1], plan.columns[stage + 2][0]
    middle = sum(centres.values()) / 2
    laterals = [item for item in plan.outline["laterals"] if _rgb_stage(item) == stage]
    first, last = start + (12.5 if laterals else 0), end - (8.5 if laterals else 0)
    if lines := plan.fusion_lines.get(stage):
        wide, high = size_of(lines)
        du, dv = (wide, high) if plan.along else (high, wide)
        box = Box((first + last) / 2, middle, du, dv, lines)
        layout.boxes.append(box)
        for name, v in centres.items():
            edge = middle - inward[name] * dv / 2
            layout.paths.append(Path(((box.u, v + inward[name] * NODE), (box.u, edge)), heads=(True, True)))
            layout.nodes.append((box.u, v, "gate", name))
    for item in laterals:
        source, target = item["from"], item["to"]
        tap = start + (4.0 if source == "rgb" else 9.5)
        join = end - 8.5
        side = -inward[target]  # outwards, seen from the lane that is entered
        along = centres[target] - side * 13.0
        points = (
            (tap, centres[source]),
            (tap, along),
            (join, along),
            (join, centres[target] - side * NODE),
        )
        layout.paths.append(Path(points, source, stopped=item["detached"]))
        layout.nodes.append((tap, centres[source], "dot", source))
        layout.nodes.append((join, centres[target], "concat", target))
        text = f"+{item['channels']}"
        away = NODE + (4.5 if plan.along else 2.5 + text_width(text, LEAST) / 2)
        layout.labels.append((join, centres[target] + side * away, text))


def _place_prediction(layout: Layout, plan: _Plan, centres: Mapping[str, float]) -> None:
    wide, high = size_of(plan.prediction)
    logits = [box for box in layout.boxes if box.lines[0][0] == "Logits"]
    du, dv = (logits[0].du, high) if plan.along else (max(logits[0].du, high), wide)
    v = (
        sum(centres.values()) / 2
        if plan.two
        else max(logits[0].v + logits[0].dv / 2, centres[next(iter(centres))] + plan.half) + 8 + dv / 2
    )
    box = Box(logits[0].u, v, du, dv, plan.prediction)
    layout.boxes.append(box)
    for one in logits:
        toward = math.copysign(1, v - one.v)
        ends = ((one.u, one.v + toward * one.dv / 2), (one.u, v - toward * dv / 2))
        layout.paths.append(Path(ends, one.pathway))
