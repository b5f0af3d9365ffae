import pytest
import torch
from torch.nn import functional as F

from mgkit.errors import MgkitError
from mgkit.models import Objective, PathwayOutput
from tests.models.nets import pose_only, two_pathway


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_outputs(n=10, k=4, d=6, embedding=True):
    labels = torch.randint(0, k, (n,), generator=seeded())
    outputs = {}
    for seed, name in enumerate(("rgb", "pose")):
        logits = torch.randn(n, k, generator=seeded(seed)) + F.one_hot(labels, k)
        z = torch.randn(n, d, generator=seeded(seed + 5)) if embedding else None
        outputs[name] = PathwayOutput(logits.requires_grad_(), z, torch.zeros(n, 1, 1, 1, 1))
    return outputs, labels


def test_total_is_cross_entropies_plus_alpha_times_refinements():
    outputs, labels = random_outputs()
    objective = Objective(("rgb", "pose"), 4, 6, alpha=0.3, generator=seeded())
    result = objective(outputs, labels)
    assert set(result.terms) == {"ce_rgb", "pr_rgb", "ce_pose", "pr_pose"}
    terms = result.terms
    expected = terms["ce_rgb"] + terms["ce_pose"] + 0.3 * (terms["pr_rgb"] + terms["pr_pose"])
    torch.testing.assert_close(result.loss.detach(), expected)
    for name in ("rgb", "pose"):
        torch.testing.assert_close(
            terms[f"ce_{name}"], F.cross_entropy(outputs[name].logits, labels).detach()
        )
        assert result.refinement[name].loss.item() == terms[f"pr_{name}"].item()
        assert not terms[f"ce_{name}"].requires_grad
    assert set(objective.refinement) == {"rgb", "pose"}
    assert set(objective.state_dict()) == {
        f"refinement.{name}.{buffer}" for name in ("rgb", "pose") for buffer in ("prototypes", "updates")
    }


def test_without_prototypes_it_is_cross_entropy_and_needs_no_embedding():
    outputs, labels = random_outputs(embedding=False)
    result = Objective(("rgb", "pose"), 4, None, prototypes=False)(outputs, labels)
    assert set(result.terms) == {"ce_rgb", "ce_pose"}
    assert result.refinement == {}
    expected = sum(F.cross_entropy(o.logits, labels) for o in outputs.values())
    torch.testing.assert_close(result.loss, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5, 4.0]])
def test_cross_entropy_is_torchs(smoothing, weights):
    outputs, labels = random_outputs()
    objective = Objective(("pose",), 4, 6, prototypes=False, label_smoothing=smoothing, class_weights=weights)
    expected = F.cross_entropy(
        outputs["pose"].logits,
        labels,
        weight=None if weights is None else torch.tensor(weights),
        label_smoothing=smoothing,
    )
    torch.testing.assert_close(objective(outputs, labels).loss, expected)


def test_the_mode_decides_whether_prototypes_move():
    outputs, labels = random_outputs()
    objective = Objective(("rgb", "pose"), 4, 6)
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    objective.eval()(outputs, labels)
    assert all(torch.equal(before[name], value) for name, value in objective.state_dict().items())
    objective.train()(outputs, labels)
    assert objective.refinement["rgb"].seen.any()


def test_half_precision_outputs_give_a_float32_loss():
    outputs, labels = random_outputs()
    half = {
        name: PathwayOutput(o.logits.half(), o.embedding.half(), o.features) for name, o in outputs.items()
    }
    assert Objective(("rgb", "pose"), 4, 6)(half, labels).loss.dtype == torch.float32


@pytest.mark.parametrize("kind", ["pose", "both"])
def test_it_trains_a_model(kind):
    """A few steps on one batch bring the loss down, refinement included."""
    g = seeded(3)
    size = {"width": 4, "blocks": (1, 1, 1)}
    if kind == "pose":
        model = pose_only(3, 5, embedding_dim=8, dropout=0.0, generator=g, **size)
    else:
        model = two_pathway(
            3,
            5,
            rgb_width=4,
            pose_width=4,
            rgb_blocks=(1, 1, 1, 1),
            pose_blocks=(1, 1, 1),
            embedding_dim=8,
            dropout=0.0,
            generator=g,
        )
    inputs = {
        "rgb": torch.randn(6, 3, 1, 16, 16, generator=g),
        "pose": torch.randn(6, 5, 4, 4, 4, generator=g),
    }
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    objective = Objective(model.pathways, 3, 8, generator=g)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(6):
        result = objective(model(inputs), labels)
        optimiser.zero_grad()
        result.loss.backward()
        optimiser.step()
        losses.append(result.loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert objective.refinement["pose"].seen.any()


def test_wrong_arguments_are_explained():
    outputs, labels = random_outputs(embedding=False)
    with pytest.raises(MgkitError, match="embedding_dim"):
        Objective(("rgb",), 4, 6)(outputs, labels)
    with pytest.raises(MgkitError, match="none for flow"):
        Objective(("rgb", "flow"), 4, None, prototypes=False)(outputs, labels)
    with pytest.raises(MgkitError, match="class_weights needs 4"):
        Objective(("rgb",), 4, 6, class_weights=[1.0, 2.0])
    with pytest.raises(MgkitError, match="alpha"):
        Objective(("rgb",), 4, 6, alpha=-1)
    with pytest.raises(MgkitError, match="prototypes=False"):
        Objective(("rgb",), 4, None)


def test_arguments_that_would_poison_every_step_are_refused():
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(MgkitError, match="alpha must be finite"):
            Objective(("rgb",), 3, 4, alpha=wrong)
        with pytest.raises(MgkitError, match="class_weights"):
            Objective(("rgb",), 3, 4, class_weights=[1.0, wrong, 1.0])
    with pytest.raises(MgkitError, match="pathways are a list"):
        Objective("rgb", 3, 4)
