"""What functions of results take: a run, its folder or its predictions; all else is refused by naming what to pass."""

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


@pytest.mark.parametrize("name", {**OF_RUN, **OF_FOLDER})
def test_anything_else_is_refused_with_what_to_pass(make_run: Callable[..., Run], name: str) -> None:
    run = make_run(9)
    for wrong in (run.clips(), None) if name == "figures.training_curves" else (run.clips(), [run], None):
        with pytest.raises(MgkitError, match=r"not a run: pass mg\.load_run"):
            {**OF_RUN, **OF_FOLDER}[name](wrong)


@pytest.mark.parametrize("name", OF_CLIPS)
def test_figures_of_clips_take_a_run_that_knows_its_clips(make_run: Callable[..., Run], name: str) -> None:
    run = make_run(9)
    of_clips, of_run, of_root = (OF_CLIPS[name](one) for one in (run.clips(), run, run.root))
    pd.testing.assert_frame_equal(of_clips.data, of_run.data)
    pd.testing.assert_frame_equal(of_clips.data, of_root.data)
    for wrong in ([run], run.predictions(), None):
        with pytest.raises(MgkitError, match=r"pass mg\.load_clips"):
            OF_CLIPS[name](wrong)


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
    with pytest.raises(MgkitError, match="not a run"):
        mg.scores.write(tmp_path / "c.npz", [run])  # type: ignore[arg-type]


def test_per_class_of_arrays_needs_all_of_them() -> None:
    assert mg.per_class([0, 1], [0, 0], 2)["recall"].tolist() == [1, 0]
    with pytest.raises(MgkitError, match="a list of int is not a run"):
        mg.per_class([0, 1])
    with pytest.raises(MgkitError, match="pass all three, or a run"):
        mg.per_class([0, 1], [0, 1])


ARRAYS = {
    "entropy": (analysis.entropy, r"pass run\.predictions\(split\)\.scores\(output\)"),
    "view_variation": (analysis.view_variation, r"run\.view_scores\(split\)\.scores\(output\)"),
    "views_disagree": (analysis.views_disagree, r"run\.view_scores\(split\)\.scores\(output\)"),
    "pathway_disagreement": (analysis.pathway_disagreement, r"p\.scores\('rgb'\) and p\.scores\('pose'\)"),
    "separability": (analysis.separability, r"use run_separability\(run\)"),
    "similarity_and_confusion": (
        analysis.similarity_and_confusion, r"use run_similarity_and_confusion\(run, generator\)"
    ),
    "confident_joint": (analysis.confident_joint, r"pass p\.labels and p\.scores\(output\); label_errors\(run\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
def test_functions_of_arrays_name_what_takes_a_run(make_run: Callable[..., Run], name: str) -> None:
    run, (function, words) = make_run(9), ARRAYS[name]
    for given in (run, str(run.root), run.root, run.predictions()):
        with pytest.raises(MgkitError, match=rf"{name} takes arrays, not a \w+: .*{words}"):
            function(given)


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
    for wrong in ([run], run.predictions(), None):
        with pytest.raises(MgkitError, match=r"pass mg\.load_(run|clips)"):
            WIDGETS[name](wrong)


@pytest.mark.usefixtures("frames")
def test_a_player_takes_a_clip_folder(make_run: Callable[..., Run]) -> None:
    clips = make_run(9).clips()
    assert widgets.ClipPlayer(str(clips.root)).selection.clip_ids == tuple(clips.ids)
