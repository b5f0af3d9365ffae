"""Prototype similarity and training curves over several runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mgkit.errors import MgkitError
from mgkit.results.runs import Run
from mgkit.views import figures
from mgkit.views.figures.seeds import summarise
from mgkit.views.figures.style import VENUES
from tests.views.test_figures import check, texts


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("scatter", [True, False])
@pytest.mark.parametrize(
    "kind", [{"classes": 2}, {"classes": 9, "unseen": (0, 3)}, {"classes": 52, "per_class": 8}]
)
def test_similarity_at_any_size(
    make_run: Callable[..., Run], kind: dict[str, Any], scatter: bool, columns: int
) -> None:
    run = make_run(**kind)
    figure = figures.prototype_similarity(run, columns=columns, scatter=scatter)
    check(figure, VENUES["cvpr"][columns - 1])
    count = kind["classes"]
    assert len(figure.data) == count * (count - 1) // 2
    unseen = {run.classes.names[k] for k in kind.get("unseen", ())}
    marked = {text.get_text() for text in texts(figure) if text.get_text().endswith("†")}
    assert len(marked) == len(unseen)
    gone = figure.data["class_a"].isin(unseen) | figure.data["class_b"].isin(unseen)
    assert figure.data["similarity"].isna().equals(gone)


def test_similarity_is_the_same_again(make_run: Callable[..., Run], tmp_path: Path) -> None:
    one, two = (figures.prototype_similarity(make_run(9)).save(tmp_path / name) for name in "ab")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_the_interval_is_students() -> None:
    from scipy.stats import t

    tables = [pd.DataFrame({"epoch": [1, 2], "loss": [v, v + 1]}) for v in (1.0, 2.0, 6.0)]
    first = summarise(tables, "loss", "interval").iloc[0]
    low, high = t.interval(0.95, 2, 3.0, np.std([1, 2, 6], ddof=1) / np.sqrt(3))
    assert first[["n", "mean", "low", "high"]].tolist() == pytest.approx([3, 3, low, high])
    assert summarise(tables, "loss", "range").iloc[0][["low", "high"]].tolist() == [1, 6]
    assert np.isnan(summarise(tables[:1], "loss", "interval")["low"]).all()


@pytest.mark.parametrize("columns", [1, 2])
def test_groups_of_runs(make_run: Callable[..., Run], columns: int) -> None:
    runs = [make_run(9, seed=seed) for seed in range(3)]
    for groups in (runs, {"all": runs, "one": runs[:1]}):
        figure = figures.training_curves(groups, columns=columns)
        check(figure, VENUES["cvpr"][columns - 1])
        assert "n = 3" in figure.note
        assert "t-interval" in figure.note
    for bad, match in (({"band": "sd"}, "no band"), ({"output": "audio"}, "audio")):
        with pytest.raises(MgkitError, match=match):
            figures.training_curves(runs, **bad)
    with pytest.raises(MgkitError, match="at least one run"):
        figures.training_curves([])
