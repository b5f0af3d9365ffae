from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mgkit.data.video import read_frames
from mgkit.errors import MgkitError
from mgkit.pose import legacy as module
from mgkit.pose.estimators import get_estimator
from mgkit.pose.legacy import CHILD, Legacy, environment, legacy
from mgkit.pose.weights import cache

# Answers with the number of the call since the last reset, the first pixel and the sum of each frame.
FAKE = """
import json, sys
import numpy as np
calls = 0
for line in iter(sys.stdin.buffer.readline, b""):
    message = json.loads(line)
    if message.get("reset"):
        calls = 0
        continue
    shape = message["shape"]
    frames = np.frombuffer(sys.stdin.buffer.read(int(np.prod(shape))), np.uint8).reshape(shape)
    points = np.zeros((shape[0], 75, 3), np.float32)
    points[:, 0] = np.stack([np.full(len(frames), calls), frames[:, 0, 0, 0], frames.sum((1, 2, 3))], 1)
    if frames[0, 0, 0, 0] == 255:
        sys.exit("Killed: out of memory")
    calls += 1
    sys.stdout.buffer.write(points.tobytes())
    sys.stdout.buffer.flush()
"""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    (tmp_path / "fake.py").write_text(FAKE)
    return [sys.executable, str(tmp_path / "fake.py")]


def test_frames_go_out_and_points_come_back_whatever_their_rows(words: list[str]) -> None:
    frames = np.random.default_rng(0).integers(0, 250, (5, 40, 61, 3), dtype=np.uint8)
    estimate = Legacy(words)
    estimate.reset()  # nothing to forget yet
    for call, part in enumerate((frames[:2], frames[2:], frames[:, :, 7:20])):
        points = estimate(part, 25.0)
        assert points.shape == (1, len(part), 75, 3)
        assert np.array_equal(points[0, :, 0, 0], np.full(len(part), call))
        assert np.array_equal(points[0, :, 0, 2], part.astype(int).sum((1, 2, 3)))
    estimate.reset()
    estimate.reset()
    assert estimate(frames[:1], 25.0)[0, 0, 0, 0] == 0
    process = estimate._process
    estimate.close()
    assert process.returncode == 0


def test_a_process_that_ends_is_a_sentence_with_its_last_words(words: list[str]) -> None:
    estimate = Legacy(words)
    with pytest.raises(MgkitError, match="the process of holistic-legacy ended \\(Killed: out of memory\\)"):
        estimate(np.full((2, 8, 8, 3), 255, np.uint8), 25.0)
    with pytest.raises(MgkitError, match="ended"):
        estimate(np.zeros((2, 8, 8, 3), np.uint8), 25.0)
    estimate.close()


def test_the_filter_is_switched_off_and_the_child_needs_nothing_of_mgkit() -> None:
    source = CHILD.read_text(encoding="utf-8")
    assert "Holistic(smooth_landmarks=False)" in source
    assert "import mgkit" not in source
    assert "from mgkit" not in source


def test_the_environment_is_made_once_apart_from_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ran: list[list[str]] = []

    def run(words: list[str], **settings: Any) -> SimpleNamespace:
        ran.append(list(words))
        if "venv" in words:
            folder = Path(words[-1])
            (folder / "bin").mkdir(parents=True)
            (folder / "bin" / "python").touch()
            (folder / "lib" / "python3.11" / "site-packages" / "mediapipe").mkdir(parents=True)
        return SimpleNamespace(returncode=0, stdout="", stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(module.sys, "version_info", SimpleNamespace(major=3, minor=11))
    python, package = environment()
    assert (python, package.name) == (cache() / "legacy-0.10.21" / "bin" / "python", "mediapipe")
    assert ran[0][1:3] == ["-m", "venv"]
    installs = [words for words in ran if "install" in words]
    assert all(words[0] == str(python) for words in installs)  # never into the environment of mgkit
    assert "mediapipe==0.10.21" in installs[0]
    assert "numpy>=1.26,<2" in installs[1]
    count = len(ran)
    assert environment() == (python, package)
    assert len(ran) == count
    python.unlink()
    with pytest.raises(MgkitError, match="is not whole: delete it"):
        environment()


def test_no_python_and_no_network_are_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module.sys, "version_info", SimpleNamespace(major=3, minor=13))
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    with pytest.raises(
        MgkitError, match=r"needs Python 3.12 or 3.11 beside this one \(3.13\): install one of them, or uv"
    ):
        environment()
    monkeypatch.setattr(module.shutil, "which", lambda name: "/bin/x")
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda *words, **settings: SimpleNamespace(returncode=1, stdout="", stderr="a\nno route\n"),
    )
    with pytest.raises(MgkitError, match=r"cannot make the environment for holistic-legacy \(no route\)"):
        environment()
    with pytest.raises(MgkitError, match="has its own weights: leave model out"):
        get_estimator("holistic-legacy", model="a.task")


@pytest.mark.slow
def test_the_real_one_where_its_environment_is(sample_dir: Path) -> None:
    """Its own environment, an odd width, and nothing left of the last video."""
    if not (cache() / "legacy-0.10.21" / "ready.json").is_file():
        pytest.skip("needs the environment that `mgkit pose VIDEOS OUT --estimator holistic-legacy` makes")
    frames = read_frames(sample_dir / "clips" / "hmdb_golf.mp4", range(0, 12, 2))[:, :, :319]
    python, _ = environment()
    with legacy(python) as estimate:
        first = estimate(frames, 25.0)
        estimate.reset()
        again = estimate(np.ascontiguousarray(frames), 25.0)
    assert np.isfinite(first[0, :, :33]).all()
    assert np.array_equal(first, again, equal_nan=True)
    inside = first[0, :, 11:17, :2]
    assert (inside > 0).all()
    assert (inside < (319, 240)).all()
    found = get_estimator("holistic-legacy")
    assert (found.version, len(found.model), found.several) == ("0.10.21", 64, False)
    version = "import mediapipe, numpy, json; print(json.dumps([mediapipe.__version__, numpy.__version__]))"
    done = subprocess.run([str(python), "-I", "-c", version], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)[1].startswith("1.")
