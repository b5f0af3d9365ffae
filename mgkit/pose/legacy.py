"""MediaPipe 0.10.21, whose filter of body joints can be switched off, in another process.

It needs numpy 1 and Python 3.11 or 3.12, so that it lives in an environment of its own, which is made once in the
user's cache. Frames are decoded here and sent by a pipe, so that they are those of the other estimators.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mgkit.data.keypoints import Points
from mgkit.data.video import Frames
from mgkit.errors import MgkitError
from mgkit.files import exclusive, write_json
from mgkit.pose.weights import cache
from mgkit.progress import out

VERSION = "0.10.21"
PYTHONS = ("3.12", "3.11")
# What its own metadata ask for includes jax, four fifths of the disk space, which its estimator does not import.
PACKAGES = (
    "numpy>=1.26,<2", "protobuf>=4.25.3,<5", "absl-py", "attrs", "flatbuffers", "matplotlib",
    "opencv-contrib-python-headless<5",
)  # fmt: skip
CHILD = Path(__file__).with_name("legacy_child.py")
NETWORK = "modules/pose_landmark/pose_landmark_full.tflite"


def environment() -> tuple[Path, Path]:
    """The Python of the environment, and its package mediapipe; both are made if they are not there.

    Raises:
        MgkitError: no suitable Python is found, or pip cannot install into it.
    """
    root = cache() / f"legacy-{VERSION}"
    ready = root / "ready.json"
    if not ready.is_file():
        cache().mkdir(parents=True, exist_ok=True)
        with exclusive(cache(), f".legacy-{VERSION}.lock", wait=1800):
            if not ready.is_file():
                _make(root)
    folder = root / ("Scripts" if os.name == "nt" else "bin")
    python = folder / ("python.exe" if os.name == "nt" else "python")
    package = next(iter(root.glob("**/site-packages/mediapipe")), None)
    if not python.exists() or package is None:
        raise MgkitError(f"the environment {root} is not whole: delete it, and it is made again.")
    return python, package


def _make(root: Path) -> None:
    print(
        f"pose: making the environment of holistic-legacy in {root} (once, about 430 MB)",
        file=out(),
        flush=True,
    )
    shutil.rmtree(root, ignore_errors=True)
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = (
        sys.executable
        if here in PYTHONS
        else next(filter(None, (shutil.which(f"python{v}") for v in PYTHONS)), None)
    )
    uv = shutil.which("uv")
    if found is None and uv is None:
        raise MgkitError(
            f"holistic-legacy needs Python {' or '.join(PYTHONS)} beside this one ({here}): install one of them, or uv."
        )
    if found is not None:
        _run([found, "-m", "venv", str(root)], "make the environment")
    else:
        _run([str(uv), "venv", "--seed", "--python", PYTHONS[0], str(root)], "make the environment")
    python = next(root.glob("bin/python")) if os.name != "nt" else root / "Scripts" / "python.exe"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--only-binary=:all:"]
    _run([*pip, "--no-deps", f"mediapipe=={VERSION}"], f"install mediapipe {VERSION}")
    _run([*pip, *PACKAGES], "install what it needs")
    _run([str(python), "-I", "-c", "import mediapipe; mediapipe.solutions.holistic"], "import it")
    write_json(root / "ready.json", {"mediapipe": VERSION})


def _run(words: Sequence[str], what: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise MgkitError(
            f"cannot {what} for holistic-legacy ({lines[-1] if lines else 'no output'}): check the network, or take "
            "--estimator holistic."
        )


@contextmanager
def legacy(python: Path) -> Iterator[Legacy]:
    """Begin the other process."""
    estimate = Legacy([str(python), "-I", str(CHILD)])
    try:
        yield estimate
    finally:
        estimate.close()


class Legacy:
    """The estimator in the other process.

    Args:
        words: its command.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `close`)
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said
        )
        self._fresh = True

    def reset(self) -> None:
        """Begin another video."""
        if not self._fresh:
            self._send({"reset": True})
        self._fresh = True

    def __call__(self, frames: Frames, fps: float) -> Points:
        self._fresh = False
        self._send({"shape": frames.shape}, frames)
        assert self._process.stdout is not None
        size = len(frames) * 75 * 3 * 4
        answer = self._process.stdout.read(size)
        if len(answer) < size:
            raise self._ended()
        return np.frombuffer(answer, np.float32).reshape(1, len(frames), 75, 3)

    def _send(self, message: dict[str, object], frames: Frames | None = None) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            if frames is not None:
                self._process.stdin.write(np.ascontiguousarray(frames).data)
            self._process.stdin.flush()
        except OSError:
            raise self._ended() from None

    def _ended(self) -> MgkitError:
        self._process.wait()
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return MgkitError(
            f"the process of holistic-legacy ended ({lines[-1] if lines else f'status {self._process.returncode}'}): "
            "call again with fewer workers, or delete its environment, which is then made again."
        )

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._said.close()
