"""What functions of results take: a run, its folder or its predictions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import mgkit as mg
from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.views import analysis, figures, widgets

pytestmark = pytest.mark.usefixtures("flat")

Function = Callable[..., Any]
OF_RUN = {
    "evaluate": mg.evaluate,
    "per_class": mg.per_class,
    "confusions": analysis.confusions,
    "ambiguous": analysis.ambiguous,
    "exemplars": analysis.exemplars,
    "hardest_fn": analysis.hardest_fn,
    "hardest_fp": analysis.hardest_fp,
    "label_errors": analysis.label_errors,
}
OF_FOLDER = {
    "run_separability": analysis.run_separability,
    "embedding_map": analysis.embedding_map,
    "prototype_similarity": analysis.prototype_similarity,
    "figures.confusion": figures.confusion,
    "figures.class_accuracy": figures.class_accuracy,
    "figures.prototype_map": figures.prototype_map,
    "figures.reliability": figures.reliability,
    "figures.training_curves": figures.training_curves,
}
OF_CLIPS = {
    "class_counts": figures.class_counts,
    "clip_lengths": figures.clip_lengths,
    "missing_joints": figures.missing_joints,
}


@pytest.mark.parametrize("name", OF_RUN)
def test_a_run_its_folder_and_its_predictions_are_the_same(make_run: Callable[..., Run], name: str) -> None:
    run = make_run(9)
    of_run, of_folder, of_text = (OF_RUN[name](one) for one in (run, run.root, str(run.root)))
    pd.testing.assert_frame_equal(of_run, of_folder)
    pd.testing.assert_frame_equal(of_run, of_text)
    assert len(OF_RUN[name](run.predictions())) <= len(of_run), (
        "without the majority row, which is of the run"
    )


@pytest.mark.parametrize("name", OF_FOLDER)
def test_a_folder_will_do(make_run: Callable[..., Run], name: str) -> None:
    OF_FOLDER[name](str(make_run(9).root))


@pytest.mark.parametrize("name", OF_CLIPS)
def test_figures_of_clips_take_a_run_that_knows_its_clips(make_run: Callable[..., Run], name: str) -> None:
    run = make_run(9)
    of_clips, of_run, of_root = (OF_CLIPS[name](one) for one in (run.clips(), run, run.root))
    pd.testing.assert_frame_equal(of_clips.data, of_run.data)
    pd.testing.assert_frame_equal(of_clips.data, of_root.data)


def test_a_table_of_another_kind_is_refused() -> None:
    other = pd.DataFrame({"a": [1.0]})
    with pytest.raises(MgkitError, match=r"the columns a is not known: pass the result of mg\.compare_runs"):
        figures.table(other)
    for draw in (figures.study, figures.methods):
        with pytest.raises(MgkitError, match="pass the result|give the result"):
            draw(other)


def test_scores_of_a_run_are_written(make_run: Callable[..., Run], tmp_path: Path) -> None:
    run = make_run(9)
    of_run = mg.scores.read(mg.scores.write(tmp_path / "a.npz", run, output="pose"))
    of_predictions = mg.scores.read(mg.scores.write(tmp_path / "b.npz", run.predictions(), output="pose"))
    assert (of_run.probabilities == of_predictions.probabilities).all()
    assert of_run.clip_ids == of_predictions.clip_ids


def test_per_class_of_arrays_needs_all_of_them() -> None:
    assert mg.per_class([0, 1], [0, 0], 2)["recall"].tolist() == [1, 0]
    with pytest.raises(MgkitError, match="pass all three, or a run"):
        mg.per_class([0, 1], [0, 1])


WIDGETS = {
    "ConfusionMatrix": lambda one: widgets.ConfusionMatrix(one, other=one),
    "ClassAccuracy": widgets.ClassAccuracy,
    "PrototypeMap": widgets.PrototypeMap,
    "Gallery": widgets.Gallery,
    "ReviewForm": widgets.ReviewForm,
    "ReviewList": widgets.ReviewList,
    "RunComparison": lambda one: widgets.RunComparison(one, one),
    "ClipPlayer": widgets.ClipPlayer,
    "ErrorExplorer": widgets.ErrorExplorer,
}


@pytest.mark.parametrize("name", WIDGETS)
@pytest.mark.usefixtures("frames")
def test_a_widget_takes_a_run_folder(make_run: Callable[..., Run], name: str) -> None:
    run = make_run(9)
    for given in (str(run.root), run.root):
        WIDGETS[name](given)


@pytest.mark.usefixtures("frames")
def test_a_player_takes_a_clip_folder(make_run: Callable[..., Run]) -> None:
    clips = make_run(9).clips()
    assert widgets.ClipPlayer(str(clips.root)).selection.clip_ids == tuple(clips.ids)
