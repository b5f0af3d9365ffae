import math

import pytest
import torch

from mgkit.errors import MgkitError
from mgkit.models import CrossModalFusion
from mgkit.models.fusion import CrossAttention
from mgkit.models.weights.load import from_mmaction2


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def slow_attention(module, queries, context, axis):
    """The definition, element by element, in float64."""
    n, t, c = queries.shape
    width = c // module.heads
    out = torch.zeros(n, t, c, dtype=torch.float64)
    for clip in range(n):
        q, k, v = (
            x @ layer.weight.double().T + layer.bias.double()
            for layer, x in (
                (module.query, queries[clip].double()),
                (module.key, context[clip].double()),
                (module.value, context[clip].double()),
            )
        )  # (T, C) each
        mixed = torch.zeros(t, c, dtype=torch.float64)
        for head in range(module.heads):
            columns = range(head * width, (head + 1) * width)
            if axis == "channel":
                for i in columns:
                    scores = torch.stack(
                        [sum(q[f, i] * k[f, j] for f in range(t)) / math.sqrt(t) for j in columns]
                    )
                    weights = scores.softmax(dim=0)
                    for f in range(t):
                        mixed[f, i] = sum(weights[n_] * v[f, j] for n_, j in enumerate(columns))
            else:
                for f in range(t):
                    scores = torch.stack(
                        [sum(q[f, j] * k[g, j] for j in columns) / math.sqrt(width) for g in range(t)]
                    )
                    weights = scores.softmax(dim=0)
                    for j in columns:
                        mixed[f, j] = sum(weights[g] * v[g, j] for g in range(t))
        out[clip] = mixed @ module.output.weight.double().T + module.output.bias.double()
    return out


@pytest.mark.parametrize("axis", ["channel", "time"])
@pytest.mark.parametrize("frames", [8, 5])
def test_attention_is_its_definition(axis, frames):
    module = CrossAttention(12, heads=3, axis=axis)
    with torch.no_grad():
        for p in module.parameters():
            p.normal_(generator=seeded(p.numel()))
        queries = torch.randn(2, frames, 12, generator=seeded(1))
        context = torch.randn(2, frames, 12, generator=seeded(2))
        expected = slow_attention(module, queries, context, axis)
        torch.testing.assert_close(module(queries, context).double(), expected, atol=1e-4, rtol=1e-4)


def einsum_fusion(state, rgb, pose, *, heads, axis, sequential, ratio, bounded=False, normalised=False):
    """Section 2.2, equations 1 to 3, from the bare weights: explicit heads, no convolution, no attention function."""
    w = {name: value.double() for name, value in state.items()}
    # A convolution of kernel and stride `ratio` sees each block of `ratio` frames once.
    blocks = pose.unflatten(2, (-1, ratio))  # (N, C2, T, ratio, H, W)
    rgb_tokens = torch.einsum("oc,ncthw->nothw", w["project_rgb.weight"][:, :, 0, 0, 0], rgb)
    pose_tokens = torch.einsum("ocr,nctrhw->nothw", w["project_pose.weight"][..., 0, 0], blocks)
    tokens = {}
    for name, x in (("rgb", rgb_tokens), ("pose", pose_tokens)):
        x = x + w[f"project_{name}.bias"][:, None, None, None]
        x = x.flatten(3).max(dim=3).values.transpose(1, 2)  # (N, T, C')
        if normalised:
            middle = x.mean(2, keepdim=True)
            x = (x - middle) / (((x - middle) ** 2).mean(2, keepdim=True) + 1e-5).sqrt()
        tokens[name] = x

    def attend(name, queries, context):
        q, k, v = (
            torch.einsum("oc,ntc->nto", w[f"attend_{name}.{layer}.weight"], x) + w[f"attend_{name}.{layer}.bias"]
            for layer, x in (("query", queries), ("key", context), ("value", context))
        )  # fmt: skip
        width = q.shape[2] // heads
        results = []
        for head in range(heads):
            mine = slice(head * width, (head + 1) * width)
            if axis == "channel":
                scores = torch.einsum("nti,ntj->nij", q[..., mine], k[..., mine]) / math.sqrt(q.shape[1])
            else:
                scores = torch.einsum("nfc,ngc->nfg", q[..., mine], k[..., mine]) / math.sqrt(width)
            weights = scores.exp() / scores.exp().sum(dim=2, keepdim=True)
            by = "nij,ntj->nti" if axis == "channel" else "nfg,ngc->nfc"
            results.append(torch.einsum(by, weights, v[..., mine]))
        mixed = torch.cat(results, dim=2)
        return (
            torch.einsum("oc,ntc->nto", w[f"attend_{name}.output.weight"], mixed)
            + w[f"attend_{name}.output.bias"]
        )

    rgb_new = attend("rgb", tokens["rgb"], tokens["pose"])
    pose_new = attend("pose", tokens["pose"], rgb_new if sequential else tokens["rgb"])
    gate_rgb = torch.einsum("oc,ntc->not", w["gate_rgb.weight"][:, :, 0, 0, 0], rgb_new)
    gate_pose = torch.einsum("cor,ntc->notr", w["gate_pose.weight"][..., 0, 0], pose_new).flatten(2)
    gates = [
        gate + w[f"gate_{name}.bias"][:, None] for name, gate in (("rgb", gate_rgb), ("pose", gate_pose))
    ]
    if bounded:
        gates = [2 / (1 + (-gate).exp()) - 1 for gate in gates]
    return tuple(x + x * gate[..., None, None] for x, gate in zip((rgb, pose), gates, strict=True))


@pytest.mark.parametrize("axis", ["channel", "time"])
@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("frames", [8, 3])
@pytest.mark.parametrize("options", [{}, {"bounded": True}, {"normalised": True}], ids=str)
def test_the_module_is_the_equations(axis, sequential, frames, options):
    module = CrossModalFusion(
        6,
        4,
        12,
        heads=3,
        axis=axis,
        sequential=sequential,
        zero_init_gates=False,
        generator=seeded(),
        **options,
    ).double()
    with torch.no_grad():
        for i, p in enumerate(module.parameters()):  # biases too
            p.normal_(std=0.5, generator=seeded(i))
    rgb = torch.randn(2, 6, frames, 5, 4, generator=seeded(1), dtype=torch.float64)
    pose = torch.randn(2, 4, 4 * frames, 5, 4, generator=seeded(2), dtype=torch.float64)
    expected = einsum_fusion(
        module.state_dict(), rgb, pose, heads=3, axis=axis, sequential=sequential, ratio=4, **options
    )
    for ours, theirs in zip(module(rgb, pose), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("axis", ["channel", "time"])
@pytest.mark.parametrize("sequential", [False, True])
def test_the_module_is_its_steps(axis, sequential):
    module = CrossModalFusion(
        6, 4, 8, heads=2, axis=axis, sequential=sequential, zero_init_gates=False, generator=seeded()
    )
    rgb, pose = (
        torch.randn(2, 6, 3, 5, 4, generator=seeded(1)),
        torch.randn(2, 4, 12, 5, 4, generator=seeded(2)),
    )
    rgb_tokens = module.project_rgb(rgb).flatten(3).max(dim=3).values.transpose(1, 2)
    pose_tokens = module.project_pose(pose).flatten(3).max(dim=3).values.transpose(1, 2)
    assert rgb_tokens.shape == pose_tokens.shape == (2, 3, 8)
    rgb_new = module.attend_rgb(rgb_tokens, pose_tokens)
    pose_new = module.attend_pose(pose_tokens, rgb_new if sequential else rgb_tokens)
    gate_rgb = module.gate_rgb(rgb_new.transpose(1, 2)[..., None, None])
    gate_pose = module.gate_pose(pose_new.transpose(1, 2)[..., None, None])
    assert gate_rgb.shape == (2, 6, 3, 1, 1)
    assert gate_pose.shape == (2, 4, 12, 1, 1)
    out_rgb, out_pose = module(rgb, pose)
    torch.testing.assert_close(out_rgb, rgb * (1 + gate_rgb))
    torch.testing.assert_close(out_pose, pose * (1 + gate_pose))


def test_sequential_changes_the_pose_direction_only():
    outputs = []
    for sequential in (False, True):
        module = CrossModalFusion(
            4, 4, 8, heads=2, sequential=sequential, zero_init_gates=False, generator=seeded()
        )
        outputs.append(module(torch.ones(1, 4, 2, 3, 3), torch.randn(1, 4, 8, 3, 3, generator=seeded(1))))
    assert torch.equal(outputs[0][0], outputs[1][0])
    assert not torch.allclose(outputs[0][1], outputs[1][1])


@pytest.mark.parametrize("axis", ["channel", "time"])
def test_zero_gates_are_the_identity_and_can_leave_it(axis):
    module = CrossModalFusion(6, 4, 8, heads=2, axis=axis)
    rgb, pose = torch.randn(2, 6, 3, 5, 5), torch.randn(2, 4, 12, 5, 5)
    out = module(rgb, pose)
    assert torch.equal(out[0], rgb)
    assert torch.equal(out[1], pose)
    (out[0].square().sum() + out[1].square().sum()).backward()
    assert module.gate_rgb.weight.grad.abs().sum() > 0
    assert module.gate_pose.weight.grad.abs().sum() > 0


def test_the_axes_share_their_parameters():
    a, b = (CrossModalFusion(6, 4, 8, heads=2, axis=axis).state_dict() for axis in ("channel", "time"))
    assert {k: v.shape for k, v in a.items()} == {k: v.shape for k, v in b.items()}


def test_full_size_parameter_count():
    with torch.device("meta"):
        module = CrossModalFusion(512, 128, 128)
    projections = 512 * 128 + 128 + 4 * 128 * 128 + 128
    gates = 128 * 512 + 512 + 4 * 128 * 128 + 128
    attention = 2 * 4 * (128 * 128 + 128)
    assert sum(p.numel() for p in module.parameters()) == projections + gates + attention


def test_non_zero_gates_follow_torchs_default_bounds():
    module = CrossModalFusion(8, 4, 16, zero_init_gates=False, generator=seeded())
    bound = 1 / math.sqrt(16)  # 1 / sqrt(fan in), torch's default for a convolution's weight and bias
    assert 0 < module.gate_rgb.weight.abs().max() <= bound
    assert 0 < module.gate_rgb.bias.abs().max() <= bound


def test_matches_the_published_module(reference_dir):
    reference = torch.load(reference_dir / "cmf_tiny.pt", weights_only=True)
    config = reference["config"]
    module = CrossModalFusion(
        config["rgb"], config["pose"], config["hidden"], heads=config["heads"], axis="time", sequential=True
    )
    state, report = from_mmaction2(reference["state_dict"], module)
    assert not report.left
    assert not report.initialised
    module.load_state_dict(state)
    rgb, pose = module(*reference["inputs"])
    torch.testing.assert_close(rgb, reference["eval"]["rgb"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(pose, reference["eval"]["pose"], atol=1e-5, rtol=1e-5)


def test_wrong_arguments_are_explained():
    with pytest.raises(MgkitError, match="8 attention heads do not divide the hidden width 12"):
        CrossModalFusion(6, 4, 12)
    with pytest.raises(MgkitError, match="'space'"):
        CrossAttention(8, axis="space")
    with pytest.raises(MgkitError, match="got 12 pose and 2 RGB frames"):
        CrossModalFusion(6, 4, 8)(torch.zeros(1, 6, 2, 3, 3), torch.zeros(1, 4, 12, 3, 3))


def test_held_back_it_has_the_same_weights_and_is_the_identity_at_first():
    options = {"bounded": True, "normalised": True, "attention_dropout": 0.5, "rate": 0.1}
    module, plain = CrossModalFusion(6, 4, 8, heads=2, **options), CrossModalFusion(6, 4, 8, heads=2)
    assert module.state_dict().keys() == plain.state_dict().keys()
    rgb, pose = (
        torch.randn(2, 6, 3, 5, 4, generator=seeded(1)),
        torch.randn(2, 4, 12, 5, 4, generator=seeded(2)),
    )
    assert all(torch.equal(out, x) for out, x in zip(module(rgb, pose), (rgb, pose), strict=True))
    with torch.no_grad():
        for p in module.parameters():
            p.normal_(std=3, generator=seeded(p.numel()))
    for out, x in zip(module(rgb, pose), (rgb, pose), strict=True):
        assert ((out / x >= -1e-5) & (out / x <= 2 + 1e-5)).all()
    assert not torch.equal(module(rgb, pose)[0], module(rgb, pose)[0])  # parts of the map are left out
    module.eval()
    assert torch.equal(module(rgb, pose)[0], module(rgb, pose)[0])
    for wrong in ({"rate": 0.0}, {"attention_dropout": 1.0}):
        with pytest.raises(MgkitError, match="attention_dropout is"):
            CrossModalFusion(6, 4, 8, heads=2, **wrong)
