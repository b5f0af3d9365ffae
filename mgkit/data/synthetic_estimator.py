"""What a pose estimator would see of the made subjects of `mgkit.data.synthetic`: true joints with its faults."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mgkit.data.layouts import FINGERS
from mgkit.data.skeletons import IMIGUE22

Array = npt.NDArray[np.float64]

_TIPS = {
    side: np.array([IMIGUE22.joints.index(f"{side}_{f}_tip") for f in FINGERS]) for side in ("right", "left")
}


def observe(
    points: Array, hidden: Array, scale: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Key-points as an estimator would give them: jitter, doubt, swaps, outliers and gaps.

    The faults depend on the joints alone and never on what the picture shows, so that classes with the same joints
    have key-points of the same distribution.

    Args:
        points: (T, 22, 2) true joints in pixels.
        hidden: (T, 2) how easily the tips of the right and left hand get lost, 1 = as usual.
        scale: pixels that count as one, for the size of jitter and outliers.
        rng: source of the faults.

    Returns:
        (T, 22, 2) float32 pixels and (T, 22) float32 scores in [0, 1]; coordinates and score 0 = not seen.
    """
    frames, count = points.shape[:2]
    tips = np.zeros(count, dtype=np.bool_)
    tips[np.concatenate(list(_TIPS.values()))] = True
    face = np.array(["eye" in j or "ear" in j or j == "nose" for j in IMIGUE22.joints])
    sigma = np.where(tips, 0.75, np.where(face, 0.45, 0.65)) * scale * rng.lognormal(0.0, 0.2)
    # Doubt comes and goes: a slow process per joint that raises jitter and lowers the score.
    doubt = np.abs(_autoregressive(frames, count, 0.9, rng)) * np.where(tips, 1.3, 1.0)
    jitter = _autoregressive(2 * count, frames, 0.0, rng).reshape(frames, count, 2)
    jitter = _correlate(jitter, 0.65) * (sigma * (0.6 + 0.5 * doubt))[:, :, None]
    seen = points + jitter
    score = np.clip(
        0.96 - 0.1 * doubt - 0.05 * np.abs(rng.normal(size=(frames, count))) - 0.05 * tips, 0.05, 1.0
    )

    # Hands that meet are mixed up now and then.
    mixed = rng.random(frames) < 0.012
    wrists = [IMIGUE22.joints.index("right_wrist"), IMIGUE22.joints.index("left_wrist")]
    close = np.linalg.norm(points[:, wrists[0]] - points[:, wrists[1]], axis=1) < 30 * scale
    rows = np.flatnonzero(mixed & close)
    right, left = np.append(_TIPS["right"], wrists[0]), np.append(_TIPS["left"], wrists[1])
    for row in rows:
        for values in (seen, score):
            values[row, right], values[row, left] = values[row, left].copy(), values[row, right].copy()
        score[row, np.append(right, left)] *= 0.6

    wild = rng.random((frames, count)) < np.where(tips, 0.006, 0.002)
    jump = rng.normal(0.0, 9.0 * scale, (frames, count, 2))
    seen = np.where(wild[:, :, None], seen + jump, seen)
    score = np.where(wild, score * rng.uniform(0.2, 0.6, (frames, count)), score)

    lost = rng.random((frames, count)) < np.where(tips, 0.02, 0.003)
    lost[:, tips] |= _bursts((frames, int(tips.sum())), 0.006, 4, rng)
    for i, side in enumerate(("right", "left")):
        whole = _bursts((frames, 1), 0.006, 5, rng, hidden[:, i : i + 1])
        single = _bursts((frames, 5), 0.012, 3, rng, hidden[:, i : i + 1] - 1.0)
        lost[:, _TIPS[side]] |= whole | single
    seen[lost], score[lost] = 0.0, 0.0
    return seen.astype(np.float32), score.astype(np.float32)


def _autoregressive(frames: int, count: int, memory: float, rng: np.random.Generator) -> Array:
    """(T, count) unit-variance noise that keeps `memory` of itself from one frame to the next."""
    return _correlate(rng.normal(size=(frames, count)), memory)


def _correlate(noise: Array, memory: float) -> Array:
    """White noise along the first axis turned into a first-order process of the same variance."""
    out = noise.copy()
    for t in range(1, len(out)):
        out[t] = memory * out[t - 1] + np.sqrt(1.0 - memory**2) * noise[t]
    return out


def _bursts(
    shape: tuple[int, int], rate: float, length: int, rng: np.random.Generator, factor: Array | float = 1.0
) -> npt.NDArray[np.bool_]:
    """(T, count) gaps that begin with probability `rate` x `factor` a frame and last about `length` frames."""
    begins = rng.random(shape) < rate * factor
    lasts = rng.geometric(1.0 / length, shape)
    gaps = np.zeros(shape, dtype=np.bool_)
    for t, column in np.argwhere(begins):
        gaps[t : t + lasts[t, column], column] = True
    return gaps
