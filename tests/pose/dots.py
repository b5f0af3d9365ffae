"""An estimator for the tests: it sees the red corner that `tests.data.video.made.pictures` draws, or nothing."""

import numpy as np

layout = "coco17"


def estimate(frames, fps):
    """One person, all of whose joints are at the middle of the red pixels; the score of the first is the frame rate."""
    assert frames.dtype == np.uint8
    assert frames.flags.c_contiguous
    points = np.full((1, len(frames), 17, 3), np.nan)
    for t, frame in enumerate(frames.astype(int)):
        rows, columns = np.nonzero((frame[..., 0] > 150) & (frame[..., 1] < 100) & (frame[..., 2] < 100))
        if len(rows) > 20:
            points[0, t] = columns.mean() + 0.5, rows.mean() + 0.5, 1
            points[0, t, :, 0] += np.arange(17) % 5
            points[0, t, :, 1] += np.arange(17) // 5
    points[..., 0, 2] = np.where(np.isfinite(points[..., 0, 2]), fps / 100, np.nan)
    return points


estimate.layout = layout
estimate.version = "1"


def two(frames, fps):
    """Two people in rows that change places in each frame: one large, one small who moves."""
    points = np.ones((2, len(frames), 17, 3), np.float32)
    grid = np.stack([np.arange(17) % 5, np.arange(17) // 5], -1)
    for t in range(len(frames)):
        points[t % 2, t, :, :2] = 10 + 6 * grid
        points[1 - t % 2, t, :, :2] = 60 + 2 * grid
    return points


two.layout = layout


def wrong(frames, fps):
    return np.zeros((1, len(frames), 16, 3))


wrong.layout = layout


def nobody(frames, fps):
    return None


nobody.layout = layout


class Counter:
    """Numbers the frames since `reset`: its state must not outlive a video."""

    layout = "coco17"

    def __init__(self):
        self.count = 0

    def reset(self):
        self.count = 0

    def __call__(self, frames, fps):
        points = np.ones((1, len(frames), 17, 3))
        points[0, :, :, 0] = self.count + np.arange(len(frames))[:, None]
        self.count += len(frames)
        return points


counter = Counter()
