"""Numbers behind what a person sees: maps of embeddings, ambiguous clips, confusions, prototype geometry, how well
classes keep apart, whether probabilities can be believed, the clips to look at first, and likely label errors."""

from mgkit.views.analysis.decisions import joint_importance, view_variation, views_disagree
from mgkit.views.analysis.embedding import (
    EmbeddingMap,
    Separability,
    embedding_map,
    joint_maps,
    run_separability,
    separability,
)
from mgkit.views.analysis.errors import (
    ConfidentJoint,
    Neighbour,
    ambiguous,
    confident_joint,
    confusions,
    entropy,
    exemplar,
    exemplars,
    hardest_fn,
    hardest_fp,
    label_errors,
    nearest_correct,
    pathway_disagreement,
)
from mgkit.views.analysis.prototypes import (
    SimilarityConfusion,
    prototype_similarity,
    refinement_history,
    run_similarity_and_confusion,
    similarity_and_confusion,
)

__all__ = [
    "ConfidentJoint",
    "EmbeddingMap",
    "Neighbour",
    "Separability",
    "SimilarityConfusion",
    "ambiguous",
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
    "refinement_history",
    "run_separability",
    "run_similarity_and_confusion",
    "separability",
    "similarity_and_confusion",
    "view_variation",
    "views_disagree",
]
