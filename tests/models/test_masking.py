from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mgkit.data.batches.spec import Inputs
from mgkit.data.skeletons import get_skeleton
from mgkit.errors import MgkitError
from mgkit.models.heads import PathwayOutput
from mgkit.models.masking import (
    hidden_joints,
    hidden_tubes,
    masked_error,
    masked_frames,
    masked_keypoints,
    moved,
    patches,
    placed,
)
from mgkit.parts import Part, part

LAYOUT = get_skeleton("coco17")
STGCN = part("mgkit.models.gcns.stgcn:stgcn", width=4, blocks=(1, 1))
RGB = part("mgkit.models.builders:rgb_resnet", rgb_width=4, rgb_blocks=(1, 1, 1, 1))
POINTS = Inputs(reads=("keypoints",), pose_frames=10, persons=2).on(LAYOUT)
FRAMES = Inputs(reads=("frames",), rgb_frames=4, rgb_size=32, pose_frames=8)


def points(clips: int = 3, seed: int = 0) -> Tensor:
    """(N, 2, 10, 17, 3), every seventh joint not seen."""
    x = torch.rand(clips, 2, 10, 17, 3, generator=torch.Generator().manual_seed(seed)) - 0.5
    return x * (torch.arange(x[..., 0].numel()).view(x.shape[:4]) % 7 > 0)[..., None]


def embedding_net(classes: int, inputs: Any, *, generator: Any = None) -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.classify = nn.Linear(2 * 17 * 3, 5), nn.Linear(5, classes)

        def forward(self, inputs: Any) -> Any:
            z = self.embed(inputs["pose"].mean(2).flatten(1))
            return {"pose": PathwayOutput(self.classify(z), z)}

    return Net()


def slow_targets(points: Tensor, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Targets and what there is of them, clip by clip and joint by joint."""
    n, persons, times, joints, _ = points.shape
    values, there = np.zeros((n, persons, times, joints, 2)), np.zeros((n, persons, times, joints), bool)
    x = points.numpy()
    for i in range(n):
        seen = [
            (m, t, v)
            for m in range(persons)
            for t in range(times)
            for v in range(joints)
            if x[i, m, t, v].any()
        ]
        middle = np.mean([x[(i, *at)][:2] for at in seen], axis=0)
        for m, t, v in seen:
            if kind == "place":
                values[i, m, t, v], there[i, m, t, v] = x[i, m, t, v, :2] - middle, True
            elif t + 1 < times and x[i, m, t + 1, v].any():
                values[i, m, t, v] = x[i, m, t + 1, v, :2] - x[i, m, t, v, :2]
                there[i, m, t, v] = True
        values[i] /= np.sqrt((values[i][there[i]] ** 2).mean()) + 1e-6
    return values, there


@pytest.mark.parametrize("kind", ["place", "motion"])
def test_targets_are_those_of_a_loop(kind: str) -> None:
    x = points()
    values, there = (moved if kind == "motion" else placed)(x, x.any(-1))
    slow, slow_there = slow_targets(x, kind)
    np.testing.assert_array_equal(there.numpy(), slow_there)
    np.testing.assert_allclose(values.numpy(), slow, atol=1e-4)


def test_the_error_is_that_of_what_is_hidden_and_was_seen() -> None:
    model = masked_keypoints(3, POINTS, network=STGCN, generator=torch.Generator().manual_seed(0)).train()
    given: list[Tensor] = []
    model.network.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]["pose"]))
    guesses: list[Tensor] = []
    real = model._decoded
    model._decoded = lambda *a: guesses.append(real(*a)) or guesses[-1]  # type: ignore[method-assign,func-returns-value]
    x = points()
    torch.manual_seed(5)
    outputs = model({"pose": x})
    torch.manual_seed(5)
    hidden = hidden_joints(x.shape[:4], 0.5, 0.2, 8)
    assert torch.equal(given[0], x.masked_fill(hidden[..., None], 0))
    wanted = np.zeros(3)
    for j, kind in enumerate(("place", "motion")):
        values, there = slow_targets(x, kind)
        for i in range(3):
            at = hidden[i].numpy() & there[i]
            guess = guesses[0][i, ..., 2 * j : 2 * j + 2].detach().numpy()
            wanted[i] += ((guess - values[i]) ** 2).mean(-1)[at].mean() / 2
    error = masked_error(outputs, torch.zeros(3))["pose"]
    np.testing.assert_allclose(error.detach().numpy(), wanted, rtol=1e-4)
    error.sum().backward()
    weights = dict(model.network.get_submodule("backbones").named_parameters())
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in weights.values())


def test_nothing_is_hidden_in_evaluation_and_the_embedding_is_the_mean_of_the_features() -> None:
    model = masked_keypoints(3, POINTS, network=STGCN).eval()
    x = points()
    output, plain = model({"pose": x})["pose"], model.network({"pose": x})["pose"]
    assert torch.equal(output.logits, plain.logits)
    torch.testing.assert_close(output.embedding, plain.features.mean((2, 3, 4)))
    assert not output.auxiliary["error"].any()


def test_clips_of_which_nothing_is_seen_or_moves_have_an_error_that_is_finite() -> None:
    model = masked_keypoints(3, POINTS, network=STGCN).train()
    x = points(4)
    x[0], x[1] = 0, x[1, :, :1]
    assert model({"pose": x})["pose"].auxiliary["error"].isfinite().all()


def test_hidden_joints_come_in_spans_and_shares() -> None:
    torch.manual_seed(0)
    hidden = hidden_joints((200, 1, 10, 20), 0.3, 0.0, 4)
    assert hidden.shape == (200, 1, 10, 20)
    assert abs(hidden.float().mean() - 0.3) < 0.02
    for first, last in ((0, 4), (4, 8), (8, 10)):
        assert (hidden[:, :, first:last] == hidden[:, :, first : first + 1]).all()
    frames = hidden_joints((500, 2, 8, 5), 0.0, 0.25, 4)
    assert (frames == frames[:, :1, :, :1]).all()
    assert abs(frames.float().mean() - 0.25) < 0.04


@pytest.mark.parametrize("network", [STGCN, part(embedding_net)])
def test_any_network_of_key_points_learns_what_is_hidden(network: Part) -> None:
    """A clip of which half the joints repeat the other half can be predicted much better than by the mean."""
    torch.manual_seed(0)
    model = masked_keypoints(
        3, POINTS, network=network, targets=("place",), hide_joints=0.3, hide_frames=0.0
    ).train()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    x = points(8)
    x[..., :8, :], x[..., 16, :] = x[..., 8:16, :], 0
    errors = []
    for _ in range(16):
        optimizer.zero_grad()
        error = model({"pose": x})["pose"].auxiliary["error"].mean()
        error.backward()
        optimizer.step()
        errors.append(float(error.detach()))
    assert np.mean(errors[-4:]) < 0.97 * np.mean(errors[:4])


def test_patches_are_cubes_normalised_channel_by_channel() -> None:
    x = torch.rand(2, 3, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    found = patches(x, 3, 2)
    assert found.shape == (2, 2, 2, 2, 2 * 3 * 3 * 3)
    for i, t, row, column in np.ndindex(2, 2, 2, 2):
        cube = x[i, :, 2 * t : 2 * t + 2, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
        values = torch.stack([(c - c.mean()) / (c.var() + 1e-6).sqrt() for c in cube], -1)
        torch.testing.assert_close(found[i, t, row, column], values.flatten())


def test_tubes_hide_the_same_number_of_patches_in_all_frames_of_each_clip() -> None:
    hidden = hidden_tubes(50, 4, 0.75)
    assert (hidden.sum((1, 2)) == 12).all()
    assert len({tuple(one.flatten().tolist()) for one in hidden}) > 40


def test_the_error_of_frames_is_that_of_the_hidden_patches() -> None:
    model = masked_frames(3, FRAMES, network=RGB, patch=8, share=0.5).train()
    x = torch.rand(3, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    given: list[Tensor] = []
    model.network.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]["rgb"]))
    nn.init.zeros_(model.decoder[2].weight)  # always guesses the mean, which is 0
    torch.manual_seed(1)
    error = model({"rgb": x})["rgb"].auxiliary["error"]
    torch.manual_seed(1)
    hidden = hidden_tubes(3, 4, 0.5)
    shown = given[0].reshape(3, 3, 4, 4, 8, 4, 8).abs().amax((1, 2, 4, 6)) > 0  # (N, g, g)
    assert torch.equal(shown, ~hidden)
    wanted = patches(x, 8, 2).square().mean(-1).permute(0, 2, 3, 1)[hidden].view(3, -1).mean(1)
    torch.testing.assert_close(error, wanted)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hide_joints": 1.2}, "shares"),
        ({"hide_joints": 0.0, "hide_frames": 0.0}, "not both 0"),
        ({"span": 0}, "1 or more"),
        ({"targets": ("speed",)}, "'place', 'motion'"),
        ({"targets": ()}, "targets is"),
    ],
)
def test_settings_that_hide_or_predict_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(MgkitError, match=message):
        masked_keypoints(3, POINTS, network=STGCN, **settings)


def test_frames_that_patches_do_not_divide_are_refused() -> None:
    with pytest.raises(MgkitError, match="multiple of patch"):
        masked_frames(3, FRAMES, network=RGB, patch=12)
    with pytest.raises(MgkitError, match="nothing to predict"):
        masked_frames(3, FRAMES, network=RGB, patch=16, share=0.9)
    with pytest.raises(MgkitError, match="reads frames"):
        masked_frames(3, POINTS, network=RGB)
    with pytest.raises(MgkitError, match="reads keypoints"):
        masked_keypoints(3, FRAMES, network=STGCN)


def test_a_video_transformer_sees_the_visible_tokens_alone_and_predicts_the_others() -> None:
    pytest.importorskip("transformers")
    network = part("mgkit.models.vits.videomae:videomae", width=12, blocks=2, heads=2, patch=8, drop_path=0.0)
    generator = torch.Generator().manual_seed(0)
    model = masked_frames(
        3, FRAMES, network=network, patch=8, share=0.5, width=32, generator=generator
    ).train()
    seen: list[Tensor] = []
    fill, positions = model.get_submodule("fill"), model.get_buffer("positions")
    fill.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0] - positions))
    x = torch.rand(2, 3, 4, 32, 32, generator=generator)
    torch.manual_seed(3)
    hidden = hidden_tubes(2, 4, 0.5)
    pixels = hidden.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, None, None]
    errors = []
    for given in (x, torch.where(pixels, torch.rand(x.shape, generator=generator), x)):
        torch.manual_seed(3)
        errors.append(model({"rgb": given})["rgb"].auxiliary["error"])
    torch.testing.assert_close(seen[0], seen[1])  # what is hidden is not looked at
    assert not torch.allclose(errors[0], errors[1])  # but predicted
    masks = seen[0][hidden[:, None].expand(-1, 2, -1, -1).flatten(1)]
    torch.testing.assert_close(masks, torch.zeros_like(masks), atol=1e-6, rtol=0)  # the mask begins as 0
    guess = model.decoder(fill(seen[0] + positions)).view(2, 2, 4, 4, -1)
    wanted = (guess - patches(x, 8, 2)).square().mean(-1).permute(0, 2, 3, 1)[hidden].view(2, -1).mean(1)
    torch.testing.assert_close(errors[0], wanted)
    errors[0].sum().backward()
    weights = model.network.get_submodule("backbones.rgb.encoder").parameters()
    assert all(p.grad is not None for p in weights)
    with pytest.raises(MgkitError, match="patches have 8 pixels"):
        masked_frames(3, FRAMES, network=network, patch=16, share=0.5)
