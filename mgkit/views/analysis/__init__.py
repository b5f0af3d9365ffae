"""Numbers behind what a person sees: maps of embeddings, ambiguous clips, confusions, prototype geometry, how well
classes keep apart, whether probabilities can be believed, the clips to look at first, and likely label errors."""

from mgkit.views.analysis.ambiguity import ambiguous, confusions, entropy, pathway_disagreement
from mgkit.views.analysis.calibration import Calibration, calibration
from mgkit.views.analysis.decisions import joint_importance, view_variation, views_disagree
from mgkit.views.analysis.extremes import exemplars, hardest_fn, hardest_fp
from mgkit.views.analysis.label_errors import ConfidentJoint, confident_joint, label_errors
from mgkit.views.analysis.maps import EmbeddingMap, embedding_map, joint_maps
from mgkit.views.analysis.neighbours import Neighbour, exemplar, nearest_correct
from mgkit.views.analysis.prototypes import (
    SimilarityConfusion,
    prototype_similarity,
    run_similarity_and_confusion,
    similarity_and_confusion,
)
from mgkit.views.analysis.separability import Separability, run_separability, separability

__all__ = [
    "Calibration",
    "ConfidentJoint",
    "EmbeddingMap",
    "Neighbour",
    "Separability",
    "SimilarityConfusion",
    "ambiguous",
    "calibration",
    "confident_joint",
    "confusions",
    "embedding_map",
    "entropy",
    "exemplar",
    "exemplars",
    "hardest_fn",
    "hardest_fp",
    "joint_importance",
    "joint_maps",
    "label_errors",
    "nearest_correct",
    "pathway_disagreement",
    "prototype_similarity",
    "run_separability",
    "run_similarity_and_confusion",
    "separability",
    "similarity_and_confusion",
    "view_variation",
    "views_disagree",
]
