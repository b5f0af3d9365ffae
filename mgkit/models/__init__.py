"""Networks, losses and weights: plain modules and functions that work in anyone's loop.

    model = two_pathway(32, 22)  # classes, joints
    objective = Objective(model.pathways, num_classes=32, embedding_dim=256)
    outputs = model({"rgb": frames, "pose": heatmaps})  # (N, 3, 8, 224, 224) and (N, 22, 32, 56, 56)
    objective(outputs, labels).loss.backward()

Only `weights` reads and writes files, and nothing here knows about datasets.
"""

from mgkit.models.builders import pose_resnet, rgb_resnet, two_pathway
from mgkit.models.cnns.resnet3d import pose_pathway, rgb_pathway
from mgkit.models.fusion import CrossModalFusion
from mgkit.models.heads import PathwayHead, PathwayOutput, fuse_probabilities
from mgkit.models.layers import recompute_blocks
from mgkit.models.losses.objective import Objective
from mgkit.models.losses.prototypes import (
    confusion_sets,
    rectify,
    refinement_loss,
    set_centres,
    update_prototypes,
)
from mgkit.models.losses.refinement import PrototypicalRefinement, remap_classes
from mgkit.models.pathways import SinglePathway, TwoPathway, merge_branches
from mgkit.models.weights.files import read_checkpoint
from mgkit.models.weights.load import load_published, match_names, write_published

__all__ = [
    "CrossModalFusion",
    "Objective",
    "PathwayHead",
    "PathwayOutput",
    "PrototypicalRefinement",
    "SinglePathway",
    "TwoPathway",
    "confusion_sets",
    "fuse_probabilities",
    "load_published",
    "match_names",
    "merge_branches",
    "pose_pathway",
    "pose_resnet",
    "read_checkpoint",
    "recompute_blocks",
    "rectify",
    "refinement_loss",
    "remap_classes",
    "rgb_pathway",
    "rgb_resnet",
    "set_centres",
    "two_pathway",
    "update_prototypes",
    "write_published",
]
