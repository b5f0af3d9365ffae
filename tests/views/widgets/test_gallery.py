"""Thumbnails, the gallery's pages and sheets, and the review form, without a page."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from mgkit.data.clips import Clips, load_clips
from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.views.figures import clip_sheet
from mgkit.views.figures.clips import SIDES
from mgkit.views.widgets import Gallery, ReviewForm, Selection
from mgkit.views.widgets.gallery.gallery import draw_skeleton, thumbnail
from tests.player_clips import number_of, numbered_run


def decoded(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_a_thumbnail_is_the_middle_frame_with_its_skeleton(player_clips: Clips) -> None:
    made = thumbnail(player_clips, "a", longest=96)
    picture = decoded(made.data)
    assert picture.shape == (64, 96, 3)
    assert number_of(picture) == made.meta["frame"] == 20
    assert made.meta["problem"] == ""
    x, y = (int(value) for value in player_clips.pose("a")[0, 20, 1, :2])
    left = [int(SIDES["left"][i : i + 2], 16) for i in (1, 3, 5)]
    assert np.abs(picture[y, x].astype(int) - left).max() < 60
    assert len(made.data) < 6000


def test_thumbnails_of_clips_that_lack_something(player_clips: Clips, tmp_path: Path) -> None:
    assert thumbnail(player_clips, "c").meta["problem"] == "no video"
    assert thumbnail(player_clips, "d").meta["problem"] == "no pose"
    root = tmp_path / "clips"
    shutil.copytree(player_clips.root, root)
    clips = load_clips(root)
    for name in ("a", "d"):
        size = (root / f"videos/{name}.mp4").stat().st_size
        (root / f"videos/{name}.mp4").write_bytes(b"\0" * size)
    assert "a.mp4" in thumbnail(clips, "a").meta["problem"]
    with pytest.raises(MgkitError, match=r"d\.mp4"):
        thumbnail(clips, "d")
    with pytest.raises(MgkitError, match="has no clip"):
        thumbnail(clips, "nobody")


def test_joints_that_are_not_seen_are_not_drawn() -> None:
    skeleton = Skeleton("pair", ("a", "b"), ((0, 1),), ())
    picture = np.zeros((20, 20, 3), np.uint8)
    draw_skeleton(picture, np.array([[np.nan, np.nan], [1e9, -1e9]]), skeleton)
    assert not picture.any()
    draw_skeleton(picture, np.array([[4.5, 10.5], [np.nan, 3]]), skeleton)
    assert picture[10, 4].min() > 200
    assert not picture[:, 12:].any()


def test_pages_follow_the_focus(player_run: Run) -> None:
    selection = Selection(list("abcd"))
    gallery = Gallery(player_run, selection=selection, page_size=3)
    assert gallery.shown == ["a", "b", "c"]
    gallery._act("page", {"page": 1})
    assert gallery.shown == ["d"]
    for page in (2, -1, True, "1"):
        gallery._act("page", {"page": page})
    assert gallery.shown == ["d"]
    selection.focus_on("b")
    assert gallery.shown == ["a", "b", "c"]
    gallery.step(2)
    assert (gallery.selection.focus, gallery.shown) == ("d", ["d"])
    selection.set(["elsewhere"])
    assert gallery.shown == []
    gallery.step(1)
    assert selection.focus is None
    with pytest.raises(MgkitError, match="page_size is 0"):
        Gallery(player_run, page_size=0)
    with pytest.raises(MgkitError, match="unknown output"):
        Gallery(player_run, output="sound")


def test_pictures_are_sent_a_few_at_a_time(player_run: Run) -> None:
    gallery = Gallery(player_run)
    sent: list[tuple[dict, list[bytes]]] = []
    gallery.send = lambda content, buffers=None: sent.append((content, buffers))  # type: ignore[method-assign]
    gallery._act("thumbs", {"ids": ["a", "nobody", 3, "d", "b", "c", "a", "b"]})
    told, buffers = sent[0]
    assert [one["clip_id"] for one in told["thumbs"]] == ["a", "nobody", "d", "b"]
    assert "no clip" in told["thumbs"][1]["problem"]
    assert [
        number_of(decoded(buffers[one["buffer"]])) for one in told["thumbs"] if one["buffer"] is not None
    ] == [20, 6, 12]
    gallery._act("thumbs", {"ids": None})
    assert sent[1] == ({"thumbs": []}, [])


def test_a_sheet_of_clips(player_clips: Clips, player_run: Run) -> None:
    gallery = Gallery(player_run, selection=Selection(list("abcd"), "all four"))
    gallery.look(label=1)
    sheet = gallery.to_figure(columns=1)
    assert sheet.data["words"].tolist()[0] == "red moving → blue moving"
    assert sheet.data["outcome"].tolist() == ["FN", "TP", "TP", "right"]
    assert sheet.note == "all four, 4 of 4 clips"
    assert sheet.figure.get_figwidth() == 3.25
    assert sheet.pdf() == gallery.to_figure(columns=1).pdf()
    assert gallery.to_figure(limit=2).data["clip_id"].tolist() == ["a", "b"]
    for arguments, message in [
        (([], [], []), "a sheet needs clips"), ((["a"], ["x"], ["odd"]), "'odd' is not an outcome"),
        ((["a"], ["x", "y"], ["TP"]), "2 words"), ((["nobody"], ["x"], ["TP"]), "has no clip"),
        ((["a"] * 99, ["x"] * 99, ["TP"] * 99), "do not fit on a page"),
    ]:  # fmt: skip
        with pytest.raises(MgkitError, match=message):
            clip_sheet(player_clips, *arguments)


def test_the_form_refuses_what_is_no_note(player_clips: Clips, tmp_path: Path) -> None:
    form = ReviewForm(numbered_run(tmp_path / "run", player_clips), selection=Selection(["a"]))
    for content in (
        {"clip_id": "nobody"},
        {"clip_id": ["a"]},
        {"clip_id": "a", "tag": ["occluded"]},
        {"clip_id": "a", "text": 3, "before": {}},
        {"clip_id": "a", "text": "words", "before": {}},
        {"clip_id": "a", "tag": "sleepy"},
        {"clip_id": "a", "label": "green"},
    ):
        with pytest.raises(MgkitError, match="the page sent"):
            form._act("note", content)
    assert not form.run.notes()
    form._act("note", {"clip_id": "b", "tag": "occluded", "on": True})
    assert form.selected["clip"] == "a"
    assert list(form.run.notes()) == ["b"]


def test_the_form_hears_of_notes_of_another_kernel(player_clips: Clips, tmp_path: Path) -> None:
    run = numbered_run(tmp_path / "run", player_clips)
    selection = Selection(["a", "b"])
    form = ReviewForm(run, selection=selection)
    run.notes().set("b", ["ambiguous"], text="theirs")
    selection.focus_on("b")
    assert form.selected["note"]["text"] == "theirs"
    form._act("note", {"clip_id": "b", "text": "mine", "before": ""})
    assert run.notes()["b"].text == "theirs\nmine"


def test_closing_the_form_saves_what_is_not_saved_or_warns(player_clips: Clips, tmp_path: Path) -> None:
    run = numbered_run(tmp_path / "run", player_clips)
    path = run.root / "review.csv"
    for last_chance in (True, False):
        path.write_text("something else\n")
        form = ReviewForm(run, selection=Selection(["a"]))
        form._act("note", {"clip_id": "a", "tag": "occluded", "on": True})
        if last_chance:
            path.unlink()
            form.close()
            assert run.notes()["a"].tags == ("occluded",)
            continue
        with pytest.warns(UserWarning, match="notes on a could not be saved: .*never overwritten"):
            form.close()
        assert path.read_text() == "something else\n"
        form.close()


def test_a_gallery_with_nothing_to_draw_is_shown_all_the_same(player_run: Run) -> None:
    bundle = Gallery(player_run, selection=Selection())._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "application/vnd.jupyter.widget-view+json" in data
    assert "nothing selected: no clips to draw" in data["text/html"]
