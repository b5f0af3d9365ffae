"""Groups of classes, their classifiers, the ensemble and the loss, each against a loop over its definition."""

import itertools
import math
import random

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mgkit.errors import MgkitError
from mgkit.models import PathwayHead, PathwayOutput
from mgkit.models.losses.grouped import GroupedHead, GroupLoss, class_groups, group_loss, others_weights

GROUPS = (1, 0, 2, 1, 0, 1)  # of six classes: class 2 is alone in its group


def head(class_group=GROUPS, **options):
    options = {"embedding_dim": 4, "generator": torch.Generator().manual_seed(0)} | options
    made = GroupedHead(8, len(class_group), max(class_group) + 1, class_group=class_group, **options)
    with torch.no_grad():  # weights of 0.01 would make all classes alike
        made.classifier.weight.mul_(100)
        made.group_classifier.weight.mul_(100)
    return made


def features(clips=5, seed=1, channels=8):
    return torch.rand(clips, channels, 2, 3, 2, generator=torch.Generator().manual_seed(seed))


# --- groups -----------------------------------------------------------------------------------------------------------


def slow_groups(counts, groups):
    """Every cut of the sorted classes, judged by the ratio, then the squares, then the sizes."""
    rarest = min(c for c in counts if c)
    filled = [max(c, rarest) for c in counts]
    order = sorted(range(len(counts)), key=lambda k: (-filled[k], k))
    found = []
    for inner in itertools.combinations(range(1, len(counts)), groups - 1):
        ends = (0, *inner, len(counts))
        runs = [order[a:b] for a, b in itertools.pairwise(ends)]
        ratio = max(filled[run[0]] / filled[run[-1]] for run in runs)
        found.append((ratio, sum(len(run) ** 2 for run in runs), [len(run) for run in runs], runs))
    runs = min(found)[3]
    return [next(g for g, run in enumerate(runs) if k in run) for k in range(len(counts))]


def test_groups_are_the_best_of_all_cuts():
    random.seed(0)
    for _ in range(150):
        counts = [random.choice((0, 1, 2, 7, 7, 30, random.randrange(1, 1000))) for _ in range(7)]
        counts[random.randrange(7)] = 12
        for groups in range(1, 8):
            assert class_groups(counts, groups).tolist() == slow_groups(counts, groups), (counts, groups)


def test_groups_take_any_list_of_numbers():
    expected = class_groups([30, 1, 7, 500], 2)
    assert expected.dtype == torch.int64
    assert expected.tolist() == [0, 1, 1, 0]
    assert torch.equal(class_groups(np.array([30, 1, 7, 500]), 2), expected)
    assert torch.equal(class_groups(torch.tensor([30, 1, 7, 500]), 2), expected)


def test_classes_without_clips_join_the_rarest():
    assert class_groups([0, 90, 100, 5, 0], 2).tolist() == [1, 0, 0, 1, 1]


def test_as_frequent_classes_make_even_groups():
    sizes = class_groups([4] * 7, 3).bincount().tolist()
    assert sizes == [2, 2, 3]


def test_one_class_and_one_group_a_class():
    assert class_groups([3], 1).tolist() == [0]
    assert class_groups([3, 9, 1], 3).tolist() == [1, 0, 2]
    assert class_groups([3, 9, 1], 1).tolist() == [0, 0, 0]


def test_many_classes_are_grouped_without_waiting():
    group = class_groups([int(5000 / (k + 1)) + 1 for k in range(300)], 6)
    assert group.tolist() == sorted(group.tolist())
    assert group.unique().tolist() == list(range(6))


@pytest.mark.parametrize(
    "counts, groups, message",
    [
        ([], 1, "not all 0"),
        ([0, 0], 1, "not all 0"),
        ([3, -1], 1, "not negative"),
        ([3, 1], 3, "2 classes make 1 to 2 groups; got groups=3"),
        ([3, 1], 0, "groups=0"),
    ],
)
def test_wrong_counts_are_explained(counts, groups, message):
    with pytest.raises(MgkitError, match=message):
        class_groups(counts, groups)


# --- head -------------------------------------------------------------------------------------------------------------


def slow_scores(made, x):
    """(N, G, K + 1), one score at a time."""
    weight, bias = made.group_classifier.weight, made.group_classifier.bias
    classes, groups = len(made.class_group), made.groups
    scores = torch.full((len(x), groups, classes + 1), -math.inf)
    for n in range(len(x)):
        pooled = torch.stack([channel.mean() for channel in x[n]])
        for k in range(classes):
            scores[n, made.class_group[k], k] = weight[k] @ pooled + bias[k]
        for g in range(groups):
            if groups > 1:
                scores[n, g, classes] = weight[classes + g] @ pooled + bias[classes + g]
    return scores


@pytest.mark.parametrize("class_group", [GROUPS, (0, 0, 0), (2, 0, 1), (0,)])
def test_scores_of_groups(class_group):
    made = head(class_group).eval()
    x = features()
    output = made(x)
    torch.testing.assert_close(output.auxiliary["groups"], slow_scores(made, x))
    assert list(output.auxiliary) == ["groups"]


@pytest.mark.parametrize("class_group", [GROUPS, (0, 0, 0), (2, 0, 1), (0,)])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_ensemble_in_evaluation(class_group, weight):
    made = head(class_group, share=weight).eval()
    x = features()
    main = made.classifier(x.mean(dim=(2, 3, 4))).softmax(1)
    scores = slow_scores(made, x)
    expected = torch.zeros(len(x), len(class_group))
    for n in range(len(x)):
        own = [scores[n, g].softmax(0)[k] for k, g in enumerate(class_group)]
        for k in range(len(class_group)):
            expected[n, k] = (1 - weight) * main[n, k] + weight * own[k] / sum(own)
    logits = made(x).logits
    torch.testing.assert_close(logits.exp(), expected)
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(len(x)))
    torch.testing.assert_close(logits.softmax(1), expected)


def test_probabilities_sum_to_one_where_every_group_disclaims_the_clip():
    made = head().eval()
    with torch.no_grad():
        made.group_classifier.bias[len(GROUPS) :] = 300.0
    logits = made(features()).logits
    assert logits.isfinite().all()
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(5))


def test_main_classifier_and_embedding_are_those_of_a_plain_head():
    plain = PathwayHead(8, 6, embedding_dim=4, generator=torch.Generator().manual_seed(5)).eval()
    grouped = GroupedHead(
        8, 6, 3, class_group=GROUPS, share=0, embedding_dim=4, generator=torch.Generator().manual_seed(5)
    )
    assert plain.state_dict().keys() < grouped.state_dict().keys()
    x = features()
    torch.testing.assert_close(grouped.eval()(x).logits.softmax(1), plain(x).logits.softmax(1))
    assert torch.equal(grouped(x).embedding, plain(x).embedding)
    assert torch.equal(grouped(x).features, x)
    assert plain(x).auxiliary == {}


def test_training_logits_are_the_main_classifiers():
    made = head(dropout=0.0, share=0.9).train()
    x = features()
    assert torch.equal(made(x).logits, made.classifier(x.mean(dim=(2, 3, 4))))


def test_one_group_is_a_second_plain_classifier():
    made = head((0, 0, 0, 0), share=1.0).eval()
    x, labels = features(), torch.tensor([0, 3, 1, 2, 2])
    plain = made.group_classifier(x.mean(dim=(2, 3, 4)))[:, :4]
    output = made(x)
    torch.testing.assert_close(output.logits, plain.log_softmax(1))
    for others in (0.0, 0.5, 1.0):
        torch.testing.assert_close(
            group_loss(output.auxiliary["groups"], labels, others),
            F.cross_entropy(plain, labels, reduction="none"),
        )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("class_group", [GROUPS, (0, 0, 0), (0,)])
def test_gradients_are_finite(training, class_group):
    made = head(class_group).train(training)
    x = (features() * 1e3).requires_grad_()
    labels = torch.arange(5) % len(class_group)
    output = made(x)
    loss = F.cross_entropy(output.logits, labels) + group_loss(output.auxiliary["groups"], labels, 0.2).mean()
    loss.backward()
    assert loss.isfinite()
    assert x.grad.isfinite().all()
    for parameter in (*made.classifier.parameters(), *made.group_classifier.parameters()):
        assert parameter.grad.isfinite().all()


def test_half_precision_gives_float32_probabilities():
    made = head().eval()
    x, labels = features(), torch.tensor([0, 3, 1, 2, 5])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = made(x)
        loss = group_loss(output.auxiliary["groups"], labels)
    assert output.auxiliary["groups"].dtype == torch.bfloat16
    assert output.logits.dtype == loss.dtype == torch.float32
    assert loss.isfinite().all()
    torch.testing.assert_close(output.logits.exp().sum(1), torch.ones(5))


def test_groups_come_back_with_the_weights_bit_for_bit(tmp_path):
    made = head().eval()
    torch.save(made.state_dict(), tmp_path / "head.pt")
    again = GroupedHead(8, 6, 3, embedding_dim=4).eval()
    with pytest.raises(MgkitError, match="give class_counts, or load the weights"):
        again(features())
    again.load_state_dict(torch.load(tmp_path / "head.pt"))
    assert again.class_group.tolist() == list(GROUPS)
    ours, theirs = again(features()), made(features())
    assert torch.equal(ours.logits, theirs.logits)
    assert torch.equal(ours.auxiliary["groups"], theirs.auxiliary["groups"])
    assert all(torch.equal(v, made.state_dict()[k]) for k, v in again.state_dict().items())


def test_a_file_with_groups_that_are_none_is_explained():
    state = head().state_dict() | {"class_group": torch.tensor([0, 0, 1, 1, 1, 7])}
    again = GroupedHead(8, 6, 3, embedding_dim=4)
    again.load_state_dict(state)
    with pytest.raises(MgkitError, match="a group of 0 to 2 for each of 6 classes"):
        again(features())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"class_group": [0, 0, 0, 1, 1, 1]}, "a class in each group"),
        ({"class_group": [0, 1, 2]}, "each of 6 classes"),
        ({"class_group": [0, 1, 2, 3, 0, 0]}, "0 to 2"),
        ({"share": 1.5}, "0 to 1; got 1.5"),
        ({"share": math.nan}, "0 to 1; got nan"),
    ],
)
def test_wrong_arguments_are_explained(options, message):
    with pytest.raises(MgkitError, match=message):
        GroupedHead(8, 6, 3, **{"class_group": GROUPS} | options)


@pytest.mark.parametrize("groups", [0, 7])
def test_more_groups_than_classes_are_explained(groups):
    with pytest.raises(MgkitError, match="6 classes make 1 to 6 groups"):
        GroupedHead(8, 6, groups)


# --- loss -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("others", [0.0, 0.25, 1.0, 3.0, [0.5, 1.0, 0.0]])
def test_loss_of_each_clip(others):
    weights = others if isinstance(others, list) else [others] * 3
    scores = head().eval()(features(clips=12)).auxiliary["groups"].detach()
    labels = torch.arange(12) % 6
    expected = []
    for n, label in enumerate(labels.tolist()):
        total = 0.0
        for g in range(3):
            mine = [k for k in range(6) if GROUPS[k] == g] + [6]
            own = GROUPS[label] == g
            p = scores[n, g, mine].softmax(0)[mine.index(label if own else 6)]
            total -= (1 if own else weights[g]) * math.log(p)
        expected.append(total / 3)
    torch.testing.assert_close(group_loss(scores, labels, torch.tensor(others)), torch.tensor(expected))


def test_gradient_of_the_loss_is_that_of_its_values():
    made, x = head().double().eval(), features().double()
    labels = torch.tensor([0, 1, 2, 3, 5])

    def loss(x):
        return group_loss(made(x).auxiliary["groups"], labels, 0.3)

    assert torch.autograd.gradcheck(loss, x.requires_grad_())


def test_no_clips_have_no_loss():
    scores = head().eval()(features(clips=0)).auxiliary["groups"]
    assert group_loss(scores, torch.zeros(0, dtype=torch.int64)).shape == (0,)
    outputs = {"pose": head().eval()(features(clips=0))}
    assert GroupLoss([1] * 6)(outputs, torch.zeros(0, dtype=torch.int64))["pose"].shape == (0,)


def test_one_class_has_no_loss():
    loss = group_loss(head((0,)).eval()(features()).auxiliary["groups"], torch.zeros(5, dtype=torch.int64))
    assert torch.equal(loss, torch.zeros(5))


def members(group):
    """(G, K) whether a class is of a group."""
    group = torch.as_tensor(group)
    return group == torch.arange(int(group.max()) + 1)[:, None]


def test_weights_make_other_groups_as_many_as_the_own():
    counts, group = [40, 0, 200, 5, 3, 12], class_groups([40, 0, 200, 5, 3, 12], 3)
    weights = others_weights(torch.tensor(counts), members(group))
    for g in range(3):
        own = sum(c for c, of in zip(counts, group.tolist(), strict=True) if of == g)
        assert weights[g].item() == pytest.approx(min(1, own / (sum(counts) - own)))
    assert others_weights(torch.tensor([7, 1]), members([0, 0])).tolist() == [1.0]
    assert others_weights(torch.tensor([7, 0]), members([0, 1])).tolist() == [1.0, 0.0]


def test_the_loss_weighs_the_groups_that_the_head_has():
    """A training on other clips starts from weights that bring their groups along."""
    counts, output, labels = [9, 8, 2, 1, 4, 6], head().eval()(features()), torch.tensor([0, 1, 2, 3, 5])
    expected = group_loss(
        output.auxiliary["groups"], labels, others_weights(torch.tensor(counts), members(GROUPS))
    )
    torch.testing.assert_close(GroupLoss(counts)({"pose": output}, labels)["pose"], expected)
    assert GroupLoss(counts).state_dict() == {}
    with pytest.raises(MgkitError, match="no head with such an output"):
        GroupLoss(counts)({"pose": PathwayOutput(output.logits)}, labels)


def test_scores_and_labels_that_do_not_fit_are_explained():
    scores = head().eval()(features()).auxiliary["groups"]
    with pytest.raises(MgkitError, match=r"\(4, groups, classes \+ 1\) for 4 labels"):
        group_loss(scores, torch.zeros(4, dtype=torch.int64))
    with pytest.raises(MgkitError, match="0 to 5 for 6 classes"):
        group_loss(scores, torch.full((5,), 6))
    with pytest.raises(MgkitError, match=r"but have \(5, 7\)"):
        group_loss(scores[:, 0], torch.zeros(5, dtype=torch.int64))


def test_balanced_weights_find_more_of_the_rare_classes():
    """Overlapping classes, one of them 30 times rarer: what the method is for, and what equal weights do not do."""
    generator = torch.Generator().manual_seed(2)
    counts = [300, 300, 10]
    group = class_groups(counts, 2)
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    centres = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0.6, 0.6, 0.5, 0]])
    x = (centres[labels] + 0.3 * torch.randn(len(labels), 4, generator=generator))[:, :, None, None, None]
    recall = {}
    for name, others in {
        "equal": 1.0,
        "balanced": others_weights(torch.tensor(counts), members(group)),
    }.items():
        made = GroupedHead(
            4, 3, 2, class_group=group, share=1.0, dropout=0.0, embedding_dim=None,
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        optimiser = torch.optim.LBFGS(made.group_classifier.parameters(), max_iter=60)

        def closure(made=made, optimiser=optimiser, others=others):
            optimiser.zero_grad()
            value = group_loss(made(x).auxiliary["groups"], labels, others).mean()
            value.backward()
            return value

        optimiser.step(closure)
        found = made.eval()(x).logits.argmax(1)
        recall[name] = [(found[labels == k] == k).float().mean().item() for k in range(3)]
    assert recall["balanced"][2] > recall["equal"][2] + 0.3
    assert min(recall["balanced"][:2]) > 0.9
