"""Which settings of a recorded recipe concern its network: a recipe has those of every kind of network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mgkit.data.batches.spec import SKELETON_NETWORKS

__all__ = ["settings_in_use"]

_TWO_PATHWAYS = {
    "laterals", "lateral_detach", "lateral_dropout", "fusion", "fusion_sequential", "fusion_heads", "zero_init_gates",
}  # fmt: skip
_OF_RGB = {
    "rgb_frames",
    "rgb_size",
    "rgb_width",
    "rgb_blocks",
    "ce_rgb_weight",
    "pr_rgb_weight",
    "time_sampling",
}
_OF_HEATMAPS = {"heatmap", "heatmap_size", "sigma", "halve_time"}
_OF_POSE = {"pose_width", "pose_blocks", "ce_pose_weight", "pr_pose_weight", *_OF_HEATMAPS}
_OF_PROTOTYPES = {
    "alpha", "temperature", "prototype_momentum", "prototype_memory", "margin", "shift", "detach_probability",
    "pr_rgb_weight", "pr_pose_weight",
}  # fmt: skip


def settings_in_use(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe, as a run records it, without what its network does not have, and with "network" in front.

    Left out are settings of the other pathway, of what joins two pathways, of heatmaps where key-points are fed, of
    prototypes where there are none, the milestones of a cosine schedule and the momentum of AdamW. One that does not
    say its pathways (of a run made of scores) is returned as it is.
    """
    pathways = recipe.get("pathways")
    if not pathways:
        return dict(recipe)
    network, unused = recipe.get("network", "cnn"), set[str]()
    if len(pathways) < 2:
        unused |= _TWO_PATHWAYS
    if "rgb" not in pathways:
        unused |= _OF_RGB
    if "pose" not in pathways:
        unused |= _OF_POSE
        if (
            recipe.get("time_sampling") == "independent"
        ):  # else RGB frames are some of the pose frames, seen or not
            unused.add("pose_frames")
    if network != "cnn":
        unused |= {*_OF_HEATMAPS, "zero_init_blocks"}
    if network in SKELETON_NETWORKS:
        unused.add("crop_area")
    if not recipe.get("prototypes", True):
        unused |= _OF_PROTOTYPES
    if recipe.get("schedule") == "cosine":
        unused.add("milestones")
    if recipe.get("optimizer") == "adamw":
        unused |= {"momentum", "nesterov"}
    return {"network": network} | {key: value for key, value in recipe.items() if key not in unused}
