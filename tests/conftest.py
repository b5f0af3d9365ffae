"""Fixtures for every test: reference values and sample data kept beside the project, a small embedded dataset, a run.

`shared/` is looked for beside the checkout. Where it is absent the tests that need it are skipped and say so; nothing
under mgkit/ or notebooks/ may depend on it.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from mgkit.data.clips import Clips
    from mgkit.results.run.folder import Run

# Images of Docker often forbid bytecode. Then every process that the tests start would compile all of mgkit anew, and
# pytest rewrite the asserts of 200 files in each of its own.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# jsonschema, which reads notebooks, builds 38 parsers of web addresses as it is imported: 3 s, for addresses that no
# notebook has. It goes without where they are not installed.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
# What is imported and collected stays: looking through it for garbage again and again takes a third of collecting.
gc.disable()

# Before torch is imported, and for the processes that tests start: on few and busy cores the threads of small
# convolutions wait for each other many times longer than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The first UMAP would give torch as many threads as numba has: both take theirs from one OpenMP.
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

# The files of a test need not outlive a power cut, and waiting for the disk is most of what a small one takes to write.
os.fsync = lambda descriptor: None  # type: ignore[assignment]

# A process that a shell or nohup starts in the background ignores Ctrl-C, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in a browser is slow. Files with slow tests come first, the longest before all, so that at the end no
    process waits for another that has one of them."""
    for item in items:
        if item.path.parent.name == "browser":
            item.add_marker("slow")
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path.name != "test_notebooks.py", item.path not in slow))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # what tests leave behind is small; looking for it more often costs 3 %
    gc.enable()


@contextmanager
def _common(tmp_path_factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """A folder of all processes of `pytest -n`, held by one of them at a time: what is in it is made once for all."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    with FileLock(root / f"{name}.lock"):
        yield root / name


def _shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"needs shared/{name} beside the checkout, which is absent")
    return folder


@pytest.fixture(scope="session")
def forkserver() -> ForkServerContext:
    """Starts processes that have imported torch, mgkit and IPython before they begin."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.training", "IPython.core.interactiveshell"])
    return context


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Random-weight reference values for numerical parity."""
    return _shared("reference")


@pytest.fixture(scope="session")
def sample_dir() -> Path:
    """Real recordings in the PYSKL layout."""
    return _shared("data")


@pytest.fixture(scope="session")
def demo_clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """The embedded dataset, small. Made once for all processes: it is read only."""
    from mgkit.data.clips import load_clips
    from mgkit.demo.open import demo_clips as make

    with _common(tmp_path_factory, "demo") as folder:
        if (folder / "clips" / "clips.parquet").is_file():
            return load_clips(folder / "clips")
        # In this process: two more would take as long to begin as to draw. Two people are in the training clips.
        return make(folder / "clips", train=24, val=8, test=16, workers=1, progress=False)


@pytest.fixture(scope="session")
def demo_run(demo_clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of the demo recipe on it, one epoch a stage: whole, but hardly trained. Made once as well."""
    from mgkit.demo.open import demo_run as make
    from mgkit.results.run.folder import load_run

    with _common(tmp_path_factory, "runs") as folder:
        made = folder / "made"
        if not made.exists():
            make(folder / "demo", demo_clips, epochs=1)
            made.touch()
        return load_run(folder / "demo")


@pytest.fixture(scope="session")
def player_clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Clips whose frames carry their number, see `numbered_clips`."""
    from tests.player_clips import numbered_clips

    return numbered_clips(tmp_path_factory.mktemp("player") / "clips")


@pytest.fixture(scope="session")
def player_run(player_clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on them, see `numbered_run`."""
    from tests.player_clips import numbered_run

    return numbered_run(tmp_path_factory.mktemp("player") / "run", player_clips)
