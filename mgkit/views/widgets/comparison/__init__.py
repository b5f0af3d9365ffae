"""The comparison of two runs."""

from mgkit.views.widgets.comparison.comparison import RunComparison

__all__ = ["RunComparison"]
