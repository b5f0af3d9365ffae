"""What one run fixed and broke compared with another."""

from mgkit.views.widgets.comparison.comparison import RunComparison

__all__ = ["RunComparison"]
