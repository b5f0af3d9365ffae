"""Scores of any system: their files, runs made of them, leaderboard files, labels for clips that have none."""

from mgkit.results.scores import submission
from mgkit.results.scores.files import read, write
from mgkit.results.scores.labelling import pseudo_labels, what_to_label
from mgkit.results.scores.prediction import load_prediction
from mgkit.results.scores.scores import import_scores

__all__ = [
    "import_scores",
    "load_prediction",
    "pseudo_labels",
    "read",
    "submission",
    "what_to_label",
    "write",
]
