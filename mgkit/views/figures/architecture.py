"""The network at a glance, drawn from its outline: pathways, laterals, fusion, heads and losses.

Everything is placed in points. `u` runs along the pathways and `v` across them, whichever way the page is used: from
left to right if the width allows it, otherwise from top to bottom.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch, Polygon, Rectangle
from matplotlib.path import Path as Outline

from mgkit.errors import MgkitError
from mgkit.views.figures.style import (
    LEAST,
    OUTPUT_COLOURS,
    SMALL,
    PaperFigure,
    fit_text,
    in_style,
    new_figure,
    text_width,
    width_of,
)

NAMES = {"rgb": "RGB pathway", "pose": "Pose pathway", "fused": "Network"}
STREAMS = {"joint": "Joints", "bone": "Bones", "joint-motion": "Joint motion", "bone-motion": "Bone motion"}
# A filled and an empty block of each kind of network.
BLOCKS = {
    "resnet3d": ("block with a 3×1×1 convolution (time)", "block without one"),
    "graph": ("block: graph convolution, then along time", ""),
    "hypergraph": ("block: hypergraph attention, then along time", ""),
    "tsm": ("block with a shift along time", "block without one"),
    "video-swin": ("block: attention within windows of space and time", ""),
    "tokens": ("block: attention between tokens of all frames", "block: within a frame"),
    "other": ("", "module"),
}
MAPS, SKELETONS = ("channels", "frames", "height", "width"), ("channels", "frames", "joints")
LOSS_TERMS = ("cross-entropy", "refinement", "semantic", "groups")  # drawn as boxes; others go to the note

Line = tuple[str, bool]  # a text, and whether it is bold
MARGIN, GAP = 2.0, 10.0
NODE = 3.8  # radius of the circles in which features meet
STEP = 1.14  # line height in font sizes
STRIP = 4.2  # height of the row of residual blocks
TITLE, LEGEND_LINE = 12.0, 9.0
OUTPUTS, LOSSES = ("logits", "embedding", "auxiliary"), ("entropy", "refinement", "auxiliary loss")


@in_style
def architecture(
    outline: Mapping[str, Any], *, axes: Any = None, venue: str = "cvpr", columns: int = 2
) -> PaperFigure:
    """The network with the shape of every map: pathways, where they meet, heads, prediction and losses.

    It runs from left to right if the width allows it, otherwise from top to bottom. A network that is not mgkit's is
    drawn as its children in order.

    Args:
        outline: from `mg.recipes.outline` (or `mgkit.models.outline.outline`, then without losses).
        axes: draw into this subfigure, or in the place of these axes, of a figure of your own (`style.in_style`).
        venue: a key of `style.VENUES`.
        columns: 1 or 2.

    Returns:
        The figure; its data has one row per input, stem, stage, lateral, fusion module and head.

    Raises:
        MgkitError: `outline` is not an outline.

    Example:
        >>> import mgkit as mg
        >>> network = mg.recipes.outline(mg.recipes.paper(), classes=32, joints=22)
        >>> mg.figures.architecture(network, columns=2)
        PaperFigure(6.875 x 2.59 in, 19 rows: shapes are channels x frames x height x width, ...)
    """
    if not isinstance(outline, Mapping) or not {"pathways", "laterals", "fusions"} <= set(outline):
        raise MgkitError("this is not the outline of a network: pass the result of mg.recipes.outline.")
    # The size of the page: titles, the network, the legend.
    width = 72 * width_of(venue, columns)
    layout = lay_out(outline, width)
    rows = _legend_rows(legend_items(outline), width)
    along, across = layout.size
    both = len(outline["pathways"]) == 2
    below = TITLE if layout.across_page and both else 0.0
    body = across if layout.across_page else along
    height = TITLE + body + below + 5 + LEGEND_LINE * len(rows)
    figure = new_figure(width / 72, height / 72, constrained=False)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()

    # Lines first, so that boxes and text lie on top of them.
    page = _Page(axes, layout)
    for path in layout.paths:
        page.path(path)
    for node in layout.nodes:
        page.node(*node)
    for box in layout.boxes:
        page.box(box)
    for u, v, text in layout.labels:
        page.text(*page.at(u, v), text, LEAST)
    _titles(page, outline, body)
    _draw_legend(page, rows, height - LEGEND_LINE * len(rows))
    return PaperFigure(figure, table_of(outline), note_of(outline))


# ---------------------------------------------------------------------------------------------------------------------
# Words and numbers


def skeletal(lane: Mapping[str, Any]) -> bool:
    """Whether the input of a pathway is key-points."""
    return lane.get("kind") in ("graph", "hypergraph")


def input_shape(lane: Mapping[str, Any]) -> list[int]:
    """Shape of the input like that of the maps after it: of key-points (M, T, V, C) it is (C, T, V) of one person."""
    if not skeletal(lane):
        return list(lane["input"])
    _, frames, joints, numbers = lane["input"]
    return [numbers, frames, joints]


def shape_text(shape: Sequence[int]) -> str:
    """(C, T, H, W) as C×T×H×W, or C×T×H² if the map is square; other shapes likewise."""
    if len(shape) == 4 and shape[2] == shape[3]:
        return f"{shape[0]}×{shape[1]}×{shape[2]}²"
    return "×".join(map(str, shape))


def input_lines(lane: Mapping[str, Any]) -> list[Line]:
    """Name and size of the input of a pathway; of each, if it has several."""
    if "inputs" in lane:
        each = [
            {**lane, "name": name, "input": shape, "inputs": {}} for name, shape in lane["inputs"].items()
        ]
        return [line for one in each for line in _input_lines(one)]
    return _input_lines(lane)


def _input_lines(lane: Mapping[str, Any]) -> list[Line]:
    size = shape_text(input_shape(lane))
    if skeletal(lane):
        persons = lane["input"][0]
        name = STREAMS[lane.get("stream") or "joint"]
        return [(name, True), (size + (f" × {persons} people" if persons > 1 else ""), False)]
    pose = (
        STREAMS[lane["stream"]]
        if lane.get("stream")
        else "Limb maps"
        if str(lane.get("heatmap")).startswith("limb")  # or their motion
        else "Heatmaps"
    )
    return [("RGB" if lane["name"] == "rgb" else pose, True), (size, False)]


def title_of(lane: Mapping[str, Any]) -> str:
    """Name of a pathway and of its network, and its number of parameters."""
    parts = (*([lane["stem"]] if lane["stem"] else []), *lane["stages"], lane["head"])
    title = f" ({lane['title']})" if lane.get("title") else ""
    return f"{NAMES[lane['name']]}{title}, {millions(sum(part['parameters'] for part in parts))}"


def millions(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count / 1e3:.0f} k" if count >= 1e3 else str(count)


def legend_items(outline: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(symbol, text) of the symbols that occur in this network."""
    items = []
    for kind in dict.fromkeys(lane["kind"] for lane in outline["pathways"]):
        stages = [stage for lane in outline["pathways"] if lane["kind"] == kind for stage in lane["stages"]]
        if any(stage["inflated"] for stage in stages):
            items.append(("filled", BLOCKS[kind][0]))
        if any(not stage["inflated"] for stage in stages):
            items.append(("empty", BLOCKS[kind][1]))
    if outline["fusions"]:
        gated = all(item["axis"] for item in outline["fusions"])
        items.append(("gate", "gated by fusion, residual" if gated else "fusion"))
    if outline["laterals"]:
        items.append(("concat", "lateral, concatenated"))
    if any(item["detached"] for item in outline["laterals"]):
        items.append(("stop", "no gradient"))
    if outline.get("losses"):
        items.append(("dashed", "training only"))
    return items


def table_of(outline: Mapping[str, Any]) -> pd.DataFrame:
    """One row per part. Columns that do not concern a part are empty."""
    rows: list[dict[str, Any]] = []
    axes: list[str] = []

    def sizes(lane: Mapping[str, Any], shape: Sequence[int]) -> dict[str, Any]:
        if lane["kind"] == "other":
            return {"shape": shape_text(shape)}
        return dict(zip(SKELETONS if skeletal(lane) else MAPS, shape, strict=True))

    for lane in outline["pathways"]:
        base = {"pathway": lane["name"]}
        persons = {"persons": lane["input"][0]} if skeletal(lane) else {}
        given = lane.get("inputs") or {"": input_shape(lane)}
        rows += [
            {**base, "part": f"input {name}".strip(), **sizes(lane, shape), **persons}
            for name, shape in given.items()
        ]
        axes += [name for name in (*rows[-1],) if name not in ("pathway", "part")]
        if stem := lane["stem"]:
            rows.append(
                {**base, "part": "stem", **sizes(lane, stem["shape"]), "parameters": stem["parameters"]}
            )
        for i, stage in enumerate(lane["stages"]):
            rest = {key: stage[key] for key in ("blocks", "inflated", "lateral", "parameters")}
            part = f"stage {i + 1}" + (f": {stage['name']}" if "name" in stage else "")
            rows.append({**base, "part": part, **sizes(lane, stage["shape"]), **rest})
        head = lane["head"]
        rest = {key: head.get(key) for key in ("classes", "embedding", "semantic", "groups", "parameters")}
        rows.append({**base, "part": "head", **rest})
    for item in outline["laterals"]:
        lane = next(lane for lane in outline["pathways"] if lane["name"] == item["to"])
        part = f"lateral from {item['from']} stage {item['after']} to {item['to']} stage {item['before']}"
        rows.append(
            {
                "pathway": item["to"],
                "part": part,
                **sizes(lane, item["shape"]),
                "parameters": item["parameters"],
            }
        )
    for item in outline["fusions"]:
        part = f"fusion after rgb stage {item['after']['rgb']} and pose stage {item['after']['pose']}"
        rows.append(
            {"pathway": "both", "part": part, "channels": item["hidden"], "parameters": item["parameters"]}
        )
    head_columns = ["classes", "embedding"]
    head_columns += [key for key in ("semantic", "groups") if any(row.get(key) is not None for row in rows)]
    axes = [name for name in (*MAPS[:2], *MAPS[2:], "joints", "persons", "shape") if name in axes]
    order = ["pathway", "part", *axes, "blocks", "inflated", "lateral", *head_columns, "parameters"]
    table = pd.DataFrame(rows).reindex(columns=order)
    whole = [name for name in order[2:] if name not in ("shape", "inflated")]
    return table.astype(dict.fromkeys(whole, "Int64")).astype({"inflated": "boolean"})


def note_of(outline: Mapping[str, Any]) -> str:
    """What the caption must say."""
    lanes = outline["pathways"]
    axes = "channels x frames x height x width"
    if any(lane["kind"] == "other" for lane in lanes):
        axes = "those that each module returns"
    elif any(skeletal(lane) for lane in lanes):
        axes = "channels x frames x joints of a person"
    parts = [f"shapes are {axes}, after each part"]
    if outline["laterals"]:
        parts.append("laterals carry the features from before the gates, +n are the channels they add")
    for item in outline["fusions"][:1]:
        if item["axis"]:
            axis = "channels" if item["axis"] == "channel" else "frames"
            then = ", pose to RGB after its update" if item["sequential"] else ""
            parts.append(f"fusion is cross-attention along {axis} with {item['heads']} heads{then}")
        else:
            parts.append(f"fusion by {item['name']}")
    if len(lanes) == 2:
        parts.append("the prediction is the mean of both softmax outputs")
    for lane in lanes:
        if groups := lane["head"].get("groups"):
            share = 100 * lane["head"]["group_share"]
            parts.append(
                f"the classifiers of the {groups} groups of classes have {share:.0f} % of the prediction"
            )
    further = [
        f"{term['name']} × {term['weight']:g}"
        for term in outline.get("losses", ())
        if term["name"] not in LOSS_TERMS or term["pathway"] is None
    ]
    if further:
        parts.append(f"further losses: {', '.join(further)}")
    parts.append("parameters of a pathway include its head")
    parts.append(f"{millions(outline['parameters'])} parameters in all")
    return "; ".join(parts)


# ---------------------------------------------------------------------------------------------------------------------
# Layout


@dataclass(frozen=True)
class Box:
    """A box with its lines of text; `pathway` sets its colour, `cells` are the number of blocks and whether filled."""

    u: float
    v: float
    du: float
    dv: float
    lines: tuple[Line, ...]
    pathway: str = "fused"
    kind: str = "solid"  # "plain" for inputs, "dashed" for parts used in training only
    cells: tuple[int, bool] | None = None

    @property
    def start(self) -> float:
        return self.u - self.du / 2

    @property
    def end(self) -> float:
        return self.u + self.du / 2


@dataclass(frozen=True)
class Path:
    """A line through points (u, v); `heads` are whether its two ends have an arrow head."""

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
    """Width and height of lines of text with borders, and with the row of blocks below them if there is one."""
    width = max(text_width(line[0], line_size(line)) * (1.1 if line[1] else 1) for line in lines)
    return width + border, sum(line_size(line) * STEP for line in lines) + 5 + (STRIP + 2 if cells else 0)


def lay_out(outline: Mapping[str, Any], width: float) -> Layout:
    """The overview in `width` points."""
    plan = _Plan(outline, along=True)
    natural = plan.columns[-1][1] + MARGIN
    if natural <= width:
        # The rest of the width goes to the gaps, and to the boxes as long as they stay compact.
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
        if not item["axis"]:
            return (("Fusion", True), (fit_text(item["name"], 60, LEAST), False))
        tokens = "channels" if item["axis"] == "channel" else "frames"
        if self.along:
            return (("Fusion", True), (tokens, False), (f"{item['hidden']} wide", False))
        size = f"{item['hidden']} wide, {item['heads']} head" + ("s" if item["heads"] > 1 else "")
        return (("Fusion", True), (f"attends along {tokens}", False), (size, False))

    def _lane(self, lane: Mapping[str, Any]) -> dict[int, Box]:
        """The boxes of a pathway up to its last stage by column, without positions."""
        name, first = lane["name"], 1 if self.two and lane["name"] == "pose" else 0
        size = _scale(self.lanes)
        parts: dict[int, tuple[list[Line], str, tuple[int, bool] | None, list[int]]] = {
            first: (input_lines(lane), "plain", None, input_shape(lane))
        }
        if stem := lane["stem"]:
            lines = [("Norm" if skeletal(lane) else "Stem", True), (shape_text(stem["shape"]), False)]
            parts[first + 1] = (lines, "solid", None, stem["shape"])
        for i, stage in enumerate(lane["stages"]):
            other = lane["kind"] == "other"
            title = fit_text(stage["name"], 70, SMALL) if other else f"Stage {i + 1}"
            count = f"{stage['blocks']} " + ("module" if other else "block") + "s" * (stage["blocks"] > 1)
            lines = [(title, True), (shape_text(stage["shape"]), False), (count, False)]
            if not self.along:
                lines = [(f"{title}: {count}", True), lines[1]]
            parts[first + 1 + bool(stem) + i] = (
                lines,
                "solid",
                (stage["blocks"], stage["inflated"]),
                stage["shape"],
            )
        boxes = {}
        for column, (lines, kind, cells, shape) in parts.items():
            wide, high = size_of(lines, cells is not None)
            # Boxes are as wide across the lanes as their maps are large; `_across` scales them to the space.
            du, dv = (wide, high) if self.along else (high, wide)
            boxes[column] = Box(0, size(shape), du, dv, tuple(lines), name, kind, cells)
        return boxes

    def head_lines(self, lane: Mapping[str, Any]) -> dict[str, tuple[Line, ...]]:
        """Texts of the boxes after the last stage."""
        head, name = lane["head"], next(iter(lane.get("inputs") or [lane["name"]]))
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
        """Outputs of a head and their losses, from the side of the prediction outwards."""
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
        """Half the size of a lane across, the distance of two lanes, and the size of each box."""
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
        """Length of the gap after an RGB stage, where lanes may meet."""
        lateral, fused = stage in self.lateral_after, stage in self.fusion_lines
        if not (lateral or fused):
            return gap
        block = size_of(self.fusion_lines[stage])[0 if self.along else 1] if fused else 8.0
        return (14.0 if lateral else 5.0) + block + (10.0 if lateral else 5.0) + 0.5 * (gap - GAP)


def _rgb_stage(lateral: Mapping[str, Any]) -> int:
    """The RGB stage after which a lateral crosses: its source, or the one before its target."""
    return int(lateral["after"] if lateral["from"] == "rgb" else lateral["before"] - 1)


def _scale(lanes: Sequence[Mapping[str, Any]]) -> Any:
    """A function of a shape: 0 for the smallest map of the network, 1 for the largest, by the logarithm of its side."""

    def side(
        shape: Sequence[int],
    ) -> float:  # the number of joints is constant, so key-points go by their frames
        if len(shape) == 4:
            return math.log2(shape[2] * shape[3]) / 2
        return math.log2(shape[1]) if len(shape) == 3 else math.log2(max(1, math.prod(shape[1:])))

    every = [side(part["shape"]) for lane in lanes for part in (lane["stem"], *lane["stages"]) if part]
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
    """The outputs of a head after the last stage, and the losses after these."""
    name, lines, v = lane["name"], plan.head_lines(lane), last.v
    rows = plan.rows(lane)
    outermost = inward * (plan.half - plan.head_dv / 2) if len(rows) > 1 else 0.0
    training = {"auxiliary"} if lane["head"].get("semantic") else set()  # not part of the prediction
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
        # The refinement also reads the prediction: whether it is a true positive, and how confident.
        one, other = boxes["logits"], boxes["refinement"]
        turn = one.end + 0.35 * (other.start - one.end)
        into = other.v + inward * other.dv * 0.28
        points = ((one.end, one.v), (turn, one.v), (turn, into), (other.start, into))
        layout.paths.append(Path(points, name, dashed=True))


def _place_meeting(
    layout: Layout, plan: _Plan, stage: int, centres: Mapping[str, float], inward: Mapping[str, float]
) -> None:
    """Fusion and laterals in the gap after an RGB stage."""
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


# ---------------------------------------------------------------------------------------------------------------------
# Drawing


class _Page:
    """Drawing in points, y downwards, below the line of titles."""

    def __init__(self, axes: Axes, layout: Layout):
        self.axes, self.layout = axes, layout

    def at(self, u: float, v: float) -> tuple[float, float]:
        x, y = (u, v) if self.layout.across_page else (v, u)
        return x, y + TITLE

    def text(
        self, x: float, y: float, text: str, size: float, *, bold: bool = False, ha: str = "center",
        colour: str = "black",
    ) -> None:  # fmt: skip
        weight = "bold" if bold else "normal"
        # Centred on a digit and not on the letters of the word, so that lines keep their distance.
        self.axes.text(
            x, y + 0.33 * size, text, fontsize=size, fontweight=weight, ha=ha, va="baseline", color=colour, zorder=6
        )  # fmt: skip

    def box(self, box: Box) -> None:
        x, y = self.at(box.u, box.v)
        wide, high = (box.du, box.dv) if self.layout.across_page else (box.dv, box.du)
        colour = OUTPUT_COLOURS[box.pathway]
        face = {"solid": _mix(colour, "white", 0.84), "plain": "white", "dashed": "white"}[box.kind]
        self.axes.add_artist(
            FancyBboxPatch(
                (x - wide / 2, y - high / 2), wide, high, boxstyle="round,pad=0,rounding_size=1.8", facecolor=face,
                edgecolor=_mix(colour, "black", 0.3), linewidth=0.7, zorder=4,
                linestyle=(0, (2.5, 1.6)) if box.kind == "dashed" else "-",
            )
        )  # fmt: skip
        text_height = sum(line_size(line) * STEP for line in box.lines)
        total = text_height + (STRIP + 2 if box.cells else 0)
        at = y - total / 2
        for line in box.lines:
            step = line_size(line) * STEP
            self.text(x, at + step / 2, line[0], line_size(line), bold=line[1])
            at += step
        if box.cells:
            count, inflated = box.cells
            cell = min(6.0, (wide - 6) / count)
            self.cells(x - cell * count / 2, at + 2, cell, count, box.pathway if inflated else None, colour)

    def cells(self, x: float, y: float, cell: float, count: int, inflated: str | None, edge: str) -> None:
        """The blocks of a stage in a row, filled if they look along time."""
        for i in range(count):
            self.axes.add_artist(
                Rectangle(
                    (x + i * cell + 0.1 * cell, y), 0.8 * cell, STRIP,
                    facecolor=_mix(edge, "black", 0.3) if inflated else "white", edgecolor=_mix(edge, "black", 0.3),
                    linewidth=min(0.5, 0.1 * cell), zorder=5, snap=cell > 3,
                )
            )  # fmt: skip

    def path(self, path: Path) -> None:
        self.line(
            [self.at(u, v) for u, v in path.points],
            _mix(OUTPUT_COLOURS[path.pathway], "black", 0.3), path.heads, path.dashed, path.stopped,
        )  # fmt: skip

    def line(
        self,
        points: Sequence[tuple[float, float]],
        colour: str,
        heads: tuple[bool, bool],
        dashed: bool = False,
        stopped: bool = False,
    ) -> None:
        """A line with round corners and a white rim, so that it passes over the lines it crosses."""
        points = [point for i, point in enumerate(points) if i == 0 or point != points[i - 1]]
        ends = list(points)
        if heads[0]:
            ends[0] = _toward(points[0], points[1], 2.5)
        if heads[1]:
            ends[-1] = _toward(points[-1], points[-2], 2.5)
        curve = _rounded(ends)
        if len(points) > 2:
            self.axes.add_artist(
                PathPatch(curve, facecolor="none", edgecolor="white", linewidth=2.6, zorder=2)
            )
        style: Any = (0, (2.2, 1.5)) if dashed else "-"
        self.axes.add_artist(
            PathPatch(curve, facecolor="none", edgecolor=colour, linewidth=0.8, linestyle=style, zorder=2)
        )
        for there, tip, before in ((heads[0], points[0], points[1]), (heads[1], points[-1], points[-2])):
            if there:
                base = _toward(tip, before, 4.0)
                across = ((tip[1] - base[1]) * 0.42, (base[0] - tip[0]) * 0.42)
                corners = [
                    tip,
                    (base[0] + across[0], base[1] + across[1]),
                    (base[0] - across[0], base[1] - across[1]),
                ]
                self.axes.add_artist(Polygon(corners, facecolor=colour, edgecolor="none", zorder=3))
        if stopped:
            self.stop(points[0], points[1], colour)

    def stop(self, start: tuple[float, float], towards: tuple[float, float], colour: str) -> None:
        """Two bars across a line: the gradient does not pass."""
        for distance in (6.0, 7.8):
            x, y = _toward(start, towards, distance)
            dx, dy = _toward((0, 0), (towards[1] - start[1], start[0] - towards[0]), 2.6)
            self.axes.plot([x - dx, x + dx], [y - dy, y + dy], color=colour, linewidth=0.9, zorder=3)

    def node(self, u: float, v: float, kind: str, pathway: str) -> None:
        self.circle(*self.at(u, v), kind, _mix(OUTPUT_COLOURS[pathway], "black", 0.3))

    def circle(self, x: float, y: float, kind: str, colour: str) -> None:
        radius = 1.2 if kind == "dot" else NODE
        face = colour if kind == "dot" else "white"
        self.axes.add_artist(
            Circle((x, y), radius, facecolor=face, edgecolor=colour, linewidth=0.7, zorder=4)
        )
        if kind == "gate":
            reach = 0.68 * radius
            for sign in (1, -1):
                self.axes.plot(
                    [x - reach, x + reach], [y - sign * reach, y + sign * reach], color=colour, linewidth=0.7, zorder=5
                )  # fmt: skip
        elif kind == "concat":
            for dx in (-1.1, 1.1):
                self.axes.plot([x + dx, x + dx], [y - 2.2, y + 2.2], color=colour, linewidth=0.9, zorder=5)


def _toward(start: tuple[float, float], end: tuple[float, float], distance: float) -> tuple[float, float]:
    length = ((end[0] - start[0]) ** 2 + (end[1] - start[1]) ** 2) ** 0.5 or 1.0
    share = distance / length
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def _rounded(points: Sequence[tuple[float, float]]) -> Outline:
    vertices, codes = [points[0]], [Outline.MOVETO]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        room = [abs(a[0] - corner[0]) + abs(a[1] - corner[1]) for a in (before, after)]
        reach = min(2.5, *(0.5 * value for value in room))
        vertices += [_toward(corner, before, reach), corner, _toward(corner, after, reach)]
        codes += [Outline.LINETO, Outline.CURVE3, Outline.CURVE3]
    return Outline([*vertices, points[-1]], [*codes, Outline.LINETO])


def _mix(colour: str, other: str, share: float) -> str:
    red, green, blue = (
        (1 - share) * a + share * b for a, b in zip(to_rgb(colour), to_rgb(other), strict=True)
    )
    return to_hex((red, green, blue))


def _titles(page: _Page, outline: Mapping[str, Any], body: float) -> None:
    """Name and size of each pathway: above the first and below the second, or both above."""
    for i, lane in enumerate(outline["pathways"]):
        text = title_of(lane)
        text += " parameters" if page.layout.across_page else ""
        colour = _mix(OUTPUT_COLOURS[lane["name"]], "black", 0.45)
        boxes = [box for box in page.layout.boxes if box.pathway == lane["name"]]
        if page.layout.across_page:
            x, y = min(page.at(box.start, box.v)[0] for box in boxes), TITLE / 2 - 0.5
            y = y if i == 0 else TITLE + body + TITLE / 2 + 1
            page.text(x, y, text, SMALL, ha="left", colour=colour, bold=True)
        else:
            page.text(page.at(boxes[0].u, boxes[0].v)[0], TITLE / 2, text, SMALL, colour=colour, bold=True)


def _legend_rows(items: Sequence[tuple[str, str]], width: float) -> list[list[tuple[float, str, str]]]:
    """The items, each with its x, in as few rows as the width needs, of about the same length and centred."""
    rows = _fill(items, width - 4)
    limit = width - 4
    while len(_fill(items, limit - 4)) == len(rows) and limit > 8:
        limit -= 4
        rows = _fill(items, limit)
    placed = []
    for row in rows:
        at = (width - sum(_item_width(item) for item in row) + 8) / 2
        line = []
        for symbol, text in row:
            line.append((at, symbol, text))
            at += _item_width((symbol, text))
        placed.append(line)
    return placed


def _fill(items: Sequence[tuple[str, str]], limit: float) -> list[list[tuple[str, str]]]:
    rows: list[list[tuple[str, str]]] = [[]]
    for item in items:
        if rows[-1] and sum(_item_width(other) for other in [*rows[-1], item]) - 8 > limit:
            rows.append([])
        rows[-1].append(item)
    return rows


def _item_width(item: tuple[str, str]) -> float:
    return 14 + text_width(item[1], LEAST) + 8


def _draw_legend(page: _Page, rows: Sequence[Sequence[tuple[float, str, str]]], top: float) -> None:
    colour = _mix(OUTPUT_COLOURS["fused"], "white", 0.1)
    for i, row in enumerate(rows):
        y = top + (i + 0.5) * LEGEND_LINE
        for x, symbol, text in row:
            if symbol in ("filled", "empty"):
                page.cells(x + 3, y - STRIP / 2, 6.0, 1, "fused" if symbol == "filled" else None, colour)
            elif symbol == "dashed":
                page.line([(x, y), (x + 11, y)], colour, (False, True), dashed=True)
            elif symbol == "stop":
                page.line([(x - 1, y), (x + 11, y)], colour, (False, False), stopped=True)
            else:
                page.circle(x + 6, y, symbol, colour)
            page.text(x + 14, y, text, LEAST, ha="left")
