"""Prototypical refinement is its equations, and what the module does with them."""

import pytest
import torch
from torch.nn import functional as F

from mgkit.models import PrototypicalRefinement
from mgkit.models.losses.refinement import ClipMemory


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_batch(n=20, k=5, d=6, seed=0):
    g = seeded(seed)
    labels = torch.randint(0, k, (n,), generator=g)
    # About half of the clips are right: all three sets have members.
    logits = torch.randn(n, k, generator=g) + 1.5 * F.one_hot(labels, k)
    return torch.randn(n, d, generator=g, dtype=torch.float64), labels, logits.double()


def slow_step(
    z, y, logits, prototypes, *, momentum=0.9, tau=0.125, margin=1.0, shift="tp", detach=True, remembered=()
):
    """Equations 5 to 9, one clip and one class at a time. Returns the loss of each clip and the prototypes.

    `remembered` are (embedding, label, predicted class) of earlier clips.
    """

    def sim(a, b):
        lengths = a.norm() * b.norm()
        return (a @ b) / lengths if lengths > 0 else torch.zeros((), dtype=a.dtype)

    def mean(clips):
        return sum(clips) / len(clips)

    n, k = logits.shape
    p = logits.softmax(1)
    predicted = [int(row.argmax()) for row in logits]
    tp = [[i for i in range(n) if y[i] == c and predicted[i] == c] for c in range(k)]
    fn = [[i for i in range(n) if y[i] == c and predicted[i] != c] for c in range(k)]
    fp = [[i for i in range(n) if y[i] != c and predicted[i] == c] for c in range(k)]
    # Equation 5: the members of the sets, and those that are remembered.
    fn_members = [
        [z[i] for i in fn[c]] + [e for e, label, called in remembered if label == c and called != c]
        for c in range(k)
    ]
    fp_members = [
        [z[i] for i in fp[c]] + [e for e, label, called in remembered if label != c and called == c]
        for c in range(k)
    ]
    moved = []  # equation 6
    for c in range(k):
        if tp[c]:
            moved.append((1 - momentum) * mean([z[i] for i in tp[c]]) + momentum * prototypes[c])
        else:
            moved.append(prototypes[c])
    losses = []
    for i in range(n):
        c = int(y[i])
        shifted = shift == "all" or i in tp[c]
        phi = psi = torch.zeros((), dtype=z.dtype)
        if shifted and fn_members[c]:
            phi = 1 - sim(z[i], mean(fn_members[c]))  # equation 7
        if shifted and fp_members[c]:
            psi = 1 + sim(z[i], mean(fp_members[c]))  # equation 8
        doubt = 1 - (p[i, c].detach() if detach else p[i, c])
        loss = 0
        for term in (psi, phi):  # equation 9
            scores = [sim(z[i], moved[j]) / tau for j in range(k)]
            scores[c] = scores[c] - margin * doubt * term
            loss = loss - scores[c] + torch.stack(scores).logsumexp(0)
        losses.append(loss)
    return torch.stack(losses), torch.stack(moved)


# The loss against the equations


@pytest.mark.slow
@pytest.mark.parametrize("shift", ["tp", "all"])
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("margin", [1.0, 0.7])
@pytest.mark.parametrize("memory", [0, 7, 30])
def test_three_steps_are_the_equations(shift, detach, margin, memory):
    """Batches of 20: a memory of 7 keeps the last clips of one, a memory of 30 reaches into the one before."""
    k, d = 5, 6
    settings = {"margin": margin, "shift": shift, "momentum": 0.8}
    refinement = PrototypicalRefinement(
        k, d, temperature=0.2, detach_probability=detach, memory=memory, generator=seeded(), **settings
    ).double()
    prototypes, remembered = refinement.prototypes.clone(), []
    for step in range(3):
        z, y, logits = random_batch(seed=step)
        mine, theirs = ([x.clone().requires_grad_() for x in (z, logits)] for _ in range(2))
        output = refinement(mine[0], y, mine[1])
        per_clip, moved = slow_step(
            theirs[0], y, theirs[1], prototypes, tau=0.2, detach=detach, remembered=remembered, **settings
        )
        torch.testing.assert_close(output.loss, per_clip.mean())
        torch.testing.assert_close(output.per_clip, per_clip.detach())
        torch.testing.assert_close(output.fn_term + output.fp_term, output.loss.detach())
        torch.testing.assert_close(refinement.prototypes, moved.detach())
        assert not output.left_out.any()
        output.loss.backward()
        per_clip.mean().backward()
        torch.testing.assert_close(mine[0].grad, theirs[0].grad)
        if detach:
            assert mine[1].grad is None or not mine[1].grad.any()
        else:
            torch.testing.assert_close(mine[1].grad, theirs[1].grad)
        prototypes = moved.detach()
        batch = [(z[i], int(y[i]), int(logits[i].argmax())) for i in range(len(y))]
        remembered = (batch[::-1] + remembered)[:memory]


def test_a_memory_fills_empty_sets_and_moves_nothing_else():
    """One clip a batch has neither false negatives nor false positives but those that are remembered."""
    plain, with_memory = (PrototypicalRefinement(3, 4, memory=m, generator=seeded()) for m in (0, 8))
    wrong = torch.randn(1, 4, generator=seeded(1)), torch.tensor([0]), torch.tensor([[0.0, 2.0, 0.0]])
    right = torch.randn(1, 4, generator=seeded(2)), torch.tensor([0]), torch.tensor([[2.0, 0.0, 0.0]])
    for refinement in (plain, with_memory):
        refinement(*wrong)
    without, remembering = plain(*right), with_memory(*right)
    assert remembering.fn_term > without.fn_term  # class 0 remembers a false negative
    assert remembering.fp_term == without.fp_term
    assert torch.equal(plain.prototypes, with_memory.prototypes)
    assert remembering.fn.tolist() == without.fn.tolist() == [0, 0, 0]  # the counts are the batch's


def test_the_memory_is_used_but_not_changed_in_evaluation():
    refinement = PrototypicalRefinement(5, 6, memory=10).double()
    refinement(*random_batch(seed=1))
    before = {name: value.clone() for name, value in refinement.state_dict().items()}
    refinement.eval()
    with_memory = refinement(*random_batch(seed=2)).loss
    assert all(torch.equal(before[name], value) for name, value in refinement.state_dict().items())
    refinement.memory = None
    assert refinement(*random_batch(seed=2)).loss != with_memory


def test_a_batch_longer_than_the_memory_leaves_its_last_clips():
    memory = ClipMemory(3, 2)
    memory.remember(torch.arange(10.0).view(5, 2), torch.arange(5), torch.arange(5) + 5)
    assert memory.labels.tolist() == [4, 3, 2]
    assert memory.predicted.tolist() == [9, 8, 7]
    assert memory.embeddings[:, 0].tolist() == [8.0, 6.0, 4.0]
    memory.remember(torch.full((1, 2), 7.0), torch.tensor([0]), torch.tensor([1]))
    assert memory.labels.tolist() == [0, 4, 3]


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
    per_clip, moved = slow_step(b, labels, logits, refinement.prototypes.clone(), shift=shift)
    output = refinement(a, labels, logits)
    torch.testing.assert_close(output.loss, per_clip.mean())
    torch.testing.assert_close(refinement.prototypes, moved.detach())
    output.loss.backward()
    per_clip.mean().backward()
    torch.testing.assert_close(a.grad, b.grad)


def test_the_probability_is_detached_by_default():
    z, labels, logits = random_batch()
    for detach in (True, False):
        fixed = logits.clone().requires_grad_()
        refinement = PrototypicalRefinement(5, 6, detach_probability=detach, generator=seeded()).double()
        refinement(z.clone().requires_grad_(), labels, fixed).loss.backward()
        assert (fixed.grad is None or not fixed.grad.any()) == detach


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
