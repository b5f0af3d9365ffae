"""Runs to look at: made once, and laid out without UMAP unless a test asks for it (its compilation takes seconds)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgkit.results.run.folder import Run
from tests.results.fake_run import fake_clips, fake_frames, fake_run


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """`make_run(classes, per_class, **of the run)`: a run and its clips; the same arguments give the same folder."""
    made: dict[str, Run] = {}

    def make(classes: int, per_class: int = 12, *, video: bool = False, **changes: Any) -> Run:
        key = f"{classes}-{per_class}-{video}-{sorted(changes.items())}"
        if key not in made:
            root = tmp_path_factory.mktemp("views")
            clips = fake_clips(root / "clips", classes, per_class, video=video)
            made[key] = fake_run(root / "run", clips, **{"epochs": 4, "splits": ("test",), **changes})
        return made[key]

    return make


@pytest.fixture
def flat(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two dimensions instead of UMAP."""
    monkeypatch.setattr(
        "mgkit.views.analysis.embedding._umap", lambda fitted, moving, seed: (fitted[:, :2], moving[:, :2])
    )


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, list[int]]]:
    """Pictures without videos; what was asked for is in the list."""
    asked: list[tuple[Path, list[int]]] = []

    def read(path: Path, indices: Any) -> np.ndarray:
        asked.append((path, [int(i) for i in indices]))
        return fake_frames(path, indices)

    monkeypatch.setattr("mgkit.data.video.read_frames", read)
    return asked
