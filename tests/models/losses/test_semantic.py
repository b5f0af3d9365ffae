import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mgkit.errors import MgkitError
from mgkit.models import Objective, PathwayHead, PathwayOutput
from mgkit.models.losses.semantic import SemanticHead, SemanticLoss
from tests.models.nets import pose_only


def test_head_is_a_pathway_head_with_one_more_layer():
    plain = PathwayHead(6, 4, embedding_dim=5, generator=torch.Generator().manual_seed(1)).eval()
    head = SemanticHead(
        6, 4, embedding_dim=5, semantic_dim=7, generator=torch.Generator().manual_seed(1)
    ).eval()
    assert set(head.state_dict()) - set(plain.state_dict()) == {"semantic.weight", "semantic.bias"}
    features = torch.rand(3, 6, 2, 5, 4)
    a, b = plain(features), head(features)
    assert torch.equal(a.logits, b.logits)
    assert torch.equal(a.embedding, b.embedding)
    assert b.features is features
    torch.testing.assert_close(b.auxiliary["semantic"], head.semantic(features.flatten(2).mean(2)))
    assert set(b.auxiliary) == {"semantic"}
    assert not a.auxiliary


def test_semantic_layer_has_no_dropout():
    torch.manual_seed(0)
    head = SemanticHead(64, 4, semantic_dim=3, dropout=0.5)
    features = torch.rand(2, 64, 1, 1, 1)
    a, b = head(features), head(features)
    assert not torch.equal(a.logits, b.logits)
    assert torch.equal(a.auxiliary["semantic"], b.auxiliary["semantic"])


def test_initial_weights_are_the_generators():
    heads = [
        SemanticHead(512, 4, semantic_dim=300, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    ]
    assert torch.equal(heads[0].semantic.weight, heads[1].semantic.weight)
    assert not torch.equal(heads[0].semantic.weight, heads[2].semantic.weight)
    assert heads[0].semantic.weight.std().item() == pytest.approx(0.01, rel=0.02)
    heads[2].reset_parameters(torch.Generator().manual_seed(1))
    for name, value in heads[2].state_dict().items():
        assert torch.equal(value, heads[0].state_dict()[name])


def test_the_default_of_auxiliary_is_empty_and_stays_so():
    head = SemanticHead(4, 3, semantic_dim=2)
    assert set(head(torch.rand(2, 4, 1, 2, 2)).auxiliary) == {"semantic"}
    assert not PathwayOutput(torch.zeros(1, 2), None, torch.zeros(1)).auxiliary


def loss_of(loss, tensor, labels):
    outputs = {"pose": PathwayOutput(torch.zeros(len(labels), 4), auxiliary={"semantic": tensor})}
    return loss(outputs, labels)["pose"]


def test_loss_is_the_mean_squared_error_of_each_clip():
    generator = torch.Generator().manual_seed(0)
    vectors, tensor = torch.randn(4, 6, generator=generator), torch.randn(5, 6, generator=generator)
    labels = torch.tensor([3, 0, 0, 2, 1])
    loss = loss_of(SemanticLoss(vectors), tensor, labels)
    slow = [
        sum((float(tensor[i, d]) - float(vectors[k, d])) ** 2 for d in range(6)) / 6
        for i, k in enumerate(labels)
    ]
    torch.testing.assert_close(loss, torch.tensor(slow))
    torch.testing.assert_close(
        loss.mean(), F.mse_loss(tensor, vectors[labels])
    )  # what the paper's code computes
    assert not loss_of(SemanticLoss(vectors), vectors[labels], labels).any()


def test_loss_of_no_clips_is_empty_and_of_half_precision_is_float32():
    loss = SemanticLoss(torch.ones(2, 3))
    assert loss_of(loss, torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)).shape == (0,)
    half = loss_of(loss, torch.full((1, 3), 300.0, dtype=torch.float16), torch.tensor([1]))
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(299.0**2)  # too large for half


def test_vectors_are_saved_with_the_loss_and_get_no_gradient():
    vectors = np.random.default_rng(0).normal(size=(3, 4))
    loss = SemanticLoss(vectors)
    assert list(loss.state_dict()) == ["vectors"]
    assert not list(loss.parameters())
    other = SemanticLoss(torch.zeros(3, 4))
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.vectors, torch.tensor(vectors, dtype=torch.float32))
    vectors[:] = 0  # nobody else's array
    assert loss.vectors.any()


def test_head_and_loss_learn_the_vectors():
    generator = torch.Generator().manual_seed(0)
    head = SemanticHead(5, 3, semantic_dim=4, generator=generator)
    loss = SemanticLoss(torch.randn(3, 4, generator=generator))
    features, labels = torch.eye(5)[:3, :, None, None, None], torch.tensor([2, 0, 1])
    optimiser = torch.optim.SGD(head.parameters(), lr=1.0)
    for _ in range(200):
        optimiser.zero_grad()
        loss({"pose": head(features)}, labels)["pose"].mean().backward()
        optimiser.step()
    torch.testing.assert_close(
        head(features).auxiliary["semantic"], loss.vectors[labels], atol=1e-3, rtol=1e-3
    )


@pytest.mark.slow
def test_poseconv3d_learns_classes_and_their_names():
    generator = torch.Generator().manual_seed(0)
    model = pose_only(3, 5, width=4, blocks=(1, 1, 1), embedding_dim=6, dropout=0.0, generator=generator)
    model.heads["pose"] = SemanticHead(
        64, 3, semantic_dim=4, embedding_dim=6, dropout=0.0, generator=generator
    )
    objective = Objective(model.pathways, num_classes=3, embedding_dim=6, generator=generator)
    semantic = SemanticLoss(torch.randn(3, 4, generator=generator))
    inputs = {"pose": torch.rand(6, 5, 4, 8, 8, generator=generator)}
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    history = []
    for _ in range(25):
        optimiser.zero_grad()
        outputs = model(inputs)
        step = objective(outputs, labels)
        named = semantic(outputs, labels)["pose"].mean()
        (step.loss + 20 * named).backward()
        optimiser.step()
        history.append((float(step.terms["ce_pose"]), float(named.detach())))
    assert history[-1][0] < 0.5 * history[0][0]
    assert history[-1][1] < 0.2 * history[0][1]


@pytest.mark.parametrize(
    "wrong", [torch.zeros(3), torch.zeros(0, 4), torch.zeros(3, 0), torch.tensor([[1.0, torch.nan]])]
)
def test_wrong_vectors_are_refused(wrong):
    with pytest.raises(MgkitError, match=r"finite numbers \(classes, width\)"):
        SemanticLoss(wrong)


def test_what_does_not_fit_is_explained():
    loss = SemanticLoss(torch.zeros(3, 4))
    with pytest.raises(MgkitError, match=r"must have the shape \(2, 4\).*has \(2, 5\).*semantic_dim=4"):
        loss_of(loss, torch.zeros(2, 5), torch.tensor([0, 1]))
    with pytest.raises(MgkitError, match="labels must be 0 to 2"):
        loss_of(loss, torch.zeros(2, 4), torch.tensor([0, 3]))
    with pytest.raises(MgkitError, match="no head with such an output"):
        loss({"pose": PathwayOutput(torch.zeros(2, 4))}, torch.tensor([0, 1]))
    with pytest.raises(MgkitError, match="semantic_dim is the width"):
        SemanticHead(4, 3, semantic_dim=0)
