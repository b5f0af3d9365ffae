from __future__ import annotations

import numpy as np
import pytest

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError
from mgkit.results.run.folder import Predictions
from mgkit.results.stats.metrics import wilson
from mgkit.views.analysis import calibration


def predictions(confidence: np.ndarray, correct: np.ndarray) -> Predictions:
    """Two classes; each clip is answered with class 0 at the given confidence, 0.5 or more."""
    p = np.stack([confidence, 1 - confidence], 1).astype(np.float32)
    ids = [f"c{i}" for i in range(len(confidence))]
    return Predictions(ids, np.where(correct, 0, 1), {"rgb": p}, classes=Classes(("a", "b")))


def test_against_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.51, 1, 400).astype(np.float32).astype(np.float64)
    correct = rng.uniform(size=400) < confidence**2
    found = calibration(predictions(confidence, correct), bins=7)
    error = 0.0
    rows = iter(found.bins.itertuples(index=False))
    for b in range(7):
        low, high = b / 7, (b + 1) / 7
        inside = [i for i in range(400) if low < confidence[i] <= high]
        if not inside:
            continue
        row = next(rows)
        share, mean = np.mean(correct[inside]), np.mean(confidence[inside])
        assert row[:5] == pytest.approx((low, high, len(inside), mean, share))
        assert row[5:] == pytest.approx(wilson(int(correct[inside].sum()), len(inside)))
        error += len(inside) / 400 * abs(share - mean)
    assert next(rows, None) is None
    assert found.error == pytest.approx(error)
    assert found.surplus == pytest.approx(confidence.mean() - correct.mean())
    assert "too sure by" in repr(found)
    assert "<table" in found._repr_html_()


def test_certain_and_right() -> None:
    found = calibration(predictions(np.ones(5), np.ones(5, bool)))
    assert (found.error, found.surplus, len(found.bins)) == (0.0, 0.0, 1)
    assert found.bins["to"].tolist() == [1.0]


def test_what_cannot_be() -> None:
    p = predictions(np.ones(3), np.ones(3, bool))
    with pytest.raises(MgkitError, match="bins"):
        calibration(p, bins=0)
    with pytest.raises(MgkitError, match="pose"):
        calibration(p, pathway="pose")
