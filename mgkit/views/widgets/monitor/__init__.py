"""The training monitor."""

from mgkit.views.widgets.monitor.monitor import TrainingMonitor

__all__ = ["TrainingMonitor"]
