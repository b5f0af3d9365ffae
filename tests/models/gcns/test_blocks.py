"""The graph and temporal convolutions against slow loops over their equations."""

import pytest
import torch
from torch import nn

from mgkit.models.gcns.aagcn import AdaptiveGraphConv
from mgkit.models.gcns.blocks import GraphConv, GraphUnit, MultiScaleTemporalConv, TemporalConv, side_by_side
from mgkit.models.gcns.ctrgcn import ChannelwiseGraphConv, CtrTemporalConv
from mgkit.models.gcns.dgstgcn import DynamicGraphConv

N, C, OUT, T, V, K = 2, 5, 8, 6, 4, 3


@pytest.fixture
def x():
    return torch.randn(N, C, T, V, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def adjacency():
    return torch.randn(K, V, V, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def randomised(module):
    """In float64 and evaluation, with no parameter or statistic left at a value that hides something."""
    generator = torch.Generator().manual_seed(2)
    module.double().eval()
    for value in [*module.parameters(), *module.buffers()]:
        if value.is_floating_point() and value.ndim < 3:
            value.data.uniform_(0.5, 1.5, generator=generator)
    return module


def gathered(x, graph):
    """(N, C, T, V): what each joint w takes from all v by graph(n, c, t) -> (V, V) as [from, to]."""
    y = torch.zeros_like(x)
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            for t in range(x.shape[2]):
                edges = graph(n, c, t)
                for w in range(x.shape[3]):
                    y[n, c, t, w] = sum(x[n, c, t, v] * edges[v, w] for v in range(x.shape[3]))
    return y


def finished(module, y, x):
    return torch.relu(module.bn(y) + module.down(x))


@torch.no_grad()
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("edges", ["importance", "learnt"])
def test_graph_convolution(x, adjacency, edges, residual):
    module = randomised(GraphConv(C, OUT, adjacency, edges=edges, residual=residual))
    if edges == "importance":
        module.PA.uniform_(0.5, 1.5)
        assert not module.A.requires_grad
        adjacency = adjacency * module.PA
    parts = module.conv(x).split(OUT, dim=1)
    y = sum(gathered(part, lambda n, c, t, k=k: adjacency[k]) for k, part in enumerate(parts))
    expected = finished(module, y, x) if residual else torch.relu(module.bn(y))
    torch.testing.assert_close(module(x), expected)


@torch.no_grad()
def test_adaptive_graph_convolution(x, adjacency):
    module = randomised(AdaptiveGraphConv(C, OUT, adjacency))
    y = 0
    for k in range(K):
        a, b = module.conv_a[k](x), module.conv_b[k](x)
        similarity = torch.zeros(N, V, V, dtype=torch.float64)
        for n in range(N):
            for v in range(V):
                for w in range(V):
                    similarity[n, v, w] = torch.tanh((a[n, :, :, v] * b[n, :, :, w]).sum() / (OUT // 4 * T))
        edges = adjacency[k] + module.alpha * similarity
        y = y + module.conv_d[k](gathered(x, lambda n, c, t, edges=edges: edges[n]))
    y = finished(module, y, x)
    for n in range(N):
        clip = y[n].clone()
        for axis, attention in ((1, module.conv_sa), (2, module.conv_ta)):
            gate = torch.sigmoid(attention(clip.mean(dim=axis)[None]))[0, 0]
            clip = clip + clip * gate.unsqueeze(axis - 1)
        gate = torch.sigmoid(module.fc2c(torch.relu(module.fc1c(clip.mean(dim=2).mean(dim=1)))))
        y[n] = clip + clip * gate[:, None, None]
    torch.testing.assert_close(module(x), y)


@torch.no_grad()
def test_channelwise_graph_convolution(x, adjacency):
    module = randomised(ChannelwiseGraphConv(C, OUT, adjacency))
    y = 0
    for k, subset in enumerate(module.convs):
        phi, psi = subset.conv1(x).mean(dim=2), subset.conv2(x).mean(dim=2)
        apart = torch.stack([torch.tanh(phi[..., v, None] - psi) for v in range(V)], dim=2)
        edges = adjacency[k] + module.alpha * subset.conv4(apart)
        y = y + gathered(subset.conv3(x), lambda n, c, t, edges=edges: edges[n, c])
    torch.testing.assert_close(module(x), finished(module, y, x))


@torch.no_grad()
def test_dynamic_graph_convolution(x, adjacency):
    module = randomised(DynamicGraphConv(C, OUT, adjacency, ratio=1 / 4))
    share = OUT // 4
    sent, p, q = torch.relu(module.pre(x)), module.conv1(x).mean(dim=2), module.conv2(x).mean(dim=2)
    parts = []
    for k in range(K):
        mine = slice(k * share, (k + 1) * share)
        alike = torch.stack([(p[n, mine].T @ q[n, mine]).softmax(dim=0) for n in range(N)])

        def edges(n, c, t, k=k, alike=alike):
            own = k * share + c
            apart = torch.tanh(p[n, own, :, None] - q[n, own])
            return adjacency[k] + module.alpha[0] * apart + module.beta[0] * alike[n]

        parts.append(gathered(sent[:, mine], edges))
    torch.testing.assert_close(module(x), finished(module, module.post(torch.cat(parts, dim=1)), x))


@torch.no_grad()
def test_temporal_convolution_sees_one_joint_only(x):
    module = randomised(TemporalConv(C, OUT, kernel=3, dilation=2, stride=2))
    padded = nn.functional.pad(x, (0, 0, 2, 2))
    expected = torch.stack(
        [
            torch.stack(
                [
                    module.conv.bias
                    + sum(padded[..., t + 2 * i, v] @ module.conv.weight[:, :, i, 0].T for i in range(3))
                    for v in range(V)
                ],
                dim=2,
            )
            for t in range(0, T, 2)
        ],
        dim=2,
    )
    torch.testing.assert_close(module(x), module.bn(expected))


@torch.no_grad()
def test_mean_joint_runs_through_the_branches_and_is_given_back():
    y = torch.randn(N, 12, T, V, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    module = randomised(MultiScaleTemporalConv(12, context_joints=9))
    through = [
        torch.cat([branch(z) for branch in module.branches], dim=1) for z in (y, y.mean(3, keepdim=True))
    ]
    mixed = through[0] + torch.stack(
        [through[1][..., 0] * module.add_coeff[joint] for joint in range(V)], dim=3
    )
    torch.testing.assert_close(module(y), module.bn(module.transform(mixed)))
    module.add_coeff = None
    torch.testing.assert_close(module(y), module.bn(module.transform(through[0])))


def test_branches_share_the_channels_out():
    widths = [
        b[0].out_channels if isinstance(b, nn.Sequential) else b.out_channels for b in multi(16).branches
    ]
    assert widths == [6, 2, 2, 2, 2, 2]
    assert [branch[0].out_channels for branch in CtrTemporalConv(10).branches] == [2, 2, 2, 4]


def multi(channels):
    return MultiScaleTemporalConv(channels)


@torch.no_grad()
def test_convolutions_side_by_side_are_each_by_itself(x):
    convolutions = [nn.Conv2d(C, 3, 1).double() for _ in range(4)]
    expected = torch.stack([convolution(x) for convolution in convolutions], dim=1)
    torch.testing.assert_close(side_by_side(convolutions, x), expected)


@torch.no_grad()
def test_a_block_adds_its_input(x):
    spatial, temporal = nn.Conv2d(C, C, 1).double(), nn.Conv2d(C, C, 1).double()
    plain = GraphUnit(spatial, temporal, C, C, residual=False)
    around = GraphUnit(spatial, temporal, C, C)
    torch.testing.assert_close(plain(x), torch.relu(temporal(spatial(x))))
    torch.testing.assert_close(around(x), torch.relu(temporal(spatial(x)) + x))
    assert set(dict(around.named_children())) == {"gcn", "tcn", "residual"}
