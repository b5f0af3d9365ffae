import math

import pytest
import torch
from torch.nn import functional as F

from mgkit.errors import MgkitError
from mgkit.models import confusion_sets, rectify, refinement_loss, set_centres, update_prototypes
from mgkit.models.layers import cosine_similarity
from mgkit.models.losses.prototypes import SetCentres, checked_labels, join_centres, label_sets


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


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


def test_no_class_is_in_no_set():
    tp, fn, fp = label_sets(torch.tensor([0, -1, 1, -1]), torch.tensor([0, 1, -1, -1]), 2)
    assert tp.nonzero().tolist() == [[0, 0]]
    assert fn.nonzero().tolist() == [[2, 1]]
    assert fp.nonzero().tolist() == [[1, 1]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_joined_centres_are_those_of_the_union(dtype):
    z = torch.randn(9, 3, generator=seeded(), dtype=dtype, requires_grad=True)
    sets = torch.rand(9, 4, generator=seeded(1)) < 0.5
    sets[:, 2] = False  # empty in both
    sets[:4, 3] = False  # empty in the first
    joined = join_centres(set_centres(z[:4], sets[:4]), set_centres(z[4:], sets[4:]))
    whole = set_centres(z, sets)
    assert torch.equal(joined.counts, whole.counts)
    torch.testing.assert_close(joined.centres, whole.centres)
    gradients = [torch.autograd.grad(x.centres.square().sum(), z)[0] for x in (joined, whole)]
    torch.testing.assert_close(*gradients)


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


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan, 3e38])
def test_cosine_similarity_is_flat_where_there_is_no_length(bad):
    a = torch.tensor([[bad, bad, 1.0], [1.0, 2.0, 3.0]], requires_grad=True)
    b = torch.randn(5, 3, generator=seeded())
    similarity = cosine_similarity(a, b)
    similarity.sum().backward()
    assert not similarity[0].any()
    assert not a.grad[0].any()
    torch.testing.assert_close(similarity[1:], F.cosine_similarity(a[1:, None], b[None], dim=2))
    assert not cosine_similarity(b, a.detach())[:, 0].any()


def test_rectification_helps_seen_classes_only():
    logits = torch.zeros(1, 3)
    prototypes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    seen = torch.tensor([True, True, False])
    assert rectify(logits, torch.tensor([[2.0, 0.0]]), prototypes, seen, 5.0).tolist() == [[5.0, 0.0, 0.0]]
    assert rectify(logits, torch.tensor([[0.0, 0.0]]), prototypes, seen, 5.0).tolist() == [[0.0, 0.0, 0.0]]


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


# Labels


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_labels_of_any_integer_type_are_taken(dtype):
    labels = checked_labels(torch.tensor([0, 2, 1], dtype=dtype), 3, torch.device("cpu"))
    assert labels.dtype == torch.int64
    assert labels.tolist() == [0, 2, 1]
    assert checked_labels(torch.tensor([], dtype=dtype), 3, torch.device("cpu")).shape == (0,)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (torch.tensor(1), r"of shape \(\)"),
        (torch.eye(3).long(), r"of shape \(3, 3\)"),
        (torch.tensor([0.0, 1.0]), "are torch.float32: use labels.long"),
        (torch.tensor([True, False]), "are torch.bool"),
        (torch.tensor([0, 1, 3]), "must be 0 to 2 for 3 classes, but clip 2 of the batch has 3"),
        (torch.tensor([0, -1, 7]), "clip 1 of the batch has -1"),
        (torch.tensor([0, 1], device="meta"), "labels are on meta, the model's outputs on cpu"),
    ],
)
def test_other_labels_are_explained(labels, words):
    with pytest.raises(MgkitError, match=words):
        checked_labels(labels, 3, torch.device("cpu"))
