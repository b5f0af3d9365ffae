"""Long class names in the widgets: cut where they do not differ, whole in a tooltip."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page

from mgkit.data.clips import Classes
from mgkit.views.widgets import (
    ClassAccuracy,
    ClipPlayer,
    ConfusionMatrix,
    Gallery,
    PrototypeMap,
    RunComparison,
    Selection,
)
from tests.browser.bare import BarePage
from tests.player_clips import numbered_clips, numbered_run
from tests.results.fake_run import fake_clips, fake_run
from tests.views.widgets.conftest import made_run

NAMES = (
    "touching or scratching the left ear with one hand",
    "touching or scratching the right ear with one hand",
    "touching or scratching the neck from behind, left",
    "touching or scratching the neck from behind, right",
    "nod",
)
KEPT = ("left", "right", "left", "right", "nod")


def check(names: Locator, shown: int) -> None:
    """Each name fits into its lines, says what distinguishes it, and is whole in a tooltip."""
    found = names.evaluate_all(
        """nodes => nodes.map(node => {
            let box = node;
            while (getComputedStyle(box).display === "inline") box = box.parentElement;
            return [node.dataset.name, node.textContent, node.closest("[title]")?.title ?? "",
                box.scrollWidth <= box.clientWidth && box.scrollHeight <= box.clientHeight + 1];
        })"""
    )
    assert len({name for name, *_ in found}) == shown
    assert len({text for _, text, *_ in found}) == shown, found
    assert any("…" in text for _, text, *_ in found), "there is room for all"
    for name, text, title, fits in found:
        assert KEPT[NAMES.index(name)] in text, text
        assert name in title
        assert fits, text


def test_on_cards(page: Page, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 360, "height": 800})
    run = made_run(tmp_path / "run", {"fused": [1, 0, 3, 2, 4]}, [0, 1, 2, 3, 4], NAMES)
    bare = BarePage(page, Gallery(run, selection=Selection(run.predictions("test").clip_ids)))
    check(page.locator(".mgk-card [data-name]"), 5)
    page.add_style_tag(content=".mgk-cards { grid-template-columns: 1fr 1fr !important }")
    page.set_viewport_size({"width": 1200, "height": 800})
    bare.settle()
    texts = page.locator(".mgk-card [data-name]").all_inner_texts()
    assert set(texts) == set(NAMES), "where there is room all is shown"
    assert bare.errors == []


@pytest.mark.parametrize(
    ("widget", "shown"), [(ConfusionMatrix, 4), (ClassAccuracy, 5)], ids=["matrix", "bars"]
)
def test_in_lists_of_classes(page: Page, tmp_path: Path, widget: type, shown: int) -> None:
    page.set_viewport_size({"width": 800, "height": 800})
    run = made_run(tmp_path / "run", {"fused": [1, 0, 3, 2, 4]}, [0, 1, 2, 3, 4], NAMES)
    bare = BarePage(page, widget(run))
    check(page.locator(".mgk-list [data-name]"), shown)
    assert bare.errors == []


def test_of_two_runs(page: Page, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 760, "height": 800})
    one = made_run(tmp_path / "one", {"fused": [1, 0, 3, 2, 4]}, [0, 1, 2, 3, 4], NAMES)
    other = made_run(tmp_path / "other", {"fused": [0, 1, 2, 3, 4]}, [0, 1, 2, 3, 4], NAMES)
    bare = BarePage(page, RunComparison(one, other))
    check(page.locator(".mgk-bars [data-name]"), 4)
    check(page.locator(".mgk-clips [data-name]"), 4)
    assert bare.errors == []


def test_beside_a_map(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "mgkit.views.analysis.embedding._umap", lambda fitted, moving, seed: (fitted[:, :2], moving[:, :2])
    )
    page.set_viewport_size({"width": 800, "height": 800})
    clips = fake_clips(tmp_path / "clips", Classes(NAMES), 12)
    bare = BarePage(page, PrototypeMap(fake_run(tmp_path / "run", clips, epochs=2, splits=("test",))))
    check(page.locator(".mgk-groups [data-name]"), 5)
    assert bare.errors == []


def test_in_the_player(page: Page, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 700, "height": 800})
    run = numbered_run(tmp_path / "run", numbered_clips(tmp_path / "clips", Classes(NAMES)))
    bare = BarePage(page, ClipPlayer(run, "a"))
    check(page.locator(".mg-p-evidence [data-name]"), 5)
    assert bare.errors == []
