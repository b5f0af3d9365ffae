"""The map in a page: what is drawn, and what clicks, loops and keys do."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page

from mgkit.views.figures.style import CLASS_COLOURS
from mgkit.views.widgets import PrototypeMap, Selection
from tests.browser.bare import BarePage
from tests.browser.test_confusion import until_selected
from tests.results.fake_run import fake_clips, fake_run

MAP = ".mgk-stage canvas"


@pytest.fixture(autouse=True)
def flat(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two dimensions instead of UMAP."""
    monkeypatch.setattr(
        "mgkit.views.analysis.embedding._umap", lambda fitted, moving, seed: (fitted[:, :2], moving[:, :2])
    )


def show(page: Page, root: Path, theme: str = "light", classes: int = 4, **options: Any) -> BarePage:
    run = fake_run(
        root / "run",
        fake_clips(root / "clips", classes, 12),
        epochs=4,
        splits=("test",),
        unseen=options.pop("unseen", ()),
    )
    return BarePage(page, PrototypeMap(run, selection=Selection(), **options), theme)


def places(bare: BarePage) -> np.ndarray:
    """(N, 2) where the clips are on the canvas."""
    at = bare.page.locator(MAP).evaluate("canvas => ({...canvas.dataset})")
    points = bare.widget._map.points.astype(float)  # type: ignore[attr-defined]
    x, y, scale = float(at["x"]), float(at["y"]), float(at["scale"])
    return np.stack([x + scale * points[:, 0], y - scale * points[:, 1]], 1)


def stars(bare: BarePage) -> np.ndarray:
    at = bare.page.locator(MAP).evaluate("canvas => ({...canvas.dataset})")
    x, y, scale = float(at["x"]), float(at["y"]), float(at["scale"])
    points = bare.widget._map.prototypes  # type: ignore[attr-defined]
    return np.stack([x + scale * points[:, 0], y - scale * points[:, 1]], 1)


def lonely(bare: BarePage) -> int:
    """The clip farthest from any other and from the stars: one that can be clicked without doubt."""
    spots = places(bare)
    every = np.concatenate([spots, stars(bare)[np.isfinite(stars(bare)[:, 0])]])
    away = np.linalg.norm(spots[:, None] - every[None], axis=-1)
    away[np.arange(len(spots)), np.arange(len(spots))] = np.inf
    return int(away.min(1).argmax())


def loop(bare: BarePage, left: float, top: float, right: float, bottom: float) -> None:
    corner = bare.page.locator(MAP).bounding_box()
    assert corner is not None
    # One pixel for the border of the canvas.
    route = [(left, top), (right, top), (right, bottom), (left, bottom)]
    spots = [(corner["x"] + 1 + x, corner["y"] + 1 + y) for x, y in route]
    bare.page.mouse.move(*spots[0])
    bare.page.mouse.down()
    for spot in spots[1:]:
        bare.page.mouse.move(*spot, steps=8)
    bare.page.mouse.up()


def test_a_click_and_a_loop_select_what_they_touch(page: Page, tmp_path: Path) -> None:
    bare = show(page, tmp_path, pathway="pose")
    ids, row = bare.widget.predictions.clip_ids, lonely(bare)
    x, y = places(bare)[row].tolist()
    page.locator(MAP).hover(position={"x": x, "y": y})
    assert ids[row] in page.locator(".mgk-tip").inner_text()
    page.locator(MAP).click(position={"x": x, "y": y})
    until_selected(bare, ids[row])
    assert bare.widget.selection.focus == ids[row]

    spots = places(bare)
    middle = np.median(spots, 0)
    box = (spots[:, 0].min() - 8, spots[:, 1].min() - 8, middle[0] + 0.37, middle[1] + 0.37)
    near = np.minimum(abs(spots[:, 0] - box[2]), abs(spots[:, 1] - box[3])) < 1
    loop(bare, *box)
    page.wait_for_function("model.get('selected').description.startsWith('lasso')")
    inside = (spots[:, 0] < box[2]) & (spots[:, 1] < box[3])
    found = {ids.index(one) for one in bare.widget.selection}
    assert 1 < len(found) < len(ids)
    assert found ^ set(np.flatnonzero(inside).tolist()) <= set(np.flatnonzero(near).tolist())
    assert f"{len(found)} clips" in page.locator(".mgk-status").inner_text()

    # A star is its class, and with Shift it comes on top.
    k = int(np.nanargmin(stars(bare)[:, 0]))
    sx, sy = stars(bare)[k].tolist()
    page.locator(MAP).click(position={"x": sx, "y": sy}, modifiers=["Shift"])
    page.wait_for_function("model.get('selected').description.includes('+ clips of')")
    of_class = {one for one, label in zip(ids, bare.widget.predictions.labels, strict=True) if label == k}
    assert of_class <= set(bare.widget.selection)
    assert bare.errors == []


def test_points_have_the_colours_of_the_legend(page: Page, tmp_path: Path) -> None:
    bare = show(page, tmp_path)
    page.locator(".mgk-map label", has_text="class names").click()
    colours, labels = bare.colours(MAP), bare.widget.predictions.labels
    for k in range(4):
        assert (colours.get(CLASS_COLOURS[k].lower(), 0) > 12 * (labels == k).sum() ** 0.5) == bool(
            (labels == k).any()
        )
        swatch = page.locator(f"[data-colour={bare.widget.classes['names'][k]!r}] i")
        assert swatch.evaluate("node => getComputedStyle(node).backgroundColor") == "rgb({}, {}, {})".format(
            *(int(CLASS_COLOURS[k][i : i + 2], 16) for i in (1, 3, 5))
        )
    # One is made grey: the others keep what the legend says.
    page.locator(f"[data-colour={bare.widget.classes['names'][0]!r}]").click()
    page.wait_for_function("model.get('chosen').length === 3")
    bare.settle()
    colours = bare.colours(MAP)
    assert CLASS_COLOURS[3].lower() not in colours, "three classes, the first three colours"
    assert colours[CLASS_COLOURS[0].lower()] > 12

    page.locator("select").select_option("kind")
    page.wait_for_function("model.get('colour') === 'kind'")
    bare.settle()
    colours, widget = bare.colours(MAP), bare.widget
    kinds = widget.predictions.kinds("rgb", widget.run.classes.index(widget.highlight))
    for kind, colour in (("TP", "#0072b2"), ("FN", "#e69f00"), ("FP", "#d55e00")):
        count = int((kinds == kind).sum())
        assert (colours.get(colour, 0) > 8) == bool(count), kind
        button = page.locator(f".mgk-kinds button[data-kind={kind}]")
        assert button.is_disabled() == (not count)
        assert button.inner_text() == (f"{kind} {count}" if count else f"no {kind} for this class")
    page.locator(".mgk-kinds button[data-kind=FN]").click()
    until_selected(bare, *(widget.predictions.clip_ids[i] for i in np.flatnonzero(kinds == "FN")))
    assert bare.errors == []


def test_keys_walk_select_and_zoom(page: Page, tmp_path: Path) -> None:
    bare = show(page, tmp_path)
    page.locator(MAP).focus()
    page.keyboard.press("ArrowRight")
    said = page.locator(".mgk-aloud").text_content() or ""
    page.keyboard.press("Enter")
    page.wait_for_function("model.get('selected').count === 1")
    assert said.startswith(bare.widget.selection.focus)
    first = bare.widget.selection.focus
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_function("id => model.get('selected').focus !== id", arg=first)
    spots, ids = places(bare), bare.widget.predictions.clip_ids
    now = bare.widget.selection.focus
    assert spots[ids.index(now), 0] > spots[ids.index(first), 0], "to the right"
    wide = np.ptp(spots[:, 0])
    page.keyboard.press("+")
    bare.settle()
    assert math.isclose(np.ptp(places(bare)[:, 0]), 1.5 * wide, rel_tol=1e-3)
    page.keyboard.press("0")
    page.keyboard.press("Escape")
    until_selected(bare)
    assert bare.errors == []


def test_prototypes_paths_and_those_never_seen(page: Page, tmp_path: Path) -> None:
    bare = show(page, tmp_path, unseen=(2,), colour="kind")
    assert bare.widget.classes["names"][2] in page.locator(".mgk-never").inner_text()
    page.locator(".mgk-map label", has_text="class names").click()
    before = bare.colours(MAP)
    page.locator(".mgk-map label", has_text="paths").click()
    bare.settle()
    assert bare.colours(MAP) != before
    assert "its place after epoch 1" in page.locator(".mgk-side").inner_text()
    page.locator("input[type=range]").evaluate(
        "node => { node.value = 0; node.dispatchEvent(new Event('input')); }"
    )
    page.wait_for_function("model.get('epoch') === 1")
    assert bare.widget.epoch == 1
    page.get_by_role("button", name="Pose").click()
    page.wait_for_function("model.get('drawn').pathway === 'pose'")
    assert bare.widget.pathway == "pose"
    assert bare.errors == []


def test_selection_from_elsewhere_is_marked_dark_and_narrow(page: Page, tmp_path: Path) -> None:
    bare = show(page, tmp_path, "dark", classes=14)
    assert "others grey" in page.locator(".mgk-side h4").inner_text()
    colours = bare.colours(MAP)
    assert max(colours, key=lambda colour: colours[colour]) == "#111111"
    assert "#e69f00" not in colours
    ids = bare.widget.predictions.clip_ids
    bare.widget.selection.set(ids[:4], focus=ids[1], description="from Python")
    bare.push()
    assert bare.colours(MAP)["#e69f00"] > 20
    page.set_viewport_size({"width": 420, "height": 900})
    page.wait_for_selector(".mgk-narrow")
    bare.settle()
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    bare.widget.trouble = "there is no map"
    bare.push()
    assert page.get_by_role("alert").inner_text() == "there is no map"
    assert bare.errors == []
