"""Fonts for class names in any script.

Figures are set in fonts that come with matplotlib, which have Latin, Greek, Cyrillic, Hebrew and Arabic letters. For
characters that these lack (Chinese, Japanese, Korean, ...), any font on the machine that has them is added. Fonts with
PostScript outlines (CFF, most of those for Chinese, Japanese and Korean) are embedded by matplotlib in a way that
Ghostscript shows as nothing, so the characters needed are redrawn with TrueType outlines, once, in matplotlib's cache.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager, ft2font
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, fontManager
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, Formatter, FuncFormatter

from mgkit.errors import MgkitError
from mgkit.files import atomic

BASE = ("STIXGeneral", "DejaVu Sans")
RIGHT_TO_LEFT = "letters that are written from right to left need matplotlib 3.11 or later"
SAMPLES = {"Chinese": "摸脸", "Japanese": "さわる", "Korean": "만지다"}  # by which the doctor looks for fonts
BOX = "□"  # in DejaVu Sans
ADVICE = (
    "install a font that has them, for example the package fonts-noto-cjk (Chinese, Japanese, Korean) or "
    "fonts-noto-core (most other scripts)"
)


def families(text: str) -> list[str]:
    """Families to measure a text with: those of every figure, then those that have its other characters."""
    return [*BASE, *(entry.name for entry in _sources(_foreign(text))[0])]


def lacking(text: str) -> str:
    """The characters of a text that no font on this machine has, each once."""
    return "".join(sorted(_sources(_foreign(text))[1]))


def dress(figure: Figure) -> str:
    """Give the texts of a figure the fonts that they need; returns what a reader must know of it, "" if nothing."""
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    absent: set[str] = set()
    for axes in figure.findobj(Axes):
        assert isinstance(axes, Axes)
        for axis in (axes.xaxis, axes.yaxis):
            formatter = axis.get_major_formatter()
            if isinstance(formatter, FixedFormatter | FuncFormatter):
                labels = axis.get_ticklabels()  # their texts are otherwise set as late as the first drawing
                signs = _foreign("".join(label.get_text() for label in labels))
                if signs:
                    texts += labels
                    missing = _sources(signs)[1]
                    absent |= missing
                    if missing:
                        axis.set_major_formatter(FuncFormatter(partial(_boxed_label, formatter, missing)))
    words = [text.get_text() for text in texts]
    foreign = _foreign("".join(words))
    if not foreign:
        backwards = any(unicodedata.bidirectional(c) in ("R", "AL") for c in "".join(words))
        return RIGHT_TO_LEFT if backwards and not hasattr(ft2font, "__libraqm_version__") else ""
    entries, missing = _sources(foreign)
    absent |= missing
    wanted = [*BASE, *(_embeddable(entry, foreign) for entry in entries)]
    for text, word in zip(texts, words, strict=True):
        if _foreign(word):
            text.set_fontfamily(wanted)
            text.set_text(_boxed(word, missing))
    if absent:
        shown = "".join(sorted(absent))
        return f"no font on this machine has the characters {shown[:12]}{'…' * (len(shown) > 12)}: {ADVICE}"
    return ""


def _boxed_label(formatter: Formatter, missing: frozenset[str], value: float, position: int | None) -> str:
    """The label that a formatter gives, as `_boxed`."""
    return _boxed(formatter(value, position), missing)


def _boxed(text: str, missing: frozenset[str]) -> str:
    """The text with a box for each character that no font has."""
    plain = unicodedata.normalize("NFC", text)
    return "".join(BOX if c in missing else c for c in plain) if missing.intersection(plain) else text


def _foreign(text: str) -> frozenset[str]:
    """The characters of a text that are not in the fonts of `BASE`; composed ones for those that are decomposed."""
    if text.isascii():
        return frozenset()
    composed = unicodedata.normalize("NFC", text)
    return frozenset(c for c in composed if ord(c) not in _base() and unicodedata.category(c) != "Cc")


@lru_cache(maxsize=1)
def _base() -> frozenset[int]:
    """The characters of the fonts of `BASE`."""
    found: set[int] = set()
    for name in BASE:
        found |= font_manager.get_font(fontManager.findfont(name)).get_charmap().keys()
    return frozenset(found)


@lru_cache(maxsize=4096)
def _sources(foreign: frozenset[str]) -> tuple[tuple[FontEntry, ...], frozenset[str]]:
    """Fonts of the machine that together have these characters, as few as possible, and the characters in none."""
    left, chosen = set(foreign), list[FontEntry]()
    while left:
        covered = {path: {c for c in left if ord(c) in _beyond(path)} for path in _files()}
        most = max((len(found) for found in covered.values()), default=0)
        if not most:
            break
        best = [path for path, found in covered.items() if len(found) == most]
        entry = min(_faces(best), key=lambda one: _preference(one, foreign))
        chosen.append(entry)
        left -= covered[entry.fname]
    return tuple(chosen), frozenset(left)


def _preference(entry: FontEntry, foreign: frozenset[str]) -> tuple[Any, ...]:
    """Sort key of a face: the one for the language, without serifs (legible at 6 pt), upright, of normal weight."""
    names = " ".join(unicodedata.name(c, "") for c in foreign)
    language = "JP" if "HIRAGANA" in names or "KATAKANA" in names else "KR" if "HANGUL" in names else "SC"
    weight = (
        font_manager.weight_dict.get(entry.weight, 400) if isinstance(entry.weight, str) else entry.weight
    )
    odd = [
        not entry.name.endswith(language),
        "Mono" in entry.name,
        "Serif" in entry.name,
        entry.style != "normal",
    ]
    return (*odd, abs(int(weight) - 400), entry.name, entry.fname)


def _faces(paths: Iterable[str]) -> list[FontEntry]:
    """The faces of these files that matplotlib knows; a file it has not seen yet is made known to it."""
    wanted = set(paths)
    for path in sorted(wanted - {entry.fname for entry in fontManager.ttflist}):
        fontManager.addfont(path)
    return [entry for entry in fontManager.ttflist if entry.fname in wanted]


@lru_cache(maxsize=1)
def _files() -> tuple[str, ...]:
    """Font files of the machine, also those installed after matplotlib last looked."""
    known = {entry.fname for entry in fontManager.ttflist}
    # matplotlib's own stand-in for missing characters has a box for each.
    names = sorted(known | set(font_manager.findSystemFonts()))
    return tuple(name for name in names if "LastResort" not in name and os.path.isfile(name))


@cache
def _beyond(path: str) -> frozenset[int]:
    """The characters that a font file has as outlines and the fonts of `BASE` lack."""
    try:
        font = ft2font.FT2Font(path)
        return frozenset(font.get_charmap().keys() - _base() if font.scalable else ())
    except (OSError, RuntimeError, ValueError):  # damaged, or of pixels only
        return frozenset()


@lru_cache(maxsize=256)
def _embeddable(entry: FontEntry, foreign: frozenset[str]) -> str:
    """The family of a font that a PDF shows everywhere: its own, or that of a copy with TrueType outlines."""
    from fontTools.ttLib import TTFont

    index = getattr(entry, "index", 0)
    with TTFont(entry.fname, fontNumber=index, lazy=True) as font:
        if "glyf" in font:
            return entry.name
    state = os.stat(entry.fname)
    key = f"1 {entry.fname} {index} {state.st_size} {state.st_mtime_ns} {''.join(sorted(foreign))}"
    name = f"mgkit {hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if name not in {known.name for known in fontManager.ttflist}:
        path = Path(mpl.get_cachedir()) / f"{name.replace(' ', '-')}.ttf"
        if not path.is_file():
            try:
                with atomic(path) as temporary:
                    temporary.write_bytes(true_type(entry.fname, index, sorted(foreign), name))
            except (
                MgkitError
            ):  # the cache is full or cannot be written to: all but Ghostscript show the font itself
                return entry.name
        fontManager.addfont(path)
    return name


def true_type(path: str | Path, index: int, characters: Sequence[str], name: str) -> bytes:
    """A font file of some characters of a font, with TrueType in place of PostScript outlines.

    Args:
        path, index: the font file, and which of the fonts in it.
        characters: each one character.
        name: the family that the new font is of.
    """
    import io

    from fontTools import subset
    from fontTools.pens.cu2quPen import Cu2QuPen
    from fontTools.pens.ttGlyphPen import TTGlyphPen
    from fontTools.ttLib import TTFont, newTable

    font = TTFont(path, fontNumber=index, recalcTimestamp=False)
    options = subset.Options(
        notdef_outline=True, hinting=False, name_IDs=[1, 2, 4, 6], recalc_timestamp=False
    )
    options.drop_tables += ["BASE", "VORG", "vhea", "vmtx"]
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=[ord(c) for c in characters])
    cutter.subset(font)

    # Cubic curves become quadratic ones, within a thousandth of the em.
    order, outlines = font.getGlyphOrder(), font.getGlyphSet()
    glyphs = {}
    for glyph in order:
        pen = TTGlyphPen(None)
        outlines[glyph].draw(Cu2QuPen(pen, font["head"].unitsPerEm / 1000, reverse_direction=True))
        glyphs[glyph] = pen.glyph()
    for table in ("CFF ", "CFF2", "fvar", "avar", "HVAR", "MVAR", "STAT"):
        if table in font:
            del font[table]
    font["loca"], font["glyf"] = newTable("loca"), newTable("glyf")
    font["glyf"].glyphOrder, font["glyf"].glyphs = order, glyphs
    for glyph in order:
        font["hmtx"][glyph] = (font["hmtx"][glyph][0], getattr(glyphs[glyph], "xMin", 0))

    # What the format asks for besides.
    most = font["maxp"]
    most.tableVersion = 0x00010000
    for field in (
        "maxTwilightPoints", "maxStorage", "maxFunctionDefs", "maxInstructionDefs", "maxStackElements",
        "maxSizeOfInstructions", "maxComponentElements",
    ):  # fmt: skip
        setattr(most, field, 0)
    most.maxZones = 1
    font["post"].formatType = 3.0
    font["name"].setName(name, 1, 3, 1, 0x409)
    font.sfntVersion = "\0\1\0\0"
    stream = io.BytesIO()
    font.save(stream)
    return stream.getvalue()
