from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mgkit.data.batches import pose as heatmaps
from mgkit.data.batches.pose import joint_heatmaps, limb_heatmaps
from mgkit.data.skeletons import get_skeleton

# The order of limbs in the published COCO heatmaps that the reference holds.
PUBLISHED_LIMBS = (
    (0, 1), (0, 2), (1, 3), (2, 4), (0, 5), (5, 7), (7, 9), (0, 6), (6, 8), (8, 10), (5, 11), (11, 13), (13, 15),
    (6, 12), (12, 14), (14, 16), (11, 12),
)  # fmt: skip


def _reference(folder: Path, name: str) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
    arrays = dict(np.load(folder / "transforms.npz"))
    points = np.concatenate([arrays[f"{name}_kp"], arrays[f"{name}_score"][..., None]], axis=-1)
    return torch.from_numpy(points)[None], arrays


@pytest.mark.slow
@pytest.mark.parametrize("size", [56, 64])
@pytest.mark.parametrize("persons", [1, 2])
def test_joint_maps_equal_the_published_ones(reference_dir: Path, size: int, persons: int) -> None:
    name = f"hm{size}_m{persons}"
    points, arrays = _reference(reference_dir, name)
    for sigma, suffix in ((0.6, "joint"), (0.7, "joint_s07")):
        maps = joint_heatmaps(points, size=(size, size), sigma=sigma, centre=0, cut_sigma=3)
        np.testing.assert_allclose(maps[0].transpose(0, 1), arrays[f"{name}_{suffix}"], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("size", [56, 64])
@pytest.mark.parametrize("persons", [1, 2])
def test_limb_maps_equal_the_published_ones(reference_dir: Path, size: int, persons: int) -> None:
    name = f"hm{size}_m{persons}"
    points, arrays = _reference(reference_dir, name)
    maps = limb_heatmaps(points, PUBLISHED_LIMBS, size=(size, size), sigma=0.6, centre=0, cut_sigma=3)
    wrong = np.abs(maps[0].transpose(0, 1).numpy() - arrays[f"{name}_limb"]).max(axis=(2, 3)) > 1e-5
    # The published code draws a limb shorter than a pixel as its first joint; ours stays a limb.
    x, y = points[0, ..., 0], points[0, ..., 1]
    first, second = torch.tensor(PUBLISHED_LIMBS).T
    short = ((x[..., first] - x[..., second]) ** 2 + (y[..., first] - y[..., second]) ** 2 < 1).any(0).numpy()
    assert not (wrong & ~short).any()
    assert wrong.sum() <= 2


def test_maps_of_a_quarter_of_the_size_equal_the_published_ones(reference_dir: Path) -> None:
    points, arrays = _reference(reference_dir, "hm_scaling")
    points[..., :2] *= 56 / 224
    maps = joint_heatmaps(points, size=(56, 56), sigma=0.7, centre=0, cut_sigma=3)
    np.testing.assert_allclose(maps[0].transpose(0, 1), arrays["hm_scaling"], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("run", [0, 1])
def test_maps_at_the_end_of_the_published_pipeline(reference_dir: Path, run: int) -> None:
    """Its key-points after sampling, crop, resize and flip, which moves the scores of left and right too."""
    arrays = dict(np.load(reference_dir / "transforms.npz"))
    scores = arrays["pipe_score"][:, arrays[f"pipe{run}_inds"]]
    if arrays[f"pipe{run}_flip"]:
        scores = scores[:, :, get_skeleton("coco17").flip_index]
    points = np.concatenate([arrays[f"pipe{run}_7_GeneratePoseTarget_kp"], scores[..., None]], axis=-1)
    maps = joint_heatmaps(torch.from_numpy(points)[None], size=(56, 56), sigma=0.6, centre=0, cut_sigma=3)
    np.testing.assert_allclose(maps, arrays[f"pipe{run}_imgs"], atol=1e-5)


def ugly_points(persons: int, frames: int, joints: int, size: tuple[int, int], seed: int) -> torch.Tensor:
    """(2, M, T, V, 3) in and around a map, with unseen and half-seen joints, zero scores and joints far outside."""
    generator = torch.Generator().manual_seed(seed)
    high = torch.tensor([size[1] + 6.0, size[0] + 6.0, 1.0])
    points = torch.rand((2, persons, frames, joints, 3), generator=generator) * high
    points[..., :2] -= 3
    kind = torch.randint(0, 12, points.shape[:-1], generator=generator)
    points[kind == 0] = torch.nan
    points[..., 0][kind == 1] = torch.nan
    points[..., 1][kind == 2] = torch.inf
    points[..., 2][kind == 3] = 0
    points[..., 2][kind == 4] = torch.nan
    points[..., :2][kind == 5] *= 1000
    points[..., :2][kind == 6] = points[0, 0, 0, 0, :2].nan_to_num(3.0, 3.0)  # limbs of no length
    return points


def slow_map(ends: list[np.ndarray], size: tuple[int, int], sigma: float, centre: float, cut: float | None):
    """One map of a joint (one end) or a limb (two), pixel by pixel from the definition, in double precision."""
    out = np.zeros(size)
    ends = [np.asarray(end, np.float64) for end in ends]
    if not all(np.isfinite(end).all() for end in ends):
        return out
    a, b, peak = ends[0][:2], ends[-1][:2], min(end[2] for end in ends)
    low, high = np.minimum(a, b), np.maximum(a, b)
    for row, column in np.ndindex(size):
        p = np.array([column, row]) + centre
        if cut is not None:
            reach = cut * sigma
            if (p < np.trunc(low - reach)).any() or (p >= np.trunc(high + reach) + 1).any():
                continue
        length = (b - a) @ (b - a)
        along = np.clip((p - a) @ (b - a) / length, 0, 1) if length else 0.0
        out[row, column] = peak * np.exp(-(((p - a - along * (b - a)) ** 2).sum()) / (2 * sigma**2))
    return out


EDGES = ((0, 1), (1, 2), (3, 0))


@pytest.mark.slow
@pytest.mark.parametrize("cut", [None, 3, 1.5])
@pytest.mark.parametrize("centre", [0.0, 0.5])
@pytest.mark.parametrize("persons", [1, 3])
def test_maps_equal_a_loop_over_pixels(cut: float | None, centre: float, persons: int) -> None:
    size, sigma = (9, 12), 0.7
    points = ugly_points(persons, 3, 4, size, seed=persons)
    options = {"size": size, "sigma": sigma, "centre": centre, "cut_sigma": cut}
    joints, limbs = joint_heatmaps(points, **options), limb_heatmaps(points, EDGES, **options)
    assert joints.shape == (2, 4, 3, *size)
    assert limbs.shape == (2, 3, 3, *size)
    for maps, parts in ((joints, [(v,) for v in range(4)]), (limbs, EDGES)):
        for n, t in np.ndindex(2, 3):
            for channel, part in enumerate(parts):
                people = points[n, :, t].numpy()
                expected = np.max(
                    [slow_map([person[v] for v in part], size, sigma, centre, cut) for person in people],
                    axis=0,
                )
                np.testing.assert_allclose(maps[n, channel, t], expected, atol=1e-5)


@pytest.mark.parametrize("draw", [joint_heatmaps, lambda points, **o: limb_heatmaps(points, EDGES, **o)])
def test_any_batch_gives_the_same_maps(draw, monkeypatch: pytest.MonkeyPatch) -> None:
    points = ugly_points(2, 5, 4, (9, 12), seed=0)
    whole = draw(points, size=(9, 12))
    assert whole.dtype == torch.float32
    assert whole.is_contiguous(memory_format=torch.channels_last_3d)
    monkeypatch.setattr(heatmaps, "_CHUNK", 1)
    assert torch.equal(draw(points, size=(9, 12)), whole)
    assert torch.equal(draw(points[1:, :, 2:], size=(9, 12)), whole[1:, :, 2:])
    assert torch.equal(draw(points.flip(1), size=(9, 12)), whole)
    strange = points.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(draw(strange, size=(9, 12)), whole)


@pytest.mark.parametrize("draw", [joint_heatmaps, lambda points, **o: limb_heatmaps(points, EDGES, **o)])
def test_half_precision_around_them_changes_nothing(draw) -> None:
    points = ugly_points(1, 3, 4, (56, 56), seed=2)
    expected = draw(points, size=(56, 56))
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            assert torch.equal(draw(points, size=(56, 56)), expected)
        rounded = points.to(dtype)
        assert torch.equal(draw(rounded, size=(56, 56)), draw(rounded.float(), size=(56, 56)))
    assert torch.equal(draw(points.double(), size=(56, 56)), expected)
    assert not draw(points.clone().requires_grad_(), size=(56, 56)).requires_grad


@pytest.mark.parametrize("shape", [(0, 1, 4, 4, 3), (2, 0, 4, 4, 3), (2, 1, 0, 4, 3)])
def test_empty_batches(shape: tuple[int, ...]) -> None:
    points = torch.ones(shape)
    for maps, channels in (
        (joint_heatmaps(points, size=(5, 6)), 4),
        (limb_heatmaps(points, EDGES, size=(5, 6)), 3),
        (limb_heatmaps(points, (), size=(5, 6)), 0),
    ):
        assert maps.shape == (shape[0], channels, shape[2], 5, 6)
        assert (maps == 0).all()


def test_far_away_is_exactly_nothing() -> None:
    points = torch.tensor([[[[[40.0, 4.0, 1.0], [4.0, -40.0, 1.0], [1e30, 1e30, 1.0]]]]])
    assert joint_heatmaps(points, size=(8, 8)).abs().max() == 0
    assert limb_heatmaps(points, ((0, 0), (1, 1)), size=(8, 8)).abs().max() == 0
    assert limb_heatmaps(points, ((0, 2), (1, 2)), size=(8, 8)).isfinite().all()


def test_unseen_joints_and_score_zero_draw_nothing() -> None:
    points = torch.tensor([[[[[torch.nan] * 3, [4.0, 4.0, 0.0], [4.0, torch.nan, 1.0]]]]])
    assert joint_heatmaps(points, size=(8, 8)).abs().max() == 0
    assert limb_heatmaps(points, ((0, 1), (1, 2)), size=(8, 8)).abs().max() == 0


def test_two_joints_in_one_place_make_a_finite_limb() -> None:
    points = torch.tensor([[[[[4.0, 4.0, 1.0], [4.0, 4.0, 0.5]]]]])
    maps = limb_heatmaps(points, ((0, 1),), size=(8, 8))
    torch.testing.assert_close(maps, 0.5 * joint_heatmaps(points, size=(8, 8))[:, :1])


@pytest.mark.parametrize("draw", [joint_heatmaps, lambda points, **o: limb_heatmaps(points, EDGES, **o)])
@pytest.mark.parametrize("cut", [None, 3])
def test_values_are_zero_or_far_from_denormal(
    draw, cut: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Denormal numbers make the convolutions after a map many times slower; what is cut, no peak of 1 would feel."""
    lost, slow = 0.0, 0
    for seed, sigma in enumerate((0.3, 0.6, 0.7, 2.0, 5.0)):
        points = ugly_points(2, 20, 4, (30, 40), seed=seed)
        powers = torch.rand(points.shape[:-1], generator=torch.Generator().manual_seed(seed)) * 42
        points[:, :, ::2, ..., 2] *= 10 ** -powers[:, :, ::2]  # scores down to denormal ones
        maps = draw(points, size=(30, 40), sigma=sigma, cut_sigma=cut)
        assert maps[maps != 0].min() > 1e-15
        with monkeypatch.context() as context:
            context.setattr(heatmaps, "_NEGLIGIBLE", 1e-34)
            whole = draw(points, size=(30, 40), sigma=sigma, cut_sigma=cut)
        slow += int(((whole > 0) & (whole < torch.finfo(torch.float32).tiny)).sum())
        lost = max(lost, float((maps - whole).abs().max()))
    assert slow or cut or draw is not joint_heatmaps, "without the tails cut there are such numbers"
    assert lost <= 2**-24
