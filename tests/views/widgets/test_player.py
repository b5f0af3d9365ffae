"""The clip player without a page: what it would tell one, and what it answers."""

from __future__ import annotations

import base64
import gc
import re
import shutil
import tracemalloc
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest

import mgkit as mg
from mgkit.data.batches.spec import Inputs
from mgkit.data.clips import Classes, Clips, load_clips
from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.views.widgets import ClipPlayer, Selection
from mgkit.views.widgets.player.packing import pack_clip
from mgkit.views.widgets.player.panels import recorded_inputs
from tests.player_clips import number_of, numbered_clips, numbered_run


def shown(player: ClipPlayer) -> list[str]:
    """Ids of the clips that the page is told of."""
    return [panel["clip"]["clip_id"] for panel in player.content["panels"]]


def numbers(player: ClipPlayer, which: int = 0) -> list[int]:
    """The numbers in the frames of a panel, read out of the buffer that the page gets."""
    panel, data = player.content["panels"][which], player.content["bytes"]
    starts = [panel["offset"] + start for start in panel["clip"]["jpegs"]]
    return [
        number_of(cv2.imdecode(np.frombuffer(data[a:b], np.uint8), cv2.IMREAD_COLOR))
        for a, b in pairwise(starts)
    ]


# ---------------------------------------------------------------------------------------------------------------------
# One clip


def test_clips_alone(player_clips: Clips) -> None:
    player = mg.widgets.ClipPlayer(player_clips)
    assert player.clip_id == "a"
    assert shown(player) == ["a"]
    panel = player.content["panels"][0]
    assert (panel["verdict"], panel["sampled"], panel["heat"]) == (None, {}, None)
    assert player.content["neighbours"] == [["", "no second clip"]]
    assert player.heatmap == "off"
    assert (player.content["position"], player.content["count"]) == (0, 4)
    assert player.content["description"] == "all clips"


def test_clips_alone_with_the_input_of_a_network(player_clips: Clips) -> None:
    player = ClipPlayer(player_clips, inputs=Inputs(rgb_frames=2, pose_frames=8, heatmap_size=8))
    panel = player.content["panels"][0]
    assert player.heatmap == "max"
    assert panel["sampled"]["pose"] == [2, 7, 12, 17, 22, 27, 32, 37]
    assert set(panel["sampled"]["rgb"]) < set(panel["sampled"]["pose"])
    assert (panel["heat"]["width"], panel["heat"]["count"]) == (8, 8)


def test_a_network_that_is_fed_key_points_has_no_heatmaps_to_show(player_clips: Clips) -> None:
    inputs = Inputs(reads=("keypoints",), pose_frames=8, stream="bone")
    player = ClipPlayer(player_clips, inputs=inputs)
    assert player.content["can_map"] is False
    assert player.heatmap == "off"
    assert player.content["panels"][0]["sampled"] == {"pose": [2, 7, 12, 17, 22, 27, 32, 37]}
    player.heatmap = "max"
    assert player.content["panels"][0]["heat"] is None


def test_a_run(player_run: Run) -> None:
    player = ClipPlayer(player_run)
    panel = player.content["panels"][0]
    assert panel["verdict"]["correct"] is False
    assert [output["key"] for output in panel["verdict"]["outputs"]] == ["rgb", "pose", "fused"]
    assert len(panel["sampled"]["rgb"]) == 4
    assert len(panel["sampled"]["pose"]) == 16
    assert panel["heat"]["kind"] == "joint"
    png = player.content["bytes"][panel["heat"]["offset"] :][: panel["heat"]["bytes"]]
    sheet = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert sheet.shape == (16 * 16, 16, 3)
    assert sheet.max() > 100
    assert numbers(player) == list(range(40))


def test_a_run_whose_recipe_does_not_say_what_it_was_fed(player_clips: Clips, tmp_path: Path) -> None:
    player = ClipPlayer(numbered_run(tmp_path / "run", player_clips, recipe={"epochs": 3}))
    assert player.content["panels"][0]["sampled"] == {}
    assert not player.content["can_map"]
    assert player.heatmap == "off"


def test_heatmaps_are_made_when_they_are_wanted(player_run: Run) -> None:
    player = ClipPlayer(player_run, heatmap="off")
    assert player.content["panels"][0]["heat"] is None
    player.frame = 7
    player.heatmap = "sides"
    assert player.content["panels"][0]["heat"] is not None
    assert player.frame == 7


@pytest.mark.parametrize("clip_id, jpegs, pose, heat", [("c", False, True, True), ("d", True, False, False)])
def test_clips_that_lack_video_or_pose(
    player_run: Run, clip_id: str, jpegs: bool, pose: bool, heat: bool
) -> None:
    panel = ClipPlayer(player_run, clip_id).content["panels"][0]
    assert (panel["clip"]["jpegs"] is not None) == jpegs
    assert (panel["clip"]["pose"] is not None) == pose
    assert (panel["heat"] is not None) == heat
    assert panel["clip"]["problems"] == []


def test_another_clip_begins_at_its_start(player_run: Run) -> None:
    player = ClipPlayer(player_run, "b", frame=11)
    assert player.frame == 11
    player.next()
    assert player.frame == 0
    player.frame = 5
    player.compare = "b"
    assert player.frame == 5, "the clip is the same"


def test_a_missing_video_is_a_sentence(player_clips: Clips, tmp_path: Path) -> None:
    shutil.copytree(player_clips.root, tmp_path / "clips")
    clips = load_clips(tmp_path / "clips")
    path = tmp_path / "clips" / "videos" / "a.mp4"
    path.unlink()
    player = ClipPlayer(clips)
    assert player.content["panels"][0]["clip"]["problems"] == [f"There is no video {path}: check the path."]
    with pytest.raises(MgkitError, match="no video"):
        player.to_figure()
    bundle, _ = player._repr_mimebundle_()
    assert "No static preview of ClipPlayer" in bundle["text/html"]
    assert str(path) in bundle["text/html"]


# ---------------------------------------------------------------------------------------------------------------------
# Going through clips


def test_next_and_previous_wrap(player_run: Run) -> None:
    player = ClipPlayer(player_run, clip_ids=["c", "a", "b"])
    seen = []
    for _ in range(4):
        seen.append(player.clip_id)
        player.next()
    assert seen == ["c", "a", "b", "c"]
    player.previous()
    player.previous()
    assert player.clip_id == "b"
    assert shown(player) == ["b"]
    player._handle_custom_msg({"act": "step", "by": 1}, [])
    assert player.clip_id == "c"
    player._handle_custom_msg({"act": "step", "by": -1}, [])
    assert player.clip_id == "b"
    player._handle_custom_msg({"unknown": 1}, [])
    player._handle_custom_msg("odd", [])
    assert player.clip_id == "b"


def test_a_shared_selection_both_ways(player_run: Run) -> None:
    selection = Selection(["b", "c"], "TP of red moving")
    player = ClipPlayer(player_run, selection=selection)
    assert (player.clip_id, shown(player)) == ("b", ["b"])
    assert player.content["description"] == "TP of red moving"
    player.next()
    assert (selection.focus, selection.source) == ("c", "ClipPlayer")
    assert selection.clip_ids == ("b", "c")
    selection.set(["a"], focus="a", description="FN of red moving", source="ConfusionMatrix")
    assert shown(player) == ["a"]
    assert (player.content["count"], player.content["position"]) == (1, 0)
    selection.clear()
    assert player.clip_id is None
    assert shown(player) == []
    player.next()
    player.previous()
    player.show("c")
    assert selection.clip_ids == ("c",)
    player.close()
    selection.set(["a"])
    assert shown(player) == ["c"], "a closed player listens no longer"


def test_nothing_selected(player_run: Run) -> None:
    player = ClipPlayer(player_run, selection=Selection())
    assert (player.content["clip_id"], player.content["bytes"]) == (None, b"")
    bundle, _ = player._repr_mimebundle_()
    assert "no clip" in bundle["text/plain"]
    with pytest.raises(MgkitError, match="no shown clip"):
        player.to_figure()


def test_a_selected_clip_of_other_data_is_a_sentence(player_run: Run) -> None:
    player = ClipPlayer(player_run, selection=Selection(["elsewhere", "b"]))
    assert shown(player) == []
    assert "has no clip elsewhere" in player.content["note"]
    player.next()
    assert shown(player) == ["b"]
    assert player.content["note"] == ""


def test_a_clip_outside_the_list(player_run: Run) -> None:
    assert ClipPlayer(player_run, "d", clip_ids=["a"]).selection.clip_ids == ("d",)
    player = ClipPlayer(player_run, "b")
    assert player.selection.clip_ids == ("a", "b", "c", "d")
    assert player.content["position"] == 1


# ---------------------------------------------------------------------------------------------------------------------
# Two clips


def test_the_nearest_correct_clip_beside_an_error(player_run: Run) -> None:
    player = ClipPlayer(player_run, "a", compare="nearest_correct")
    assert shown(player) == ["a", "b"]
    assert player.compared_id == "b"
    assert player.content["panels"][1]["relation"].startswith("nearest correct clip, at distance 0.0")
    assert numbers(player) == list(range(40))
    assert numbers(player, 1) == list(range(24))
    heat = player.content["panels"][1]["heat"]
    assert player.content["bytes"][heat["offset"] :][:4] == b"\x89PNG"
    assert heat["offset"] + heat["bytes"] == len(player.content["bytes"])


def test_the_exemplar_and_a_chosen_clip(player_run: Run) -> None:
    player = ClipPlayer(player_run, "a", compare="exemplar")
    assert shown(player) == ["a", "c"]
    player.compare = "d"
    assert shown(player) == ["a", "d"]
    player.compare = ""
    assert shown(player) == ["a"]
    assert player.compared_id is None
    assert shown(ClipPlayer(player_run, "a", compare="b")) == ["a", "b"]


def test_no_second_clip_is_a_sentence(player_run: Run, player_clips: Clips) -> None:
    player = ClipPlayer(player_run, "d", compare="nearest_correct")
    assert shown(player) == ["d"]
    assert player.content["note"] == "No second clip: no other clip of 'red still' is classified correctly."
    player.compare = "nobody"
    assert "has no clip 'nobody'" in player.content["note"]
    alone = ClipPlayer(player_clips, "a", compare="exemplar")
    assert "needs the predictions of a run" in alone.content["note"]
    with pytest.raises(MgkitError, match="no clip 'nobody'"):
        ClipPlayer(player_clips, "a", compare="nobody")


# ---------------------------------------------------------------------------------------------------------------------
# What a caller gets wrong


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"clip_id": "nobody"}, "no clip 'nobody'"),
        ({"clip_ids": ["a", "nobody"]}, "no clip nobody"),
        ({"split": "train"}, "split 'train'"),
        ({"pathway": "audio"}, "no 'audio' predictions"),
        ({"view": 1}, "no test view 1"),
        ({"frame": -1}, "frame is -1: use a whole number from 0"),
        ({"speed": 9}, "from 1/8 to 4"),
        ({"heatmap": True}, "'off', 'max' or 'sides'"),
        ({"frames": "none"}, "'show', 'dim' or 'hide'"),
        ({"colour": "red"}, "unknown option 'colour': use one of frame, speed"),
        ({"quality": 0}, "quality is 0"),
        ({"selection": Selection(["a"]), "clip_id": "a"}, "either a selection, or"),
    ],
)
def test_what_is_refused(player_run: Run, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MgkitError, match=re.escape(message)):
        ClipPlayer(player_run, **changes)


def test_clips_over_other_classes_are_refused(player_run: Run, player_clips: Clips) -> None:
    """Answers are kept as class numbers: by another list they would get other names."""
    names = player_clips.classes.names
    turned = replace(player_clips, classes=Classes(names[::-1]))
    with pytest.raises(MgkitError, match=r"have different classes \(another order\)"):
        ClipPlayer(player_run, clips=turned)
    with pytest.raises(MgkitError, match=r"have different classes \(new\)"):
        ClipPlayer(player_run, clips=replace(player_clips, classes=Classes((*names, "new"))))


# ---------------------------------------------------------------------------------------------------------------------
# Paper, and places without widgets


def test_to_figure_is_the_strip_of_what_is_shown(player_run: Run) -> None:
    player = ClipPlayer(player_run, "a", compare="nearest_correct")
    strip = player.to_figure(5, venue="ieee", columns=1)
    assert strip.figure.get_figwidth() == pytest.approx(3.5)
    assert list(strip.data["clip_id"].unique()) == ["a"]
    assert list(strip.data["frame"]) == [0, 10, 20, 29, 39]
    pictures = [image.get_array() for axes in strip.figure.axes for image in axes.images]
    assert [number_of(np.asarray(picture)) for picture in pictures] == [0, 10, 20, 29, 39]
    assert list(player.to_figure(which="compared").data["clip_id"].unique()) == ["b"]
    with pytest.raises(MgkitError, match="'shown' or 'compared'"):
        player.to_figure(which="both")
    player.compare = ""
    with pytest.raises(MgkitError, match="no compared clip"):
        player.to_figure(which="compared")


def test_a_strip_and_a_line_stand_in_where_widgets_cannot_run(player_run: Run) -> None:
    bundle, _ = ClipPlayer(player_run)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert "Static preview of ClipPlayer (film strip of" in bundle["text/html"]
    picture = re.search(r'src="data:image/png;base64,([^"]+)"', bundle["text/html"])
    assert picture is not None
    png = base64.b64decode(picture.group(1))
    assert cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR) is not None
    assert len(png) < 400_000
    assert bundle["text/plain"] == "ClipPlayer(a, Selection(4 clips: split test))"


# ---------------------------------------------------------------------------------------------------------------------
# What is sent, and what is kept


def test_another_clip_is_one_message_with_one_buffer(
    player_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = ClipPlayer(player_run, compare="nearest_correct", frame=5)
    sent: list[tuple[dict[str, Any], list[Any]]] = []
    monkeypatch.setattr(
        ClipPlayer, "_send", lambda self, msg, buffers=None: sent.append((msg, buffers or []))
    )
    player.next()
    ((message, buffers),) = sent
    assert message["method"] == "update"
    assert set(message["state"]) == {"content", "frame"}
    assert message["buffer_paths"] == [["content", "bytes"]]
    assert bytes(buffers[0]) == player.content["bytes"]


def test_clips_are_decoded_once_while_the_cache_holds_them(
    player_clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mgkit.data import video

    asked: list[str] = []
    read = video.read_frames

    def count(path: Path, indices: Any) -> np.ndarray:
        asked.append(path.stem)
        return read(path, indices)

    monkeypatch.setattr("mgkit.data.video.read_frames", count)
    player = ClipPlayer(player_clips)
    for _ in range(8):
        player.next()
    assert sorted(asked) == ["a", "b", "d"]
    asked.clear()
    forgetful = ClipPlayer(player_clips, cache_mb=0)
    for _ in range(8):
        forgetful.next()
    assert asked == ["a", "b", "d", "a", "b", "d", "a"]


@pytest.mark.slow
def test_memory_does_not_grow_over_200_clips(tmp_path: Path) -> None:
    clips = numbered_clips(tmp_path / "clips", copies=5)
    run = numbered_run(tmp_path / "run", clips)
    player = ClipPlayer(run, compare="nearest_correct", cache_mb=0.2)
    for _ in range(40):  # libraries, caches and the allocator settle
        player.next()
    process = psutil.Process()
    gc.collect()
    resident = process.memory_info().rss
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(200):
        player.next()
    gc.collect()
    traced = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert traced < 2 * 2**20, "200 clips are over 16 MB packed; the cache may keep a fifth of one"
    assert process.memory_info().rss - resident < 60 * 2**20
    assert player._panels._cache.size <= 0.2 * 2**20


def test_a_moved_clip_folder_is_named_and_can_be_given(
    player_run: Run, player_clips: Clips, tmp_path: Path
) -> None:
    lost = replace(player_run, root=tmp_path)
    shutil.copytree(player_run.root / "splits", tmp_path / "splits")
    with pytest.raises(MgkitError, match="no longer at"):
        ClipPlayer(lost)
    assert ClipPlayer(lost, clips=player_clips).clip_id == "a"


def test_the_pictures_that_the_network_is_fed_can_be_shown(player_clips: Clips) -> None:
    """A preview of a stream on clips alone: magnified motion, say, before anything is trained."""
    inputs = Inputs(reads=("frames",), rgb_stream="difference")
    player = ClipPlayer(player_clips, inputs=inputs)
    assert player.content["can_stream"]
    before = player.content["bytes"]
    player.pictures = "network"
    fed = player.content["bytes"]
    assert fed != before
    wanted = pack_clip(player_clips, player_clips.ids[0], stream=inputs.rgb_stream)
    assert fed == wanted.data
    player.pictures = "clip"
    assert player.content["bytes"] == before
    assert not ClipPlayer(player_clips, inputs=Inputs(reads=("frames",))).content["can_stream"]


def test_a_stream_of_somebodys_own_code_is_not_run_by_looking() -> None:
    recipe = {"inputs": {"reads": ["frames"], "rgb_stream": {"part": "code/mine.py:flow", "settings": {}}}}
    spec = recorded_inputs(recipe)
    assert spec is not None
    assert spec.rgb_stream == "frames"
