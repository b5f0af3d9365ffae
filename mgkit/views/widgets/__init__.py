"""What a person clicks: each widget is one class over a run folder, linked to the others by a shared `Selection`."""

from mgkit.views.widgets.accuracy import ClassAccuracy
from mgkit.views.widgets.comparison import RunComparison
from mgkit.views.widgets.confusion import ConfusionMatrix
from mgkit.views.widgets.monitor import TrainingMonitor
from mgkit.views.widgets.player import ClipPlayer
from mgkit.views.widgets.selection import Selected, Selection

__all__ = [
    "ClassAccuracy",
    "ClipPlayer",
    "ConfusionMatrix",
    "RunComparison",
    "Selected",
    "Selection",
    "TrainingMonitor",
]
