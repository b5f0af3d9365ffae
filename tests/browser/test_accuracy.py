"""The class bars in a page: what is drawn, and what clicks and keys do."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

from mgkit.views.widgets import ClassAccuracy, Selection
from tests.browser.bare import BarePage
from tests.browser.test_confusion import until_selected
from tests.results.fake_run import fake_clips, fake_run
from tests.views.widgets.conftest import FUSED, POSE, RGB, made_run

BARS = {"rgb": "#009e73", "pose": "#cc79a7", "fused": "#8a8a8a"}


def show(page: Page, root: Path, theme: str = "light", **options: object) -> BarePage:
    run = made_run(root / "ours", {"rgb": RGB, "pose": POSE, "fused": FUSED})
    return BarePage(page, ClassAccuracy(run, selection=Selection(), **options), theme)  # type: ignore[arg-type]


def box(bare: BarePage) -> dict[str, float]:
    found = bare.page.evaluate("() => ({...document.querySelector('canvas').dataset})")
    return {name: float(value) for name, value in found.items()}


def click(bare: BarePage, row: int, output: int = 2, **options: object) -> None:
    place = box(bare)
    y = place["top"] + (row + 0.5) * place["row"] + 9 * (output - 1)
    bare.page.locator("canvas").click(position={"x": place["left"] + 20, "y": y}, **options)  # type: ignore[arg-type]


def test_bars_are_as_long_as_their_numbers(page: Page, tmp_path: Path) -> None:
    bare = show(page, tmp_path, order="given")
    plot = box(bare)["plot"]
    longest = page.evaluate(
        """colours => {
            const canvas = document.querySelector("canvas"), {width, height} = canvas;
            const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
            return colours.map(colour => {
                const wanted = [1, 3, 5].map(i => parseInt(colour.slice(i, i + 2), 16)), ends = [];
                for (let y = 0; y < height; y++) {
                    let end = 0, start = 0;
                    for (let x = 0; x < width; x++)
                        if (wanted.every((value, k) => pixels[4 * (y * width + x) + k] === value)) {
                            start ||= x;
                            end = x;
                        }
                    if (end) ends.push(end - start + 1);
                }
                return [...new Set(ends)];
            });
        }""",
        list(BARS.values()),
    )
    for output, lengths in zip(BARS, longest, strict=True):
        for recall in bare.widget.values[output]["recall"][:2]:
            assert any(abs(length - recall * plot) <= 2 for length in lengths), (
                output,
                recall,
                lengths,
                plot,
            )
    assert bare.errors == []


def test_clicks_select_the_clips_behind_a_bar(page: Page, tmp_path: Path) -> None:
    bare = show(page, tmp_path, order="given")
    assert "Click a bar" in page.locator(".mgk-side").inner_text()
    click(bare, 0)
    until_selected(bare, "c0", "c1", "c2", "c3")
    assert "rub hands" in page.locator(".mgk-side h4").first.inner_text()
    page.locator("button[data-kind=FN][data-output=rgb]").click()
    until_selected(bare, "c2", "c3")
    page.locator("button[data-kind=FP][data-output=fused]").click(modifiers=["Shift"])
    until_selected(bare, "c2", "c3", "c7")
    assert page.locator("button[data-kind=FP][data-output=pose]").is_disabled(), "there are none"
    page.get_by_role("button", name="Precision").click()
    page.wait_for_function("window.model.get('metric') === 'precision'")
    click(bare, 0, output=0)
    until_selected(bare, "c0", "c1", "c6", "c7")
    assert bare.widget.selection.description == "clips predicted as rub hands (RGB)"
    page.locator(".mgk-list button", has_text="touch chin").click()
    until_selected(bare, "c3", "c4", "c5", "c6")
    assert bare.errors == []


def test_keys_do_what_clicks_do(page: Page, tmp_path: Path) -> None:
    bare = show(page, tmp_path, order="given")
    page.locator("canvas").focus()
    for key in ("ArrowDown", "Enter"):
        page.keyboard.press(key)
    until_selected(bare, "c0", "c1", "c2", "c3")
    page.keyboard.press("p")  # of RGB, the first bar
    until_selected(bare, "c6", "c7")
    for key in ("ArrowDown", "ArrowDown", "n"):
        page.keyboard.press(key)
    until_selected(bare, "c3")
    assert "3 of its 4 clips recognised" in (page.locator(".mgk-aloud").text_content() or "")
    page.keyboard.press("Escape")
    until_selected(bare)


def test_selection_and_focus_are_marked_and_empty_classes_say_so(page: Page, tmp_path: Path) -> None:
    bare = show(page, tmp_path)
    assert "#e69f00" not in bare.colours()
    bare.widget.selection.set(["c3", "c4"], focus="c3", description="from Python")
    bare.push()
    assert bare.colours()["#e69f00"] > 20
    legend = page.locator(".mgk-legend").inner_text()
    for words in ("RGB", "95 % Wilson interval", "share selected", "clip in focus", "its predicted class"):
        assert words in legend
    place = box(bare)
    page.locator("canvas").hover(position={"x": place["left"] + 5, "y": place["top"] + 2.5 * place["row"]})
    assert "no clips of this class in test" in page.locator(".mgk-tip").inner_text()
    page.get_by_role("button", name="F1").click()
    page.wait_for_function("!document.querySelector('.mgk-legend').textContent.includes('Wilson')")


@pytest.mark.parametrize("classes", [2, 52])
def test_few_and_many_classes_wide_and_narrow(page: Page, tmp_path: Path, classes: int) -> None:
    run = fake_run(tmp_path / "run", fake_clips(tmp_path / "clips", classes, 8), epochs=1, splits=("test",))
    bare = BarePage(page, ClassAccuracy(run), "dark")
    page.set_viewport_size({"width": 420, "height": 800})
    page.wait_for_selector(".mgk-narrow")
    bare.settle()
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    colours = bare.colours()
    assert max(colours, key=lambda colour: colours[colour]) == "#111111"
    assert all(colours[colour] > 50 for colour in BARS.values())
    assert bare.errors == []
