"""Class names in scripts that the fonts of matplotlib lack: with a font for them on the machine, and with none."""

from __future__ import annotations

import shutil
import subprocess
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.t2CharStringPen import T2CharStringPen
from matplotlib import font_manager

from mgkit import checkup
from mgkit.data.clips import Classes
from mgkit.views import figures
from mgkit.views.figures import fonts, style
from mgkit.views.figures.style import PaperFigure, new_figure
from tests.results.fake_run import fake_clips
from tests.views.figures.test_figures import content, texts

NAMES = ("摸脸", "さわる", "만지다")
Install = Callable[..., Path]


def forget() -> None:
    for kept in (fonts._files, fonts._sources, fonts._beyond, fonts._embeddable, style.text_width):
        kept.cache_clear()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """`install(name, characters)`: puts a font with PostScript outlines on a machine that has only matplotlib's own."""
    own = tuple(path for path in fonts._files() if "mpl-data" in path)
    there: list[str] = list(own)
    monkeypatch.setattr("matplotlib.get_cachedir", lambda: str(tmp_path))

    def files() -> tuple[str, ...]:
        return tuple(there)

    files.cache_clear = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setattr(fonts, "_files", files)
    forget()

    def make(name: str, characters: str) -> Path:
        there.append(str(cff_font(tmp_path / f"{name}.otf", name, characters)))
        forget()
        return Path(there[-1])

    yield make
    forget()


def cff_font(path: Path, name: str, characters: str) -> Path:
    """A font whose characters are filled squares with a curved corner."""
    glyphs = {f"u{ord(c):04X}": c for c in characters}
    pen = T2CharStringPen(1000, None)
    pen.moveTo((100, 0))
    pen.lineTo((900, 0))
    pen.curveTo((900, 500), (900, 800), (500, 800))
    pen.lineTo((100, 800))
    pen.closePath()
    square, nothing = pen.getCharString(), T2CharStringPen(1000, None).getCharString()
    builder = FontBuilder(1000, isTTF=False)
    builder.setupGlyphOrder([".notdef", *glyphs])
    builder.setupCharacterMap({ord(c): glyph for glyph, c in glyphs.items()})
    builder.setupCFF(name, {}, {".notdef": nothing, **dict.fromkeys(glyphs, square)}, {})
    builder.setupHorizontalMetrics(dict.fromkeys([".notdef", *glyphs], (1000, 100)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": name, "styleName": "Regular", "psName": name})
    builder.setupOS2(usWeightClass=400)
    builder.setupPost()
    builder.save(path)
    return path


def lines(*words: str) -> PaperFigure:
    """A figure of these words alone."""
    figure = new_figure(3, 0.5 * len(words), constrained=False)
    with style.styled():
        for i, word in enumerate(words):
            figure.text(0.1, (i + 0.3) / len(words), word)
    return PaperFigure(figure, pd.DataFrame({"word": words}))


def test_a_pdf_shows_other_scripts_in_every_viewer(install: Install, tmp_path: Path) -> None:
    install("Own Hand", "".join(NAMES))
    figure = lines("touch face", *NAMES)
    assert figure.note == ""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = figure.save(tmp_path / "names")[0]
    pdf = content(path.read_bytes())
    assert b"/FontFile3" not in pdf, "Ghostscript shows nothing of PostScript outlines in a Type 42 font"
    assert pdf.count(b"/FontFile2") >= 2
    assert b"LastResort" not in pdf, "boxes"
    assert figure.pdf() == path.read_bytes()
    if shutil.which("pdftotext"):
        shown = subprocess.run(["pdftotext", path, "-"], capture_output=True, text=True, check=True).stdout
        assert all(name in shown for name in NAMES)
    if shutil.which("gs"):
        words = [
            "gs",
            "-q",
            "-dNOPAUSE",
            "-dBATCH",
            "-sDEVICE=pgmraw",
            "-r72",
            f"-sOutputFile={tmp_path / 'page'}",
        ]
        subprocess.run([*words, str(path)], check=True, capture_output=True)
        raw = (tmp_path / "page").read_bytes()
        page = np.frombuffer(raw[-216 * 144 :], np.uint8).reshape(144, 216)
        assert all((page[36 * i : 36 * (i + 1)] < 128).sum() > 60 for i in range(3)), "squares of 8 pt"


def test_labels_of_ticks_have_their_font_too(install: Install, tmp_path: Path) -> None:
    install("Own Labels", "摸脸")
    clips = fake_clips(tmp_path / "clips", Classes(("摸脸", "touch face")), 4)
    figure = figures.class_counts(clips)
    assert figure.note.count("font") == 0
    assert b"/FontFile3" not in content(figure.pdf())
    assert any("摸脸" in text.get_text() for text in texts(figure))


def test_the_font_of_the_language_is_taken(install: Install) -> None:
    for language in ("SC", "JP", "KR"):
        install(f"Own Sans {language}", "摸さ만")
    assert fonts.families("摸")[-1] == "Own Sans SC"
    assert fonts.families("摸さ")[-1] == "Own Sans JP"
    assert fonts.families("摸만")[-1] == "Own Sans KR"


def test_several_fonts_together(install: Install) -> None:
    install("Own Half", "摸脸")
    install("Other Half", "다")
    figure = lines("摸脸 다")
    assert fonts.lacking("摸脸 다") == ""
    assert figure.note == ""
    assert b"LastResort" not in content(figure.pdf())


def test_without_a_font_the_note_says_so_in_one_sentence(
    install: Install, recwarn: pytest.WarningsRecorder
) -> None:
    install("Own Some", "摸")
    figure = lines("摸脸", "Ärmel, Рука, يد")
    assert figure.note == f"no font on this machine has the characters 脸: {fonts.ADVICE}"
    assert next(text.get_text() for text in texts(figure)) == "摸□"
    assert figure.data["word"][0] == "摸脸", "the numbers keep the name"
    assert b"LastResort" not in content(figure.pdf()), "a font of 9 MB, for boxes"
    assert style.text_width("摸脸", 8) > 8
    assert not [str(warning.message) for warning in recwarn if "missing from" in str(warning.message)]


def test_without_a_font_labels_of_ticks_have_boxes_too(install: Install, tmp_path: Path) -> None:
    install("Own Some", "摸")
    names = ("摸脸", "touch face", "ขยี้ตา")
    figure = figures.class_counts(fake_clips(tmp_path / "clips", Classes(names), 4))
    assert fonts.ADVICE in figure.note
    assert b"LastResort" not in content(figure.pdf())
    shown = {text.get_text() for text in texts(figure)}
    assert not [text for text in shown if "脸" in text or "ข" in text]
    assert any(text.startswith("摸□") for text in shown)
    assert "ขยี้ตา" in set(figure.data["class"])


def test_scripts_of_the_common_fonts_and_decomposed_letters_need_no_other(install: Install) -> None:
    plain = ("Ärmel verschränken", "Прикосновение", "שלום", "لمس", "∂x ≥ 2")
    for word in (*plain, *(unicodedata.normalize("NFD", word) for word in plain)):
        assert fonts.families(word) == list(fonts.BASE), word
    install("Own Composed", "만")
    assert fonts.lacking(unicodedata.normalize("NFD", "만")) == ""


def test_a_damaged_font_is_passed_over(install: Install) -> None:
    install("Own Broken", "摸").write_bytes(b"OTTO" + bytes(40))
    forget()
    assert fonts.lacking("摸") == "摸"


def test_the_cache_cannot_be_written(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("Own Unkept", "摸")
    monkeypatch.setattr("matplotlib.get_cachedir", lambda: "/proc/nowhere")
    figure = lines("摸")
    assert "Own Unkept" in [text.get_fontfamily()[-1] for text in texts(figure)]


def test_the_doctor_names_the_languages_without_a_font(install: Install) -> None:
    (finding,) = checkup.class_names()
    assert finding.state == "note"
    assert "Chinese, Japanese, Korean" in finding.found
    assert fonts.ADVICE in finding.advice
    install("Own All", "".join(fonts.SAMPLES.values()))
    (finding,) = checkup.class_names()
    assert finding.state == "ok"


def test_right_to_left_needs_a_matplotlib_that_can(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines("touch face").note == ""
    monkeypatch.delattr(font_manager.ft2font, "__libraqm_version__", raising=False)
    assert lines("لمس").note == fonts.RIGHT_TO_LEFT
