"""A simulated pose estimator: the true joints of the drawn people with jitter, doubt, swaps, outliers and gaps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mgkit.data.skeletons import IMIGUE22, Skeleton

Array = npt.NDArray[np.float64]

_FACE = ("eye", "ear", "nose", "jaw", "brow", "nostril", "pupil", "lip", "chin")


def _hand(layout: Skeleton, side: str) -> npt.NDArray[np.int64]:
    """Numbers of the joints of a hand, which get lost together: finger tips, or all points of the hand."""
    words = ("_tip", "_hand", "_thumb")
    own = (i for i, j in enumerate(layout.joints) if j.startswith(f"{side}_") and any(w in j for w in words))
    return np.array([*own], dtype=np.int64)


def observe(
    points: Array,
    hidden: Array,
    scale: float,
    rng: np.random.Generator,
    layout: Skeleton = IMIGUE22,
    faults: float = 1.0,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Key-points as an estimator would give them: jitter, doubt, swaps, outliers and gaps.

    The faults depend on the joints alone and never on what the picture shows, so that classes with the same joints
    have key-points of the same distribution.

    Args:
        points: (T, V, 2) true joints in pixels.
        hidden: (T, 2) how easily the tips of the right and left hand get lost, 1 = as usual.
        scale: pixels that count as one, for the size of jitter and outliers.
        rng: source of the faults.
        layout: what the joints are.
        faults: how much worse than usual the estimator is: a factor on its jitter, mix-ups, outliers and gaps;
            0 = it sees the truth.

    Returns:
        (T, V, 2) float32 pixels and (T, V) float32 scores in [0, 1]; coordinates and score 0 = not seen.
    """
    frames, count = points.shape[:2]
    hands = {side: _hand(layout, side) for side in ("right", "left")}
    tips = np.zeros(count, dtype=np.bool_)
    tips[np.concatenate(list(hands.values()))] = True
    face = np.array([any(word in j for word in _FACE) for j in layout.joints])
    sigma = np.where(tips, 0.75, np.where(face, 0.45, 0.65)) * scale * faults * rng.lognormal(0.0, 0.2)
    # Doubt comes and goes: a slow process per joint that raises jitter and lowers the score.
    doubt = np.abs(_autoregressive(frames, count, 0.9, rng)) * np.where(tips, 1.3, 1.0)
    jitter = _autoregressive(2 * count, frames, 0.0, rng).reshape(frames, count, 2)
    jitter = _correlate(jitter, 0.65) * (sigma * (0.6 + 0.5 * doubt))[:, :, None]
    seen = points + jitter
    score = np.clip(
        0.96 - 0.1 * doubt - 0.05 * np.abs(rng.normal(size=(frames, count))) - 0.05 * tips, 0.05, 1.0
    )

    # Hands that meet are mixed up now and then.
    mixed = rng.random(frames) < 0.012 * faults
    wrists = [layout.joints.index("right_wrist"), layout.joints.index("left_wrist")]
    close = np.linalg.norm(points[:, wrists[0]] - points[:, wrists[1]], axis=1) < 30 * scale
    rows = np.flatnonzero(mixed & close)
    right, left = np.append(hands["right"], wrists[0]), np.append(hands["left"], wrists[1])
    for row in rows:
        for values in (seen, score):
            values[row, right], values[row, left] = values[row, left].copy(), values[row, right].copy()
        score[row, np.append(right, left)] *= 0.6

    wild = rng.random((frames, count)) < np.where(tips, 0.006, 0.002) * faults
    jump = rng.normal(0.0, 9.0 * scale, (frames, count, 2))
    seen = np.where(wild[:, :, None], seen + jump, seen)
    score = np.where(wild, score * rng.uniform(0.2, 0.6, (frames, count)), score)

    lost = rng.random((frames, count)) < np.where(tips, 0.02, 0.003) * faults
    lost[:, tips] |= _bursts((frames, int(tips.sum())), 0.006 * faults, 4, rng)
    for i, side in enumerate(("right", "left")):
        whole = _bursts((frames, 1), 0.006 * faults, 5, rng, hidden[:, i : i + 1])
        single = _bursts((frames, len(hands[side])), 0.012 * faults, 3, rng, hidden[:, i : i + 1] - 1.0)
        lost[:, hands[side]] |= whole | single
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
