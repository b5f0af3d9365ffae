"""Networks, losses and weights: plain modules and functions that work in anyone's loop.

    model = two_pathway(32, 22)  # classes, joints
    objective = Objective(model.pathways, num_classes=32, embedding_dim=256)
    outputs = model({"rgb": frames, "pose": heatmaps})  # (N, 3, 8, 224, 224) and (N, 22, 32, 56, 56)
    objective(outputs, labels).loss.backward()

Nothing here reads or writes a file except `checkpoint_files` and `weights`, and nothing knows about datasets.
"""

from mgkit.models.builders import pose_resnet, rgb_resnet, two_pathway
from mgkit.models.cnns.resnet3d import (
    ResNet3d,
    open_residual_blocks,
    pose_pathway,
    rgb_pathway,
)
from mgkit.models.fusion import CrossAttention, CrossModalFusion
from mgkit.models.heads import PathwayHead, PathwayOutput, fuse_probabilities
from mgkit.models.layers import cosine_similarity, recompute_blocks
from mgkit.models.losses.objective import Objective, ObjectiveOutput
from mgkit.models.losses.prototypes import (
    ConfusionSets,
    RefinementTerms,
    SetCentres,
    confusion_sets,
    rectify,
    refinement_loss,
    set_centres,
    update_prototypes,
)
from mgkit.models.losses.refinement import ClipMemory, PrototypicalRefinement, RefinementOutput, remap_classes
from mgkit.models.pathways import SinglePathway, TwoPathway, merge_branches
from mgkit.models.weights.files import load_state, read_checkpoint
from mgkit.models.weights.fitting import LoadReport
from mgkit.models.weights.load import (
    from_mmaction2,
    load_published,
    match_names,
    to_mmaction2,
    write_published,
)

__all__ = [
    "ClipMemory",
    "ConfusionSets",
    "CrossAttention",
    "CrossModalFusion",
    "LoadReport",
    "Objective",
    "ObjectiveOutput",
    "PathwayHead",
    "PathwayOutput",
    "PrototypicalRefinement",
    "RefinementOutput",
    "RefinementTerms",
    "ResNet3d",
    "SetCentres",
    "SinglePathway",
    "TwoPathway",
    "confusion_sets",
    "cosine_similarity",
    "from_mmaction2",
    "fuse_probabilities",
    "load_published",
    "load_state",
    "match_names",
    "merge_branches",
    "open_residual_blocks",
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
    "to_mmaction2",
    "two_pathway",
    "update_prototypes",
    "write_published",
]
