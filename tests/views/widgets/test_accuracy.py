"""The class bars to click in, without a page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.results.stats.metrics import per_class, wilson
from mgkit.views import figures
from mgkit.views.figures import style
from mgkit.views.widgets import ClassAccuracy, ConfusionMatrix, Selection
from mgkit.views.widgets.shared.bundle import FOLDER
from tests.views.widgets.conftest import FUSED, LABELS, NAMES, POSE, RGB, made_run


def click(
    widget: ClassAccuracy, label: int, output: str = "fused", kind: str | None = None, **more: Any
) -> None:
    widget._handle_custom_msg({"act": "pick", "label": label, "output": output, "kind": kind, **more}, [])


def test_values_are_those_of_the_metrics(run: Run) -> None:
    widget = ClassAccuracy(run)
    assert widget.outputs == ["rgb", "pose", "fused"]
    for output, said in (("rgb", RGB), ("pose", POSE), ("fused", FUSED)):
        table = per_class(LABELS, said, 3)
        values = widget.values[output]
        for column in ("recall", "precision", "f1", "recall_low", "precision_high"):
            expected = [None if value != value else value for value in table[column]]
            assert values[column] == pytest.approx(expected), (output, column)
        assert values["tp"] == table["correct"].tolist()
        assert [tp + fn for tp, fn in zip(values["tp"], values["fn"], strict=True)] == table[
            "support"
        ].tolist()
        assert [tp + fp for tp, fp in zip(values["tp"], values["fp"], strict=True)] == table[
            "predicted"
        ].tolist()
    fused = widget.values["fused"]
    assert (fused["recall_low"][0], fused["recall_high"][0]) == wilson(3, 4)
    assert fused["recall"][2] is None, "no clips, no recall"
    json.dumps(widget.values, allow_nan=False)


@pytest.mark.parametrize(
    "metric, ids, description",
    [
        ("recall", ("c0", "c1", "c2", "c3"), "clips of rub hands"),
        ("precision", ("c0", "c1", "c2", "c7"), "clips predicted as rub hands (Fused)"),
        ("f1", ("c0", "c1", "c2", "c3", "c7"), "TP, FN and FP of rub hands (Fused)"),
    ],
)
def test_a_bar_selects_what_its_number_is_made_of(
    run: Run, metric: str, ids: tuple[str, ...], description: str
) -> None:
    widget = ClassAccuracy(run, metric=metric)
    click(widget, 0)
    assert (widget.selection.clip_ids, widget.selection.description) == (ids, description)
    assert widget.selection.source == "ClassAccuracy"


def test_kinds_of_an_output(run: Run) -> None:
    widget = ClassAccuracy(run)
    for kind, ids in (("TP", ("c0", "c1")), ("FN", ("c2", "c3")), ("FP", ("c6", "c7"))):
        click(widget, 0, "rgb", kind)
        assert widget.selection.clip_ids == ids
        assert widget.selection.description == f"{kind} of rub hands (RGB)"
        assert ClassAccuracy(run).select("rub hands", kind, "rgb").state == widget.selection.state
    click(widget, 1, "pose", "FN", add=True)
    assert widget.selection.description == "FP of rub hands (RGB)", "pose misses none: nothing is added"
    click(widget, 2)
    assert (widget.selection.clip_ids, widget.selection.description) == ((), "clips of cover face")


def test_selection_and_focus_are_marked(run: Run) -> None:
    selection = Selection(["c2", "c3", "c4", "elsewhere"])
    widget = ClassAccuracy(run, selection=selection)
    assert widget.selected["held"] == [2, 1, 0]
    assert widget.selected["focus_true"] is None
    selection.focus_on("c3")
    assert widget.selected["focus_true"] == 0
    assert widget.selected["focus_predicted"] == {"rgb": 2, "pose": 1, "fused": 1}


def test_orders_are_those_of_the_figure(run: Run) -> None:
    widget = ClassAccuracy(run)
    for metric in ("recall", "precision", "f1"):
        for order in ("value", "support", "groups", "given"):
            drawn = figures.class_accuracy(run, metric=metric, order=order).data["class"].drop_duplicates()
            assert [NAMES[k] for k in widget.orders[metric][order]] == drawn.tolist()
            assert widget.orders[metric][order][-1] == 2, "no clips: last"
    widget.metric, widget.order = "f1", "given"
    figure = widget.to_figure(venue="acm", columns=2)
    assert figure.figure.get_figwidth() == figures.VENUES["acm"][1]
    assert "Wilson" not in figure.note, "of F1"


def test_wrong_arguments_name_the_right_ones(run: Run) -> None:
    with pytest.raises(MgkitError, match="unknown metric 'top1': use one of recall, precision, f1"):
        ClassAccuracy(run, metric="top1")
    with pytest.raises(MgkitError, match="'size'"):
        ClassAccuracy(run, order="size")
    widget = ClassAccuracy(run)
    for arguments, message in (
        (("wave",), "no class 'wave'"),
        (("rub hands", "TN"), "'TN'"),
        (("rub hands", "TP", "audio"), "unknown output 'audio'"),
    ):
        with pytest.raises(MgkitError, match=message):
            widget.select(*arguments)
    with pytest.raises(MgkitError, match="the page sent label = 7"):
        widget._act("pick", {"label": 7, "output": "fused"})
    with pytest.raises(MgkitError, match="unknown output 'None'"):
        widget._act("pick", {"label": 0})


def test_a_run_of_one_pathway_names_no_output(tmp_path: Path) -> None:
    widget = ClassAccuracy(made_run(tmp_path / "rgb", {"rgb": RGB}))
    click(widget, 0, "rgb", "FP")
    assert widget.selection.description == "FP of rub hands"


def test_places_without_widgets_get_a_picture(run: Run) -> None:
    data, _ = ClassAccuracy(run)._repr_mimebundle_()
    assert "Static preview of ClassAccuracy" in data["text/html"]


def test_colours_are_those_of_the_figures() -> None:
    script = (FOLDER / "shared/common.js").read_text(encoding="utf-8")
    for name, colour in {**style.KINDS, **style.BAR_COLOURS}.items():
        assert f'{name}: "{colour}"' in script
    for key, name in style.OUTPUT_NAMES.items():
        assert f'{key}: "{name}"' in script


def test_every_widget_has_its_files_and_nothing_from_elsewhere() -> None:
    for widget in (ClassAccuracy, ConfusionMatrix):
        for text in (str(widget._esm), str(widget._css)):
            assert len(text) > 1000
            assert "http" not in text.replace("http://www.w3.org/2000/svg", ""), "works without a network"
            assert "innerHTML" not in text, "class names are text"


def test_some_classes_and_the_others_together(make_run: Callable[..., Run]) -> None:
    run = make_run(9)
    there, names = run.predictions(), run.classes.names
    chosen = [names[4], names[0]]
    widget = ClassAccuracy(run, classes=chosen)
    assert widget.classes["names"] == [*chosen, "others (7)"]
    assert widget.others == 2
    assert widget.order == "given"
    assert all(order[-1] == 2 for orders in widget.orders.values() for order in orders.values())
    table = per_class(run)
    rest = table[~table["class"].isin(chosen)]
    values = widget.values["fused"]
    assert values["tp"] == [*(table["correct"][k] for k in (4, 0)), rest["correct"].sum()]
    assert values["recall"][2] == pytest.approx(rest["correct"].sum() / rest["support"].sum())
    for kind in ("TP", "FN", "FP"):
        click(widget, 2, kind=kind)
        assert len(widget.selection) == values[kind.lower()][2]
    click(widget, 2)
    assert len(widget.selection) == rest["support"].sum()
    assert sum(widget.selected["held"][:2]) == 0
    assert widget.select("others").description == "clips of others (7)"
    assert widget.to_figure().data.query("output == 'fused'")["recall"].tolist() == pytest.approx(
        values["recall"]
    )
    wrong = next(i for i, right in enumerate(there.correct()) if not right)
    widget.selection.set([there.clip_ids[wrong]], focus=there.clip_ids[wrong])
    assert 0 <= widget.selected["focus_true"] <= 2
    assert len(ClassAccuracy(run, most_confused=4).classes["names"]) == 5
