import math

import pytest
import torch

from mgkit.errors import MgkitError
from mgkit.models.gcns.blocks import SkeletonGraph
from tests.models.layouts import COCO, FOREST, LONE, NTU

# As it is often drawn: the hips, equally far from the nose, have a bone between them.
HIPS = SkeletonGraph(17, 0, (*COCO.edges, (11, 12)))
GRAPHS = {
    "coco": COCO,
    "hips": HIPS,
    "ntu": NTU,
    "forest": FOREST,
    "lone": LONE,
    "no edges": SkeletonGraph(4, 2, ()),
}


def walk(graph, start, limit):
    """Bones from a joint to each one, by walking; infinite beyond the limit."""
    distance = {start: 0}
    rim = [start]
    for hop in range(1, limit + 1):
        rim = [
            b
            for a in rim
            for far, near in graph.edges
            for b in {far: [near], near: [far]}.get(a, [])
            if b not in distance
        ]
        distance |= dict.fromkeys(rim, hop)
    return [distance.get(joint, math.inf) for joint in range(graph.num_joints)]


@pytest.mark.parametrize("name", GRAPHS)
def test_spatial_takes_the_mean_of_the_nearer_and_of_the_farther_neighbours(name):
    graph = GRAPHS[name]
    to_root = walk(graph, graph.root, graph.num_joints)
    expected = torch.zeros(3, graph.num_joints, graph.num_joints)
    for joint in range(graph.num_joints):
        nearer = {near for far, near in graph.edges if far == joint}
        farther = {far for far, near in graph.edges if near == joint}
        equal = {other for other in nearer | farther if to_root[other] == to_root[joint]}
        nearer, farther = nearer | equal, farther | equal
        for kind, neighbours in enumerate(({joint}, nearer, farther)):
            for other in neighbours:
                expected[kind, other, joint] = 1 / len(neighbours)
    torch.testing.assert_close(graph.spatial(), expected)


@pytest.mark.parametrize("max_hop", [1, 2, 3])
@pytest.mark.parametrize("name", GRAPHS)
def test_partitions_are_those_of_the_definition(name, max_hop):
    graph = GRAPHS[name]
    distances = [walk(graph, joint, max_hop) for joint in range(graph.num_joints)]
    to_root = distances[graph.root]
    expected = torch.zeros(1 + 2 * max_hop, graph.num_joints, graph.num_joints)
    for joint in range(graph.num_joints):
        around = [other for other in range(graph.num_joints) if distances[joint][other] <= max_hop]
        for other in around:
            hop = distances[joint][other]
            partition = 0 if hop == 0 else 2 * hop - 1 + (to_root[other] < to_root[joint])
            expected[partition, other, joint] = 1 / len(around)
    made = graph.partitioned(max_hop)
    torch.testing.assert_close(made, expected)
    torch.testing.assert_close(made.sum(dim=(0, 1)), torch.ones(graph.num_joints))


def test_adjacencies_of_coco_are_the_published_ones(reference_dir):
    """ST-GCN's fixed buffers, and the copy of the other partition that CTR-GCN and AAGCN keep."""

    def state(name):
        return torch.load(reference_dir / f"{name}_tiny.pt", weights_only=True)["state_dict"]

    torch.testing.assert_close(COCO.partitioned(), state("stgcn")["backbone.gcn.3.gcn.A"])
    for name in ("aagcn", "ctrgcn"):
        torch.testing.assert_close(COCO.spatial(), state(name)["backbone.A"])


def test_matrices_are_finite_whatever_the_layout():
    for graph in GRAPHS.values():
        assert graph.spatial().isfinite().all()
        assert graph.partitioned(2).isfinite().all()
    assert torch.equal(LONE.spatial(), torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1))
    assert torch.equal(LONE.partitioned(), torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1))


def test_joints_of_another_part_are_infinitely_far():
    hops = FOREST.hops(5)
    assert hops[0].tolist() == [0, 1, 2, 3, math.inf, math.inf, math.inf]
    assert hops[4, 5] == 1
    assert torch.equal(hops, hops.T)


@pytest.mark.parametrize("graph", [COCO, HIPS])
def test_left_and_right_are_treated_alike(graph):
    mirrored = torch.tensor([0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15])
    for matrices in (graph.spatial(), graph.partitioned()):
        assert torch.equal(matrices[:, mirrored][:, :, mirrored], matrices)


def test_a_bone_given_twice_counts_once():
    once, twice = SkeletonGraph(3, 0, ((1, 0), (2, 1))), SkeletonGraph(3, 0, ((1, 0), (2, 1), (1, 0)))
    assert torch.equal(once.spatial(), twice.spatial())
    assert torch.equal(once.partitioned(), twice.partitioned())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, ()), "at least one joint"),
        ((3, 3, ()), "root=3"),
        ((3, -1, ()), "root=-1"),
        ((3, 0, ((1, 3),)), r"\(1, 3\)"),
        ((3, 0, ((1, 1),)), r"\(1, 1\)"),
    ],
)
def test_impossible_graphs_are_refused(arguments, message):
    with pytest.raises(MgkitError, match=message):
        SkeletonGraph(*arguments)


def test_a_neighbourhood_reaches_at_least_one_bone():
    with pytest.raises(MgkitError, match="max_hop"):
        COCO.partitioned(0)
