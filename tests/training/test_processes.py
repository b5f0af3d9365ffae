"""Two processes on a CPU train and test as one does, and can take over from one another."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed as dist

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError
from mgkit.models.losses.grouped import GroupedHead, GroupLoss
from mgkit.parts import part
from mgkit.results.run.folder import Run, load_run
from mgkit.training import recipes
from mgkit.training.machine import make_fabric, started_processes
from mgkit.training.recipe import Recipe
from tests.tiny import tiny_clips
from tests.training.training import TIMES, one_of_several, states, tiny, tiny_pose_only
from tests.training.training import main as train_once

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (dist.is_available() and dist.is_gloo_available()), reason="this torch has no gloo"
    ),
]
ROOT = Path(__file__).resolve().parents[2]
# 16 clips in batches of 5: the last batch has one clip, and the second process none of it. Without dropout, whose
# draws are each process's own. Computed in float64, so that sums in another order do not hide anything; what is left
# comes from heatmaps and prototypes, which are float32.
SAME: dict[str, Any] = {"dropout": 0.0, "batch_size": 5, "epochs": 2, "learning_rate": 0.01}
GRAPH: dict[str, Any] = {
    **SAME, "pose_frames": 8, "width": 8, "blocks": (1, 1), "embedding_dim": 8,
    "prototypes": True, "average": 0.5,
}  # fmt: skip
GROUPED: dict[str, Any] = {"head": part(GroupedHead, groups=2), "losses": [part(GroupLoss, name="groups")]}
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def in_this_process(clips: Clips, out: Path, recipe: Recipe, **options: Any) -> Run:
    train_once(str(clips.root), str(out), json.dumps(recipe.to_dict()), json.dumps(options))
    return load_run(out)


def in_processes(
    context: ForkServerContext, clips: Clips, out: Path, recipe: Recipe, **options: Any
) -> tuple[int, str]:
    """Train in two processes as torchrun starts them; the first exit status that is not 0, and what is on stderr."""
    words = [str(clips.root), str(out), json.dumps(recipe.to_dict()), json.dumps(options)]
    errors = out.with_name(f"{out.name}.stderr")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [
        context.Process(target=one_of_several, args=(rank, 2, port, str(errors), *words)) for rank in range(2)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(300)
        process.kill()
    return next(
        (process.exitcode or -1 for process in started if process.exitcode != 0), 0
    ), errors.read_text()


def in_processes_of_fabric(clips: Clips, out: Path, recipe: Recipe, **options: Any) -> tuple[int, str]:
    """Train in two processes that Fabric starts; the exit status and what they wrote to stderr."""
    words = [str(clips.root), str(out), json.dumps(recipe.to_dict())]
    words.append(json.dumps({"devices": 2, "nodes": 1, **options}))
    clean = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "RANK", "WORLD_SIZE")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.training", *words], cwd=ROOT, capture_output=True, text=True,
        env={**clean, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, timeout=300,
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return tiny_clips(tmp_path_factory.mktemp("clips"), counts={"train": 4, "val": 1, "test": 2})


RECIPES = {
    # The last batch has four clips: of one, BatchNorm makes two numbers +1 and -1, whatever they are.
    "batch": tiny(**{**SAME, "batch_size": 6}, prototype_memory=7, class_weights="sqrt"),
    # In three parts, of which the second process has no clip in many, and with parameters that the loss leaves out.
    # Two-dimensional BatchNorm, a loss of an auxiliary output, and a last batch of which one process has no clip.
    "graph": recipes.narrow(recipes.ctrgcn(**GROUPED), **GRAPH),
    "parts": tiny_pose_only(
        **SAME, batch_norm="frozen", accumulation=3, prototypes=False, average=1.0, mixup=0.4
    ),
}


@pytest.fixture(scope="module", params=RECIPES)
def pair(
    request: Any, clips: Clips, tmp_path_factory: pytest.TempPathFactory, forkserver: ForkServerContext
) -> tuple[Run, Run]:
    """The same training by one process, which is this one, and by two."""
    recipe, root = RECIPES[request.param], tmp_path_factory.mktemp(request.param)
    one = in_this_process(clips, root / "one", recipe, test="test", precision="64-true")
    options: dict[str, Any] = {"test": "test", "precision": "64-true", "progress": True}  # as from a shell
    if request.param == "batch":
        status, errors = in_processes_of_fabric(clips, root / "two", recipe, **options)
    else:
        status, errors = in_processes(forkserver, clips, root / "two", recipe, **options)
    assert status == 0, errors
    return one, load_run(root / "two")


def test_two_processes_have_the_losses_of_one(pair: tuple[Run, Run]) -> None:
    one, two = pair
    for a, b in [(one, two), *((one.stage(name), two.stage(name)) for name in one.stages())]:
        assert b.environment()["processes"] == 2
        assert list(a.history()) == list(b.history())
        columns = [c for c in a.history() if c not in TIMES]
        for column in columns:
            np.testing.assert_allclose(a.history()[column], b.history()[column], **CLOSE, err_msg=column)


def test_two_processes_end_with_the_weights_and_prototypes_of_one(pair: tuple[Run, Run]) -> None:
    for left, right in zip(*(states(run) for run in pair), strict=True):
        assert left.keys() == right.keys()
        for name, value in left.items():
            torch.testing.assert_close(
                value, right[name], atol=1e-4, rtol=1e-4, msg=lambda m, name=name: f"{name}: {m}"
            )


def test_two_processes_predict_every_clip_once_and_as_one_does(pair: tuple[Run, Run], clips: Clips) -> None:
    one, two = (run.predictions("test") for run in pair)
    assert one.clip_ids == two.clip_ids == clips.split("test").ids
    for name in one.outputs:
        np.testing.assert_allclose(one.probabilities[name], two.probabilities[name], atol=1e-5)
    first, second = (run.embeddings("test") for run in pair)
    for name, vectors in first.vectors.items():
        np.testing.assert_allclose(vectors, second.vectors[name], atol=1e-4)
        assert np.abs(second.vectors[name]).sum(1).min() > 0  # none left out


FRAMES: dict[str, Any] = {"rgb_frames": 2, "pose_frames": 8, "rgb_size": 32, "patch": 8}
MASKED = {
    "key-points": recipes.masked(recipes.stgcn(pose_frames=8, width=8, blocks=(1, 1), embedding_dim=8)).with_(
        epochs=2, batch_size=6
    ),
    "frames": recipes.masked(
        recipes.rgb_only(
            rgb_frames=2, pose_frames=8, rgb_size=32, rgb_width=4, rgb_blocks=(1, 1, 1, 1), embedding_dim=8
        ),
        patch=8,
    ).with_(epochs=2, batch_size=6),
    # The second process has no clip of the last batch, of which the blocks would see no token.
    "tokens": recipes.masked(
        recipes.videomae_small(**FRAMES, width=12, blocks=1, heads=2), patch=8, width=32
    ).with_(epochs=2, batch_size=5, warmup_epochs=0),
}


@pytest.mark.parametrize("name", MASKED)
def test_two_processes_pre_train_as_one_does(
    name: str, clips: Clips, tmp_path: Path, forkserver: ForkServerContext
) -> None:
    if name == "tokens":
        pytest.importorskip("transformers")
    options: dict[str, Any] = {"val_split": None, "precision": "64-true", "hide_same": True}
    one = in_this_process(clips, tmp_path / "one", MASKED[name], **options)
    status, errors = in_processes(forkserver, clips, tmp_path / "two", MASKED[name], **options)
    assert status == 0, errors
    two = load_run(tmp_path / "two")
    assert two.environment()["processes"] == 2
    for column in (c for c in one.history() if c not in TIMES):
        np.testing.assert_allclose(one.history()[column], two.history()[column], **CLOSE, err_msg=column)
    assert one.history()["loss"].iloc[-1] != one.history()["loss"].iloc[0]
    for left, right in zip(states(one), states(two), strict=True):
        for key, value in left.items():
            torch.testing.assert_close(
                value, right[key], atol=1e-4, rtol=1e-4, msg=lambda m, k=key: f"{k}: {m}"
            )


def test_a_killed_run_of_two_processes_goes_on_in_two_and_in_one(
    clips: Clips, tmp_path: Path, forkserver: ForkServerContext
) -> None:
    """In two it ends as undisturbed, bit for bit, dropout and all; in one it ends, with the clips that were left."""
    recipe = tiny_pose_only(**{**SAME, "dropout": 0.5})
    for name, kill in (("whole", {}), ("killed", {"kill_at": 6})):
        status, errors = in_processes(
            forkserver, clips, tmp_path / name, recipe, checkpoint_minutes=0, **kill
        )
        assert (status == 0) == (name == "whole"), errors
    shutil.copytree(tmp_path / "killed", tmp_path / "narrowed")
    status, errors = in_processes(forkserver, clips, tmp_path / "killed", recipe)
    assert status == 0, errors
    narrowed = in_this_process(clips, tmp_path / "narrowed", recipe)
    whole, killed = (load_run(tmp_path / name) for name in ("whole", "killed"))
    for left, right in zip(states(whole), states(killed), strict=True):
        for name, value in left.items():
            assert torch.equal(value, right[name]), name
    history = narrowed.history()
    assert history["epoch"].tolist() == [1, 2]
    assert (history["tp_pose"] + history["fn_pose"] == 16).all()


def test_a_stop_that_reaches_one_process_stops_all_after_the_step(
    clips: Clips, tmp_path: Path, forkserver: ForkServerContext
) -> None:
    status, errors = in_processes(forkserver, clips, tmp_path / "run", tiny_pose_only(**SAME), stop_at=2)
    assert status != 0
    assert load_run(tmp_path / "run").status()["state"] == "interrupted", errors
    state = torch.load(tmp_path / "run" / "checkpoints" / "step.pt", weights_only=True)
    assert state["inside"]["step"] == 2
    assert state["inside"]["random"]["cpu"].shape[0] == 2


def test_what_the_first_process_cannot_do_ends_all_of_them(
    clips: Clips, tmp_path: Path, forkserver: ForkServerContext
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "clips.parquet").touch()
    status, errors = in_processes(forkserver, clips, tmp_path / "run", tiny_pose_only())
    assert status == 1
    assert errors.count("is a clip folder: choose another folder for the run") >= 1


def test_processes_that_torchrun_or_srun_started_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    assert started_processes() is None
    with monkeypatch.context() as patch:
        for name, value in (
            ("TORCHELASTIC_RUN_ID", "x"), ("LOCAL_WORLD_SIZE", "4"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1"),
            ("RANK", "5"), ("GROUP_RANK", "1"),
        ):  # fmt: skip
            patch.setenv(name, value)
        assert started_processes() == (4, 2)
        with pytest.raises(
            MgkitError, match="4 processes were started on each of 2 machines, but devices is 2"
        ):
            make_fabric("cpu", devices=2)
        assert make_fabric("cpu", devices=4).strategy.num_nodes == 2  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        for name, value in (
            ("SLURM_NTASKS", "6"), ("SLURM_NNODES", "3"), ("SLURM_STEP_ID", "0"), ("SLURM_JOB_NAME", "train"),
            ("SLURM_PROCID", "0"), ("SLURM_LOCALID", "0"), ("SLURM_NODEID", "0"),
        ):  # fmt: skip
            patch.setenv(name, value)
        assert started_processes() == (2, 3)
        patch.delenv("SLURM_STEP_ID")  # in the batch script itself, which is one process
        assert started_processes() is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": 0}, "devices is 0: use a whole number"),
        ({"strategy": "fsdp"}, "strategy is 'fsdp': use auto or ddp"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MgkitError, match=message):
        make_fabric("cpu", **options)
