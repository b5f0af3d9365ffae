import pytest
import torch

from mgkit.errors import MgkitError
from mgkit.models import PathwayHead, PathwayOutput, fuse_probabilities
from tests.models.nets import pose_only


def output(logits):
    return PathwayOutput(torch.tensor(logits), None, torch.zeros(1))


def test_embedding_is_mean_over_time_then_maximum_over_space():
    head = PathwayHead(3, 2, embedding_dim=4).eval()
    features = torch.rand(2, 3, 5, 6, 7)
    pooled = features.mean(dim=2).flatten(2).max(dim=2).values
    torch.testing.assert_close(head(features).embedding, head.embedding(pooled))
    torch.testing.assert_close(head(features).logits, head.classifier(features.mean(dim=(2, 3, 4))))


@pytest.mark.parametrize("over_time", ["mean", "max"])
@pytest.mark.parametrize("over_space", ["mean", "max"])
def test_embedding_can_be_pooled_otherwise(over_time, over_space):
    model = pose_only(
        2, 3, width=2, blocks=(1, 1, 1), embedding_dim=4, embedding_pool=(over_time, over_space)
    ).eval()
    output = model({"pose": torch.rand(2, 3, 3, 16, 16)})["pose"]
    x = output.features
    x = x.mean(dim=2) if over_time == "mean" else x.max(dim=2).values
    x = x.flatten(2).mean(dim=2) if over_space == "mean" else x.flatten(2).max(dim=2).values
    torch.testing.assert_close(output.embedding, model.heads["pose"].embedding(x))


def test_unknown_pooling_is_explained():
    with pytest.raises(MgkitError, match=r"'mean' or 'max' each; got \('mean', 'sum'\)"):
        PathwayHead(3, 2, embedding_pool=("mean", "sum"))


def test_embedding_is_optional():
    head = PathwayHead(3, 2, embedding_dim=None)
    assert head(torch.rand(2, 3, 5, 6, 7)).embedding is None
    assert set(head.state_dict()) == {"classifier.weight", "classifier.bias"}


def test_classifier_starts_small():
    head = PathwayHead(512, 40)
    assert head.classifier.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not head.classifier.bias.any()


def test_dropout_is_only_on_the_classifier_and_only_in_training():
    torch.manual_seed(0)
    head = PathwayHead(64, 4, dropout=0.5)
    features = torch.rand(2, 64, 1, 1, 1)
    a, b = head(features), head(features)
    assert not torch.equal(a.logits, b.logits)
    assert torch.equal(a.embedding, b.embedding)
    head.eval()
    assert torch.equal(head(features).logits, head(features).logits)


def test_fusion_of_probabilities():
    outputs = {"rgb": output([[2.0, 0.0, 1.0]]), "pose": output([[0.0, 3.0, 0.0]])}
    rgb, pose = (o.logits.softmax(1) for o in outputs.values())
    fused = fuse_probabilities(outputs)
    assert list(fused) == ["rgb", "pose", "fused"]
    torch.testing.assert_close(fused["fused"], (rgb + pose) / 2)
    torch.testing.assert_close(
        fuse_probabilities(outputs, {"rgb": 1, "pose": 3})["fused"], 0.25 * rgb + 0.75 * pose
    )
    torch.testing.assert_close(fuse_probabilities(outputs, {"rgb": 0, "pose": 2})["fused"], pose)


def test_fusion_computes_in_float32_and_sums_to_one():
    outputs = {
        name: PathwayOutput(torch.randn(8, 50).half(), None, torch.zeros(1)) for name in ("rgb", "pose")
    }
    for p in fuse_probabilities(outputs).values():
        assert p.dtype == torch.float32
        torch.testing.assert_close(p.sum(1), torch.ones(8))


def test_one_pathway_is_its_own_fusion():
    outputs = pose_only(4, 5, width=2, blocks=(1, 1, 1)).eval()({"pose": torch.rand(2, 5, 4, 8, 8)})
    fused = fuse_probabilities(outputs)
    assert torch.equal(fused["fused"], fused["pose"])


@pytest.mark.parametrize("weights", [{"rgb": 1.0}, {"rgb": 0.0, "pose": 0.0}, {"rgb": -1.0, "pose": 2.0}])
def test_wrong_weights_are_explained(weights):
    outputs = {"rgb": output([[1.0]]), "pose": output([[1.0]])}
    with pytest.raises(MgkitError, match=r"weight"):
        fuse_probabilities(outputs, weights)


def test_weights_that_are_not_finite_are_refused():
    outputs = {name: PathwayOutput(torch.zeros(1, 2), None, torch.zeros(1)) for name in ("rgb", "pose")}
    for wrong in (float("inf"), float("nan")):
        with pytest.raises(MgkitError, match="must be finite"):
            fuse_probabilities(outputs, {"rgb": wrong, "pose": 1.0})
