"""The confusion matrix to click in, without a page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.results.stats.metrics import confusion_matrix
from mgkit.views import figures
from mgkit.views.analysis import confusions
from mgkit.views.widgets import ClassAccuracy, ConfusionMatrix, Selection
from tests.views.widgets.conftest import FUSED, LABELS, NAMES, POSE, RGB, made_run


def click(widget: Any, **content: Any) -> None:
    """Send the message of a click."""
    widget._handle_custom_msg({"act": "pick", **content}, [])


def test_counts_are_those_of_the_metrics(run: Run) -> None:
    widget = ConfusionMatrix(run)
    assert widget.output == "fused"
    for output, said in (("fused", FUSED), ("rgb", RGB), ("pose", POSE)):
        widget.output = output
        assert widget.matrix["counts"] == confusion_matrix(LABELS, said, 3).tolist()
        listed = confusions(run.predictions(), 10, output)
        names = [(NAMES[t], NAMES[p]) for t, p in widget.matrix["top"]]
        assert names == list(zip(listed["true"], listed["predicted"], strict=True))
    assert widget.matrix["orders"]["groups"] == [0, 2, 1]
    assert widget.matrix["other"] is None


@pytest.mark.parametrize(
    "true, predicted, ids, description",
    [
        (0, 1, ("c3",), "rub hands predicted as touch chin (Fused)"),
        (0, 0, ("c0", "c1", "c2"), "TP of rub hands (Fused)"),
        (1, None, ("c4", "c5", "c6", "c7"), "clips of touch chin"),
        (None, 0, ("c0", "c1", "c2", "c7"), "clips predicted as rub hands (Fused)"),
        (2, None, (), "clips of cover face"),
        (None, 2, (), "clips predicted as cover face (Fused)"),
    ],
)
def test_a_click_selects_the_clips_behind_it(
    run: Run, true: int | None, predicted: int | None, ids: tuple[str, ...], description: str
) -> None:
    widget = ConfusionMatrix(run)
    click(widget, true=true, predicted=predicted)
    assert widget.selection.clip_ids == ids
    assert widget.selection.description == description
    assert widget.selection.source == "ConfusionMatrix"
    names = [None if k is None else NAMES[k] for k in (true, predicted)]
    again = ConfusionMatrix(run).select(*names)
    assert again.state == widget.selection.state


def test_clicks_add_up_and_are_taken_back(run: Run) -> None:
    widget = ConfusionMatrix(run)
    click(widget, true=0, predicted=1)
    click(widget, true=1, predicted=0, add=True)
    click(widget, true=1, predicted=0, add=True)  # again: nothing new
    assert widget.selection.clip_ids == ("c3", "c7")
    assert widget.selection.description == (
        "rub hands predicted as touch chin (Fused) + touch chin predicted as rub hands (Fused)"
    )
    widget.selection.focus_on("c7")
    click(widget, true=1, predicted=None)
    assert widget.selection.focus == "c7", "still among them"
    click(widget, true=0, predicted=None)
    assert widget.selection.focus is None
    widget._handle_custom_msg({"act": "clear"}, [])
    assert widget.selection.clip_ids == ()


def test_what_is_selected_elsewhere_is_marked(run: Run) -> None:
    selection = Selection(["c7", "elsewhere", "c0"])
    widget = ConfusionMatrix(run, selection=selection)
    assert widget.selection is selection
    assert widget.selected["cells"] == [[0, 0, 1], [1, 0, 1]]
    assert (widget.selected["count"], widget.selected["here"]) == (3, 2)
    assert widget.selected["focus_cell"] is None
    selection.focus_on("c7")
    assert widget.selected["focus_cell"] == [1, 0]
    widget.output = "pose"
    assert widget.selected["focus_cell"] == [1, 1], "where this output put it"
    selection.focus_on("elsewhere")
    assert widget.selected["focus_cell"] is None
    assert widget.selected["focus"] is None
    selection.clear()
    assert widget.selected["cells"] == []


def test_two_views_share_a_selection_without_an_echo(run: Run) -> None:
    selection, told = Selection(), []
    matrix, bars = ConfusionMatrix(run, selection=selection), ClassAccuracy(run, selection=selection)
    selection.watch(told.append)
    click(matrix, true=0, predicted=1)
    assert len(told) == 1
    assert bars.selected["held"] == [1, 0, 0]
    bars.select("touch chin", "FN")
    assert len(told) == 2
    assert matrix.selected["cells"] == [[1, 0, 1]]
    matrix.close()
    selection.clear()
    assert matrix.selected["cells"] == [[1, 0, 1]], "a closed view listens no more"
    assert bars.selected["held"] == [0, 0, 0]


def test_a_view_alone_has_a_selection_of_its_own(run: Run) -> None:
    one, two = ConfusionMatrix(run), ConfusionMatrix(run)
    one.select("rub hands")
    assert len(one.selection) == 4
    assert len(two.selection) == 0


def test_the_difference_of_two_runs(run: Run, other: Run) -> None:
    widget = ConfusionMatrix(run, other=other)
    assert widget.outputs == ["fused"], "what both have"
    assert widget.names == ["ours", "theirs"]
    theirs = other.predictions().predicted()
    assert widget.matrix["other"] == confusion_matrix(LABELS, theirs, 3).tolist()
    change = np.array(widget.matrix["counts"]) - np.array(widget.matrix["other"])
    tops = [abs(change[t, p]) for t, p in widget.matrix["top"]]
    assert tops == sorted(tops, reverse=True)
    assert all(t != p for t, p in widget.matrix["top"])
    click(widget, true=0, predicted=1)  # ours: c3, theirs: c0
    assert set(widget.selection) == {"c0", "c3"}
    assert widget.selection.description == "rub hands predicted as touch chin by only one of ours and theirs"
    click(widget, true=0, predicted=None)
    assert widget.selection.clip_ids == ("c0", "c3")
    assert widget.selection.description == "clips of rub hands on which ours and theirs disagree"
    click(widget, true=None, predicted=2)
    assert widget.selection.clip_ids == ("c3",)
    click(widget, true=1, predicted=None)
    assert widget.selection.clip_ids == ("c5", "c7")


def test_a_run_differs_nowhere_from_itself(run: Run) -> None:
    widget = ConfusionMatrix(run, other=run)
    assert widget.matrix["top"] == []
    click(widget, true=0, predicted=None)
    assert widget.selection.clip_ids == ()


@pytest.mark.parametrize(
    "content",
    [
        {"true": 3, "predicted": 0},
        {"true": -1, "predicted": 0},
        {"true": "0", "predicted": 0},
        {"true": True, "predicted": 0},
        {"true": 0.5, "predicted": None},
        {"true": None, "predicted": None},
        {},
    ],
)
def test_nonsense_from_the_page_is_refused(run: Run, content: dict[str, Any]) -> None:
    widget = ConfusionMatrix(run)
    with pytest.raises(MgkitError, match="the page sent true"):
        widget._act("pick", content)
    for message in ("text", None, {"kind": "anywidget-command"}, {"act": 5}):
        widget._received(widget, message, [])
    assert len(widget.selection) == 0


def test_wrong_arguments_name_the_right_ones(run: Run) -> None:
    with pytest.raises(MgkitError, match="unknown output 'audio': use one of rgb, pose, fused"):
        ConfusionMatrix(run, output="audio")
    with pytest.raises(MgkitError, match="'size'"):
        ConfusionMatrix(run, order="size")
    with pytest.raises(MgkitError, match="no predictions of split 'val'"):
        ConfusionMatrix(run, "val")
    widget = ConfusionMatrix(run)
    with pytest.raises(MgkitError, match="unknown output 'audio'"):
        widget.output = "audio"
    with pytest.raises(MgkitError, match="no class 'wave'"):
        widget.select("wave")
    with pytest.raises(MgkitError, match="name a true class"):
        widget.select()


def test_the_figure_shows_what_the_widget_shows(run: Run, other: Run) -> None:
    widget = ConfusionMatrix(run, output="rgb", normalise=False, order="given")
    figure = widget.to_figure(venue="ieee", columns=1)
    assert figure.figure.get_figwidth() == figures.VENUES["ieee"][0]
    assert figure.data["clips"].tolist() == np.ravel(widget.matrix["counts"]).tolist()
    widget.order = "groups"
    assert widget.to_figure().data["true"].drop_duplicates().tolist() == [NAMES[k] for k in (0, 2, 1)]
    difference = ConfusionMatrix(run, other=other, order="given")
    assert (
        difference.to_figure().data["other_clips"].tolist() == np.ravel(difference.matrix["other"]).tolist()
    )


def test_places_without_widgets_get_a_picture_and_a_line_that_says_so(run: Run) -> None:
    widget = ConfusionMatrix(run)
    data, _ = widget._repr_mimebundle_()
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == widget.model_id
    assert "Static preview of ConfusionMatrix" in data["text/html"]
    assert 'src="data:image/png;base64,iVBOR' in data["text/html"]
    assert len(data["text/html"]) < 150_000


def test_a_run_of_one_pathway(tmp_path: Path) -> None:
    widget = ConfusionMatrix(made_run(tmp_path / "pose", {"pose": POSE}))
    assert widget.outputs == ["pose"]
    click(widget, true=0, predicted=1)
    assert widget.selection.description == "rub hands predicted as touch chin", "there is no other output"


def test_awkward_names_reach_the_page_as_they_are(tmp_path: Path) -> None:
    names = ("<b>bold</b> & $5", "摸脸", "an exceedingly long name of a gesture that nobody would ever read")
    widget = ConfusionMatrix(
        made_run(tmp_path / "run", {"rgb": RGB, "pose": POSE, "fused": FUSED}, names=names)
    )
    assert widget.classes["names"] == list(names)
    assert widget.select(names[0], names[1]).description == f"{names[0]} predicted as {names[1]} (Fused)"


# ---------------------------------------------------------------------------------------------------------------------
# A matrix of one's own: some classes in an order, and the others together


def test_some_classes_and_the_others_together(make_run: Callable[..., Run]) -> None:
    run = make_run(9)
    there, names = run.predictions(), run.classes.names
    chosen = [names[4], names[0], names[7]]
    widget, whole = ConfusionMatrix(run, classes=chosen), ConfusionMatrix(run)
    assert widget.classes["names"] == [*chosen, "others (6)"]
    assert widget.others == 3
    assert widget.order == "given"
    counts, every = np.array(widget.matrix["counts"]), np.array(whole.matrix["counts"])
    rest = [k for k in range(9) if names[k] not in chosen]
    at = [[4], [0], [7], rest]
    expected = [[every[np.ix_(row, column)].sum() for column in at] for row in at]
    assert counts.tolist() == expected
    for order in widget.matrix["orders"].values():
        assert order[-1] == 3, "the others are always last"

    # What a click selects is what its number says; the figure shows the same numbers.
    for true in range(4):
        for predicted in range(4):
            click(widget, true=true, predicted=predicted)
            assert len(widget.selection) == counts[true, predicted]
            assert widget.selected["cells"] in ([[true, predicted, counts[true, predicted]]], [])
    widget.select("others", names[0])
    assert set(widget.selection.clip_ids) == {
        clip_id
        for clip_id, true, said in zip(there.clip_ids, there.labels, there.predicted(), strict=True)
        if true in rest and said == 0
    }
    data = widget.to_figure().data
    assert data["clips"].to_numpy().reshape(4, 4).tolist() == counts.tolist()
    with pytest.raises(MgkitError, match="not shown by itself"):
        widget.select(names[rest[0]])


def test_the_most_confused_classes(make_run: Callable[..., Run]) -> None:
    run = make_run(9)
    widget = ConfusionMatrix(run, most_confused=4)
    assert len(widget.classes["names"]) == 5
    first = confusions(run).iloc[0]
    assert {first["true"], first["predicted"]} <= set(widget.classes["names"])
    assert widget.to_figure().data["true"].nunique() == 5
    both = ConfusionMatrix(run, other=make_run(9, seed=1), classes=run.classes.names[:2], common=True)
    assert np.array(both.matrix["other"]).shape == (3, 3)
