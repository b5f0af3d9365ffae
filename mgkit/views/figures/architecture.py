"""The network at a glance, drawn from the model itself: pathways, laterals, fusion, heads and losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch, Polygon, Rectangle
from matplotlib.path import Path as Outline

from mgkit.errors import MgkitError
from mgkit.views.figures.architecture_layout import (
    NODE,
    STEP,
    STRIP,
    Box,
    Layout,
    Path,
    lay_out,
    line_size,
)
from mgkit.views.figures.architecture_words import legend_items, note_of, table_of, title_of
from mgkit.views.figures.style import (
    LEAST,
    OUTPUT_COLOURS,
    SMALL,
    PaperFigure,
    in_style,
    new_figure,
    text_width,
    width_of,
)

_TITLE, _LEGEND_LINE = 12.0, 9.0


@in_style
def architecture(outline: Mapping[str, Any], *, venue: str = "cvpr", columns: int = 2) -> PaperFigure:
    """The network with the shape of every map: pathways, where they meet, heads, prediction and losses.

    It runs from left to right where the width allows it, otherwise from top to bottom.

    Args:
        outline: what `mg.outline` returns (or `mgkit.models.outline.outline`, then without losses).
        venue: a key of `style.VENUES`.
        columns: 1 or 2.

    Returns:
        The figure; its data has a row for each input, stem, stage, lateral, fusion module and head.

    Raises:
        MgkitError: if this is not an outline.

    Example:
        >>> import mgkit as mg
        >>> network = mg.outline(mg.recipes.paper(), classes=32, joints=22)
        >>> mg.figures.architecture(network, columns=2)
        PaperFigure(6.875 x 2.59 in, 19 rows: shapes are channels x frames x height x width, ...)
    """
    if not isinstance(outline, Mapping) or not {"pathways", "laterals", "fusions"} <= set(outline):
        raise MgkitError("this is not the outline of a network: give what mg.outline returns.")
    width = 72 * width_of(venue, columns)
    layout = lay_out(outline, width)
    rows = _legend_rows(legend_items(outline), width)
    along, across = layout.size
    both = len(outline["pathways"]) == 2
    below = _TITLE if layout.across_page and both else 0.0
    body = across if layout.across_page else along
    height = _TITLE + body + below + 5 + _LEGEND_LINE * len(rows)
    figure = new_figure(width / 72, height / 72, constrained=False)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
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
    _draw_legend(page, rows, height - _LEGEND_LINE * len(rows))
    return PaperFigure(figure, table_of(outline), note_of(outline))


class _Page:
    """Drawing in points, y downwards, below the line of titles."""

    def __init__(self, axes: Axes, layout: Layout):
        self.axes, self.layout = axes, layout

    def at(self, u: float, v: float) -> tuple[float, float]:
        x, y = (u, v) if self.layout.across_page else (v, u)
        return x, y + _TITLE

    def text(
        self, x: float, y: float, text: str, size: float, *, bold: bool = False, ha: str = "center",
        colour: str = "black",
    ) -> None:  # fmt: skip
        weight = "bold" if bold else "normal"
        # The middle of a digit, not of the letters that happen to be in the word: lines keep their distance.
        self.axes.text(
            x, y + 0.33 * size, text, fontsize=size, fontweight=weight, ha=ha, va="baseline", color=colour, zorder=6
        )  # fmt: skip

    def box(self, box: Box) -> None:
        x, y = self.at(box.u, box.v)
        wide, high = (box.du, box.dv) if self.layout.across_page else (box.dv, box.du)
        colour = OUTPUT_COLOURS[box.pathway]
        face = {"solid": _mix(colour, "white", 0.84), "plain": "white", "dashed": "white"}[box.kind]
        self.axes.add_patch(
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
        """The residual blocks of a stage in a row, filled where they look along time."""
        for i in range(count):
            self.axes.add_patch(
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
        """A line with round corners and a white rim, so that one seen crossing another passes over it."""
        points = [point for i, point in enumerate(points) if i == 0 or point != points[i - 1]]
        ends = list(points)
        if heads[0]:
            ends[0] = _toward(points[0], points[1], 2.5)
        if heads[1]:
            ends[-1] = _toward(points[-1], points[-2], 2.5)
        curve = _rounded(ends)
        if len(points) > 2:
            self.axes.add_patch(
                PathPatch(curve, facecolor="none", edgecolor="white", linewidth=2.6, zorder=2)
            )
        style: Any = (0, (2.2, 1.5)) if dashed else "-"
        self.axes.add_patch(
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
                self.axes.add_patch(Polygon(corners, facecolor=colour, edgecolor="none", zorder=3))
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
        self.axes.add_patch(Circle((x, y), radius, facecolor=face, edgecolor=colour, linewidth=0.7, zorder=4))
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


def _rounded(points: Sequence[tuple[float, float]], radius: float = 2.5) -> Outline:
    vertices, codes = [points[0]], [Outline.MOVETO]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        room = [abs(a[0] - corner[0]) + abs(a[1] - corner[1]) for a in (before, after)]
        reach = min(radius, *(0.5 * value for value in room))
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
            x, y = min(page.at(box.start, box.v)[0] for box in boxes), _TITLE / 2 - 0.5
            y = y if i == 0 else _TITLE + body + _TITLE / 2 + 1
            page.text(x, y, text, SMALL, ha="left", colour=colour, bold=True)
        else:
            page.text(page.at(boxes[0].u, boxes[0].v)[0], _TITLE / 2, text, SMALL, colour=colour, bold=True)


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
        y = top + (i + 0.5) * _LEGEND_LINE
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
