"""Skeletons that the tests of the graph networks share."""

from mgkit.models.gcns.blocks import SkeletonGraph

_LIMBS = (
    (15, 13),
    (13, 11),
    (16, 14),
    (14, 12),
    (11, 5),
    (12, 6),
    (9, 7),
    (7, 5),
    (10, 8),
    (8, 6),
    (5, 0),
    (6, 0),
)
COCO = SkeletonGraph(17, 0, _LIMBS + ((1, 0), (3, 1), (2, 0), (4, 2)))
# Spine and head, arms, legs, hands; the root is the middle of the shoulders.
NTU = SkeletonGraph(
    25,
    20,
    ((0, 1), (1, 20), (2, 20), (3, 2))
    + ((4, 20), (5, 4), (6, 5), (7, 6), (8, 20), (9, 8), (10, 9), (11, 10))
    + ((12, 0), (13, 12), (14, 13), (15, 14), (16, 0), (17, 16), (18, 17), (19, 18))
    + ((21, 7), (22, 7), (23, 11), (24, 11)),
)
FOREST = SkeletonGraph(7, 0, ((1, 0), (2, 1), (3, 2), (5, 4)))  # a chain, a pair, and a joint alone
LONE = SkeletonGraph(1, 0, ())
