"""Hop distances and body parts of every layout, and of graphs that are not skeletons."""

import random

import pytest
import torch

from mgkit.data.skeletons import COCO17, IMIGUE22, LAYOUTS
from mgkit.errors import MgkitError
from mgkit.models.gcns.blocks import SkeletonGraph
from mgkit.models.gcns.hyperformer import body_parts, checked_partition, hop_distances

EVERY = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def graph_of(skeleton):
    return SkeletonGraph(len(skeleton), skeleton.root, skeleton.inward)


def floyd_warshall(graph):
    count = graph.num_joints
    far = [[0 if a == b else 10**6 for b in range(count)] for a in range(count)]
    for a, b in graph.edges:
        far[a][b] = far[b][a] = min(1, far[a][b])
    for via in range(count):
        for a in range(count):
            for b in range(count):
                far[a][b] = min(far[a][b], far[a][via] + far[via][b])
    return far


def connected(part, edges):
    reached, todo = set(), [min(part)]
    while todo:
        joint = todo.pop()
        reached.add(joint)
        for a, b in edges:
            todo += [y for x, y in ((a, b), (b, a)) if x == joint and y in part and y not in reached]
    return reached == part


def parts_of(labels):
    return [{j for j, label in enumerate(labels) if label == part} for part in range(max(labels) + 1)]


@EVERY
def test_hops_are_those_of_the_layout(layout):
    hops = hop_distances(graph_of(layout))
    assert hops.dtype == torch.int64
    assert hops.tolist() == layout.hops.tolist()


def test_hops_of_any_graph_are_the_shortest_ways():
    random.seed(4)
    for joints in (1, 2, 5, 9):
        pairs = [(random.randrange(joints), random.randrange(joints)) for _ in range(joints)]
        edges = tuple((a, b) for a, b in pairs if a != b)
        far = floyd_warshall(SkeletonGraph(joints, 0, edges))
        longest = max(distance for row in far for distance in row if distance < 10**6)
        expected = [[min(distance, longest + 1) for distance in row] for row in far]
        assert hop_distances(SkeletonGraph(joints, 0, edges)).tolist() == expected


@EVERY
@pytest.mark.parametrize("parts", [1, 3, 5, 8])
def test_parts_are_connected_symmetric_and_about_as_many_as_asked_for(layout, parts):
    labels = body_parts(graph_of(layout), parts)
    found = parts_of(labels)
    assert checked_partition(labels, len(layout)) == labels
    assert all(connected(part, layout.edges) for part in found)
    assert abs(len(found) - parts) <= 2
    # In a mirror every part is a part.
    assert {frozenset(int(layout.flip_index[j]) for j in part) for part in found} == set(
        map(frozenset, found)
    )
    assert [min(part) for part in found] == sorted(min(part) for part in found)


def test_coco_has_the_parts_of_the_published_network(reference_dir):
    config = torch.load(reference_dir / "hyperformer.pt")["config"]
    assert set(map(frozenset, parts_of(body_parts(graph_of(COCO17))))) == set(
        map(frozenset, parts_of(config["joint_label"]))
    )


def test_parts_of_imigue_are_head_shoulders_and_hands():
    found = [{IMIGUE22.joints[j] for j in part} for part in parts_of(body_parts(graph_of(IMIGUE22)))]
    tips = {f"{side}_{f}_tip" for side in ("left", "right") for f in "thumb index middle ring little".split()}
    left, right = ({t for t in tips if t.startswith(side)} for side in ("left", "right"))
    assert found[2:] == [right | {"right_wrist"}, left | {"left_wrist"}]
    assert found[0] == {"nose", "left_eye", "right_eye", "left_ear", "right_ear"}
    assert "neck" in found[1]
    assert len(found[1]) == 5


@EVERY
def test_parts_do_not_depend_on_the_order_of_edges(layout):
    edges = list(layout.inward)
    random.Random(1).shuffle(edges)
    other = SkeletonGraph(len(layout), layout.root, tuple((b, a) for a, b in edges))
    assert body_parts(other) == body_parts(graph_of(layout))


def test_one_part_a_joint_and_all_joints_in_one():
    chain = SkeletonGraph(4, 1, ((0, 1), (2, 1), (3, 2)))
    assert body_parts(chain, 1) == (0, 0, 0, 0)
    assert body_parts(chain, 4) == (0, 1, 2, 3)
    assert body_parts(chain, 99) == (0, 1, 2, 3)
    assert body_parts(SkeletonGraph(1, 0, ()), 5) == (0,)


def test_joints_that_no_way_leads_to_have_parts_too():
    """Two chains of three and a single joint: at least one part each."""
    apart = SkeletonGraph(7, 4, ((1, 0), (2, 1), (4, 3), (5, 4)))
    assert body_parts(apart, 1) == (0, 0, 0, 1, 1, 1, 2)
    assert body_parts(apart, 7) == (0, 1, 2, 3, 4, 5, 6)


def test_wrong_parts_are_explained():
    with pytest.raises(MgkitError, match="parts=0"):
        body_parts(SkeletonGraph(1, 0, ()), 0)
    with pytest.raises(MgkitError, match="3 joints, but has 2"):
        checked_partition([0, 1], 3)
    with pytest.raises(MgkitError, match=r"without a gap, but these are \[0, 2\]"):
        checked_partition([0, 2, 0], 3)
    with pytest.raises(MgkitError, match="without a gap"):
        checked_partition([0, -1, 0], 3)
    with pytest.raises(MgkitError, match="whole numbers"):
        checked_partition([0.0, 0.5, 1.0], 3)
