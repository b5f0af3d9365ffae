"""Scores from elsewhere with the clips they are of: the run then knows them as a trained one does."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mgkit as mg
from mgkit.data.clips import Classes, Clips
from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.results.scores.scores import import_scores
from tests.results.fake_run import fake_clips, fake_run


@pytest.fixture
def clips(tmp_path: Path) -> Clips:
    return fake_clips(tmp_path / "clips", 4, 10)


def scores(clips: Clips) -> dict[str, Any]:
    part = clips.split("test")
    p = np.random.default_rng(0).dirichlet(np.ones(len(clips.classes)), len(part)).astype(np.float32)
    return {"clip_ids": part.ids, "probabilities": p, "name": "theirs"}


def test_clips_give_labels_classes_and_all_that_a_trained_run_knows(tmp_path: Path, clips: Clips) -> None:
    run = import_scores(tmp_path / "theirs", clips=clips, **scores(clips))
    trained = fake_run(tmp_path / "ours", clips, epochs=1, splits=("test",))
    assert run.classes == clips.classes
    assert run.skeleton.joints == clips.skeleton.joints
    assert run.predictions().labels.tolist() == clips.split("test").labels.tolist()
    assert run.clips().ids == clips.ids
    assert "majority" in mg.evaluate(run).index, "training clips per class are known"
    assert mg.compare_runs([trained, run])["interval_over"].tolist()[1] == "9 subjects"
    again = import_scores(tmp_path / "theirs", clips=str(clips.root), **scores(clips))
    assert again.config == run.config
    named = import_scores(
        tmp_path / "theirs", clips=clips, classes=list(clips.classes.names), **scores(clips)
    )
    assert named.config == run.config
    mg.figures.class_counts(run)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda given, clips: given | {"clip_ids": [f"x{i}" for i in range(len(given["clip_ids"]))]},
            "lacks .* clips",
        ),
        (lambda given, clips: given | {"classes": Classes(clips.classes.names[::-1])}, "in another order"),
        (lambda given, clips: given | {"labels": (clips.split("test").labels + 1) % 4}, "disagree on"),
        (lambda given, clips: {k: v for k, v in given.items() if k != "clips"}, "pass both, or clips"),
    ],
)
def test_what_does_not_go_with_the_clips(
    tmp_path: Path, clips: Clips, change: Callable[[dict[str, Any], Clips], dict[str, Any]], match: str
) -> None:
    with pytest.raises(MgkitError, match=match):
        import_scores(tmp_path / "theirs", **change(scores(clips) | {"clips": clips}, clips))
    assert not (tmp_path / "theirs").exists()


def test_no_command_is_suggested_that_cannot_work(tmp_path: Path, clips: Clips) -> None:
    run = import_scores(tmp_path / "theirs", clips=clips, **scores(clips))
    asks: list[Callable[[Run], Any]] = [
        lambda run: run.embeddings(),
        lambda run: run.predictions("val"),
        lambda run: run.view_scores(),
        lambda run: run.saliency(),
        lambda run: mg.figures.prototype_map(run),
        lambda run: mg.analysis.run_separability(run),
        lambda run: mg.widgets.PrototypeMap(run),
    ]
    for ask in asks:
        with pytest.raises(MgkitError) as found:
            ask(run)
        assert not re.search(r"mgkit (test|explain|train)", str(found.value)), found.value
        assert "scores" in str(found.value) or "no pathway" in str(found.value)


def test_the_map_of_the_explorer_says_why_there_is_none(tmp_path: Path, clips: Clips) -> None:
    given = scores(clips)
    run = import_scores(
        tmp_path / "theirs", clips=clips, **given | {"probabilities": {"rgb": given["probabilities"]}}
    )
    explorer = mg.widgets.ErrorExplorer(run, views=["map"])
    assert explorer.clips is not None
    (words,) = explorer._shown_view.children
    assert "made from scores" in words.value
    assert "mgkit test" not in words.value


def test_percentages_are_divided_not_put_through_a_softmax(tmp_path: Path, clips: Clips) -> None:
    given = scores(clips)
    with pytest.raises(
        MgkitError, match="every row sums to about 100, so divide them by it, without a softmax"
    ):
        import_scores(
            tmp_path / "theirs", clips=clips, **given | {"probabilities": 100 * given["probabilities"]}
        )
