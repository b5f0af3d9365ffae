"""Whether probabilities can be believed: of the clips said to be 80 % sure, are 80 % right?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mgkit.results.run.folder import Predictions, Run
from mgkit.results.scores.calibration import calibration_table


@dataclass(frozen=True, eq=False)
class Calibration:
    """Confidence against accuracy.

    Attributes:
        bins: one row a bin of confidence that has clips, rising: `from`, `to`; `clips`; `confidence`, the mean
            probability of the predicted class; `accuracy`, the share that is right, with its 95 % Wilson interval
            `low`, `high`.
        error: expected calibration error in [0, 1] (Guo et al., ICML 2017, equation 3): the mean over clips of
            |accuracy - confidence| of their bin. 0 = as sure as right. It depends on the bins, and few clips raise
            it by chance.
        surplus: mean confidence minus accuracy over all clips: above 0 = too sure of itself.
    """

    bins: pd.DataFrame
    error: float
    surplus: float

    def __repr__(self) -> str:
        return f"{self.bins.round(3).to_string(index=False)}\n{self._words()}"

    def _repr_html_(self) -> str:
        return f"{self.bins.round(3).to_html(index=False)}<p>{self._words()}</p>"

    def _words(self) -> str:
        sure = "too sure" if self.surplus > 0 else "not sure enough"
        return f"expected calibration error {self.error:.3f}; on the whole {sure} by {abs(self.surplus):.3f}"


def calibration(
    run: Run | Predictions, split: str = "test", pathway: str | None = None, *, bins: int = 10
) -> Calibration:
    """How sure the network is of its answers, and how often it is then right.

    Args:
        run: a run, or predictions.
        split: the evaluated split of the run; not used with predictions.
        pathway: the output "rgb", "pose" or "fused"; by default fused, or the only one.
        bins: bins of equal width over [0, 1]; a confidence on an edge is in the bin that ends there.

    Raises:
        MgkitError: no bins, or an output that is not there.
    """
    predictions = run.predictions(split) if isinstance(run, Run) else run
    confidence = predictions.scores(pathway).max(1).astype(np.float64)
    correct = predictions.correct(pathway)
    table = calibration_table(confidence, correct, bins)
    gaps = (table["accuracy"] - table["confidence"]).abs()
    error = float((gaps * table["clips"]).sum() / len(confidence))
    return Calibration(table, error, float(confidence.mean() - correct.mean()))
