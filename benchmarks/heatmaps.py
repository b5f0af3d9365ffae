"""How fast heatmaps are drawn on one processor core, against NumPy.

    python benchmarks/heatmaps.py

Baselines, written from the definition: a loop over frames and joints that draws a patch of 3 sigma (what published
pipelines do), and whole frames by broadcasting. Ours draws a batch and includes the layout that the network wants
(channels_last_3d); the published loop leaves that, and the stacking of clips, to others. Times are processor time.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor

from benchmarks.timing import interleaved, line, machine
from mgkit.data.batches.pose import joint_heatmaps, limb_heatmaps
from mgkit.data.skeletons import get_skeleton

Drawing = Callable[[np.ndarray, int, float], np.ndarray]


def patch(low: float, high: float, size: int, reach: float) -> np.ndarray:
    return np.arange(max(int(low - reach), 0), max(min(int(high + reach) + 1, size), 0), dtype=np.float32)


def loop_joints(points: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """(M, T, V, 3) to (T, V, size, size), patch by patch."""
    _, frames, joints, _ = points.shape
    maps = np.zeros((frames, joints, size, size), np.float32)
    for t in range(frames):
        for v in range(joints):
            for x, y, score in points[:, t, v]:
                if not score > 0:
                    continue
                columns, rows = patch(x, x, size, 3 * sigma), patch(y, y, size, 3 * sigma)[:, None]
                if not (columns.size and rows.size):
                    continue
                value = score * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
                part = maps[
                    t, v, int(rows[0, 0]) : int(rows[-1, 0]) + 1, int(columns[0]) : int(columns[-1]) + 1
                ]
                np.maximum(part, value, out=part)
    return maps


def whole_joints(points: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """(M, T, V, 3) to (T, V, size, size), whole frames by broadcasting."""
    pixels = np.arange(size, dtype=np.float32)
    x, y, score = (points[..., i, None, None] for i in range(3))
    maps = np.exp(-((pixels - x) ** 2 + (pixels[:, None] - y) ** 2) / (2 * np.float32(sigma) ** 2)) * score
    return maps.max(axis=0) if len(maps) > 1 else maps[0]


def loop_limbs(edges: tuple, points: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """(M, T, V, 3) to (T, E, size, size): the distance to each segment, in a patch around it."""
    frames = points.shape[1]
    maps = np.zeros((frames, len(edges), size, size), np.float32)
    for t in range(frames):
        for e, (first, second) in enumerate(edges):
            for person in points[:, t]:
                a, b = person[first], person[second]
                peak = min(a[2], b[2])
                if not peak > 0:
                    continue
                columns = patch(min(a[0], b[0]), max(a[0], b[0]), size, 3 * sigma)
                rows = patch(min(a[1], b[1]), max(a[1], b[1]), size, 3 * sigma)[:, None]
                if not (columns.size and rows.size):
                    continue
                dx, dy = b[:2] - a[:2]
                along = ((columns - a[0]) * dx + (rows - a[1]) * dy) / max(dx * dx + dy * dy, 1e-12)
                along = np.clip(along, 0, 1)
                square = (columns - a[0] - along * dx) ** 2 + (rows - a[1] - along * dy) ** 2
                value = peak * np.exp(-square / (2 * sigma**2))
                part = maps[
                    t, e, int(rows[0, 0]) : int(rows[-1, 0]) + 1, int(columns[0]) : int(columns[-1]) + 1
                ]
                np.maximum(part, value, out=part)
    return maps


def whole_limbs(edges: tuple, points: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """(M, T, V, 3) to (T, E, size, size), whole frames by broadcasting."""
    px = np.arange(size, dtype=np.float32)
    py = px[:, None]
    first, second = np.array(edges).T
    (ax, ay, sa), (bx, by, sb) = (
        [points[:, :, ends, i, None, None] for i in range(3)] for ends in (first, second)
    )
    dx, dy = bx - ax, by - ay
    along = np.clip(((px - ax) * dx + (py - ay) * dy) / np.maximum(dx**2 + dy**2, 1e-12), 0, 1)
    square = (px - ax - along * dx) ** 2 + (py - ay - along * dy) ** 2
    maps = np.exp(-square / (2 * np.float32(sigma) ** 2)) * np.minimum(sa, sb)
    return maps.max(axis=0) if len(maps) > 1 else maps[0]


def poses(clips: int, persons: int, size: int) -> np.ndarray:
    """(N, M, 32, 17, 3): people of a quarter of the picture that fidget."""
    generator = np.random.default_rng(0)
    middle = generator.uniform(0.3, 0.7, (clips, persons, 1, 1, 2))
    spread = generator.normal(0, 0.15, (clips, persons, 1, 17, 2))
    walk = generator.normal(0, 0.005, (clips, persons, 32, 17, 2)).cumsum(2)
    scores = generator.uniform(0.3, 1, (clips, persons, 32, 17, 1))
    return np.concatenate([(middle + spread + walk) * size, scores], axis=-1).astype(np.float32)


def compare(
    kind: str,
    points: np.ndarray,
    rounds: int,
    sigma: float,
    loop: Drawing,
    whole: Drawing,
    ours: Callable[..., Tensor],
) -> None:
    size = 56
    full = {"size": (size, size), "sigma": sigma, "centre": 0.0}
    cut = {**full, "cut_sigma": 3.0}
    close = np.abs(ours(**cut)[0].transpose(0, 1).numpy() - loop(points[0], size, sigma)).max()
    far = np.abs(ours(**full)[0].transpose(0, 1).numpy() - whole(points[0], size, sigma)).max()
    assert max(close, far) < 1e-5, (close, far)
    times = interleaved(
        {
            "NumPy, patches of 3 sigma in a loop": lambda: [loop(clip, size, sigma) for clip in points],
            "NumPy, whole frames": lambda: [whole(clip, size, sigma) for clip in points],
            "mgkit, cut at 3 sigma": lambda: ours(**cut),
            "mgkit, whole frames": lambda: ours(**full),
        },
        rounds,
        len(points),
    )
    print(
        f"{kind}, {points.shape[1]} person(s): processor time a clip, and how many times quicker than the loop"
    )
    base = times["NumPy, patches of 3 sigma in a loop"][0]
    for name, (processor, _) in times.items():
        print(line(name, processor, base))
    ratio = np.median(times["NumPy, whole frames"][0]) / np.median(times["mgkit, whole frames"][0])
    print(f"  whole frames, mgkit against NumPy: {ratio:.2f}x; largest differences {close:.1e} and {far:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=10, help="clips a batch")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sigma", type=float, default=0.7)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    edges = get_skeleton("coco17").edges
    print(f"{machine()}, PyTorch {torch.__version__}, NumPy {np.__version__}, one thread")
    print(f"{len(edges)} limbs or 17 joints, maps of 56 x 56, 32 frames, {chosen.clips} clips a batch")
    for persons in (1, 2):
        points = poses(chosen.clips, persons, 56)
        batch = torch.from_numpy(points)
        compare(
            "joints",
            points,
            chosen.rounds,
            chosen.sigma,
            loop_joints,
            whole_joints,
            partial(joint_heatmaps, batch),
        )
        compare(
            "limbs", points, chosen.rounds, chosen.sigma,
            partial(loop_limbs, edges), partial(whole_limbs, edges), partial(limb_heatmaps, batch, edges),
        )  # fmt: skip


if __name__ == "__main__":
    main()
