"""Saliency in the player, and without any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mgkit.data.clips import Clips
from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run, write_predictions
from mgkit.results.run.saliency import saliency_path, write_saliency
from mgkit.views.widgets import ClipPlayer
from tests.player_clips import explained_run, known_saliency


def told(player: ClipPlayer, which: int = 0) -> dict:
    return player.content["panels"][which]["saliency"]


def test_it_is_told_when_it_is_wanted(player_clips: Clips, tmp_path: Path) -> None:
    player = ClipPlayer(explained_run(tmp_path / "run", player_clips), compare="c", frame=4)
    assert player.saliency is False
    assert player.content["can_explain"]
    assert told(player) is None
    player.saliency = True
    assert player.frame == 4
    for which in (0, 1):
        found = told(player, which)
        assert found["target"] == player_clips.classes.names[3]
        assert found["pose"]["frames"] == [0, 10, 20, 30]
        assert found["rgb"]["frames"] == [10, 30]
        assert found["rgb"]["size"] == 8
        assert found["pose"]["time"] == [-2, 2, 3, 4]
        assert found["rgb"]["time"] == [1, 1]
        values = np.array(found["pose"]["values"])
        assert values.shape == (4, 3)
        assert values[3, 0] == 255
        assert values[0, 2] == 0, "what speaks against the class is not drawn"
        assert 60 < values[0, 0] < 70
        quarter = np.array(found["rgb"]["values"]).reshape(2, 8, 8)
        assert (quarter[0, :4, :4] == 255).all()
        assert quarter[0].sum() == 16 * 255
    player.saliency = False
    assert told(player) is None


def test_what_is_missing_is_said_with_the_command(
    player_run: Run, player_clips: Clips, tmp_path: Path
) -> None:
    player = ClipPlayer(player_run, saliency=True)
    assert f"mgkit explain {player_run.root} --split test" in told(player)["empty"]
    player = ClipPlayer(explained_run(tmp_path / "run", player_clips), "b", saliency=True)
    assert "--clip b" in told(player)["empty"]
    alone = ClipPlayer(player_clips, saliency=True)
    assert told(alone) is None
    assert not alone.content["can_explain"]


def test_what_was_explained_meanwhile_is_found(player_clips: Clips, tmp_path: Path) -> None:
    run = explained_run(tmp_path / "run", player_clips)
    path = saliency_path(run.root, "test")
    kept = path.read_bytes()
    path.unlink()
    player = ClipPlayer(run, saliency=True)
    assert "empty" in told(player)
    path.write_bytes(kept)
    player.next()
    player.previous()
    assert "pose" in told(player)
    player.show("b")
    assert "empty" in told(player)
    write_saliency(run.root, "test", known_saliency(["b"]))
    player.saliency = False
    player.saliency = True
    assert "pose" in told(player)


def test_a_broken_file_is_a_sentence(player_clips: Clips, tmp_path: Path) -> None:
    run = explained_run(tmp_path / "run", player_clips)
    saliency_path(run.root, "test").write_bytes(b"rubbish")
    player = ClipPlayer(run, saliency=True)
    assert "saliency.npz cannot be read" in told(player)["empty"]


@pytest.mark.parametrize("pathway", ["rgb", "pose"])
def test_one_pathway_and_frames_that_repeat(player_clips: Clips, tmp_path: Path, pathway: str) -> None:
    run = explained_run(tmp_path / "run", player_clips)
    changes: dict = (
        {"maps": None, "rgb_frames": None} if pathway == "pose" else {"joints": None, "pose_frames": None}
    )
    if pathway == "pose":
        changes["pose_frames"] = np.array([[0, 10, 10, 30]])
    write_saliency(run.root, "test", known_saliency(["a"], **changes))
    found = told(ClipPlayer(run, "a", saliency=True))
    assert set(found) == {"target", pathway}
    if pathway == "pose":
        assert found["pose"]["frames"] == [0, 10, 30]
        assert found["pose"]["time"] == [-2, 5, 4]
        assert len(found["pose"]["values"]) == 3


def test_the_picture_for_a_paper_has_it_too(player_clips: Clips, tmp_path: Path) -> None:
    player = ClipPlayer(explained_run(tmp_path / "run", player_clips), "a")
    assert "saliency_rgb" not in player.to_figure(4).data
    player.saliency = True
    assert player.to_figure(2).data["saliency_rgb"].tolist() == [1, 1]
    player.show("b")
    assert "saliency_rgb" not in player.to_figure(4).data, "a clip that was not explained is drawn without"
    with pytest.raises(MgkitError, match="saliency is 3: use True or False"):
        ClipPlayer(player_clips, saliency=3)


def test_clips_with_other_joints_get_no_saliency(player_clips: Clips, tmp_path: Path) -> None:
    layout = player_clips.skeleton
    turned = Skeleton(layout.name, layout.joints[::-1], layout.edges, layout.pairs)
    player = ClipPlayer(
        explained_run(tmp_path / "run", player_clips),
        clips=replace(player_clips, skeleton=turned),
        saliency=True,
    )
    assert "has other joints than" in told(player)["empty"]


def test_what_is_older_than_the_predictions_is_not_drawn(player_clips: Clips, tmp_path: Path) -> None:
    """A training that went on has other weights, and was tested again."""
    run = explained_run(tmp_path / "run", player_clips)
    made = {"content": "1f", "checkpoint": "best", "epoch": 3, "clips": player_clips.fingerprint}
    write_saliency(run.root, "test", replace(run.saliency(), settings=made))
    tested = {**made, "views": 10}
    write_predictions(run.root, "test", run.predictions(), tested)
    player = ClipPlayer(run, saliency=True)
    assert told(player)["target"] == player_clips.classes.names[3]
    write_predictions(run.root, "test", run.predictions(), {**tested, "epoch": 5})
    player = ClipPlayer(run, saliency=True)
    assert "another epoch than the predictions: run `mgkit explain" in told(player)["empty"]
    with pytest.raises(MgkitError, match="another epoch"):
        player.to_figure()
    # Predictions of which nothing is known are not doubted.
    write_predictions(run.root, "test", run.predictions())
    assert "target" in told(ClipPlayer(run, saliency=True))
