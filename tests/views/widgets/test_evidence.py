"""The words and numbers about one clip."""

from __future__ import annotations

import json

import numpy as np

from mgkit.data.clips import Clips
from mgkit.data.prepare.footage import Footage, clips_of, span_of
from mgkit.results.run.records import Predictions
from mgkit.views.widgets.player.panels import caption, verdict


def predictions(scores: list[list[float]], labels: list[int], **distances: list[float]) -> Predictions:
    fused = np.array(scores, np.float32)
    rgb = np.roll(fused, 1, axis=1)
    both = {name: {"rgb": np.array(values, np.float32)} for name, values in distances.items()}
    ids = [f"c{i}" for i in range(len(labels))]
    return Predictions(ids, np.array(labels), {"rgb": rgb, "pose": fused, "fused": fused}, **both)


NAMES = tuple("abcdefgh")
SCORES = [0.05, 0.3, 0.2, 0.15, 0.1, 0.09, 0.08, 0.03]


def test_the_true_class_is_shown_whatever_its_rank() -> None:
    found = verdict(predictions([SCORES], [7]), NAMES, "c0")
    assert found is not None
    assert [output["key"] for output in found["outputs"]] == ["rgb", "pose", "fused"]
    rows = found["outputs"][2]["rows"]
    assert [row["name"] for row in rows] == ["b", "c", "d", "e", "f", "h"]
    assert rows[-1] == {
        "name": "h", "probability": np.float32(0.03), "percent": "3 %", "rank": 8, "true": True, "predicted": False,
    }  # fmt: skip
    assert (found["output"], found["predicted"], found["correct"]) == ("Fused", "b", False)


def test_a_correct_clip_and_a_tie() -> None:
    found = verdict(predictions([[0.4, 0.4, 0.2]], [0]), NAMES[:3], "c0", top=2)
    assert found is not None
    fused = found["outputs"][2]
    assert [row["name"] for row in fused["rows"]] == ["a", "b"], (
        "the lower class wins a tie, as in predicted()"
    )
    assert fused["correct"]
    assert found["correct"]
    assert found["predicted"] == "a"
    rgb = found["outputs"][0]  # rolled: b is as probable as c, a is last
    assert [(row["name"], row["rank"]) for row in rgb["rows"]] == [("b", 1), ("c", 2), ("a", 3)]
    assert not rgb["correct"]


def test_distances_and_prototypes_never_seen_are_json() -> None:
    given = predictions([SCORES, SCORES], [1, 1], own=[0.25, np.nan], other=[0.5, np.nan])
    first, second = (verdict(given, NAMES, clip_id) for clip_id in ("c0", "c1"))
    assert first is not None
    assert second is not None
    assert first["distances"] == [{"key": "rgb", "name": "RGB", "own": 0.25, "other": 0.5}]
    assert second["distances"][0]["own"] is None
    json.dumps([first, second], allow_nan=False)


def test_a_clip_that_was_not_tested() -> None:
    assert verdict(predictions([SCORES], [1]), NAMES, "nobody") is None


def test_caption(player_clips: Clips) -> None:
    assert caption(player_clips, "a") == {
        "clip_id": "a", "true": "red moving", "label": "true", "group": "red", "subject": "S1", "split": "test",
        "source": "film.mp4", "start": 100, "end": 140,
    }  # fmt: skip


def test_what_a_network_has_said_is_not_called_true(player_clips: Clips) -> None:
    points = np.zeros((1, 9, len(player_clips.skeleton), 3), np.float32)
    footage = Footage("film", None, points, 9, 25.0, (64, 64))
    spans = {"film": span_of(footage, 0, 9, 32)}
    said = clips_of(spans, player_clips.classes, player_clips.skeleton, [1])
    assert [caption(said, "film")[key] for key in ("label", "true")] == ["predicted", said.classes.names[1]]
    uncoded = clips_of(spans, player_clips.classes, player_clips.skeleton)
    assert caption(uncoded, "film")["label"] == ""
