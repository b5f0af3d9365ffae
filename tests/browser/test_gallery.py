"""The gallery, the review form and the bar of filters in a page."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Page, expect

from mgkit.data.clips import Clips
from mgkit.results.run.folder import Run
from mgkit.views.widgets import ErrorExplorer, Gallery, ReviewForm, ReviewList, Selection
from tests.browser.bare import BarePage
from tests.player_clips import number_of, numbered_clips, numbered_run
from tests.views.widgets.conftest import FUSED, POSE, RGB, made_run

PICTURE = """image => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    canvas.getContext("2d").drawImage(image, 0, 0);
    return canvas.toDataURL("image/png");
}"""


@pytest.fixture
def own_run(player_clips: Clips, tmp_path: Path) -> Run:
    return numbered_run(tmp_path / "run", player_clips)


def number_shown(page: Page, clip_id: str) -> int:
    """The frame number in the picture of a card."""
    image = page.locator(f".mgk-card[data-clip={clip_id}] img")
    raw = np.frombuffer(base64.b64decode(image.evaluate(PICTURE).split(",")[1]), np.uint8)
    return number_of(cv2.imdecode(raw, cv2.IMREAD_COLOR))


# ---------------------------------------------------------------------------------------------------------------------
# The gallery


def test_pictures_are_those_of_their_clips(page: Page, own_run: Run) -> None:
    selection = Selection(["d", "a", "c", "b"])
    bare = BarePage(page, Gallery(own_run, selection=selection))
    page.locator(".mgk-card[data-clip=c] img").wait_for()
    assert [number_shown(page, clip) for clip in "abd"] == [20, 12, 6]
    assert page.locator(".mgk-card").evaluate_all("cards => cards.map(card => card.dataset.clip)") == list(
        "dacb"
    )
    assert page.locator(".mgk-card").evaluate_all("cards => cards.map(card => card.dataset.kind)") == [
        "right", "wrong", "right", "right",
    ]  # fmt: skip
    assert "predicted as" in str(page.locator(".mgk-card[data-clip=a]").get_attribute("title"))
    assert bare.errors == []


def test_a_click_and_the_keys_move_the_focus(page: Page, own_run: Run) -> None:
    selection = Selection(list("abcd"))
    bare = BarePage(page, Gallery(own_run, selection=selection))
    page.locator(".mgk-card[data-clip=b]").click()
    assert selection.focus == "b"
    expect(page.locator("[aria-current=true]")).to_have_attribute("data-clip", "b")
    for key, clip in [
        ("ArrowRight", "c"),
        ("n", "d"),
        ("n", "a"),
        ("p", "d"),
        ("e", "a"),
        ("E", "a"),
        ("ArrowLeft", "d"),
    ]:
        page.keyboard.press(key)
        bare.settle()
        assert selection.focus == clip, key
    assert list(selection) == list("abcd")
    page.keyboard.press("Control+n")
    assert selection.focus == "d"
    page.keyboard.press("Escape")
    assert len(selection) == 0
    bare.settle()
    expect(page.get_by_text("Nothing is selected")).to_be_visible()
    assert bare.errors == []


def test_pages(page: Page, tmp_path: Path) -> None:
    clips = numbered_clips(tmp_path / "clips", copies=5)
    selection = Selection(clips.ids)
    widget = Gallery(numbered_run(tmp_path / "run", clips), clips=clips, selection=selection, page_size=6)
    bare = BarePage(page, widget)
    page.get_by_text("1–6 of 20 clips").wait_for()
    page.get_by_title("Next page").click()
    page.get_by_text("7–12 of 20 clips").wait_for()
    page.locator(".mgk-card img").nth(5).wait_for()
    page.locator(".mgk-cards").focus()
    page.keyboard.press("PageDown")
    page.keyboard.press("PageDown")
    page.keyboard.press("PageDown")
    page.get_by_text("19–20 of 20 clips").wait_for()
    # A focus that moves takes the page with it.
    selection.focus_on(clips.ids[8])
    bare.push()
    page.get_by_text("7–12 of 20 clips").wait_for()
    expect(page.locator("[aria-current=true]")).to_have_attribute("data-clip", clips.ids[8])
    asked = page.evaluate("window.model.sent.filter(one => one.act === 'thumbs').flatMap(one => one.ids)")
    assert len(asked) == len(set(asked)) <= 20, "no picture is asked for twice"
    assert bare.errors == []


def test_without_pictures_and_with_long_names(page: Page, tmp_path: Path) -> None:
    names = ("a very long class name that goes on and on <b>", "touch chin", "cover face")
    run = made_run(tmp_path / "long", {"rgb": RGB, "pose": POSE, "fused": FUSED}, names=names)
    bare = BarePage(page, Gallery(run, selection=Selection(["c0", "c3", "elsewhere"])))
    page.get_by_text("was imported and knows no clip folder").wait_for()
    page.get_by_text("1–2 of 2 clips · 1 clip of another split").wait_for()
    assert page.locator(".mgk-card").count() == 2
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert bare.errors == []


# ---------------------------------------------------------------------------------------------------------------------
# The form


def test_tags_by_click_and_by_key(page: Page, own_run: Run) -> None:
    selection = Selection(list("abcd"))
    bare = BarePage(page, ReviewForm(own_run, selection=selection))
    page.get_by_text("no notes yet").wait_for()
    page.get_by_role("button", name="occluded").click()
    page.get_by_text("saved").wait_for()
    assert own_run.notes()["a"].tags == ("occluded",)
    page.keyboard.press("1")
    bare.settle()
    page.get_by_label("correct class").select_option("blue still")
    bare.settle()
    assert own_run.notes()["a"].label == "blue still"
    page.locator(".mgk-review").focus()
    page.keyboard.press("3")
    bare.settle()
    assert own_run.notes()["a"].tags == ("label wrong",)
    page.keyboard.press("1")
    bare.settle()
    assert "a" not in own_run.notes()
    expect(page.get_by_label("correct class")).to_be_hidden()
    assert bare.errors == []


def test_a_text_is_saved_with_its_clip(page: Page, own_run: Run) -> None:
    selection = Selection(list("abcd"))
    bare = BarePage(page, ReviewForm(own_run, selection=selection))
    page.locator(".mgk-review").focus()
    page.keyboard.press("t")
    page.keyboard.type("looks like 1 gesture, not 2")
    page.keyboard.press("Enter")
    bare.settle()
    assert own_run.notes()["a"].text == "looks like 1 gesture, not 2"
    assert own_run.notes()["a"].tags == (), "digits that are typed are no tags"
    # What is typed when the clip changes belongs to the clip before.
    page.keyboard.press("t")
    page.keyboard.type(" at all")
    selection.focus_on("b")
    bare.push()
    page.wait_for_function("window.model.get('selected').clip === 'b'")
    bare.settle()
    assert own_run.notes()["a"].text == "looks like 1 gesture, not 2 at all"
    assert "b" not in own_run.notes()
    expect(page.get_by_label("Comment")).to_have_value("")
    # Without leaving the field it is saved after a moment.
    page.get_by_label("Comment").fill("of b")
    page.wait_for_function("window.model.get('selected').note.text === 'of b'")
    assert own_run.notes()["b"].text == "of b"
    assert bare.errors == []


def test_what_cannot_be_saved_is_kept(page: Page, own_run: Run) -> None:
    path = own_run.root / "review.csv"
    path.write_text("not notes\n")
    bare = BarePage(page, ReviewForm(own_run, selection=Selection(["a"])))
    page.get_by_text("line 1: the columns are not notes").wait_for()
    page.get_by_role("button", name="bad pose").click()
    page.get_by_text("not saved").wait_for()
    expect(page.get_by_role("button", name="bad pose")).to_have_attribute("aria-pressed", "true")
    assert path.read_text() == "not notes\n"
    path.unlink()
    page.get_by_role("button", name="Try again").click()
    page.get_by_text("saved").wait_for()
    bare.settle()
    assert own_run.notes()["a"].tags == ("bad pose",)
    expect(page.get_by_role("alert")).to_be_hidden()
    assert bare.errors == []


def test_the_list_of_notes(page: Page, own_run: Run) -> None:
    selection = Selection(list("abcd"), "wrong clips")
    bare = BarePage(page, listed := ReviewList(own_run, selection=selection))
    page.get_by_text("No notes yet").wait_for()
    expect(page.get_by_role("button", name="Download CSV")).to_be_disabled()
    notes = own_run.notes()
    notes.set("b", ["ambiguous"], text="<i>two</i> at once")
    with notes.path.open("a") as file:  # on a clip that was not tested
        file.write("elsewhere,train,bad pose,,,\n")
    listed.refresh()
    bare.push()
    page.get_by_text("2 clips with notes").wait_for()
    page.get_by_text("<i>two</i> at once").wait_for()
    expect(page.locator("button[data-clip=elsewhere]")).to_be_disabled()
    page.locator("button[data-clip=b]").click()
    bare.settle()
    assert list(selection) == ["b"]
    expect(page.locator("button[data-clip=b]")).to_have_attribute("aria-pressed", "true")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    assert download.value.suggested_filename == f"review_{own_run.name}.csv"
    assert Path(download.value.path()).read_text() == (own_run.root / "review.csv").read_text()
    assert bare.errors == []


def test_a_pressed_tag_can_be_read_under_the_pointer(page: Page, own_run: Run) -> None:
    BarePage(page, ReviewForm(own_run, selection=Selection(["a"])))
    tag = page.get_by_role("button", name="bad pose")
    tag.click()
    expect(tag).to_have_attribute("aria-pressed", "true")
    tag.hover()
    colours = tag.evaluate("tag => [getComputedStyle(tag).color, getComputedStyle(tag).backgroundColor]")
    dark, light = "rgba(0, 0, 0, 0.87)", "rgb(255, 255, 255)"
    assert colours == [light, dark]


# ---------------------------------------------------------------------------------------------------------------------
# The bar


def test_escape_closes_the_list_of_keys_before_anything_else(page: Page, tmp_path: Path) -> None:
    """Wherever the keyboard is: a part that clears the selection with Escape is asked only once the list is closed."""
    explorer = ErrorExplorer(made_run(tmp_path / "ours", {"rgb": RGB, "pose": POSE, "fused": FUSED}))
    BarePage(page, explorer.bar)
    page.evaluate("""() => {
        const part = document.createElement("button");
        part.id = "part";
        window.cleared = 0;
        part.addEventListener("keydown", event => { if (event.key === "Escape") window.cleared += 1; });
        document.querySelector("#place").classList.add("mgk-explorer");
        document.querySelector("#place").append(part);
    }""")
    keys = page.locator(".mgk-keys")
    page.locator("#part").focus()
    page.keyboard.press("?")
    expect(keys).to_be_visible()
    page.keyboard.press("Escape")
    expect(keys).to_be_hidden()
    assert page.evaluate("window.cleared") == 0
    page.keyboard.press("Escape")
    expect(keys).to_be_hidden()
    assert page.evaluate("window.cleared") == 1


def test_the_bar_of_filters(page: Page, tmp_path: Path) -> None:
    run = made_run(tmp_path / "ours", {"rgb": RGB, "pose": POSE, "fused": FUSED})
    explorer = ErrorExplorer(run)
    bare = BarePage(page, explorer.bar)
    page.get_by_text("2 clips").wait_for()
    page.get_by_label("Class", exact=True).select_option("rub hands")
    page.get_by_role("button", name="FN").click()
    assert list(explorer.selection) == ["c3"]
    page.get_by_role("button", name="RGB", exact=True).click()
    assert list(explorer.selection) == ["c2", "c3"]
    page.get_by_label("Pathways").select_option("RGB ≠ pose")
    bare.settle()
    assert list(explorer.selection) == ["c3"]
    page.get_by_text("1 of 2 clips pass the filters").wait_for()
    page.get_by_label("Pathways").select_option("RGB right, pose wrong")
    bare.settle()
    assert list(explorer.selection) == []
    page.get_by_label("Pathways").select_option("RGB and pose")
    bare.settle()
    page.get_by_label("Maximum confidence").fill("40")
    bare.settle()
    assert list(explorer.selection) == []
    page.get_by_text("0–40 %").wait_for()
    page.get_by_role("button", name="Reset").click()
    bare.settle()
    assert list(explorer.selection) == ["c3", "c7"]
    expect(page.get_by_role("button", name="Reset")).to_be_disabled()
    explorer._view("matrix").select("rub hands", "rub hands")
    bare.push()
    page.get_by_text("TP of rub hands (Fused)").wait_for()
    page.get_by_role("button", name="Drop").click()
    assert list(explorer.selection) == ["c3", "c7"]
    page.keyboard.press("?")
    page.get_by_text("next, previous page").wait_for()
    assert bare.errors == []


@pytest.mark.parametrize("part", ["bar", "gallery", "form"])
def test_it_fits_a_narrow_page(page: Page, own_run: Run, part: str) -> None:
    page.set_viewport_size({"width": 420, "height": 700})
    bare = BarePage(page, getattr(ErrorExplorer(own_run), part), "dark")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert bare.errors == []
