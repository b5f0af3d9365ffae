from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mgkit.data.heatmaps import joint_heatmaps, limb_heatmaps

# The order of limbs in the published COCO heatmaps that the reference holds.
PUBLISHED_LIMBS = (
    (0, 1), (0, 2), (1, 3), (2, 4), (0, 5), (5, 7), (7, 9), (0, 6), (6, 8), (8, 10), (5, 11), (11, 13), (13, 15),
    (6, 12), (12, 14), (14, 16), (11, 12),
)  # fmt: skip


def _reference(folder: Path, name: str) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
    arrays = dict(np.load(folder / "transforms.npz"))
    points = np.concatenate([arrays[f"{name}_kp"], arrays[f"{name}_score"][..., None]], axis=-1)
    return torch.from_numpy(points)[None], arrays


@pytest.mark.parametrize("size", [56, 64])
@pytest.mark.parametrize("persons", [1, 2])
def test_joint_maps_equal_the_published_ones(reference_dir: Path, size: int, persons: int) -> None:
    name = f"hm{size}_m{persons}"
    points, arrays = _reference(reference_dir, name)
    for sigma, suffix in ((0.6, "joint"), (0.7, "joint_s07")):
        maps = joint_heatmaps(points, size=(size, size), sigma=sigma, centre=0, cut_sigma=3)
        np.testing.assert_allclose(maps[0].transpose(0, 1), arrays[f"{name}_{suffix}"], atol=1e-5)


def test_limb_maps_equal_the_published_ones(reference_dir: Path) -> None:
    points, arrays = _reference(reference_dir, "hm56_m1")
    maps = limb_heatmaps(points, PUBLISHED_LIMBS, size=(56, 56), sigma=0.6, centre=0, cut_sigma=3)[
        0
    ].transpose(0, 1)
    wrong = np.abs(maps.numpy() - arrays["hm56_m1_limb"]).max(axis=(2, 3)) > 1e-5
    # The published code draws a limb shorter than a pixel as its first joint; ours stays a limb.
    x, y = points[0, 0, ..., 0], points[0, 0, ..., 1]
    first, second = torch.tensor(PUBLISHED_LIMBS).T
    short = ((x[:, first] - x[:, second]) ** 2 + (y[:, first] - y[:, second]) ** 2 < 1).numpy()
    assert not (wrong & ~short).any()
    assert wrong.sum() <= 2


def test_joint_maps_equal_a_loop_over_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand((2, 2, 3, 4, 3), generator=generator) * torch.tensor([10.0, 8.0, 1.0])
    points[0, 0, 1, 2] = torch.nan
    maps = joint_heatmaps(points, size=(8, 10), sigma=0.7)
    assert maps.shape == (2, 4, 3, 8, 10)
    for n, v, t, row, column in np.ndindex(2, 4, 3, 8, 10):
        best = 0.0
        for x, y, score in points[n, :, t, v].tolist():
            if np.isfinite(x):
                square = (column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2
                best = max(best, score * np.exp(-square / (2 * 0.7**2)))
        assert maps[n, v, t, row, column] == pytest.approx(best, abs=1e-6)


def test_limb_maps_equal_a_loop_over_pixels() -> None:
    generator = torch.Generator().manual_seed(1)
    points = torch.rand((1, 2, 2, 3, 3), generator=generator) * torch.tensor([9.0, 7.0, 1.0])
    points[0, 1, 0, 0] = torch.nan
    edges = ((0, 1), (1, 2))
    maps = limb_heatmaps(points, edges, size=(7, 9), sigma=0.8)
    for e, t, row, column in np.ndindex(2, 2, 7, 9):
        best = 0.0
        for person in range(2):
            a, b = points[0, person, t, edges[e][0]].numpy(), points[0, person, t, edges[e][1]].numpy()
            if not (np.isfinite(a).all() and np.isfinite(b).all()):
                continue
            p = np.array([column + 0.5, row + 0.5])
            along = np.clip((p - a[:2]) @ (b[:2] - a[:2]) / ((b[:2] - a[:2]) @ (b[:2] - a[:2])), 0, 1)
            square = ((p - a[:2] - along * (b[:2] - a[:2])) ** 2).sum()
            best = max(best, min(a[2], b[2]) * np.exp(-square / (2 * 0.8**2)))
        assert maps[0, e, t, row, column] == pytest.approx(best, abs=1e-5)


def test_unseen_joints_and_score_zero_draw_nothing() -> None:
    points = torch.tensor([[[[[torch.nan] * 3, [4.0, 4.0, 0.0], [4.0, torch.nan, 1.0]]]]])
    assert joint_heatmaps(points, size=(8, 8)).abs().max() == 0
    assert limb_heatmaps(points, ((0, 1), (1, 2)), size=(8, 8)).abs().max() == 0


def test_two_joints_in_one_place_make_a_finite_limb() -> None:
    points = torch.tensor([[[[[4.0, 4.0, 1.0], [4.0, 4.0, 0.5]]]]])
    maps = limb_heatmaps(points, ((0, 1),), size=(8, 8))
    torch.testing.assert_close(maps, 0.5 * joint_heatmaps(points, size=(8, 8))[:, :1])
