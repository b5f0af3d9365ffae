"""The confusion matrix."""

from mgkit.views.widgets.confusion.confusion import ConfusionMatrix

__all__ = ["ConfusionMatrix"]
