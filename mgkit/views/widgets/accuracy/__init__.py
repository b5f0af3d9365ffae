"""Bars of recall, precision and F1 per class."""

from mgkit.views.widgets.accuracy.accuracy import ClassAccuracy

__all__ = ["ClassAccuracy"]
