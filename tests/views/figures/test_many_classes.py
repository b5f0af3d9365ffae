"""Datasets of a hundred classes and more: each figure is on a page, and no name is written over another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

from mgkit.data.clips import Classes, Clips
from mgkit.data.skeletons import Skeleton
from mgkit.results.run.folder import Run, load_run
from mgkit.results.run.saliency import write_saliency
from mgkit.views import figures
from mgkit.views.figures import style
from mgkit.views.figures.style import PaperFigure
from tests.results.fake_run import fake_clips, fake_run
from tests.results.run.test_saliency import made as saliency
from tests.views.figures.test_datasets import made
from tests.views.figures.test_figures import check

pytestmark = [pytest.mark.usefixtures("flat"), pytest.mark.slow]

DRAW: dict[str, Callable[[Run], PaperFigure]] = {
    "confusion": figures.confusion,
    "confusion in one column": lambda run: figures.confusion(run, columns=1),
    "class_accuracy": figures.class_accuracy,
    "class_accuracy in one column": lambda run: figures.class_accuracy(run, columns=1),
    "prototype_similarity": lambda run: figures.prototype_similarity(run, scatter=False),
    "run_comparison": lambda run: figures.run_comparison(run, load_run(run.root.with_name("second"))),
    "joint_importance": figures.joint_importance,
    "class_counts": figures.class_counts,
    "class_counts in one column": lambda run: figures.class_counts(run, columns=1),
}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of 130 classes in groups, and a second one next to it."""
    root = tmp_path_factory.mktemp("many")
    names = [
        f"{what} with {how}"
        for how in ("the left hand", "the right hand")
        for what in map("gesture {}".format, range(65))
    ]
    clips = fake_clips(
        root / "clips", Classes(tuple(names), tuple("abcde"[k % 65 // 13] for k in range(130))), 6
    )
    run = fake_run(root / "first", clips, epochs=1, splits=("test",))
    fake_run(root / "second", clips, epochs=1, splits=("test",), seed=1, noise=4.0)
    ids = run.predictions().clip_ids
    write_saliency(run.root, "test", saliency(ids, target=np.arange(len(ids)) % 130))
    return load_run(run.root)


def overlapping(figure: PaperFigure) -> list[str]:
    """Pairs of horizontal texts one of which is written over the other by more than a point."""
    with style.styled():
        figure.figure.draw_without_rendering()
    shown = [
        text
        for text in figure.figure.findobj(Text)
        if isinstance(text, Text)
        and text.get_text().strip()
        and text.get_visible()
        and not text.get_rotation()
    ]
    point = figure.figure.dpi / 72
    boxes = np.array([text.get_window_extent().extents for text in shown])
    wide = np.minimum(boxes[:, None, 2], boxes[:, 2]) - np.maximum(boxes[:, None, 0], boxes[:, 0])
    tall = np.minimum(boxes[:, None, 3], boxes[:, 3]) - np.maximum(boxes[:, None, 1], boxes[:, 1])
    over = np.triu((wide > point) & (tall > 2 * point), 1)  # a line of text has some room above its letters
    return [
        f"{shown[i].get_text()!r} and {shown[k].get_text()!r}" for i, k in zip(*np.nonzero(over), strict=True)
    ]


@pytest.mark.parametrize("name", DRAW)
def test_a_page_with_names_that_can_be_read(many: Run, name: str) -> None:
    figure = DRAW[name](many)
    check(figure, figure.figure.get_figwidth())
    assert not overlapping(figure)
    assert len(figure.data) >= 130, "all of them are in the numbers"


def test_names_left_out_are_in_the_note(many: Run) -> None:
    figure = figures.confusion(many)
    assert "every 2nd class is named, in the order of the data" in figure.note
    assert "is named" not in figures.confusion(many, most_confused=10).note


def test_joints_of_a_whole_body(tmp_path: Path) -> None:
    joints = tuple(f"joint number {v}" for v in range(133))
    clips: Clips = made(tmp_path, 2, 3, Skeleton("whole", joints, (), ()))
    figure = figures.missing_joints(clips)
    check(figure, figure.figure.get_figwidth())
    assert not overlapping(figure)


@pytest.mark.parametrize("per_class", [1, 3, 40])
@pytest.mark.parametrize("classes", [2, 9, 52])
def test_a_logarithmic_axis_has_plain_numbers_and_says_so(
    tmp_path: Path, classes: int, per_class: int
) -> None:
    clips = fake_clips(tmp_path, classes, per_class)
    for draw in (figures.class_counts, figures.clip_lengths):
        figure = draw(clips)
        with style.styled():
            figure.figure.draw_without_rendering()
        for axes in figure.figure.axes:
            labels = [label.get_text() for label in axes.get_xticklabels(which="both") if label.get_text()]
            assert not [label for label in labels if "$" in label], "TeX"
            assert labels
            assert axes.get_xlabel().endswith("(log scale)")
        assert not overlapping(figure)
