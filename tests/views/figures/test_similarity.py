"""The figure of prototype similarity: its numbers, its order, and the classes without a prototype."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.text import Text

from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.results.stats.metrics import confusion_matrix
from mgkit.views import figures
from mgkit.views.analysis.prototypes import run_similarity_and_confusion
from tests.views.figures.test_many_classes import overlapping

pytestmark = pytest.mark.slow


def numbered(figure: figures.PaperFigure) -> list[str]:
    """Class names in the order of the rows."""
    found = [text.get_text() for text in figure.figure.findobj(Text) if "  " in text.get_text()]
    return [text.split("  ")[1] for text in sorted(found, key=lambda text: int(text.split()[0]))]


def test_numbers_against_slow_loops(make_run: Callable[..., Run]) -> None:
    run = make_run(9)
    figure, there = figures.prototype_similarity(run, "pose", seed=3), run.predictions("test")
    vectors, _ = run.prototypes().last("pose")
    counts = confusion_matrix(there.labels, there.predicted("pose"), 9)
    assert len(figure.data) == 36
    for row in figure.data.itertuples():
        a, b = (run.classes.names.index(name) for name in (row.class_a, row.class_b))
        cosine = vectors[a] @ vectors[b] / np.linalg.norm(vectors[a]) / np.linalg.norm(vectors[b])
        assert row.similarity == pytest.approx(float(cosine), abs=1e-5)
        mutual = (counts[a, b] / counts[a].sum() + counts[b, a] / counts[b].sum()) / 2
        assert row.confusion == pytest.approx(mutual)
        assert row.clips == counts[a, b] + counts[b, a]
    found = run_similarity_and_confusion(run, np.random.default_rng(3), pathway="pose")
    told = f"ρ = {found.rho:.2f} [{found.low:.2f}, {found.high:.2f}]".replace("-", "−")
    assert told in figure.note
    assert any(told in text.get_text() for text in figure.figure.findobj(Text))
    heat, _, scatter = figure.figure.axes
    shown = np.ma.asarray(heat.collections[0].get_array())
    assert np.ma.getmaskarray(shown).reshape(9, 9).diagonal().all()
    points = np.asarray(scatter.collections[0].get_offsets())
    np.testing.assert_allclose(np.sort(points[:, 1]), np.sort(100 * figure.data["confusion"]))


def test_order_is_that_of_the_confusion_figure(make_run: Callable[..., Run]) -> None:
    run = make_run(9)
    for order in ("groups", "given"):
        expected = figures.confusion(run, order=order).data["true"].drop_duplicates().tolist()
        assert numbered(figures.prototype_similarity(run, order=order, scatter=False)) == expected
    clustered = numbered(figures.prototype_similarity(run, order="cluster", scatter=False))
    assert sorted(clustered) == sorted(run.classes.names)
    table = figures.prototype_similarity(run, scatter=False).data
    closest = table.loc[table["similarity"].idxmax()]
    assert abs(clustered.index(closest["class_a"]) - clustered.index(closest["class_b"])) == 1
    with pytest.raises(MgkitError, match="'alphabet'"):
        figures.prototype_similarity(run, order="alphabet", scatter=False)


def test_classes_never_seen_are_marked_and_named(make_run: Callable[..., Run]) -> None:
    run = make_run(9, pathways=("pose",), unseen=(0, 3))
    figure = figures.prototype_similarity(run)
    never = [run.classes.names[k] for k in (0, 3)]
    assert f"without a prototype: {', '.join(never)}" in figure.note
    missing = figure.data["class_a"].isin(never) | figure.data["class_b"].isin(never)
    assert figure.data.loc[missing, ["similarity", "confusion"]].isna().all(axis=None)
    assert figure.data.loc[~missing, ["similarity", "confusion"]].notna().all(axis=None)
    hatched = [patch for patch in figure.figure.axes[0].patches if patch.get_hatch()]
    assert len(hatched) == 4, "a row and a column each"
    assert numbered(figures.prototype_similarity(run, order="cluster"))[-2:] == never
    figures.prototype_similarity(make_run(2, unseen=(0, 1))).pdf()  # none at all


def test_without_scatter_no_split_is_needed(make_run: Callable[..., Run]) -> None:
    run = make_run(4, splits=())
    figure = figures.prototype_similarity(run, scatter=False)
    assert figure.data.columns.tolist() == ["class_a", "class_b", "similarity"]
    assert len(figure.figure.axes) == 2
    with pytest.raises(MgkitError, match="mgkit test"):
        figures.prototype_similarity(run)
    with pytest.raises(MgkitError, match="prototypical refinement"):
        figures.prototype_similarity(make_run(4, prototypes=False))


def test_similarity_is_white_at_zero_and_the_same_on_both_sides(make_run: Callable[..., Run]) -> None:
    for classes in (4, 9, 52):
        figure = figures.prototype_similarity(make_run(classes), scatter=False)
        heat = figure.figure.axes[0].collections[0]
        low, high = heat.get_clim()
        assert low == -high
        assert high >= figure.data["similarity"].abs().max()
        assert heat.to_rgba(0.0)[:3] == pytest.approx((1, 1, 1), abs=0.01)
        written = [text.get_text() for text in figure.figure.axes[0].texts]
        assert len(written) in (0, classes * (classes - 1)), "all cells have their number, or none"
    ticks = [text.get_text() for text in figure.figure.axes[1].get_xticklabels()]
    assert ticks == [f"−{high:.2f}", "0.00", f"{high:.2f}"]


def test_labels_of_pairs_are_not_over_marks_or_each_other(make_run: Callable[..., Run]) -> None:
    for classes in (9, 32, 52):
        figure = figures.prototype_similarity(make_run(classes, 20))
        assert not overlapping(figure)
        axes = figure.figure.axes[2]
        marks = axes.transData.transform(np.asarray(axes.collections[0].get_offsets()))
        for text in axes.texts:
            if "–" in text.get_text():
                box = text.get_window_extent()
                assert not ((marks > (box.x0, box.y0)) & (marks < (box.x1, box.y1))).all(1).any()
