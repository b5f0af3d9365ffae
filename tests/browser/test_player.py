"""The clip player in a page: the pixels of frame k are frame k, and the joints are where the key-points say."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from playwright.sync_api import Browser, Page, expect

from mgkit.data.batches.spec import Inputs
from mgkit.data.clips import Classes, Clips, load_clips
from mgkit.results.run.folder import Run
from mgkit.views.widgets import ClipPlayer, Selection
from mgkit.views.widgets.player.panels import seen_heatmaps
from tests.browser.bare import BarePage
from tests.browser.lab import PATIENCE
from tests.player_clips import FRAMES, HEIGHT, WIDTH, number_of, numbered_clips, numbered_run, walking_pose

Picture = npt.NDArray[np.uint8]
COLOURS = {"middle": (0xF7, 0xF7, 0xF7), "left": (0x56, 0xB4, 0xE9), "right": (0xE6, 0x9F, 0x00)}
# What a canvas shows and which frame it says it is, taken at one instant.
SNAP = "canvas => [canvas.dataset.frame, canvas.toDataURL('image/png')]"
SHOWS = """([clip, frame]) => {
    const shown = document.querySelector('.mg-player').dataset;
    return shown.clip === clip && shown.frame === frame;
}"""
TOLD = "() => window.model.get('frame') === Number(document.querySelector('.mg-player').dataset.frame)"
PAINTED = """() => [...document.querySelectorAll('.mg-p-canvas')].every(canvas =>
    canvas.getContext('2d').getImageData(0, 0, 1, 1).data[3] === 255)"""


def wait(bare: BarePage, clip: str, frame: int) -> None:
    bare.page.wait_for_function(SHOWS, arg=[clip, str(frame)])


def begin(page: Page, player: ClipPlayer, clip: str = "a", frame: int = 0, theme: str = "light") -> BarePage:
    bare = BarePage(page, player, theme)
    wait(bare, clip, frame)
    return bare


def snap(bare: BarePage, which: int = 0, kind: str = ":not(.mg-p-map)") -> tuple[int, Picture]:
    """The frame number that a canvas says, and its pixels (H, W, 3)."""
    frame, url = bare.page.locator(f".mg-p-canvas{kind}").nth(which).evaluate(SNAP)
    raw = np.frombuffer(base64.b64decode(url.split(",")[1]), np.uint8)
    return int(frame), cv2.imdecode(raw, cv2.IMREAD_COLOR)[..., ::-1]


def discs(picture: Picture, side: str) -> list[tuple[float, float, int]]:
    """Centres (x, y, in clip pixels) and areas of the spots of a colour, from left to right."""
    near = (np.abs(picture.astype(int) - COLOURS[side]).max(-1) < 24).astype(np.uint8)
    count, _, stats, centres = cv2.connectedComponentsWithStats(near, connectivity=8)
    scale = picture.shape[1] / WIDTH, picture.shape[0] / HEIGHT
    found = [
        ((x + 0.5) / scale[0], (y + 0.5) / scale[1], int(stats[i, cv2.CC_STAT_AREA]))
        for i, (x, y) in enumerate(centres[:count])
        if i and stats[i, cv2.CC_STAT_AREA] > 3
    ]
    return sorted(found)


def check_joints(picture: Picture, pose: npt.NDArray[np.float32], frame: int, tolerance: float) -> None:
    """Each seen joint is a spot of its colour within `tolerance` canvas pixels, and there are no others."""
    for joint, side in enumerate(("middle", "left", "right")):
        expected = sorted(
            tuple(person[frame, joint, :2]) for person in pose if np.isfinite(person[frame, joint, 0])
        )
        found = discs(picture, side)
        assert len(found) == len(expected), (frame, side, found, expected)
        for (x, y, _), (ex, ey) in zip(found, expected, strict=True):
            assert abs(x - ex) * picture.shape[1] / WIDTH <= tolerance, (frame, side)
            assert abs(y - ey) * picture.shape[0] / HEIGHT <= tolerance, (frame, side)


# ---------------------------------------------------------------------------------------------------------------------
# Exactness


def test_each_frame_is_drawn_with_its_own_skeleton(page: Page, player_run: Run) -> None:
    player = ClipPlayer(player_run, "b", limbs=False)
    bare = begin(page, player, "b")
    page.locator(".mg-player").focus()
    for k in range(FRAMES["b"]):
        wait(bare, "b", k)
        frame, picture = snap(bare)
        assert frame == number_of(picture) == k
        check_joints(picture, walking_pose(24, persons=2), k, tolerance=1.5)
        page.keyboard.press("ArrowRight")
    wait(bare, "b", 23)
    assert bare.errors == []


@pytest.mark.parametrize("density", [1, 2, 1.5])
def test_resizing_and_dense_screens_keep_skeleton_and_frame_together(
    browser: Browser, player_run: Run, density: float
) -> None:
    page = browser.new_page(viewport={"width": 1200, "height": 900}, device_scale_factor=density)
    page.set_default_timeout(1000 * PATIENCE)
    bare = begin(page, ClipPlayer(player_run, "a", limbs=False, heatmap="off", frame=21), frame=21)
    sizes = set()
    for width in (1200, 520, 333):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(
            "([limit, density]) => { const c = document.querySelector('.mg-p-canvas'), r = c.getBoundingClientRect();"
            "return r.right <= limit && c.width === Math.round(c.clientWidth * density) }",
            arg=[width, density],
        )
        bare.settle()
        page.wait_for_function(PAINTED)
        frame, picture = snap(bare)
        sizes.add(picture.shape)
        assert frame == number_of(picture) == 21
        check_joints(picture, walking_pose(40), 21, tolerance=2)
    assert len(sizes) == 3
    assert bare.errors == []
    page.close()


def test_while_it_plays_frame_and_skeleton_never_part(page: Page, player_run: Run) -> None:
    player = ClipPlayer(player_run, "a", limbs=False, speed=2.0, loop=True)
    bare = begin(page, player)
    page.locator(".mg-player").focus()
    page.keyboard.press("Space")
    seen = set()
    for _ in range(12):
        before = page.locator(".mg-player").get_attribute("data-frame")
        page.wait_for_function(
            "before => document.querySelector('.mg-player').dataset.frame !== before", arg=before
        )
        frame, picture = snap(bare)
        assert number_of(picture) == frame
        check_joints(picture, walking_pose(40), frame, tolerance=1.5)
        seen.add(frame)
    assert len(seen) > 3
    assert player.playing
    page.keyboard.press("Space")
    page.wait_for_function("() => !window.model.get('playing')")
    bare.settle()
    page.wait_for_function(
        "() => window.model.get('frame') === Number(document.querySelector('.mg-player').dataset.frame)"
    )
    frame, picture = snap(bare)
    assert player.frame == frame == number_of(picture), "Python is told where it stopped"
    assert bare.errors == []


def test_without_loop_it_stops_at_the_end(page: Page, player_run: Run) -> None:
    player = ClipPlayer(player_run, "b", loop=False, speed=4.0, frame=18)
    bare = begin(page, player, "b", 18)
    page.locator(".mg-p-play").click()
    page.wait_for_function("() => !window.model.get('playing')")
    wait(bare, "b", 23)
    assert number_of(snap(bare)[1]) == 23
    page.wait_for_function("() => window.model.get('frame') === 23")
    assert (player.playing, player.frame) == (False, 23)


def test_joints_and_video_beyond_what_is_kept_decoded(page: Page, player_run: Run) -> None:
    """More frames than are kept decoded: going back decodes them again, and none is mixed up."""
    player = ClipPlayer(player_run, "a", limbs=False)
    player._esm = player._esm.replace("const KEPT = 96;", "const KEPT = 5;")
    bare = begin(page, player)
    page.locator(".mg-player").focus()
    for key, k in [
        ("End", 39),
        ("Home", 0),
        ("Shift+ArrowRight", 10),
        ("Shift+ArrowRight", 20),
        ("ArrowLeft", 19),
    ]:
        page.keyboard.press(key)
        wait(bare, "a", k)
        frame, picture = snap(bare)
        assert frame == number_of(picture) == k
    assert bare.errors == []


# ---------------------------------------------------------------------------------------------------------------------
# Hands


def test_scrubbing_and_buttons_reach_python(page: Page, player_run: Run) -> None:
    player = ClipPlayer(player_run, "a")
    bare = begin(page, player)
    box = page.locator(".mg-p-scrub").bounding_box()
    assert box is not None
    for k in (31, 4, 39, 0):
        page.mouse.click(box["x"] + (k + 0.5) / 40 * box["width"], box["y"] + 20)
        wait(bare, "a", k)
        page.wait_for_function("k => window.model.get('frame') === k", arg=k)
        assert player.frame == k
    page.mouse.move(box["x"] + 1, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 2, box["y"] + 90, steps=5)
    page.mouse.up()
    wait(bare, "a", 39)
    page.get_by_role("button", name="One frame back").click()
    wait(bare, "a", 38)
    page.get_by_role("button", name="First frame").click()
    wait(bare, "a", 0)
    player.frame = 12
    bare.push()
    wait(bare, "a", 12)
    assert number_of(snap(bare)[1]) == 12
    player.frame = 99
    bare.push()
    wait(bare, "a", 39)
    page.wait_for_function(TOLD)
    assert player.frame == 39, "the last frame instead of one beyond it"
    for key, speed in [("ArrowUp", 1.5), ("ArrowUp", 2), ("ArrowUp", 4), ("ArrowUp", 4), ("ArrowDown", 2)]:
        page.keyboard.press(key)
        assert page.evaluate("() => window.model.get('speed')") == speed
    page.get_by_label("Speed").select_option("1/8 ×")
    page.wait_for_function("() => window.model.get('speed') === 0.125")
    assert bare.errors == []


def test_sampled_frames_are_marked_where_they_are(page: Page, player_run: Run) -> None:
    player = ClipPlayer(player_run, "a")
    begin(page, player)
    sampled = player.content["panels"][0]["sampled"]
    scrub = page.locator(".mg-p-scrub").bounding_box()
    assert scrub is not None
    for key in ("rgb", "pose"):
        ticks = page.locator(f".mg-p-tick-{key}")
        boxes = [ticks.nth(i).bounding_box() for i in range(ticks.count())]
        at = [round((box["x"] - scrub["x"]) / scrub["width"] * 40, 2) for box in boxes if box]
        assert at == pytest.approx(sorted(set(sampled[key])), abs=0.1)
    page.locator(".mg-player").focus()
    for _ in range(sampled["rgb"][1]):
        page.keyboard.press("ArrowRight")
    page.get_by_text("seen by RGB, 2 of 4").wait_for()


def test_keys_pressed_while_a_frame_is_decoded_count(page: Page, player_run: Run) -> None:
    """The frame that is told to Python once it is drawn must not take back the steps made meanwhile."""
    player = ClipPlayer(player_run, "a")
    bare = begin(page, player)
    page.evaluate("""async () => {
        const root = document.querySelector('.mg-player');
        const press = () => root.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true }));
        const real = window.createImageBitmap;
        window.createImageBitmap = async (...x) => { press(); return real(...x); };  // in the middle of every decoding
        for (let i = 0; i < 12; i++) press();
    }""")
    page.wait_for_function("() => window.model.get('frame') === 39")
    wait(bare, "a", 39)


def test_n_and_p_go_through_the_selection(page: Page, player_run: Run) -> None:
    selection = Selection(["a", "b", "c"], "moving ones")
    player = ClipPlayer(player_run, selection=selection)
    bare = begin(page, player)
    page.locator(".mg-player").focus()
    page.keyboard.press("ArrowRight")
    wait(bare, "a", 1)
    page.keyboard.press("n")
    wait(bare, "b", 0)
    assert (selection.focus, selection.source) == ("b", "ClipPlayer")
    assert "2 / 3" in page.locator(".mg-p-place").inner_text()
    page.keyboard.press("p")
    wait(bare, "a", 0)
    page.keyboard.press("p")
    wait(bare, "c", 0)
    assert "no video" in page.locator("figcaption").first.inner_text()
    page.get_by_role("button", name="Next clip").click()
    wait(bare, "a", 0)
    selection.set(["d"], description="from elsewhere", source="ConfusionMatrix")
    bare.push()
    wait(bare, "d", 0)
    assert page.locator(".mg-p-nav").is_hidden()
    assert "frame rate unknown" in page.locator(".mg-p-readout").inner_text()
    selection.clear()
    bare.push()
    page.get_by_text("Nothing is selected").wait_for()
    assert page.locator(".mg-p-body").is_hidden()
    selection.set(["b"])
    bare.push()
    wait(bare, "b", 0)
    assert bare.errors == []


def test_two_views_of_one_player_stay_together(page: Page, player_run: Run) -> None:
    begin(page, ClipPlayer(player_run, "a"))
    page.evaluate("() => window.show()")
    page.locator(".mg-player").nth(1).focus()
    page.keyboard.press("Shift+ArrowRight")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.mg-player')].every(root => root.dataset.frame === '10')"
    )


# ---------------------------------------------------------------------------------------------------------------------
# Looks


def test_toggles_change_what_is_drawn(page: Page, player_run: Run) -> None:
    player = ClipPlayer(player_run, "a", frame=21)
    bare = begin(page, player, frame=21)

    def press(name: str, group: str | None = None) -> Picture:
        place = page.locator(".mg-player") if group is None else page.locator(f"[data-trait={group}]")
        place.get_by_role("button", name=name, exact=True).click()
        bare.settle()
        return snap(bare)[1]

    both = snap(bare)[1]
    joints = press("Limbs")
    assert not player.limbs
    spots = [discs(joints, side)[0][2] for side in COLOURS]
    assert discs(both, "left")[0][2] > 2 * spots[1], "a limb has the colour of its side"
    assert max(spots) < 1.6 * min(spots)
    scored = press("Confidence")
    assert discs(scored, "middle")[0][2] > 1.3 * spots[0], "score 1"
    assert discs(scored, "right") == [], "score 0.2 is small and faint"
    dim = press("dim", "frames")
    light = (HEIGHT // 8, int(1.5 * WIDTH / 6))  # bit 4 of 21 = 0b010101

    def tone(picture: Picture) -> int:
        return int(
            picture[light[0] * picture.shape[0] // HEIGHT, light[1] * picture.shape[1] // WIDTH].mean()
        )

    assert tone(scored) > 200
    assert tone(dim) < 140
    hidden = press("hide", "frames")
    assert tone(hidden) == 0x3A
    press("Confidence")
    check_joints(press("Limbs") if player.limbs else snap(bare)[1], walking_pose(40), 21, tolerance=1.5)
    plain = press("Skeleton")
    assert (plain == 0x3A).all()
    assert bare.errors == []


def test_pictures_are_the_frames_or_what_the_network_is_fed(page: Page, player_clips: Clips) -> None:
    """A click changes them there and back, on any frame; what does not move is grey in a difference."""
    inputs = Inputs(reads=("frames",), rgb_frames=4, rgb_size=64, rgb_stream="difference")
    player = ClipPlayer(player_clips, "a", inputs=inputs, skeleton=False, frame=7)
    bare = begin(page, player, frame=7)
    choice = page.locator("[data-trait=pictures]")

    def shown(frame: int) -> list[int]:
        """Brightness of the six stripes, the highest bit of the frame's number first."""
        wait(bare, "a", frame)
        found, picture = snap(bare)
        assert found == frame
        height, width = picture.shape[:2]
        return [int(picture[height // 4, int((bit + 0.5) * width / 6)].mean()) for bit in range(6)]

    def press(name: str) -> None:
        choice.get_by_role("button", name=name).click()
        page.wait_for_function("name => window.model.get('pictures') === name", arg=name)
        bare.settle()

    for name, frame in (("clip", 7), ("network", 7), ("network", 8), ("clip", 8), ("network", 8)):
        if player.frame != frame:
            page.locator(".mg-player").press("ArrowRight")
        if player.pictures != name:
            press(name)
        assert player.pictures == name
        here, after = (
            np.array([number >> bit & 1 for bit in range(5, -1, -1)]) for number in (frame, frame + 1)
        )
        expected = 40 + 170 * here if name == "clip" else np.clip(128 + 170 * (after - here), 0, 255)
        np.testing.assert_allclose(shown(frame), expected, atol=12, err_msg=f"{name} {frame}")
    assert bare.errors == []


def test_pictures_cannot_be_chosen_where_the_network_is_fed_the_frames(
    page: Page, player_clips: Clips
) -> None:
    bare = begin(page, ClipPlayer(player_clips, "a", inputs=Inputs(reads=("frames",), rgb_frames=4)))
    expect(page.locator("[data-trait=pictures]")).to_be_hidden()
    assert bare.errors == []


def test_a_network_that_is_fed_key_points(page: Page, player_clips: Clips) -> None:
    """No choice of heatmaps that it was never fed; the frames whose key-points it was fed are marked."""
    inputs = Inputs(reads=("keypoints",), pose_frames=8)
    bare = begin(page, ClipPlayer(player_clips, "a", inputs=inputs, frame=7), frame=7)
    expect(page.locator("[data-trait=heatmap]")).to_be_hidden()
    expect(page.locator(".mg-p-map")).to_have_count(0)
    expect(page.locator(".mg-p-tick-pose")).to_have_count(8)
    expect(page.locator("figcaption")).to_contain_text("seen by pose, 2 of 8")
    page.locator(".mg-player").press("ArrowRight")
    wait(bare, "a", 8)
    expect(page.locator("figcaption")).not_to_contain_text("seen by")
    assert bare.errors == []


@pytest.mark.parametrize("mode", ["max", "sides"])
def test_the_heatmap_beside_it_is_what_the_network_got(
    page: Page, player_run: Run, player_clips: Clips, mode: str
) -> None:
    player = ClipPlayer(player_run, "b", heatmap=mode, frame=12)
    begin_at = begin(page, player, "b", 12)
    times = player.content["panels"][0]["sampled"]["pose"]
    frame, picture = snap(begin_at, kind=".mg-p-map")
    assert frame in times
    assert abs(frame - 12) == min(abs(time - 12) for time in times)
    spec = player._panels._spec
    assert spec is not None
    maps = seen_heatmaps(player_clips, "b", spec)[:, times.index(frame)].astype(float)  # (3, 16, 16)
    height, width = picture.shape[:2]
    rows, columns = (
        ((np.arange(16) + 0.5) * height / 16).astype(int),
        ((np.arange(16) + 0.5) * width / 16).astype(int),
    )
    blocks = picture[np.ix_(rows, columns)].astype(float)
    if mode == "sides":
        colours = np.array([COLOURS[side] for side in ("left", "middle", "right")], float)
        expected = (maps[..., None] * colours[:, None, None] / 255).max(0)
        assert np.abs(blocks - expected).max() <= 1.5
    else:
        order = np.argsort(maps.max(0).ravel())
        brightness = blocks.sum(-1).ravel()[order]
        assert (np.diff(brightness) >= -2).all(), "brighter where the heatmap is larger"
        assert brightness[-1] > 300
        assert brightness[0] < 10


def test_two_clips_in_step(page: Page, player_run: Run) -> None:
    player = ClipPlayer(player_run, "a", compare="nearest_correct", heatmap="off", frame=39)
    bare = begin(page, player, frame=39)
    assert page.locator(".mg-p-clip").count() == 2
    assert "nearest correct clip" in page.locator(".mg-p-clip").nth(1).inner_text()
    for k, by_time, by_frame in [(39, 23, 23), (0, 0, 0), (20, 12, 20)]:
        player.frame = k
        bare.push()
        for trait, expected in (("time", by_time), ("frame", by_frame)):
            page.locator("[data-trait=in_step]").get_by_role("button", name=trait).click()
            wait(bare, "a", k)
            page.wait_for_function(
                "k => document.querySelectorAll('.mg-p-canvas')[1].dataset.frame === k", arg=str(expected)
            )
            (first, left), (second, right) = snap(bare), snap(bare, 1)
            assert (first, second) == (k, expected)
            assert (number_of(left), number_of(right)) == (k, expected)
    page.get_by_label("Second clip").select_option("class exemplar")
    page.locator("[data-clip=c].mg-p-clip").wait_for()
    page.get_by_label("Second clip").select_option("no second clip")
    page.wait_for_function("() => document.querySelectorAll('.mg-p-clip').length === 1")
    wait(bare, "a", 20)
    assert bare.errors == []


def test_right_and_wrong_are_told_by_shape_and_word(page: Page, player_run: Run) -> None:
    player = ClipPlayer(player_run, "a")
    bare = begin(page, player)
    wrong = page.locator(".mg-p-verdict .mg-p-mark")
    assert wrong.get_attribute("aria-label") == "wrong"
    square, colour = wrong.evaluate(
        "e => [getComputedStyle(e).borderRadius, getComputedStyle(e).backgroundColor]"
    )
    assert (square, colour) == ("0px", "rgb(213, 94, 0)")
    fused = page.locator("[data-output=fused] .mg-p-row")
    assert "blue moving" in fused.nth(0).inner_text()
    assert "mg-p-row-predicted" in (fused.nth(0).get_attribute("class") or "")
    assert (
        page.locator("[data-output=rgb] .mg-p-distance")
        .inner_text()
        .startswith("prototype distance: own 0.70")
    )
    assert "closer to another class" in page.locator("[data-output=rgb] .mg-p-distance").inner_text()
    player.show("b")
    bare.push()
    wait(bare, "b", 0)
    right = page.locator(".mg-p-verdict .mg-p-mark")
    assert right.get_attribute("aria-label") == "correct"
    assert right.evaluate("e => getComputedStyle(e).borderRadius") == "50%"


@pytest.mark.parametrize("width", [360, 760])
def test_many_long_names_fit_in_narrow_places(page: Page, tmp_path: Path, width: int) -> None:
    names = tuple(
        f"<b>play</b> with something in the hand while looking away, variant {i}" for i in range(52)
    )
    clips = numbered_clips(tmp_path / "clips", Classes(names))
    player = ClipPlayer(numbered_run(tmp_path / "run", clips), "a", compare="nearest_correct")
    page.set_viewport_size({"width": width, "height": 900})
    begin(page, player, theme="dark")
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    outside = page.evaluate(
        """() => { const limit = document.querySelector('.mg-player').getBoundingClientRect().right;
        return [...document.querySelectorAll('.mg-player *')].filter(e => e.getClientRects().length
            && e.getBoundingClientRect().right > limit + 0.5).map(e => e.className) }"""
    )
    assert outside == []
    assert "<b>play</b> with" in page.locator(".mg-p-verdict").first.inner_text(), (
        "a name is text, not markup"
    )


# ---------------------------------------------------------------------------------------------------------------------
# What goes wrong, and what is let go


def test_a_missing_video_is_a_sentence_in_the_page(page: Page, player_clips: Clips, tmp_path: Path) -> None:
    shutil.copytree(player_clips.root, tmp_path / "clips")
    clips = load_clips(tmp_path / "clips")
    (tmp_path / "clips" / "videos" / "a.mp4").unlink()
    bare = begin(page, ClipPlayer(clips, limbs=False, frame=5), frame=5)
    note = page.locator(".mg-p-note").inner_text()
    assert "a.mp4: check the path" in note
    check_joints(snap(bare)[1], walking_pose(40), 5, tolerance=1.5)
    page.locator(".mg-player").focus()
    page.keyboard.press("n")
    wait(bare, "b", 0)
    assert page.locator(".mg-p-note").is_hidden()
    assert bare.errors == []


def test_bytes_that_no_browser_decodes_are_said(page: Page, player_run: Run) -> None:
    player = ClipPlayer(player_run, "a", frame=2)
    content: dict[str, Any] = dict(player.content)
    first, second = content["panels"][0]["clip"]["jpegs"][2:4]
    content["bytes"] = content["bytes"][:first] + bytes(second - first) + content["bytes"][second:]
    player.content = content
    bare = begin(page, player, frame=2)
    assert "cannot be decoded" in page.locator("figcaption").first.inner_text()
    page.locator(".mg-player").focus()
    page.keyboard.press("ArrowRight")
    wait(bare, "a", 3)
    assert number_of(snap(bare)[1]) == 3
    assert bare.errors == []


def test_pictures_of_clips_gone_by_are_released(page: Page, player_run: Run) -> None:
    page.evaluate(
        """() => { window.live = 0;
        const create = window.createImageBitmap.bind(window), close = ImageBitmap.prototype.close;
        window.createImageBitmap = (...all) => create(...all).then(bitmap => { window.live += 1; return bitmap });
        ImageBitmap.prototype.close = function () { if (this.width) window.live -= 1; close.call(this) } }"""
    )
    player = ClipPlayer(player_run, compare="nearest_correct")
    bare = begin(page, player)
    page.locator(".mg-player").focus()
    most = 0
    for i in range(1, 25):
        page.keyboard.press("End")
        page.keyboard.press("n")
        wait(bare, "abcd"[i % 4], 0)
        most = max(most, page.evaluate("() => window.live"))
    assert 0 < most < 40, "24 pairs of clips of up to 40 frames went by"
    page.evaluate("() => window.views.forEach(view => view.remove())")
    page.wait_for_function("() => window.live === 0")
    page.keyboard.press("n")
    assert bare.errors == []


# ---------------------------------------------------------------------------------------------------------------------
# JupyterLab
