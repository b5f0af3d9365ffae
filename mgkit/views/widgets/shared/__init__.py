"""Shared parts: the selection, a base class, and the scripts and styles of all widgets."""

from mgkit.views.widgets.shared.selection import Selected, Selection

__all__ = ["Selected", "Selection"]
