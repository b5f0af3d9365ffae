"""The map of clips and prototypes."""

from mgkit.views.widgets.map.map import PrototypeMap

__all__ = ["PrototypeMap"]
