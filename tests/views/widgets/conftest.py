"""A run whose every number can be counted by hand: 3 classes, 8 clips, the last class without clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mgkit.data.clips import Classes
from mgkit.results.run.folder import Run
from mgkit.results.scores.scores import import_scores

NAMES = ("rub hands", "touch chin", "cover face")
LABELS = [0, 0, 0, 0, 1, 1, 1, 1]
RGB = [0, 0, 1, 2, 1, 1, 0, 0]
POSE = [0, 1, 1, 1, 1, 1, 1, 1]
FUSED = [0, 0, 0, 1, 1, 1, 1, 0]


def made_run(
    root: Path, outputs: dict[str, list[int]], labels: list[int] = LABELS, names: tuple[str, ...] = NAMES
) -> Run:
    """A run over clips c0, c1, ... with these predicted classes."""
    scores = {name: 0.94 * np.eye(len(names))[said] + 0.06 / len(names) for name, said in outputs.items()}
    return import_scores(
        root,
        clip_ids=[f"c{i}" for i in range(len(labels))],
        labels=labels,
        probabilities=scores,
        classes=Classes(names, tuple("mouth" if k == 1 else "hands" for k in range(len(names)))),
        name=root.name,
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return made_run(tmp_path / "ours", {"rgb": RGB, "pose": POSE, "fused": FUSED})


@pytest.fixture
def other(tmp_path: Path) -> Run:
    """Another run on the same clips: fused only, and wrong on c0, c3 and c5."""
    return made_run(tmp_path / "theirs", {"fused": [1, 0, 0, 2, 1, 0, 1, 1]})
