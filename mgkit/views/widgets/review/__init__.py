"""Review notes: a form and a list."""

from mgkit.views.widgets.review.form import ReviewForm
from mgkit.views.widgets.review.list import ReviewList

__all__ = ["ReviewForm", "ReviewList"]
