"""The reliability figure shows the bins of `results.calibration`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.results.scores.calibration import calibration_table, expected_error, scores_of, temper
from mgkit.views import figures


def test_reliability_shows_its_table(make_run: Callable[..., Run]) -> None:
    run = make_run(8)
    figure = figures.reliability(run, output="rgb", bins=7)
    p = run.predictions()
    sure = p.scores("rgb").max(1)
    table = calibration_table(sure, p.correct("rgb"), 7)
    pd.testing.assert_frame_equal(figure.data.drop(columns="system"), table)
    assert f"{expected_error(sure, p.correct('rgb'), 7):.3f}" in figure.note
    axes, below = figure.figure.axes
    line = axes.lines[-1]
    np.testing.assert_allclose(line.get_ydata(), table["accuracy"])
    heights = [patch.get_height() for patch in below.patches]  # type: ignore[attr-defined]
    assert sum(heights) == pytest.approx(1)
    two = figures.reliability({"one": run, "hot": temper(scores_of(run), 3.0)}, adaptive=True)
    assert two.data["system"].unique().tolist() == ["one", "hot"]
    for name in ("one", "hot"):
        assert two.data.loc[two.data["system"] == name, "clips"].sum() == len(p)
    single = scores_of(run).select(p.clip_ids[:1])
    assert len(figures.reliability(single).data) == 1
    with pytest.raises(MgkitError, match="5 systems cannot be distinguished"):
        figures.reliability(dict.fromkeys("abcde", run))
    with pytest.raises(MgkitError, match="0 systems"):
        figures.reliability({})
    with pytest.raises(MgkitError, match="0 bins"):
        figures.reliability(run, bins=0)
