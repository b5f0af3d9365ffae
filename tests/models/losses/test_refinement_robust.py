"""For every batch, refinement gives a finite loss and finite gradients, or an error that names the problem."""

import math

import pytest
import torch
from torch.nn import functional as F

from mgkit.errors import MgkitError
from mgkit.models import Objective, PathwayHead, PathwayOutput, PrototypicalRefinement


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_batch(n=20, k=5, d=6):
    labels = torch.randint(0, k, (n,), generator=seeded())
    logits = torch.randn(n, k, generator=seeded(1)) + 1.5 * F.one_hot(labels, k)
    return torch.randn(n, d, generator=seeded(2)), labels, logits


def any_batch(seed):
    """A batch of any size: zero, tiny, huge, equal and opposite vectors, sure and unsure logits, all precisions."""
    g = seeded(seed)

    def pick(*values):
        return values[int(torch.randint(len(values), (), generator=g))]

    n, k, d = pick(0, 1, 2, 3, 10, 40), pick(1, 2, 5, 33), pick(1, 3, 16)
    dtype = pick(torch.float16, torch.bfloat16, torch.float32, torch.float64)
    labels = torch.randint(0, pick(1, k), (n,), generator=g)
    logits = torch.randn(n, k, generator=g) + pick(-5.0, 0.0, 1.0, 5.0) * F.one_hot(labels, k)
    z = torch.randn(n, d, generator=g)
    # Each clip its own length; what these are in half precision may be 0 or infinite.
    lengths = torch.tensor([0.0, 1e-7, 1e-5, 1e-3, 1.0, 1e3, 6e4, 1e20, 3e38])
    z = z * lengths[torch.randint(pick(1, 4, 6, 9), (n,), generator=g)][:, None]
    if n > 1 and pick(True, False):
        z[1] = -z[0]
    return z.to(dtype), labels, (logits * pick(0.0, 1.0, 100.0)).to(dtype)


def assert_finite(refinement, z, labels, logits):
    z, logits = z.clone().requires_grad_(), logits.clone().requires_grad_()
    output = refinement(z, labels, logits)
    output.loss.backward()
    assert output.loss.dtype == (torch.float64 if z.dtype == torch.float64 else torch.float32)
    assert output.loss.isfinite()
    assert output.loss >= 0
    assert output.per_clip.isfinite().all()
    for x in (z, logits):
        assert x.grad is None or x.grad.isfinite().all()
    for name, value in refinement.state_dict().items():
        assert value.isfinite().all(), name
    # The bookkeeping adds up: each usable clip is right or wrong about its class, each wrong one is wrongly of another.
    assert output.tp.sum() + output.fn.sum() + output.left_out.sum() == len(labels)
    assert output.fn.sum() == output.fp.sum()
    return output


@pytest.mark.slow
@pytest.mark.parametrize("shift", ["tp", "all"])
@pytest.mark.parametrize("memory", [0, 6])
def test_any_batch_is_finite(shift, memory):
    left_out = 0
    for seed in range(150):
        z, labels, logits = any_batch(seed)
        refinement = PrototypicalRefinement(
            logits.shape[1],
            z.shape[1],
            shift=shift,
            memory=memory,
            detach_probability=False,
            generator=seeded(),
        )
        if z.dtype == torch.float64:
            refinement.double()
        if seed % 5 == 0:
            refinement.prototypes.zero_()
        for _ in range(2 if memory else 1):  # the second time with what the first has left
            left_out += int(assert_finite(refinement, z, labels, logits).left_out.sum())
        assert_finite(refinement.eval(), z, labels, logits)
    assert left_out > 10  # some batches did hold what overflows


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("where", ["embedding", "logits"])
@pytest.mark.parametrize("memory", [0, 30])
def test_a_clip_that_overflowed_is_as_if_it_were_not_there(bad, where, memory):
    g = seeded()
    labels = torch.randint(0, 3, (12,), generator=g)
    z, logits = torch.randn(12, 4, generator=g), torch.randn(12, 3, generator=g) + F.one_hot(labels, 3)
    (z if where == "embedding" else logits)[5, 1] = bad
    others = torch.arange(12) != 5
    whole, without = (PrototypicalRefinement(3, 4, memory=memory, generator=seeded()) for _ in range(2))
    for _ in range(2):
        a, b = z.clone().requires_grad_(), z[others].clone().requires_grad_()
        output, expected = whole(a, labels, logits), without(b, labels[others], logits[others])
        torch.testing.assert_close(output.loss, expected.loss)
        torch.testing.assert_close(output.per_clip[others], expected.per_clip)
        torch.testing.assert_close(whole.prototypes, without.prototypes)
        for name in ("tp", "fn", "fp"):
            assert torch.equal(getattr(output, name), getattr(expected, name))
        assert output.left_out.nonzero().tolist() == [[5]]
        assert output.per_clip[5] == 0
        output.loss.backward()
        expected.loss.backward()
        torch.testing.assert_close(a.grad[others], b.grad)
        assert not a.grad[5].any()


def test_an_empty_batch_costs_nothing_and_moves_nothing():
    objective = Objective(("pose",), 3, 4, memory=5, class_weights=[1.0, 2.0, 3.0], generator=seeded())
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    z, logits = torch.zeros(0, 4, requires_grad=True), torch.zeros(0, 3, requires_grad=True)
    result = objective({"pose": PathwayOutput(logits, z, torch.zeros(0))}, torch.zeros(0, dtype=torch.int64))
    result.loss.backward()
    assert result.loss == 0
    assert z.grad.shape == (0, 4)
    assert all(torch.equal(before[name], value) for name, value in objective.state_dict().items())


@pytest.mark.parametrize("labels", [[0], [0, 0, 0, 0]])
def test_one_class_only(labels):
    refinement = PrototypicalRefinement(1, 3)
    z = torch.randn(len(labels), 3, requires_grad=True)
    output = refinement(z, torch.tensor(labels), torch.randn(len(labels), 1))
    output.loss.backward()
    assert output.loss.item() == pytest.approx(0.0, abs=1e-6)
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("shift", ["tp", "all"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("zeros", ["none", "some", "all"])
def test_loss_and_gradients_are_finite(shift, dtype, zeros):
    z, labels, logits = (x.to(dtype) if x.is_floating_point() else x for x in random_batch(n=12))
    if zeros == "some":
        z[::2] = 0
    elif zeros == "all":
        z[:] = 0
    z.requires_grad_()
    logits.requires_grad_()
    refinement = PrototypicalRefinement(5, 6, shift=shift, detach_probability=False, generator=seeded())
    if zeros == "all":
        refinement.prototypes.zero_()
    output = refinement(z, labels, 20 * logits)
    output.loss.backward()
    assert output.loss.dtype == torch.float32
    assert output.loss.isfinite()
    assert refinement.prototypes.isfinite().all()
    for x in (z, logits):
        assert x.grad.dtype == dtype
        assert x.grad.isfinite().all()
        assert x.grad.abs().max() < 100


def test_autocast_does_not_lower_the_precision():
    z, labels, logits = (x.float() if x.is_floating_point() else x for x in random_batch())
    losses = []
    for enabled in (False, True):
        refinement = PrototypicalRefinement(5, 6, generator=seeded())
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            losses.append(refinement(z, labels, logits).loss)
    assert torch.equal(*losses)


def test_wrong_arguments_are_explained():
    with pytest.raises(MgkitError, match="momentum"):
        PrototypicalRefinement(3, 4, momentum=1.5)
    with pytest.raises(MgkitError, match="'some'"):
        PrototypicalRefinement(3, 4, shift="some")
    for name, value in (("num_classes", 0), ("memory", -1), ("margin", -1.0), ("temperature", math.nan)):
        with pytest.raises(MgkitError, match=name):
            PrototypicalRefinement(**{"num_classes": 3, "embedding_dim": 4, name: value})


def test_a_head_under_autocast_gets_finite_gradients():
    """As in training with bf16: embeddings and logits come in half precision, the loss is float32."""
    torch.manual_seed(0)
    head, objective = PathwayHead(6, 5, embedding_dim=4), Objective(("rgb",), 5, 4, memory=8)
    features, labels = torch.randn(10, 6, 2, 3, 3).relu(), torch.arange(10) % 5
    for _ in range(3):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = head(features)
            result = objective({"rgb": output}, labels)
        assert output.embedding.dtype == output.logits.dtype == torch.bfloat16
        assert result.loss.dtype == torch.float32
        result.loss.backward()
    assert objective.refinement["rgb"].prototypes.dtype == torch.float32
    for p in head.parameters():
        assert p.grad.isfinite().all()


@pytest.mark.parametrize(
    ("embeddings", "labels", "logits", "words"),
    [
        (torch.zeros(2, 5), [0, 1], torch.zeros(2, 3), r"embeddings must have the shape \(N, 4\), but have \(2, 5\)"),
        (torch.zeros(2, 4, 1), [0, 1], torch.zeros(2, 3), r"but have \(2, 4, 1\)"),
        (torch.zeros(2, 4), [0, 1], torch.zeros(2, 4), r"logits must have the shape \(N, 3\), but have \(2, 4\)"),
        (torch.zeros(3, 4), [0, 1], torch.zeros(2, 3), "2 labels do not go with 3 embeddings and 2 logits"),
        (torch.zeros(2, 4), [0, 3], torch.zeros(2, 3), "0 to 2 for 3 classes, but clip 1 of the batch has 3"),
        (torch.zeros(2, 4, device="meta"), [0, 1], torch.zeros(2, 3), "embeddings are on meta, the prototypes on cpu"),
    ],
)  # fmt: skip
def test_wrong_inputs_are_explained(embeddings, labels, logits, words):
    with pytest.raises(MgkitError, match=words):
        PrototypicalRefinement(3, 4)(embeddings, torch.tensor(labels), logits)


def test_the_objective_explains_wrong_labels_before_it_computes():
    outputs = {"rgb": PathwayOutput(torch.zeros(2, 3), None, torch.zeros(0))}
    objective = Objective(("rgb",), 3, None, prototypes=False)
    with pytest.raises(MgkitError, match="clip 0 of the batch has 5"):
        objective(outputs, torch.tensor([5, 0]))
    with pytest.raises(MgkitError, match="torch.float32"):
        objective(outputs, torch.tensor([0.0, 1.0]))
    with pytest.raises(MgkitError, match=r"rgb logits must have the shape \(3, 3\) for 3 labels"):
        objective(outputs, torch.tensor([0, 1, 2]))
    outputs["rgb"] = PathwayOutput(torch.zeros(2, 4), None, torch.zeros(0))
    with pytest.raises(MgkitError, match=r"and 3 classes, but have \(2, 4\)"):
        objective(outputs, torch.tensor([0, 1]))
