"""Saliency in a page: the veil, the discs and the bars are where the numbers say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from playwright.sync_api import Page

from mgkit.data.clips import Clips
from mgkit.results.run.folder import Run
from mgkit.views.widgets import ClipPlayer
from tests.browser.test_player import begin, snap, wait
from tests.player_clips import HEIGHT, WIDTH, explained_run, walking_pose

TOP = np.array([252, 255, 164])  # of the colours of saliency
Picture = npt.NDArray[np.uint8]


def light(picture: Picture) -> tuple[float, float, int]:
    """Centre (x, y, in clip pixels) and area of what has the strongest colour of saliency."""
    y, x = np.nonzero(np.abs(picture.astype(int) - TOP).max(2) < 12)
    if not len(x):
        return np.nan, np.nan, 0
    scale = WIDTH / picture.shape[1], HEIGHT / picture.shape[0]
    return (x.mean() + 0.5) * scale[0], (y.mean() + 0.5) * scale[1], len(x)


def bars(page: Page) -> Picture:
    """The pixels (H, W, 4) of the strip over time."""
    size, pixels = page.locator(".mg-p-bars").evaluate(
        "c => [[c.height, c.width], [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]"
    )
    return np.array(pixels, np.uint8).reshape(*size, 4)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_discs_veil_and_bars_are_where_the_numbers_say(
    page: Page, player_clips: Clips, tmp_path: Path, theme: str
) -> None:
    player = ClipPlayer(explained_run(tmp_path / "run", player_clips), "a", heatmap="off", frame=30)
    bare = begin(page, player, "a", 30, theme)
    _, before = snap(bare)
    assert not page.locator(".mg-p-saliency").is_visible()
    page.get_by_role("button", name="Saliency").click()
    page.wait_for_selector(".mg-p-bars", state="visible")
    assert player.saliency
    bare.settle()
    frame, picture = snap(bare)
    assert frame == 30
    x, y, area = light(picture)
    middle = walking_pose(40)[0, 30, 0]  # in pose frame 30 joint 0 speaks the most of all
    assert area > 20
    assert abs(x - middle[0]) < 1
    assert abs(y - middle[1]) < 1

    # RGB frame 30: the bottom right quarter, away from joints and limbs, is veiled; the top left one is as it was.
    def part(pixels: Picture, right: float, down: float) -> npt.NDArray[np.float64]:
        height, width = pixels.shape[:2]
        patch = pixels[
            int(down * height) : int((down + 0.1) * height), int(right * width) : int((right + 0.1) * width)
        ]
        return patch.reshape(-1, 3).mean(0)

    change = part(picture, 0.8, 0.58) - part(before, 0.8, 0.58)
    expected = 0.62 * (TOP - part(before, 0.8, 0.58))
    np.testing.assert_allclose(change, expected, atol=6)
    np.testing.assert_allclose(part(picture, 0.1, 0.1), part(before, 0.1, 0.1), atol=2)

    # Bars: of 40 frames, pose ones in 0, 10, 20, 30, upwards but the first; the zero line a third up (-2 to 4).
    strip = bars(page)
    pink = (np.abs(strip[..., :3].astype(int) - [0xCC, 0x79, 0xA7]).max(2) < 6) & (strip[..., 3] == 255)
    columns = np.flatnonzero(pink.any(0)) / strip.shape[1] * 40
    assert set(np.floor(columns).astype(int)) == {0, 10, 20, 30}
    rows = {
        k: np.flatnonzero(pink[:, int((k + 0.5) / 40 * strip.shape[1])]) / strip.shape[0]
        for k in (0, 10, 20, 30)
    }
    assert rows[0].min() > 0.6
    assert max(rows[k].max() for k in (10, 20, 30)) < 0.7
    heights = [len(rows[k]) for k in (10, 20, 30)]
    assert heights[0] < heights[1] < heights[2]
    assert heights[2] == pytest.approx(2 * heights[0], rel=0.15)
    words = page.locator(".mg-p-evidence-for").inner_text()
    assert f"evidence for {player_clips.classes.names[3]}" in words.replace("\n", " ")

    # Another frame, another joint: the nearest sampled frame counts.
    page.locator(".mg-player").focus()
    page.keyboard.press("Home")
    wait(bare, "a", 0)
    x, y, area = light(snap(bare)[1])
    assert area == 0, "frame 0 speaks least"
    page.get_by_role("button", name="Saliency").click()
    page.wait_for_selector(".mg-p-saliency", state="hidden")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    wait(bare, "a", 30)
    assert np.abs(snap(bare)[1].astype(int) - before).max() < 3, "without saliency all is as before"
    assert bare.errors == []


def test_without_any_the_command_is_said(page: Page, player_run: Run) -> None:
    bare = begin(page, ClipPlayer(player_run, "a", saliency=True), "a", theme="dark")
    words = page.locator(".mg-p-saliency")
    assert f"mgkit explain {player_run.root}" in words.inner_text()
    assert not page.locator(".mg-p-bars").is_visible()
    assert page.locator("[role=status]", has_text="mgkit explain").count() == 1
    assert bare.errors == []


def test_clips_without_video_or_pose_or_run(page: Page, player_clips: Clips, tmp_path: Path) -> None:
    run = explained_run(tmp_path / "run", player_clips, ["a", "c", "d"])
    player = ClipPlayer(run, "c", saliency=True, frame=30, skeleton=False)
    bare = begin(page, player, "c", 30)
    area = light(snap(bare)[1])[2]
    assert area > 20, "joints that speak are drawn without video, and without the skeleton"
    player.show("d")
    bare.push()
    wait(bare, "d", 0)
    assert page.locator(".mg-p-bars").is_visible()
    assert bare.errors == []


def test_clips_alone_have_nothing_to_say(page: Page, player_clips: Clips) -> None:
    bare = begin(page, ClipPlayer(player_clips, "a", saliency=True), "a")
    assert not page.get_by_role("button", name="Saliency").is_visible()
    assert not page.locator(".mg-p-saliency").is_visible()
    assert bare.errors == []


def test_bars_fit_a_narrow_page(page: Page, player_clips: Clips, tmp_path: Path) -> None:
    bare = begin(page, ClipPlayer(explained_run(tmp_path / "run", player_clips), "a", saliency=True), "a")
    for width in (1200, 420):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(
            "limit => { const c = document.querySelector('.mg-p-bars'), s = document.querySelector('.mg-p-scrub');"
            "const a = c.getBoundingClientRect(), b = s.getBoundingClientRect();"
            "return a.right <= limit && Math.abs(a.left - b.left) < 1 && Math.abs(a.right - b.right) < 1"
            " && Math.abs(c.width - a.width * devicePixelRatio) < 2 }",
            arg=width,
        )
    assert bare.errors == []
