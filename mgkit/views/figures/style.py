"""The common style of all paper figures: widths, fonts, colours, fitting of text, and saving.

Widths are exact and fixed by the venue, text is 8 pt with nothing under 6 pt, fonts are embedded as Type 42 (IEEE and
ACM refuse Type 3), and a figure drawn twice from the same run is the same file byte for byte. The fonts come with
matplotlib, so this holds on every machine; for class names in scripts that they lack see `fonts`. pyplot is not used,
so a notebook's own style does not change.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox

from mgkit.errors import MgkitError, counted
from mgkit.files import atomic
from mgkit.views.figures import fonts

# Widths of one column and of the text, in inches, from the style files of the venues.
VENUES: dict[str, tuple[float, float]] = {
    "cvpr": (3.25, 6.875),
    "ieee": (3.5, 7.16),
    "acm": (3.33, 7.0),
    "aaai": (3.3, 6.975),
    "neurips": (5.5, 5.5),
    "eccv": (4.8, 4.8),
    "ceur": (5.79, 5.79),
}
LABEL, SMALL, LEAST = 8.0, 7.0, 6.0  # points
PAGE = 9.3  # inches, of the highest figure: a page with room for a caption
DPI = 300

# Okabe & Ito (2008): safe for colour-blind readers; each role also has its own marker.
KINDS = {"TP": "#0072B2", "FN": "#E69F00", "FP": "#D55E00"}
KIND_MARKERS = {"TP": "o", "FN": "^", "FP": "s"}
KIND_NAMES = {"TP": "true positive", "FN": "false negative", "FP": "false positive"}
# Different from the colours of TP, FN and FP, so that no colour has two meanings in a paper.
OUTPUT_COLOURS = {"rgb": "#009E73", "pose": "#CC79A7", "fused": "#3B3B3B"}
# As areas: black interval lines must be visible on all of them.
BAR_COLOURS = {**OUTPUT_COLOURS, "fused": "#8A8A8A"}
OUTPUT_NAMES = {"rgb": "RGB", "pose": "Pose", "fused": "Fused"}
# Tol (2021), "muted", with black: more classes cannot be distinguished by colour.
CLASS_COLOURS = (
    "#332288", "#88CCEE", "#117733", "#DDCC77", "#CC6677",
    "#AA4499", "#44AA99", "#999933", "#882255", "#000000",
)  # fmt: skip
GREY, FAINT = "#6E6E6E", "#C9C9C9"

P = ParamSpec("P")


def rc() -> dict[str, Any]:
    """The matplotlib settings of every figure, on top of matplotlib's own defaults."""
    return {
        **{key: value for key, value in mpl.rcParamsDefault.items() if key not in _LEFT_ALONE},
        "font.family": list(fonts.BASE),
        "mathtext.fontset": "stix",
        "text.parse_math": False,  # a dollar sign in a class name is a dollar sign
        "font.size": LABEL,
        "axes.labelsize": LABEL,
        "axes.titlesize": LABEL,
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "legend.fontsize": SMALL,
        "figure.dpi": 100,
        "savefig.dpi": DPI,
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "axes.linewidth": 0.6,
        "axes.edgecolor": "#333333",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.labelpad": 2.5,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "xtick.major.pad": 2,
        "ytick.major.pad": 2,
        "lines.linewidth": 1.1,
        "patch.linewidth": 0.6,
        "grid.color": "#E2E2E2",
        "grid.linewidth": 0.5,
        "legend.frameon": False,
        "legend.handlelength": 1.6,
        "legend.handletextpad": 0.5,
        "legend.columnspacing": 1.2,
        "legend.labelspacing": 0.3,
        "legend.borderaxespad": 0.3,
    }


# Settings of the session, not of a drawing; changing them would close or switch the user's own figures.
_LEFT_ALONE = {"backend", "backend_fallback", "interactive", "toolbar", "timezone", "webagg.port", "datapath"}


@contextmanager
def styled() -> Iterator[None]:
    """A context with the settings of `rc`; the user's own rcParams return when it ends."""
    settings: Any = rc()
    with mpl.rc_context(settings):
        yield


@dataclass(frozen=True, eq=False)
class PaperFigure:
    """A figure, the numbers it shows, and a note for its caption.

    Attributes:
        figure: the matplotlib figure, which may be changed before saving; the whole of it if a part was drawn into.
        data: the table behind it.
        note: what a reader must know; belongs in the caption.
    """

    figure: Figure
    data: pd.DataFrame
    note: str = field(default="")
    _begin: dict[Axes, Bbox] = field(init=False, repr=False)  # positions of the axes before the first drawing

    def __post_init__(self) -> None:
        object.__setattr__(self, "figure", _root(self.figure))
        places = {axes: axes.get_position(original=True).frozen() for axes in self.figure.axes}
        object.__setattr__(self, "_begin", places)
        with styled():
            about_fonts = fonts.dress(self.figure)
        object.__setattr__(self, "note", joined(self.note, about_fonts))

    def __repr__(self) -> str:
        width, height = self.figure.get_size_inches()
        return (
            f"PaperFigure({width:g} x {height:.2f} in, "
            f"{counted(len(self.data), 'row')}{': ' if self.note else ''}{self.note})"
        )

    def save(self, path: str | Path) -> list[Path]:
        """Write `<path>.pdf`, `<path>.png` (300 dpi) and `<path>.csv`, each whole or not at all.

        Args:
            path: with or without a suffix of .pdf, .png or .csv; folders are made.

        Returns:
            The three paths.
        """
        path = Path(path)
        stem = path.with_suffix("") if path.suffix.lower() in (".pdf", ".png", ".csv") else path
        written = [stem.with_name(stem.name + suffix) for suffix in (".pdf", ".png", ".csv")]
        with self._laid_out():
            with atomic(written[0]) as temporary:
                temporary.write_bytes(self.pdf())
            with atomic(written[1]) as temporary:
                temporary.write_bytes(self.png())
        with atomic(written[2]) as temporary:
            self.data.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
        return written

    def pdf(self) -> bytes:
        """The figure as PDF: Type 42 fonts, no dates, exact width."""
        metadata = {"Creator": "mgkit", "CreationDate": None, "ModDate": None}
        return self._render("pdf", metadata)

    def png(self, dpi: float = DPI) -> bytes:
        """The figure as PNG."""
        return self._render("png", {"Software": "mgkit"}, dpi=dpi)

    def _render(self, kind: str, metadata: dict[str, Any], dpi: float = DPI) -> bytes:
        stream = io.BytesIO()
        with self._laid_out(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from")  # the note has a sentence on them
            self.figure.savefig(stream, format=kind, dpi=dpi, metadata=metadata)
        return stream.getvalue()

    @contextmanager
    def _laid_out(self) -> Iterator[None]:
        """A context in which the layout is solved and the figure has no layout engine: with one, each `savefig` would
        solve it again, and draw the figure twice. Within itself it does nothing."""
        figure, engine = self.figure, self.figure.get_layout_engine()
        with styled():
            fonts.dress(figure)  # texts may have been added
            if engine is None or not figure.axes:
                yield
                return
            # A constrained layout continues from the last one. Start where the first did, so that a figure that was
            # shown before is saved as the same file. Axes that somebody placed are not in the layout, and stay.
            for axes in figure.axes:
                if axes in self._begin and axes.get_in_layout():
                    axes.set_position(self._begin[axes])
                    axes.set_in_layout(True)
            canvas, dpi = figure.canvas, figure.dpi
            # Not the canvas of a window or a notebook: it has its own resolution, and would follow that of the figure.
            FigureCanvasAgg(figure)
            figure.dpi = DPI
            try:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "Glyph .* missing from")
                    engine.execute(figure)
                figure.set_layout_engine(None)
                yield
            finally:
                figure.set_layout_engine(engine)
                figure.dpi = dpi
                figure.set_canvas(canvas)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width, height = self.figure.get_size_inches()
        # Twice the pixels, so that 6 pt stay readable on a screen of high density.
        return self.png(dpi=220), {"width": round(width * 110), "height": round(height * 110)}


def joined(note: str, more: str) -> str:
    """A note with one more part, which begins with a small letter."""
    if not note or not more:
        return note or more
    return f"{note} {more[0].upper()}{more[1:]}." if note.endswith(".") else f"{note}; {more}"


def in_style(draw: Callable[P, PaperFigure]) -> Callable[P, PaperFigure]:
    """Decorator of a function that draws: it runs under `styled`, and draws into its argument `axes` if that is given.

    `axes` is a subfigure, or axes in a grid (of `figure.subplots`), whose place a subfigure takes: they are removed.
    The width is then that of the place, not of the venue, and the figure that is returned is the whole one.
    """

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> PaperFigure:
        axes: Any = kwargs.get("axes")
        with styled():
            held = _PLACE.set(None if axes is None else _place(axes))
            try:
                return draw(*args, **kwargs)
            finally:
                _PLACE.reset(held)

    return wrapper


# Where the function that is running draws, None for a figure of its own: for that time only, as the style itself.
_PLACE: ContextVar[SubFigure | None] = ContextVar("place", default=None)


def _place(axes: Any) -> SubFigure:
    """A subfigure as it is, or one in the place of axes in a grid, which are removed."""
    if isinstance(axes, SubFigure):
        return axes
    if (spec := axes.get_subplotspec()) is None:
        raise MgkitError(
            "axes are in no grid: give those of figure.subplots, or a subfigure of your figure (figure.subfigures)."
        )
    parent = axes.figure
    axes.remove()
    return parent.add_subfigure(spec)


def _root(figure: Figure | SubFigure) -> Figure:
    while isinstance(figure, SubFigure):
        figure = figure.figure
    return figure


def _inches(figure: Figure | SubFigure) -> npt.NDArray[np.float64]:
    """Width and height of a figure or subfigure."""
    if isinstance(figure, Figure):
        return np.asarray(figure.get_size_inches(), np.float64)
    return np.array([figure.bbox.width, figure.bbox.height]) / figure.dpi


def width_of(venue: str, columns: int) -> float:
    """Width in inches of a figure over one column or the whole text (2) at a venue of `VENUES`."""
    if venue not in VENUES:
        raise MgkitError(f"{venue!r} is not a known venue: use one of {', '.join(VENUES)}.")
    if columns not in (1, 2):
        raise MgkitError(f"columns is {columns}: a figure is 1 or 2 columns wide.")
    if (place := _PLACE.get()) is not None:
        _root(place).draw_without_rendering()  # the layout decides how large it is
        return float(_inches(place)[0])
    return VENUES[venue][columns - 1]


def new_figure(width: float, height: float, constrained: bool = True) -> Figure:
    """A figure of exactly this size in inches, drawn by Agg and unknown to pyplot; or the place of `in_style`."""
    if (place := _PLACE.get()) is not None:
        return _in_place(place, height, constrained)
    figure = Figure(figsize=(width, height), layout="constrained" if constrained else None)
    FigureCanvasAgg(figure)
    if constrained:
        engine = figure.get_layout_engine()
        assert engine is not None
        engine.set(w_pad=0.02, h_pad=0.02, wspace=0.04, hspace=0.04)  # type: ignore[call-arg]
    return figure


def _in_place(place: SubFigure, height: float, constrained: bool) -> Any:
    """The subfigure to draw into: all of a place where a layout fits the content to it, else its upper part."""
    wide, tall = _inches(place)
    if constrained:
        if not isinstance(_root(place).get_layout_engine(), ConstrainedLayoutEngine):
            raise MgkitError(
                "the figure has no constrained layout, so its parts would overlap: make it with "
                'plt.figure(layout="constrained"), or plt.subplots(..., layout="constrained").'
            )
        return place
    if height > 1.01 * tall:
        raise MgkitError(
            f"the place is {wide:.2f} x {tall:.2f} inches, and this figure needs {height:.2f} inches of height there: "
            "make it higher or narrower, or show less."
        )
    rest = max(tall - height, 1e-3)
    upper: Any = place.subfigures(2, 1, height_ratios=[height, rest], wspace=0, hspace=0)
    return upper[0]


def axes_at(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    """Axes in a box that is placed in points, from the lower left corner of the figure."""
    wide, tall = 72 * _inches(figure)
    return figure.add_axes((x / wide, y / tall, width / wide, height / tall))


def text_at(figure: Figure, x: float, y: float, text: str, **look: Any) -> None:
    """Text placed in points, from the lower left corner of the figure."""
    wide, tall = 72 * _inches(figure)
    figure.text(x / wide, y / tall, text, **look)


def colour_bar(
    figure: Figure,
    colours: ScalarMappable,
    box: tuple[float, float, float, float],
    *,
    vertical: bool = False,
    above: bool = False,
    length: float = 1.5,
) -> Colorbar:
    """A thin colour bar in a box in points; its numbers are below, or `above`; `length` is that of its ticks."""
    orientation: Any = "vertical" if vertical else "horizontal"
    bar = figure.colorbar(colours, cax=axes_at(figure, *box), orientation=orientation)
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(labelsize=LEAST, length=length, pad=1.5 if length == 0 else 1)
    if above:
        bar.ax.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False)
    return bar


@lru_cache(maxsize=4096)
def text_width(text: str, size: float) -> float:
    """Width of a text in points."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        font = FontProperties(family=fonts.families(text), size=size)
        width, _, _ = _measure().get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 10


@lru_cache(maxsize=1)
def _measure() -> RendererAgg:
    return RendererAgg(1, 1, 720)  # ten dots per point: fine enough that hinting does not matter


def fit_text(text: str, limit: float, size: float) -> str:
    """The text, cut to `limit` points with an ellipsis if it is wider, between words if possible."""
    if text_width(text, size) <= limit:
        return text
    keep = len(text)
    while keep > 1 and text_width(text[:keep].rstrip() + "…", size) > limit:
        keep -= 1
    head = text[:keep].rstrip()
    space = head.rfind(" ")
    if space > 0.6 * len(head) and text[keep : keep + 1].strip():
        head = head[:space]
    return head.rstrip(" ,(-") + "…"


def fit_names(names: Sequence[str], limit: float, size: float) -> list[str]:
    """Names cut to `limit` points at the end; those that would become the same are cut where they do not differ."""
    cut = [fit_text(name, limit, size) for name in names]
    waiting = [(list(range(len(cut))), -1)]
    while waiting:
        places, before = waiting.pop()
        for short in {cut[i] for i in places}:
            alike = [i for i in places if cut[i] == short]
            if len(alike) != before and len({names[i] for i in alike}) > 1:
                for i, text in zip(alike, _apart([names[i] for i in alike], limit, size), strict=True):
                    cut[i] = text
                waiting.append((alike, len(alike)))  # some may still be equal, which have more in common
    return cut


def _apart(names: Sequence[str], limit: float, size: float) -> list[str]:
    """Names with a common beginning, cut such that what distinguishes them is kept."""
    head = _common(names)
    tail = _common([name[head:][::-1] for name in names])
    ways = []
    for name in names:
        rest, core = name[head:], name[head : len(name) - tail]
        # The rest of the name whole; or only the part that differs; or as much of that as there is room for.
        parts = [(rest, ""), (core, "…" if tail else "")] if core.strip() else [(rest, "")]
        found = None
        for part, end in parts:
            keep = next(
                (k for k in range(head, 0, -1) if _joined(name[:k], part, end, k < head, limit, size)), None
            )
            if keep is not None:
                found = _joined(name[:keep], part, end, keep < head, limit, size)
                break
        ways.append(found or fit_text("…" + rest.lstrip(), limit, size))
    return ways


def _common(names: Sequence[str]) -> int:
    """Length of the common beginning of names."""
    first, last = min(names), max(names)
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))


def _joined(start: str, part: str, end: str, cut: bool, limit: float, size: float) -> str:
    """Beginning and part of a name with ellipses in place of the rest; "" if that is wider than `limit`."""
    text = (start.rstrip() + "…" + part.lstrip() if cut else start + part).rstrip() + end
    return text if text_width(text, size) <= limit else ""


def every(room: float, needed: float) -> int:
    """Of labels with `room` each that take `needed`, write this many-th: 1 if all fit."""
    return max(1, math.ceil(needed / room - 1e-9))


def ordinal(number: int) -> str:
    """2 as "2nd"."""
    ends = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if number % 100 in (11, 12, 13) else ends.get(number % 10, 'th')}"


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers in [low, high] for a logarithmic axis: 1, 2, 5, 10, ..., or powers of ten; at least two."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**power for power in powers for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= 6:
            break
    if len(ticks) < 2:  # a narrow range
        values = np.asarray(MaxNLocator(4, integer=True).tick_values(low, high))
        ticks = [float(value) for value in values if low <= value <= high]
    return ticks[:: every(6, len(ticks))]


def log_axis(axes: Axes, low: float, high: float, label: str) -> None:
    """Make the x axis logarithmic from `low` to `high`, with plain numbers and a label that says so."""
    axes.set(xscale="log", xlim=(low, high))
    axis = axes.xaxis
    axis.set_major_locator(FixedLocator(log_ticks(low, high)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())  # by default it labels short axes, in powers of ten
    axis.set_tick_params(which="minor", length=0)
    axis.set_label_text(f"{label} (log scale)")


def balanced(text: str, size: float) -> str:
    """The text in two lines of about equal width; one word stays one line."""
    words = text.split()
    ways = [[" ".join(words[:i]), " ".join(words[i:])] for i in range(1, len(words))]
    if not ways:
        return text
    return "\n".join(min(ways, key=lambda way: max(text_width(line, size) for line in way)))


def wrap_text(text: str, limit: float, size: float, lines: int = 2) -> str:
    """The text in at most `lines` lines of `limit` points, broken between words; the rest is cut."""
    words, out = text.split(), [""]
    for i, word in enumerate(words):
        longer = f"{out[-1]} {word}".strip()
        if not out[-1] or text_width(longer, size) <= limit:
            out[-1] = longer
        elif len(out) < lines:
            out.append(word)
        else:
            out[-1] = " ".join([out[-1], *words[i:]])
            break
    return "\n".join(fit_text(line, limit, size) for line in out)


@lru_cache(maxsize=1)
def ramp() -> ListedColormap:
    """White to dark blue in equal perceptual steps: a straight line in CIELAB, lightness 100 to 20."""
    share = np.linspace(0, 1, 256)[:, None]
    lab = (1 - share) * np.array([100.0, 0.0, 0.0]) + share * np.array([20.0, 14.0, -44.0])
    return ListedColormap(_lab_to_rgb(lab), name="mgkit")


@lru_cache(maxsize=1)
def greys() -> ListedColormap:
    """White to dark grey in the same steps of lightness as `ramp`."""
    lightness = np.linspace(100, 20, 256)[:, None]
    return ListedColormap(_lab_to_rgb(lightness * np.array([1.0, 0.0, 0.0])), name="mgkit_greys")


@lru_cache(maxsize=1)
def diverging() -> ListedColormap:
    """Orange over white to blue in equal perceptual steps, as in the confusion widget; both ends are equally
    dark, which is safe for colour-blind readers."""
    share = np.linspace(-1, 1, 257)[:, None]
    end = np.where(share < 0, [[45.0, 46.0, 54.0]], [[45.0, 0.0, -50.0]])
    lab = (1 - np.abs(share)) * np.array([100.0, 0.0, 0.0]) + np.abs(share) * end
    return ListedColormap(_lab_to_rgb(lab), name="mgkit_diverging")


def _lab_to_rgb(lab: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """CIELAB (D65) (n, 3) to sRGB in [0, 1], after IEC 61966-2-1."""
    fy = (lab[:, 0] + 16) / 116
    f = np.stack([fy + lab[:, 1] / 500, fy, fy - lab[:, 2] / 200], 1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * np.array([0.95047, 1.0, 1.08883])
    matrix = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    linear = np.clip(xyz @ matrix.T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
