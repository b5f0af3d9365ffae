"""Figures drawn into a subfigure, or in the place of axes, of a figure of one's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run, load_run
from mgkit.views import figures
from mgkit.views.figures import style
from mgkit.views.figures.style import PaperFigure
from tests.results.fake_run import fake_frames
from tests.views.figures.test_rules import FIGURES, runs

__all__ = ["runs"]  # a fixture

pytestmark = [pytest.mark.usefixtures("flat"), pytest.mark.slow]


def inside(figure: Figure, place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All text that is drawn of a subfigure is within it."""
    shown: list[Text] = []
    draw = Text.draw

    def record(text: Text, *args: Any, **options: Any) -> None:
        shown.append(text)
        draw(text, *args, **options)

    own = set(place.findobj(Text))
    with style.styled(), monkeypatch.context() as patch:
        patch.setattr(Text, "draw", record)
        figure.draw_without_rendering()
        box, slack = place.bbox, 1.5 * figure.dpi / 72
        texts = [text for text in shown if text in own and text.get_text().strip() and text.get_visible()]
        assert texts
        for text in texts:
            extent = text.get_window_extent()
            assert extent.x0 >= box.x0 - slack, f"{text} sticks out at the left"
            assert extent.x1 <= box.x1 + slack, f"{text} sticks out at the right"
            assert extent.y0 >= box.y0 - slack, f"{text} sticks out at the bottom"
            assert extent.y1 <= box.y1 + slack, f"{text} sticks out at the top"


DRAW: dict[str, Callable[..., PaperFigure]] = {
    "confusion": figures.confusion,
    "class_accuracy": figures.class_accuracy,
    "prototype_map": figures.prototype_map,
    "training_curves": figures.training_curves,
}


@pytest.mark.parametrize("name", DRAW)
def test_axes_give_their_place(
    make_run: Callable[..., Run], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(9)
    figure = Figure(figsize=(9, 5), layout="constrained")
    mine, taken = figure.subplots(1, 2)
    mine.plot([1, 2, 3])
    drawn = DRAW[name](run, axes=taken)
    assert drawn.figure is figure
    assert len(drawn.data) == len(DRAW[name](run).data)
    assert taken not in figure.axes
    assert mine in figure.axes
    (place,) = figure.subfigs
    inside(figure, place, monkeypatch)
    assert drawn.save(tmp_path / "both")[0].stat().st_size > 1000
    assert DRAW[name](run).figure is not figure, "the place is forgotten"


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "film_strip"])
def test_every_figure_is_drawn_into_a_subfigure(
    runs: dict[str, Run], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mgkit.data.video.read_frames", fake_frames)
    figure = Figure(figsize=(12, 9), layout="constrained")
    left, right = figure.subfigures(1, 2)
    right.subplots().plot([1, 2, 3])
    drawn = FIGURES[name](load_run(runs["9 long names"].root), axes=left)
    assert drawn.figure is figure
    assert left.axes or left.subfigs
    inside(figure, left, monkeypatch)


def test_places_that_will_not_do(make_run: Callable[..., Run]) -> None:
    run = make_run(9)
    free = Figure(layout="constrained").add_axes((0, 0, 1, 1))
    with pytest.raises(MgkitError, match="axes are in no grid"):
        figures.confusion(run, axes=free)
    plain = Figure(figsize=(8, 4))
    with pytest.raises(MgkitError, match="constrained"):
        figures.prototype_map(run, axes=plain.subplots(1, 2)[0])
    low = Figure(figsize=(8, 1.5), layout="constrained")
    with pytest.raises(MgkitError, match=r"the place is .* make it higher or narrower"):
        figures.confusion(run, axes=low.subplots(1, 2)[0])
