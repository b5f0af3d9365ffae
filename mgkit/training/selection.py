"""Which epoch's weights are kept, and when a training has stopped getting better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mgkit.training.recipe import Recipe


@dataclass
class Selection:
    """What is remembered from epoch to epoch.

    Attributes:
        best: value of the epoch that is kept; larger is better, a loss counts negatively.
        reached: the best value so far of what early stopping looks at, in the same sense.
        waited: epochs since it was reached.
    """

    best: float = -math.inf
    reached: float = -math.inf
    waited: int = 0

    def update(self, recipe: Recipe, row: Mapping[str, Any]) -> bool:
        """Take in the row of an epoch; whether its weights are to be kept. Of equal epochs the later one is."""
        value = measured(recipe.keep, recipe, row)
        chosen = value is None or value >= self.best
        if chosen and value is not None:
            self.best = value
        watched = measured(recipe.stop_on, recipe, row)
        if watched is not None:
            improved = watched > self.reached
            self.reached = max(self.reached, watched)
            self.waited = 0 if improved else self.waited + 1
        return chosen

    def over(self, recipe: Recipe) -> bool:
        """Whether the patience of the recipe has ended."""
        return recipe.patience > 0 and self.waited >= recipe.patience


def measured(name: str, recipe: Recipe, row: Mapping[str, Any]) -> float | None:
    """What `keep` or `stop_on` names, of a row of the history; larger is better. None: there is no such value.

    "best" is the validation Top-1 of the fused output, of a single pathway its own; so are the names of outputs that a
    single pathway does not have, since the stages of a training share its settings.
    """
    if name == "last":
        return None
    column = name
    if name == "best" or name.startswith("val_top1_"):
        column = "val_top1_fused" if name == "best" else name
        if column not in row:
            column = f"val_top1_{recipe.pathways[0]}"
    value = row.get(column)
    if value is None:
        return None
    return -float(value) if name.endswith("loss") else float(value)
