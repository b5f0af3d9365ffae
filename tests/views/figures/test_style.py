"""What all figures share: names cut to a width, ticks of logarithmic axes, labels left out for lack of room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from mgkit.views.figures import style
from mgkit.views.figures.style import PaperFigure

HANDS = ("left hand", "right hand", "other hand")


@pytest.mark.parametrize("limit", [45, 60, 90])
@pytest.mark.parametrize(
    "names",
    [
        [f"touching the face or the forehead with the {hand}" for hand in HANDS],
        [
            f"touching the {side} cheek or the forehead with one of the hands"
            for side in ("left", "right", "lower")
        ],
        [f"a micro-gesture of the seated person, number {k}" for k in range(12)],
        [f"{'x' * 60}{k}{'y' * 60}" for k in range(3)],
        ["an arm is folded over the other one", "an arm is folded over the other one, slowly"],
        ["摸脸或者摸额头或者摸下巴或者摸脖子左手", "摸脸或者摸额头或者摸下巴或者摸脖子右手"],
    ],
)
def test_long_names_differ_where_they_are_cut(names: list[str], limit: float) -> None:
    cut = style.fit_names([*names, "nod"], limit, 7)
    assert len(set(cut)) == len(names) + 1
    assert cut[-1] == "nod"
    assert max(style.text_width(name, 7) for name in cut) <= limit
    assert all("…" in short or short == name for short, name in zip(cut, [*names, "nod"], strict=True))


def test_what_differs_is_what_is_kept() -> None:
    cut = style.fit_names([f"touching the face or the forehead with the {hand}" for hand in HANDS], 80, 7)
    assert all(short.endswith(hand) for short, hand in zip(cut, HANDS, strict=True))
    assert all(short.startswith("touch") for short in cut)
    sides = ("left", "right", "lower")
    cut = style.fit_names(
        [f"touching the {side} cheek with one of the hands of the person" for side in sides], 70, 7
    )
    assert all(side in short for short, side in zip(cut, sides, strict=True))


def test_names_of_which_some_have_more_in_common_than_all() -> None:
    names = [f"touching or scratching the {part}" for part in ("left ear", "right ear")]
    names += [
        f"touching or scratching the neck from behind with the {hand} hand" for hand in ("left", "right")
    ]
    cut = style.fit_names([*names, names[0]], 60, 7)
    assert len(set(cut)) == 4
    for short, kept in zip(
        cut, ("left ear", "right ear", "left hand", "right hand", "left ear"), strict=True
    ):
        assert kept in short


def test_equal_names_are_cut_alike() -> None:
    names = ["touching the face or the forehead"] * 2
    assert len(set(style.fit_names(names, 50, 7))) == 1


def test_ticks_of_logarithmic_axes_are_round_and_few() -> None:
    assert style.log_ticks(0.7, 8) == [1, 2, 5]
    assert style.log_ticks(0.7, 60) == [1, 2, 5, 10, 20, 50]
    assert style.log_ticks(0.7, 5000) == [1, 10, 100, 1000]
    for low, high in ((19.2, 30), (24, 37.5), (0.7, 3), (0.8, 1.25), (11, 14), (0.7, 1e7), (300, 420)):
        ticks = style.log_ticks(low, high)
        assert 1 <= len(ticks) <= 6
        assert all(low <= tick <= high for tick in ticks)
        assert len(ticks) > 1 or high - low < 1
        assert ticks == sorted(set(ticks))


def test_of_labels_without_room_every_second_or_third_is_written() -> None:
    assert [style.every(room, 7) for room in (9, 7, 6.9, 3.5, 2)] == [1, 1, 2, 2, 4]
    assert [style.ordinal(n) for n in (2, 3, 4, 11, 21)] == ["2nd", "3rd", "4th", "11th", "21st"]


def test_diverging_colours_are_white_at_zero_and_equally_dark_at_both_ends() -> None:
    colours = style.diverging()(np.linspace(0, 1, 257))[:, :3]
    assert colours[128] == pytest.approx(np.ones(3), abs=0.01)
    luminance = colours @ [0.2126, 0.7152, 0.0722]
    assert luminance[0] == pytest.approx(luminance[-1], abs=0.1)
    assert (np.diff(luminance[:129]) > 0).all()
    assert (np.diff(luminance[128:]) < 0).all()


def test_saving_draws_once_a_file_in_one_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = style.new_figure(3.25, 2)
    axes = figure.subplots()
    axes.set_ylabel("share of clips")
    paper = PaperFigure(figure, pd.DataFrame({"a": [1]}))
    places: list[tuple[float, ...]] = []
    draw = Axes.draw

    def record(drawn: Axes, renderer: Any) -> None:
        places.append(drawn.get_position().bounds)
        draw(drawn, renderer)

    held = figure.canvas, figure.dpi, figure.get_layout_engine()
    with monkeypatch.context() as patch:
        patch.setattr(Axes, "draw", record)
        paper.save(tmp_path / "figure")
    assert len(places) == 2
    assert places[0] == places[1] != axes.get_subplotspec().get_position(figure).bounds  # type: ignore[union-attr]
    assert (figure.canvas, figure.dpi, figure.get_layout_engine()) == held
