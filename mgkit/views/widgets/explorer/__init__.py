"""The error explorer."""

from mgkit.views.widgets.explorer.explorer import ErrorExplorer

__all__ = ["ErrorExplorer"]
