"""Key-points from one's own videos: `mg.pose.estimate("videos", "poses")`, or `mgkit pose videos poses`.

Nothing here is loaded, and nothing that it needs installed, by who has skeletons already. docs/poses.md says what each
estimator leaves of a small motion.
"""

from mgkit.data.keypoints import KeyPoints, convert, read_keypoints
from mgkit.pose.estimators import NAMES, Estimator, get_estimator
from mgkit.pose.folder import Poses, as_clips, estimate
from mgkit.pose.weights import fetch

__all__ = [
    "NAMES", "Estimator", "KeyPoints", "Poses", "as_clips", "convert", "estimate", "fetch", "get_estimator",
    "read_keypoints",
]  # fmt: skip
