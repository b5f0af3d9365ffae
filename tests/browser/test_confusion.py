"""The confusion matrix in a page: what is drawn, and what clicks and keys do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from mgkit.views.figures import style
from mgkit.views.widgets import ConfusionMatrix, ErrorExplorer, Selection
from tests.browser.bare import BarePage
from tests.results.fake_run import fake_clips, fake_run
from tests.views.widgets.conftest import FUSED, LABELS, NAMES, POSE, RGB, made_run

ROWS = (0, 2, 1)  # by group: hands, hands, mouth
LONG = ("<b>bold</b> & $5", "摸脸", "an exceedingly long name of a gesture that nobody would ever read")


def show(page: Page, root: Path, theme: str = "light", **options: object) -> BarePage:
    run = made_run(root / "ours", {"rgb": RGB, "pose": POSE, "fused": FUSED})
    return BarePage(page, ConfusionMatrix(run, selection=Selection(), **options), theme)  # type: ignore[arg-type]


def middle(bare: BarePage, row: int, column: int) -> tuple[float, float]:
    """Of a cell, in CSS pixels of the canvas; -1 is the label."""
    box = bare.page.evaluate("() => ({...document.querySelector('canvas').dataset})")
    left, top, cell = (float(box[name]) for name in ("left", "top", "cell"))
    return (
        left / 2 if column < 0 else left + (column + 0.5) * cell,
        top - 20 if row < 0 else top + (row + 0.5) * cell,
    )


def click(bare: BarePage, row: int, column: int, **options: object) -> None:
    x, y = middle(bare, row, column)
    bare.page.locator("canvas").click(position={"x": x, "y": y}, **options)  # type: ignore[arg-type]
    bare.page.wait_for_function("n => window.model.sent.length === n", arg=len(sent(bare)))
    bare.settle()


def sent(bare: BarePage) -> list[dict[str, object]]:
    return bare.page.evaluate("() => window.model.sent")


def pixel(bare: BarePage, x: float, y: float) -> tuple[int, int, int]:
    found = bare.page.evaluate(
        """([x, y]) => {
            const canvas = document.querySelector("canvas"), ratio = canvas.width / parseFloat(canvas.style.width);
            return [...canvas.getContext("2d").getImageData(Math.round(x * ratio), Math.round(y * ratio), 1, 1).data];
        }""",
        [x, y],
    )
    return tuple(found[:3])


def until_selected(bare: BarePage, *ids: str) -> None:
    for _ in range(200):
        if set(bare.widget.selection) == set(ids):
            return
        bare.page.wait_for_timeout(20)
    assert set(bare.widget.selection) == set(ids)


def test_colours_are_those_of_the_paper_figure(page: Page, tmp_path: Path) -> None:
    bare = show(page, tmp_path)
    ramp = np.asarray(style.ramp().colors)
    cell = float(page.get_attribute("canvas", "data-cell") or 0)
    counts = np.array(bare.widget.matrix["counts"])
    for i, true in enumerate(ROWS[:1] + ROWS[2:]):
        row = (0, 2)[i]
        for column, said in enumerate(ROWS):
            share = counts[true, said] / counts[true].sum()
            x, y = middle(bare, row, column)
            found = pixel(bare, x - 0.4 * cell, y + 0.4 * cell)  # beside the number
            expected = 255 * ramp[round(255 * share**0.6)]
            assert np.abs(np.array(found) - expected).max() <= 4, (true, said, share)
    absent = pixel(bare, *middle(bare, 1, 0))
    assert absent != (255, 255, 255), "a class without clips is hatched, not white"
    assert bare.errors == []


def test_clicks_select_cells_rows_and_columns(page: Page, tmp_path: Path) -> None:
    bare = show(page, tmp_path)
    click(bare, 0, 2)
    until_selected(bare, "c3")
    assert (
        page.locator(".mgk-status span")
        .inner_text()
        .startswith("rub hands predicted as touch chin (Fused) · 1 clip")
    )
    click(bare, 2, 0, modifiers=["Shift"])
    until_selected(bare, "c3", "c7")
    click(bare, 2, -1)
    until_selected(bare, "c4", "c5", "c6", "c7")
    click(bare, -1, 0)
    until_selected(bare, "c0", "c1", "c2", "c7")
    page.locator(".mgk-list button").first.click()
    until_selected(bare, "c3")
    page.wait_for_selector(".mgk-list button[aria-pressed=true]")
    page.get_by_role("button", name="Clear").click()
    until_selected(bare)
    page.wait_for_function("document.querySelector('.mgk-status').textContent.startsWith('Nothing selected')")
    assert bare.errors == []


def test_keys_do_what_clicks_do(page: Page, tmp_path: Path) -> None:
    bare = show(page, tmp_path)
    page.locator("canvas").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "Enter"):  # the first step is into the first cell
        page.keyboard.press(key)
    until_selected(bare, "c3")
    assert "touch chin" in (page.locator(".mgk-aloud").text_content() or "")
    page.keyboard.press("End")
    for key in ("ArrowLeft", "ArrowLeft", "ArrowLeft", "Enter"):  # off the edge: the row
        page.keyboard.press(key)
    until_selected(bare, "c0", "c1", "c2", "c3")
    page.keyboard.press("Escape")
    until_selected(bare)


def test_hovering_tells_the_whole_name(page: Page, tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", {"fused": FUSED}, names=LONG)
    bare = BarePage(page, ConfusionMatrix(run, order="given"))
    page.locator("canvas").hover(position=dict(zip("xy", middle(bare, 0, 1), strict=True)))  # type: ignore[arg-type]
    text = page.locator(".mgk-tip").inner_text()
    assert f"true {LONG[0]}" in text, "as text, not as markup"
    assert f"predicted {LONG[1]}" in text
    assert "1 clip · 25 % of the 4 true" in text
    page.locator("canvas").hover(position=dict(zip("xy", middle(bare, 2, -1), strict=True)))  # type: ignore[arg-type]
    assert LONG[2] in page.locator(".mgk-tip").inner_text()
    assert "no clips of this class in test" in page.locator(".mgk-tip").inner_text()
    assert page.locator(".mgk b b").count() == 0


def test_selection_and_focus_from_python_are_marked(page: Page, tmp_path: Path) -> None:
    bare = show(page, tmp_path)
    assert "#e69f00" not in bare.colours()
    bare.widget.selection.set(["c0", "c3"], focus="c3", description="from Python")
    bare.push()
    assert bare.colours()["#e69f00"] > 20, "the diamond of the focus"
    legend = page.locator(".mgk-legend").inner_text()
    for words in ("all selected", "some selected", "clip in focus", "no clips of this class"):
        assert words in legend
    assert page.locator(".mgk-status span").inner_text() == "from Python · 2 clips · in focus: c3"
    bare.widget.selection.set(["c0", "elsewhere"], description="from Python")
    bare.push()
    assert "1 of them in test" in page.locator(".mgk-status span").inner_text()
    assert "#e69f00" not in bare.colours()


def test_the_page_changes_what_is_shown(page: Page, tmp_path: Path) -> None:
    bare = show(page, tmp_path)
    page.get_by_role("button", name="Pose").click()
    page.wait_for_function("window.model.get('matrix').counts[0][1] === 3")
    assert bare.widget.output == "pose"
    page.get_by_role("button", name="clips", exact=True).click()
    page.locator("select").select_option("given")
    page.wait_for_function("window.model.saved.length === 3")
    page.wait_for_timeout(100)
    assert (bare.widget.normalise, bare.widget.order) == (False, "given")
    before = bare.colours()
    bare.widget.output = "fused"
    bare.push()
    assert bare.colours() != before
    assert page.locator("button[aria-pressed=true]").all_inner_texts() == ["Fused", "clips"]


def test_light_and_dark(page: Page, tmp_path: Path) -> None:
    bare = show(page, tmp_path, "light")
    light = bare.colours()
    assert max(light, key=lambda colour: light[colour]) == "#ffffff"
    bare.theme("dark")
    dark = bare.colours()
    assert max(dark, key=lambda colour: dark[colour]) == "#111111"
    assert dark.get("#ffffff", 0) < 0.1 * light["#ffffff"]


def test_the_difference_is_blue_and_orange(page: Page, tmp_path: Path) -> None:
    other = made_run(tmp_path / "theirs", {"fused": [1, 0, 0, 2, 1, 0, 1, 1]})
    bare = show(page, tmp_path, other=other)
    colours = np.array(
        [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c, n in bare.colours().items() if n > 200]
    )
    assert (colours[:, 2] - colours[:, 0] > 80).any(), "more in ours"
    assert (colours[:, 0] - colours[:, 2] > 80).any(), "more in theirs"
    assert "blue: more in ours, orange: more in theirs" in page.locator(".mgk-legend").inner_text()
    assert page.locator("h4").inner_text().startswith("Most changed")
    click(bare, 0, 2)
    until_selected(bare, "c0", "c3")


def test_no_confusions_say_so(page: Page, tmp_path: Path) -> None:
    BarePage(page, ConfusionMatrix(made_run(tmp_path / "run", {"fused": LABELS})))
    assert "None: every clip is classified correctly." in page.locator(".mgk-list").inner_text()


@pytest.mark.parametrize("classes", [2, 52])
def test_few_and_many_classes_wide_and_narrow(page: Page, tmp_path: Path, classes: int) -> None:
    run = fake_run(tmp_path / "run", fake_clips(tmp_path / "clips", classes, 8), epochs=1, splits=("test",))
    bare = BarePage(page, ConfusionMatrix(run))
    assert page.locator(".mgk-narrow").count() == 0
    page.set_viewport_size({"width": 420, "height": 800})
    page.wait_for_selector(".mgk-narrow")
    bare.settle()
    assert page.evaluate("document.documentElement.scrollWidth") <= 420, "the matrix scrolls, not the page"
    assert float(page.get_attribute("canvas", "data-cell") or 0) >= 11
    assert len(bare.colours()) > 20
    assert bare.errors == []


def test_sharp_on_screens_of_high_density(browser: Browser, tmp_path: Path) -> None:
    page = browser.new_page(device_scale_factor=2)
    show(page, tmp_path)
    width, style_width = page.evaluate(
        "() => { const c = document.querySelector('canvas'); return [c.width, parseFloat(c.style.width)] }"
    )
    assert width == 2 * style_width
    page.close()


def test_a_second_view_and_a_removed_one(page: Page, tmp_path: Path) -> None:
    bare = show(page, tmp_path)
    page.evaluate("() => window.show()")
    bare.settle()
    assert page.locator("canvas").count() == 2
    page.evaluate("() => window.views[0].remove()")
    bare.widget.selection.set(["c0"], focus="c0")
    bare.push()
    assert bare.colours()["#e69f00"] > 20
    assert bare.errors == []
    assert NAMES[0] in page.locator(".mgk-list").inner_text()


@pytest.mark.parametrize("classes, width", [(32, 394), (52, 394), (52, 300)])
def test_many_classes_are_seen_whole_in_the_column_of_an_explorer(
    page: Page, tmp_path: Path, classes: int, width: int
) -> None:
    """The selection that it opens with, all errors, does not frame nearly every cell; that of one cell is framed."""
    run = fake_run(tmp_path / "run", fake_clips(tmp_path / "clips", classes, 24), epochs=1, splits=("test",))
    explorer = ErrorExplorer(run)
    matrix = explorer._view("matrix")
    bare = BarePage(page, matrix)
    page.evaluate(  # at once: it is drawn again when its width changes, and only then
        "width => { const at = document.querySelector('#place');"
        "at.className = 'mgk-explorer'; at.style.width = `${width}px`; }",
        width,
    )
    page.set_viewport_size({"width": 900, "height": 700})  # drawn again
    page.wait_for_function("() => document.querySelector('canvas').clientWidth <= 394")
    bare.settle()
    size = page.locator("canvas").evaluate("canvas => [canvas.clientWidth, canvas.clientHeight]")
    assert size[0] <= width
    assert size[1] <= 480
    cells = len(matrix.selected["cells"])
    assert cells > 20
    assert page.locator(".mgk-unframed").inner_text() == f"clips of {cells} cells selected"
    true, predicted, _ = matrix.selected["cells"][0]
    place = page.locator("canvas").evaluate(
        "canvas => [canvas.dataset.left, canvas.dataset.top, canvas.dataset.cell]"
    )
    left, top, cell = map(float, place)
    order = matrix.matrix["orders"][matrix.order]
    at = {"x": left + (order.index(predicted) + 0.5) * cell, "y": top + (order.index(true) + 0.5) * cell}
    page.locator("canvas").click(position=at)  # type: ignore[arg-type]
    page.get_by_text("all selected").wait_for()
    assert [one[:2] for one in matrix.selected["cells"]] == [[true, predicted]]
    assert page.locator(".mgk-unframed").count() == 0
    assert bare.errors == []


def test_the_classes_that_are_not_shown_are_one_grey_row_and_column(page: Page, tmp_path: Path) -> None:
    clips = fake_clips(tmp_path / "clips", 9, 12)
    run = fake_run(tmp_path / "run", clips, epochs=1, splits=("test",))
    widget = ConfusionMatrix(run, classes=run.classes.names[:3])
    bare = BarePage(page, widget)
    counts = np.array(widget.matrix["counts"])
    aside = 0.4 * float(page.get_attribute("canvas", "data-cell") or 0)  # of the number
    for row in range(4):
        for column in range(4):
            x, y = middle(bare, row, column)
            red, green, blue = pixel(bare, x - aside, y + aside)
            grey = max(red, green, blue) - min(red, green, blue) <= 3
            assert grey == (row == 3 or column == 3 or counts[row, column] == 0)
    click(bare, 3, 0)
    assert widget.selection.description.startswith("others (6) predicted as")
    assert len(widget.selection) == counts[3, 0]
    assert bare.errors == []
