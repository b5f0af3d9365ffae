"""What a person clicks: each widget is one class over a run folder, linked to the others by a shared `Selection`."""

from mgkit.views.widgets.accuracy.accuracy import ClassAccuracy
from mgkit.views.widgets.comparison.comparison import RunComparison
from mgkit.views.widgets.confusion.confusion import ConfusionMatrix
from mgkit.views.widgets.explorer.explorer import ErrorExplorer
from mgkit.views.widgets.gallery.gallery import Gallery
from mgkit.views.widgets.map.map import PrototypeMap
from mgkit.views.widgets.monitor.monitor import TrainingMonitor
from mgkit.views.widgets.player.player import ClipPlayer
from mgkit.views.widgets.review.form import ReviewForm
from mgkit.views.widgets.review.list import ReviewList
from mgkit.views.widgets.shared.selection import Selected, Selection

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
