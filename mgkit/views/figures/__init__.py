"""Paper figures: each function returns a `PaperFigure`, which displays itself in a notebook and saves itself as PDF,
PNG and the CSV behind it."""

from mgkit.views.figures.architecture import architecture
from mgkit.views.figures.classes import class_accuracy, run_comparison
from mgkit.views.figures.clips import clip_sheet, contact_sheet, film_strip, save_clips
from mgkit.views.figures.confusion import confusion
from mgkit.views.figures.datasets import class_counts, clip_lengths, missing_joints
from mgkit.views.figures.maps import prototype_map, refinement_maps
from mgkit.views.figures.methods import methods
from mgkit.views.figures.prediction import prediction
from mgkit.views.figures.reliability import reliability
from mgkit.views.figures.run_figures import Drawn, draw_figures
from mgkit.views.figures.saliency import joint_importance
from mgkit.views.figures.similarity import prototype_similarity
from mgkit.views.figures.studies import study
from mgkit.views.figures.style import VENUES, PaperFigure
from mgkit.views.figures.tables import PaperTable, table
from mgkit.views.figures.training import training_curves

__all__ = [
    "VENUES",
    "Drawn",
    "PaperFigure",
    "PaperTable",
    "architecture",
    "class_accuracy",
    "class_counts",
    "clip_lengths",
    "clip_sheet",
    "confusion",
    "contact_sheet",
    "draw_figures",
    "film_strip",
    "joint_importance",
    "methods",
    "missing_joints",
    "prediction",
    "prototype_map",
    "prototype_similarity",
    "refinement_maps",
    "reliability",
    "run_comparison",
    "save_clips",
    "study",
    "table",
    "training_curves",
]
