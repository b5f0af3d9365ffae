"""What a person clicks: each widget is one class over a run folder, linked to the others by a shared `Selection`."""

from mgkit.views.widgets.accuracy import ClassAccuracy
from mgkit.views.widgets.confusion import ConfusionMatrix
from mgkit.views.widgets.player import ClipPlayer
from mgkit.views.widgets.prototype_map import PrototypeMap
from mgkit.views.widgets.selection import Selected, Selection

__all__ = ["ClassAccuracy", "ClipPlayer", "ConfusionMatrix", "PrototypeMap", "Selected", "Selection"]
