"""The comparison of two runs in a page: what is drawn, and what clicks and keys do."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

from mgkit.views.widgets import RunComparison
from tests.browser.bare import BarePage
from tests.browser.test_confusion import until_selected
from tests.results.fake_run import fake_clips, fake_run
from tests.views.widgets.conftest import FUSED, POSE, RGB, made_run


def show(page: Page, root: Path, theme: str = "light", **options: object) -> BarePage:
    one = made_run(root / "one", {"fused": [1, 0, 0, 2, 1, 0, 1, 1]})
    other = made_run(root / "other", {"rgb": RGB, "pose": POSE, "fused": FUSED})
    return BarePage(page, RunComparison(one, other, **options), theme)  # type: ignore[arg-type]


def test_bars_and_cells_select_their_clips(page: Page, tmp_path: Path) -> None:
    bare = show(page, tmp_path)
    page.locator(".mgk-four [data-fate=fixed]").click()
    until_selected(bare, "c0", "c5")
    assert page.locator(".mgk-four .mgk-held").count() == 1
    page.locator(".mgk-half[data-place='1 broken']").click()
    until_selected(bare, "c7")
    page.locator(".mgk-half[data-place='0 fixed']").click(modifiers=["Shift"])
    until_selected(bare, "c7", "c0")
    page.locator(".mgk-clips [data-clip=c5]").click()
    until_selected(bare, "c0", "c5")
    assert bare.widget.selection.focus == "c5"
    assert page.locator(".mgk-clips [data-clip=c5]").get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="Broken", exact=True).click()
    assert page.locator(".mgk-clips button").count() == 1
    assert page.locator(".mgk-four [data-fate=wrong] b").inner_text() == "1"
    assert bare.errors == []


def test_bars_are_as_long_as_their_counts(page: Page, tmp_path: Path) -> None:
    bare = show(page, tmp_path)
    widths = page.evaluate(
        "() => [...document.querySelectorAll('.mgk-half i')].map(i => i.getBoundingClientRect().width)"
    )
    counts = [bare.widget.found["counts"][k][i] for k in bare.widget.found["order"] for i in (2, 1)]
    assert [width > 0 for width in widths] == [count > 0 for count in counts]
    longest = max(widths)
    assert widths == pytest.approx([longest * count / max(counts) for count in counts], abs=1.5)


def test_keys_move_and_select(page: Page, tmp_path: Path) -> None:
    bare = show(page, tmp_path)
    page.locator(".mgk-half[data-place='0 fixed']").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    until_selected(bare, "c5")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    until_selected(bare, "c7")
    page.keyboard.press("Escape")
    until_selected(bare)


def test_the_pathways_of_one_run(page: Page, tmp_path: Path) -> None:
    run = made_run(tmp_path / "ours", {"rgb": RGB, "pose": POSE, "fused": FUSED})
    bare = BarePage(page, RunComparison(run, run))
    assert page.locator(".mgk-title").inner_text().startswith("ours RGB → ours Pose")
    page.get_by_role("button", name="Pose → Fused").click()
    page.get_by_text("ours Pose → ours Fused").wait_for()
    page.locator(".mgk-four [data-fate=fixed]").click()
    until_selected(bare, *RunComparison(run, run, output=("pose", "fused")).select("fixed"))
    assert bare.errors == []


def test_equal_runs_say_so(page: Page, tmp_path: Path) -> None:
    one, other = (made_run(tmp_path / name, {"fused": FUSED}) for name in ("one", "two"))
    bare = BarePage(page, RunComparison(one, other))
    text = page.locator(".mgk").inner_text()
    assert "nothing was fixed or broken" in text
    assert "No clips were fixed or broken." in text
    assert page.locator(".mgk-four [data-fate=fixed]").is_disabled()
    assert bare.errors == []


@pytest.mark.parametrize("classes", [2, 52])
def test_few_and_many_classes_wide_and_narrow(page: Page, tmp_path: Path, classes: int) -> None:
    clips = fake_clips(tmp_path / "clips", classes, 8)
    one, other = (
        fake_run(tmp_path / f"run{i}", clips, epochs=1, splits=("test",), seed=i, noise=2.0 + 8 * i)
        for i in (0, 1)
    )
    assert list(one.predictions().predicted()) != list(other.predictions().predicted())
    bare = BarePage(page, RunComparison(one, other), "dark")
    page.set_viewport_size({"width": 420, "height": 800})
    page.wait_for_selector(".mgk-narrow")
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    assert page.locator(".mgk-row:not(.mgk-head)").count() == len(bare.widget.found["order"])
    bar = page.locator(".mgk-half:enabled").first
    bar.click()  # a real click: nothing lies over it
    page.wait_for_selector(".mgk-half.mgk-held")
    assert bare.errors == []
