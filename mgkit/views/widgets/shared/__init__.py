"""What the widgets share: the selection, a base class, and their scripts and styles."""

from mgkit.views.widgets.shared.selection import Selected, Selection

__all__ = ["Selected", "Selection"]
