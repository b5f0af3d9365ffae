"""Clickable views: each widget is one class over a run folder, linked to the others by a shared `Selection`."""

from mgkit.views.widgets.accuracy import ClassAccuracy
from mgkit.views.widgets.comparison import RunComparison
from mgkit.views.widgets.confusion import ConfusionMatrix
from mgkit.views.widgets.explorer import ErrorExplorer
from mgkit.views.widgets.gallery import Gallery
from mgkit.views.widgets.map import PrototypeMap
from mgkit.views.widgets.monitor import TrainingMonitor
from mgkit.views.widgets.player import ClipPlayer
from mgkit.views.widgets.review import ReviewForm, ReviewList
from mgkit.views.widgets.shared import Selected, Selection

__all__ = [
    "ClassAccuracy",
    "ClipPlayer",
    "ConfusionMatrix",
    "ErrorExplorer",
    "Gallery",
    "PrototypeMap",
    "ReviewForm",
    "ReviewList",
    "RunComparison",
    "Selected",
    "Selection",
    "TrainingMonitor",
]
