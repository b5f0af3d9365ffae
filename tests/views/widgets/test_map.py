"""The map of clips and prototypes, without a page."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.views import figures
from mgkit.views.analysis import embedding_map
from mgkit.views.widgets import PrototypeMap, Selection
from tests.results.fake_run import fake_clips, fake_run


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Runs laid out by their first two dimensions."""
    monkeypatch.setattr(
        "mgkit.views.analysis.embedding._umap", lambda fitted, moving, seed: (fitted[:, :2], moving[:, :2])
    )

    def run(classes: int = 4, **changes: Any) -> Run:
        clips = fake_clips(tmp_path / "clips", classes, 12)
        return fake_run(tmp_path / "run", clips, **{"epochs": 3, "splits": ("test",), **changes})

    return run


def act(widget: PrototypeMap, **content: Any) -> None:
    widget._handle_custom_msg(content, [])


def marked(widget: PrototypeMap) -> list[int]:
    bits = np.frombuffer(base64.b64decode(widget.selected["mask"]), np.uint8)
    return np.flatnonzero(np.unpackbits(bits, bitorder="little")).tolist()


def test_the_page_gets_the_numbers_of_the_map(make: Callable[..., Run]) -> None:
    run = make(unseen=(2,))
    there, laid = run.predictions(), embedding_map(run, "test", "pose")
    widget = PrototypeMap(run, pathway="pose")
    drawn = widget.drawn
    assert widget.clips["ids"] == there.clip_ids
    for name, kind, expected in (
        ("points", "<f4", laid.points),
        ("paths", "<f4", laid.paths),
        ("own", "<f4", there.own["pose"]),
        ("confidence", "<f4", there.scores("pose").max(1)),
        ("predicted", "<i4", there.predicted("pose")),
    ):
        np.testing.assert_array_equal(np.frombuffer(drawn[name], kind), expected.ravel(), err_msg=name)
    assert (drawn["epochs"], drawn["seen"]) == ([1, 2, 3], [True, True, False, True])
    before = drawn["points"]
    widget.pathway = "rgb"
    assert widget.drawn["points"] != before
    assert widget.drawn["pathway"] == "rgb"


def test_clicks_and_loops_select_clips(make: Callable[..., Run]) -> None:
    widget = PrototypeMap(make())
    ids, chosen = widget.predictions.clip_ids, widget.selection
    act(widget, act="click", row=3)
    assert (chosen.clip_ids, chosen.focus, chosen.source) == ((ids[3],), ids[3], "PrototypeMap")
    act(widget, act="lasso", rows=[5, 1, 3])
    assert (chosen.clip_ids, chosen.focus) == ((ids[5], ids[1], ids[3]), ids[3]), "what is looked at stays"
    assert chosen.description == "lasso on the RGB map"
    assert marked(widget) == [1, 3, 5]
    act(widget, act="click", row=5)
    assert (len(chosen), chosen.focus) == (3, ids[5]), "a selected clip is only looked at"
    act(widget, act="click", row=7, add=True)
    assert (chosen.clip_ids[-1], chosen.focus, len(chosen)) == (ids[7], ids[7], 4)
    act(widget, act="lasso", rows=[])
    assert len(chosen) == 4, "an empty loop changes nothing"
    act(widget, act="clear")
    assert marked(widget) == []


def test_legend_and_stars_select_classes(make: Callable[..., Run]) -> None:
    run = make()
    widget, there = PrototypeMap(run, colour="subject"), run.predictions()
    name = run.classes.names[1]
    act(widget, act="class", label=1)
    assert set(widget.selection) == {i for i, k in zip(there.clip_ids, there.labels, strict=True) if k == 1}
    for kind in ("TP", "FN", "FP"):
        act(widget, act="class", label=1, kind=kind)
        wanted = there.kinds("rgb", 1) == kind
        assert list(widget.selection) == [there.clip_ids[i] for i in np.flatnonzero(wanted)]
        assert widget.selection.description == f"{kind} of {name} (RGB)"
    act(widget, act="subject", label=0)
    subject = widget.subjects["names"][0]
    table = run.clips().select(there.clip_ids).table
    assert list(widget.selection) == table["clip_id"][table["subject"] == subject].tolist()
    assert widget.select(name, "TP") is widget.selection


def test_a_selection_from_elsewhere_is_marked(make: Callable[..., Run]) -> None:
    run = make()
    ids = run.predictions().clip_ids
    selection = Selection()
    widget = PrototypeMap(run, selection=selection)
    selection.set([ids[2], "elsewhere"], focus=ids[2])
    assert (marked(widget), widget.selected["focus_row"], widget.selected["here"]) == ([2], 2, 1)
    widget.close()
    selection.clear()
    assert marked(widget) == [2], "a closed widget listens no more"


def test_what_is_shown_is_what_the_figure_draws(make: Callable[..., Run]) -> None:
    widget = PrototypeMap(make(), epoch=2)
    for colour in widget.colours:
        widget.colour, widget.paths = colour, True
        figure = widget.to_figure(venue="acm")
        assert figure.figure.get_figwidth() == figures.VENUES["acm"][0]
        clips = figure.data[figure.data["kind"] == "clip"]
        np.testing.assert_array_equal(clips[["x", "y"]].to_numpy("f4"), widget._map.points)
        stars = figure.data[figure.data["kind"] == "prototype"]
        np.testing.assert_array_equal(stars[["x", "y"]].to_numpy("f4"), widget._map.paths[1])
        assert (figure.data["kind"] == "path").sum() == 3 * 4
        assert "after epoch 2" in figure.note
        if colour == "distance":
            np.testing.assert_array_equal(clips["value"].to_numpy("f4"), widget.predictions.own["rgb"])
    assert "Static preview of PrototypeMap" in widget._repr_mimebundle_()[0]["text/html"]


def test_many_classes_are_grey_but_for_a_few(make: Callable[..., Run]) -> None:
    widget = PrototypeMap(make(14))
    assert 1 <= len(widget.chosen) <= 6
    with pytest.raises(MgkitError, match="11 classes are too many"):
        widget.chosen = list(range(11))
    with pytest.raises(MgkitError, match="0 to 13"):
        widget.chosen = [14]


def test_runs_without_prototypes_or_clip_folder(make: Callable[..., Run]) -> None:
    run = make(prototypes=False)
    widget = PrototypeMap(run)
    assert "distance" not in widget.colours
    assert widget.drawn["epochs"] == []
    with pytest.raises(MgkitError, match="no prototypes: colour by one of class"):
        PrototypeMap(run, colour="distance")
    (run.root.parent / "clips").rename(run.root.parent / "gone")
    widget.colour = "subject"
    assert widget.colour == "class"
    assert "no longer at" in widget.trouble
    with pytest.raises(MgkitError, match="no longer at"):
        PrototypeMap(run, colour="subject")


def test_wrong_arguments_and_messages_name_the_right_ones(make: Callable[..., Run]) -> None:
    run = make()
    for arguments, message in (
        ({"pathway": "audio"}, "no 'audio' embeddings"),
        ({"colour": "rainbow"}, "unknown colour 'rainbow'"),
        ({"highlight": "wave"}, "no class 'wave'"),
        ({"epoch": 9}, "no prototypes of epoch 9, only of 1, 2, 3"),
    ):
        with pytest.raises(MgkitError, match=message):
            PrototypeMap(run, **arguments)  # type: ignore[arg-type]
    widget = PrototypeMap(run)
    for content in ({"row": -1}, {"row": 10**6}, {"row": "1"}, {"row": True}, {}):
        with pytest.raises(MgkitError, match="the page sent clips"):
            widget._act("click", content)
    with pytest.raises(MgkitError, match="the page sent clips"):
        widget._act("lasso", {"rows": [0, 10**6]})
    with pytest.raises(MgkitError, match="no prototypes of epoch 7"):
        widget.epoch = 7


@pytest.mark.slow
def test_a_kept_map_opens_without_umap(make: Callable[..., Run]) -> None:
    run = make()
    PrototypeMap(run)
    code = (
        "import sys, mgkit as mg; from mgkit.views.widgets import PrototypeMap;"
        f"PrototypeMap(mg.load_run({str(run.root)!r}));"
        "assert not {'umap', 'numba', 'sklearn', 'torch'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
