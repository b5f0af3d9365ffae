"""The error explorer in JupyterLab: from a filter to a clip, its picture, and a note that is still there afterwards."""

from __future__ import annotations

import base64
import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.browser.lab import Lab, Notebook
from tests.player_clips import number_of, numbered_clips, numbered_run

pytestmark = pytest.mark.slow

SHOWS = """([clip, frame]) => {
    const shown = document.querySelector('.mg-player').dataset;
    return shown.clip === clip && shown.frame === frame;
}"""


def picture(page: Page) -> np.ndarray:
    """(H, W, 3) what the player shows of its first clip."""
    url = page.locator(".mg-p-canvas").first.evaluate("canvas => canvas.toDataURL('image/png')")
    return cv2.imdecode(np.frombuffer(base64.b64decode(url.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)


def noted(run: Path) -> dict[str, dict[str, str]]:
    with (run / "review.csv").open(encoding="utf-8", newline="") as stream:
        return {row["clip_id"]: row for row in csv.DictReader(stream)}


def test_from_a_filter_to_a_note_that_stays(lab: Lab, page: Page, tmp_path: Path) -> None:
    clips = numbered_clips(tmp_path / "clips", copies=3)
    run = numbered_run(tmp_path / "run", clips).root
    page.set_viewport_size({"width": 1366, "height": 768})
    cells = [
        f"import mgkit as mg; run = mg.load_run({str(run)!r})",
        "explorer = mg.widgets.ErrorExplorer(run); explorer",
    ]
    with Notebook(lab, page, cells, "explorer.ipynb") as notebook:
        notebook.run_all()
        explorer = notebook.cell(1).locator(".mgk-explorer")
        explorer.locator(".mgk-card img").first.wait_for()
        assert notebook.evaluate("list(explorer.selection)") == ["a"], "the only clip that is wrong"
        page.wait_for_function(SHOWS, arg=["a", "0"])
        box = explorer.bounding_box()
        assert box is not None
        assert box["height"] <= 660, "it fits the screen of a laptop"
        assert explorer.evaluate("root => root.scrollWidth <= root.clientWidth + 1")

        # Filter, then a click on a picture: that clip in the kernel, and in the player.
        explorer.get_by_role("button", name="All", exact=True).click()
        notebook.until("len(explorer.selection) == 12")
        explorer.get_by_label("Class", exact=True).select_option("red moving")
        notebook.until("explorer.filters.label == 1 and len(explorer.selection) == 9")
        explorer.locator(".mgk-card[data-clip=b1] img").wait_for()
        explorer.locator(".mgk-card[data-clip=b1]").click()
        notebook.until("explorer.clip_id == 'b1'")
        page.wait_for_function(SHOWS, arg=["b1", "0"])
        explorer.get_by_title("One frame forward").click()
        explorer.get_by_title("One frame forward").click()
        page.wait_for_function(SHOWS, arg=["b1", "2"])
        assert number_of(picture(page)) == 2
        notebook.until("explorer.player.frame == 2")

        # A cell of the matrix, and the next clip by key.
        canvas = explorer.locator(".mgk-x-views canvas")
        where = canvas.evaluate("canvas => ({...canvas.dataset})")
        left, top, size = (float(where[name]) for name in ("left", "top", "cell"))
        canvas.click(position={"x": left + 1.5 * size, "y": top + 1.5 * size})
        right = notebook.until("len(explorer.selection) == 8 and list(explorer.selection)")
        explorer.get_by_text("TP of red moving (Fused)").first.wait_for()
        explorer.locator(".mgk-cards").focus()
        page.keyboard.press("n")
        following = right[(right.index("b1") + 1) % len(right)]
        notebook.until(f"explorer.clip_id == {following!r}")
        page.wait_for_function(SHOWS, arg=[following, "0"])
        page.keyboard.press("p")
        notebook.until("explorer.clip_id == 'b1'")

        # A note: by click, by key, and in words; in the file at once.
        explorer.get_by_role("button", name="occluded").click()
        notebook.until("explorer.notes.get('b1') is not None")
        assert noted(run)["b1"]["tags"] == "occluded"
        page.keyboard.press("2")
        notebook.until("explorer.notes['b1'].tags == ('ambiguous', 'occluded')")
        page.keyboard.press("t")
        page.keyboard.type("nobody moves, 1 hand")
        page.keyboard.press("Enter")
        notebook.until("explorer.notes['b1'].text == 'nobody moves, 1 hand'")
        assert noted(run)["b1"]["note"] == "nobody moves, 1 hand"
        expect(explorer.locator(".mgk-card[data-clip=b1] .mgk-noted")).to_have_text("✎ 2")

        # The list of notes, and the file to take along.
        explorer.get_by_role("tab", name="Notes (1)").click()
        expect(explorer.locator(".mgk-noted-list button")).to_have_attribute("data-clip", "b1")
        with page.expect_download() as download:
            explorer.get_by_role("button", name="Download CSV").click()
        assert Path(download.value.path()).read_bytes() == (run / "review.csv").read_bytes()
        explorer.get_by_role("tab", name="Confusion").click()

        # Keys stay in the explorer: no cell was cut, added or left.
        assert page.locator(".jp-Cell").count() == 2

        # The page is reloaded: everything is as it was, and still linked to the kernel.
        notebook.reload()
        explorer.locator(".mgk-card[data-clip=b1] img").wait_for()
        expect(explorer.locator("[aria-current=true]")).to_have_attribute("data-clip", "b1")
        expect(explorer.get_by_role("button", name="occluded")).to_have_attribute("aria-pressed", "true")
        expect(explorer.get_by_label("Comment")).to_have_value("nobody moves, 1 hand")
        explorer.get_by_role("button", name="occluded").click()
        notebook.until("explorer.notes['b1'].tags == ('ambiguous',)")

        # A new explorer, and another kernel for that matter, reads the notes.
        assert (
            notebook.evaluate("mg.widgets.ErrorExplorer(mg.load_run(run.root)).notes['b1'].text")
            == "nobody moves, 1 hand"
        )
        assert not [line for line in notebook.console if line.startswith("page error")], notebook.console
