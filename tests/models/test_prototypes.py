import math

import pytest
import torch
from torch.nn import functional as F

import mgkit.models.prototypes
from mgkit.errors import MgkitError
from mgkit.models import (
    PrototypicalRefinement,
    SetCentres,
    confusion_sets,
    cosine_similarity,
    rectify,
    refinement_loss,
    set_centres,
    update_prototypes,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_batch(n=20, k=5, d=6, seed=0):
    g = seeded(seed)
    labels = torch.randint(0, k, (n,), generator=g)
    # About half of the clips are right: all three sets have members.
    logits = torch.randn(n, k, generator=g) + 1.5 * F.one_hot(labels, k)
    return torch.randn(n, d, generator=g, dtype=torch.float64), labels, logits.double()


def slow_step(z, y, logits, prototypes, *, momentum, tau, margin, shift):
    """Method page section 5, one clip and one class at a time. Returns the loss of each clip and the prototypes."""

    def sim(a, b):
        lengths = a.norm() * b.norm()
        return (a @ b) / lengths if lengths > 0 else torch.zeros((), dtype=a.dtype)

    n, k = logits.shape
    p = logits.softmax(1)
    predicted = [int(row.argmax()) for row in logits]
    tp = [[i for i in range(n) if y[i] == c and predicted[i] == c] for c in range(k)]
    fn = [[i for i in range(n) if y[i] == c and predicted[i] != c] for c in range(k)]
    fp = [[i for i in range(n) if y[i] != c and predicted[i] == c] for c in range(k)]
    moved = []
    for c in range(k):
        if tp[c]:
            moved.append((1 - momentum) * sum(z[i] for i in tp[c]) / len(tp[c]) + momentum * prototypes[c])
        else:
            moved.append(prototypes[c])
    losses = []
    for i in range(n):
        c = int(y[i])
        shifted = shift == "all" or i in tp[c]
        phi = psi = torch.zeros((), dtype=z.dtype)
        if shifted and fn[c]:
            phi = 1 - sim(z[i], sum(z[j] for j in fn[c]) / len(fn[c]))
        if shifted and fp[c]:
            psi = 1 + sim(z[i], sum(z[j] for j in fp[c]) / len(fp[c]))
        loss = 0
        for term in (psi, phi):
            scores = [sim(z[i], moved[j]) / tau for j in range(k)]
            scores[c] = scores[c] - margin * (1 - p[i, c].detach()) * term
            loss = loss - scores[c] + torch.stack(scores).logsumexp(0)
        losses.append(loss)
    return torch.stack(losses), torch.stack(moved)


# The pieces


def test_confusion_sets():
    labels = torch.tensor([0, 0, 1, 2])
    predicted = torch.tensor([0, 1, 1, 0])
    tp, fn, fp = confusion_sets(F.one_hot(predicted, 3).float(), labels)
    assert tp.nonzero().tolist() == [[0, 0], [2, 1]]
    assert fn.nonzero().tolist() == [[1, 0], [3, 2]]
    assert fp.nonzero().tolist() == [[1, 1], [3, 0]]
    assert tp.dtype == torch.bool


def test_set_centres_and_empty_sets():
    z = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], requires_grad=True)
    sets = torch.tensor([[True, False, False], [True, True, False], [False, True, False]])
    centres, counts = set_centres(z, sets)
    assert centres.tolist() == [[2.0, 3.0], [4.0, 5.0], [0.0, 0.0]]
    assert counts.tolist() == [2, 2, 0]
    centres[0].sum().backward()
    assert z.grad.tolist() == [[0.5, 0.5], [0.5, 0.5], [0.0, 0.0]]


def test_update_is_an_exponential_moving_average_of_the_true_positives():
    old = torch.tensor([[1.0, 1.0], [2.0, 2.0]])
    centres = torch.tensor([[3.0, 5.0], [7.0, 7.0]], requires_grad=True)
    new, changed = update_prototypes(old, SetCentres(centres, torch.tensor([4, 0])), momentum=0.9)
    torch.testing.assert_close(new.detach(), torch.tensor([[1.2, 1.4], [2.0, 2.0]]))
    assert changed.tolist() == [True, False]
    new.sum().backward()
    torch.testing.assert_close(centres.grad, torch.tensor([[0.1, 0.1], [0.0, 0.0]]))


def test_an_overflow_does_not_reach_the_prototypes():
    old = torch.ones(2, 2)
    centres = torch.tensor([[math.inf, 0.0], [math.nan, 0.0]])
    new, changed = update_prototypes(old, SetCentres(centres, torch.tensor([1, 1])), momentum=0.9)
    assert torch.equal(new, old)
    assert not changed.any()


def test_cosine_similarity_matches_torch_and_is_flat_at_zero():
    a, b = torch.randn(4, 3), torch.randn(5, 3)
    torch.testing.assert_close(cosine_similarity(a, b), F.cosine_similarity(a[:, None], b[None], dim=2))
    zero = torch.zeros(1, 3, requires_grad=True)
    similarity = cosine_similarity(zero, b)
    similarity.sum().backward()
    assert not similarity.any()
    assert not zero.grad.any()


# The loss against the equations


@pytest.mark.parametrize("shift", ["tp", "all"])
@pytest.mark.parametrize("seed", range(4))
def test_two_steps_are_the_equations(shift, seed):
    k, d = 5, 6
    refinement = PrototypicalRefinement(
        k, d, momentum=0.8, temperature=0.2, margin=0.7, shift=shift, generator=seeded(seed)
    ).double()
    prototypes = refinement.prototypes.clone()
    for step in range(2):
        z, y, logits = random_batch(seed=10 * seed + step)
        a, b = z.clone().requires_grad_(), z.clone().requires_grad_()
        output = refinement(a, y, logits)
        per_clip, moved = slow_step(b, y, logits, prototypes, momentum=0.8, tau=0.2, margin=0.7, shift=shift)
        torch.testing.assert_close(output.loss, per_clip.mean())
        torch.testing.assert_close(output.per_clip, per_clip.detach())
        torch.testing.assert_close(output.fn_term + output.fp_term, output.loss.detach())
        torch.testing.assert_close(refinement.prototypes, moved.detach())
        output.loss.backward()
        per_clip.mean().backward()
        torch.testing.assert_close(a.grad, b.grad)
        prototypes = moved.detach()


@pytest.mark.parametrize("shift", ["tp", "all"])
@pytest.mark.parametrize(
    ("labels", "predicted"),
    [
        ([0], [0]),  # one clip, right
        ([0], [2]),  # one clip, wrong
        ([1, 1, 1], [1, 1, 1]),  # one class, no false positives or negatives
        ([1, 1, 1], [1, 1, 2]),
        ([0, 1, 2], [1, 2, 0]),  # nothing right
        ([0, 0, 1, 2], [0, 1, 1, 0]),
    ],
)
def test_degenerate_batches_are_the_equations(shift, labels, predicted):
    labels = torch.tensor(labels)
    logits = 2.0 * F.one_hot(torch.tensor(predicted), 4).double()
    z = torch.randn(len(labels), 3, generator=seeded(1), dtype=torch.float64)
    refinement = PrototypicalRefinement(4, 3, shift=shift, generator=seeded()).double()
    a, b = z.clone().requires_grad_(), z.clone().requires_grad_()
    per_clip, moved = slow_step(
        b, labels, logits, refinement.prototypes.clone(), momentum=0.9, tau=0.125, margin=1.0, shift=shift
    )
    output = refinement(a, labels, logits)
    torch.testing.assert_close(output.loss, per_clip.mean())
    torch.testing.assert_close(refinement.prototypes, moved.detach())
    output.loss.backward()
    per_clip.mean().backward()
    torch.testing.assert_close(a.grad, b.grad)


def test_one_class_only():
    refinement = PrototypicalRefinement(1, 3)
    z = torch.randn(4, 3, requires_grad=True)
    output = refinement(z, torch.zeros(4, dtype=torch.int64), torch.randn(4, 1))
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


def test_the_probability_is_detached_by_default():
    z, labels, logits = random_batch()
    for detach in (True, False):
        fixed = logits.clone().requires_grad_()
        refinement = PrototypicalRefinement(5, 6, detach_probability=detach, generator=seeded()).double()
        refinement(z.clone().requires_grad_(), labels, fixed).loss.backward()
        assert (fixed.grad is None or not fixed.grad.any()) == detach


def test_gradient_flows_through_the_centres():
    """A false negative is pulled by its class's true positives, although its own score is not lowered."""
    labels, predicted = torch.tensor([0, 0]), torch.tensor([0, 1])
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    logits = F.one_hot(predicted, 2).float()
    sets = confusion_sets(logits, labels)
    prototypes = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    terms = refinement_loss(z, labels, logits, prototypes, set_centres(z, sets.fn), set_centres(z, sets.fp))
    terms.fn[0].backward()
    assert z.grad[1, 0] < 0  # a step against the gradient turns the false negative towards the true positive


def test_gradcheck():
    z, labels, logits = random_batch(n=5, k=3, d=3)
    refinement = PrototypicalRefinement(3, 3, detach_probability=False, generator=seeded()).double().eval()
    assert torch.autograd.gradcheck(
        lambda a, b: refinement(a, labels, b).loss, (z.requires_grad_(), logits.requires_grad_())
    )


# The module


def test_prototypes_move_in_training_only():
    z, labels, logits = random_batch()
    refinement = PrototypicalRefinement(5, 6).double().eval()
    before = refinement.prototypes.clone()
    refinement(z, labels, logits)
    assert torch.equal(refinement.prototypes, before)
    assert not refinement.seen.any()
    refinement.train()
    refinement(z, labels, logits)
    assert not torch.equal(refinement.prototypes, before)


def test_classes_never_right_keep_their_random_prototype_and_are_not_seen():
    refinement = PrototypicalRefinement(4, 3, generator=seeded())
    before = refinement.prototypes.clone()
    labels, predicted = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 2, 2])
    for _ in range(3):
        output = refinement(torch.randn(4, 3), labels, F.one_hot(predicted, 4).float())
    assert refinement.seen.tolist() == [True, False, True, False]
    assert refinement.updates.tolist() == [3, 0, 3, 0]
    assert torch.equal(refinement.prototypes[1], before[1])
    assert torch.equal(refinement.prototypes[3], before[3])
    assert output.tp.tolist() == [2, 0, 1, 0]
    assert output.fn.tolist() == [0, 1, 0, 0]
    assert output.fp.tolist() == [0, 0, 1, 0]


def test_buffers_survive_a_save():
    refinement = PrototypicalRefinement(5, 6).double()
    refinement(*random_batch())
    other = PrototypicalRefinement(5, 6).double()
    other.load_state_dict(refinement.state_dict())
    assert set(refinement.state_dict()) == {"prototypes", "updates"}
    assert torch.equal(other.prototypes, refinement.prototypes)
    assert torch.equal(other.updates, refinement.updates)
    assert not list(refinement.parameters())


def test_backward_survives_a_later_step():
    z, labels, logits = random_batch()
    refinement = PrototypicalRefinement(5, 6).double()
    z.requires_grad_()
    first = refinement.eval()(z, labels, logits).loss + refinement.train()(z, labels, logits).loss
    refinement(z.detach(), labels, logits)
    first.backward()
    assert z.grad.isfinite().all()


def test_initial_prototypes_are_standard_normal_and_the_generators():
    a = PrototypicalRefinement(100, 100, generator=seeded(1)).prototypes
    assert torch.equal(a, PrototypicalRefinement(100, 100, generator=seeded(1)).prototypes)
    assert a.mean().abs() < 0.05
    assert a.std().item() == pytest.approx(1.0, abs=0.05)


def test_rectification_helps_seen_classes_only():
    logits = torch.zeros(1, 3)
    prototypes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    seen = torch.tensor([True, True, False])
    assert rectify(logits, torch.tensor([[2.0, 0.0]]), prototypes, seen, 5.0).tolist() == [[5.0, 0.0, 0.0]]
    assert rectify(logits, torch.tensor([[0.0, 0.0]]), prototypes, seen, 5.0).tolist() == [[0.0, 0.0, 0.0]]


def test_wrong_arguments_are_explained():
    with pytest.raises(MgkitError, match="momentum"):
        PrototypicalRefinement(3, 4, momentum=1.5)
    with pytest.raises(MgkitError, match="'some'"):
        PrototypicalRefinement(3, 4, shift="some")
    with pytest.raises(MgkitError, match=r"must be \(2, 4\) and \(2, 3\)"):
        PrototypicalRefinement(3, 4)(torch.zeros(2, 5), torch.zeros(2, dtype=torch.int64), torch.zeros(2, 3))


def test_the_example_in_the_docstring_runs():
    import doctest

    result = doctest.testmod(mgkit.models.prototypes)
    assert result.attempted > 5
    assert result.failed == 0


@pytest.mark.parametrize(("version", "shift"), [("V0", "all"), ("V1", "tp")])
def test_matches_the_published_loss(reference_dir, version, shift):
    reference = torch.load(reference_dir / f"prl_{version}.pt", weights_only=True)
    config = reference["config"]
    refinement = PrototypicalRefinement(
        config["n_class"],
        config["h_channel"],
        momentum=config["mom"],
        temperature=config["tmp"],
        margin=config["alp"] / config["tmp"],
        shift=shift,
    )
    refinement.prototypes.copy_(reference["prototypes_before"].T)
    embed = torch.nn.Linear(config["n_channel"], config["h_channel"])
    embed.load_state_dict({name.removeprefix("cl_fc."): x for name, x in reference["state_dict"].items()})
    for step in reference["steps"]:
        feature = step["feature"].clone().requires_grad_()
        embed.zero_grad()
        output = refinement(embed(feature), step["label"], step["logits"])
        output.loss.backward()
        torch.testing.assert_close(output.loss, step["loss"], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(refinement.prototypes.T, step["prototypes_after"], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(feature.grad, step["grad_feature"], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(embed.weight.grad, step["grad_fc"], atol=1e-4, rtol=1e-4)
