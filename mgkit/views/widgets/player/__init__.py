"""The clip player."""

from mgkit.views.widgets.player.player import ClipPlayer

__all__ = ["ClipPlayer"]
