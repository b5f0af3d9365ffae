"""A training on a few small clips, for the tests that look at how it goes on, and for processes that they start.

As a program it trains once: `python -m tests.training.training CLIPS OUT RECIPE.json [OPTIONS.json]`; the options are
those of `train`, and "test" (a split to test afterwards), "kill_at" (die by SIGKILL before that part of a batch),
"stop_at" (the first process alone gets a SIGTERM there), "hide_same" (a pre-training hides the same of all clips: its
draws, like those of dropout, are each process's own) or "largest_file" (bytes beyond which no file grows, as if the
disk were full).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from mgkit.data.clips import Clips, load_clips
from mgkit.models import masking
from mgkit.results.run.folder import Run, create_run
from mgkit.training import loop, recipes
from mgkit.training.build import build_model, build_objective, embedding_widths
from mgkit.training.checkpoints import load_checkpoint
from mgkit.training.inference import test as run_test
from mgkit.training.loop import train
from mgkit.training.recipe import Recipe

TINY: dict[str, Any] = {
    "rgb_frames": 2, "pose_frames": 8, "rgb_size": 32, "heatmap_size": 8, "rgb_width": 4, "pose_width": 4,
    "embedding_dim": 8, "batch_size": 4, "epochs": 3,
}  # fmt: skip
TIMES = ("clips_per_second", "seconds")


def tiny(**changes: Any) -> Recipe:
    """The staged demo recipe, very small."""
    return recipes.demo(**{**TINY, "epochs": 2, **changes})


def tiny_pose_only(**changes: Any) -> Recipe:
    """A pose branch alone, very small."""
    small = {name: value for name, value in TINY.items() if not name.startswith("rgb_")}
    return recipes.pose_only(**{**small, "pose_blocks": (1, 1, 1), "learning_rate": 0.02, **changes})


def fit(clips: Clips, recipe: Recipe, out: Path, **options: Any) -> Run:
    return train(clips, recipe, out, **{"workers": 0, "device": "cpu", "progress": False, **options})


def untrained(clips: Clips, recipe: Recipe, out: Path, seed: int = 0) -> Run:
    """A run as a training leaves it, but with the weights that it would begin with and prototypes at random places."""
    generator = torch.Generator().manual_seed(seed)
    inputs = recipe.inputs.on(clips.skeleton)
    model = build_model(recipe, len(clips.classes), inputs, generator)
    widths = embedding_widths(recipe, model, inputs)
    objective = build_objective(recipe.with_(losses=()), len(clips.classes), widths, generator)
    for bank in objective.refinement.values():
        bank.updates += 1
        bank.updates[0] = 0  # a class that was never seen as a true positive
    run = create_run(
        out, recipe=recipe.with_(stages=()).to_dict(), settings={"train_split": "train"}, clips=clips,
        pathways=recipe.pathways, environment={},
    )  # fmt: skip
    state = {"format": 1, "epoch": 0, "model": model.state_dict(), "objective": objective.state_dict()}
    (out / "checkpoints").mkdir()
    torch.save(state, out / "checkpoints" / "best.pt")
    return run


def states(run: Run) -> list[dict[str, torch.Tensor]]:
    last = load_checkpoint(run.checkpoint("last"))
    return [last["model"], last["objective"]]


def assert_same_weights(one: Run, two: Run) -> None:
    for left, right in zip(states(one), states(two), strict=True):
        assert left.keys() == right.keys()
        for name, value in left.items():
            assert torch.equal(value, right[name]), name


def assert_same_run(one: Run, two: Run) -> None:
    """Bit for bit: weights, optimizer, kept epoch, history (but times) and prototypes, of every stage too."""
    assert one.stages() == two.stages()
    for a, b in [(one, two), *((one.stage(name), two.stage(name)) for name in one.stages())]:
        assert_same_weights(a, b)
        last = [load_checkpoint(run.checkpoint("last")) for run in (a, b)]
        for left, right in zip(*(state["optimizer"]["state"].values() for state in last), strict=True):
            assert torch.equal(left["momentum_buffer"], right["momentum_buffer"])
        best = [load_checkpoint(run.checkpoint("best")) for run in (a, b)]
        assert best[0]["epoch"] == best[1]["epoch"]
        for name, value in best[0]["model"].items():
            assert torch.equal(value, best[1]["model"][name]), name
        columns = [c for c in a.history() if c not in TIMES]
        assert a.history()[columns].equals(b.history()[columns])
        assert (a.root / "prototypes.npz").exists() == (a.recipe["refinement"] is not None)
        for name, vectors in a.prototypes().vectors.items() if a.recipe["refinement"] else ():
            np.testing.assert_array_equal(vectors, b.prototypes().vectors[name])


def main(clips: str, out: str, recipe: str, options: str = "{}") -> None:
    torch.set_num_threads(1)
    chosen: dict[str, Any] = {"workers": 0, "device": "cpu", "progress": False, **json.loads(options)}
    split, kill_at, stop_at = (chosen.pop(key, None) for key in ("test", "kill_at", "stop_at"))
    hide_same = chosen.pop("hide_same", False)
    if largest := chosen.pop("largest_file", None):
        import resource  # not on Windows

        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    if kill_at or stop_at:
        real, calls = loop.batch_inputs, 0

        def killed(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if calls == stop_at and os.environ.get("LOCAL_RANK", "0") == "0":
                os.kill(os.getpid(), signal.SIGTERM)
            return real(*arguments)

        loop.batch_inputs = killed  # type: ignore[assignment]
    drawn = masking.hidden_joints, masking.hidden_tubes
    if hide_same:
        masking.hidden_joints, masking.hidden_tubes = _half_of_joints, _half_of_tubes
    try:
        run = train(load_clips(clips), Recipe.from_dict(json.loads(recipe)), out, **chosen)
    finally:  # it may be the process of all tests
        masking.hidden_joints, masking.hidden_tubes = drawn
    if split:
        shared = {key: chosen[key] for key in ("devices", "device", "workers", "progress") if key in chosen}
        run_test(run, split, views=2, flip=True, **shared)


def _half_of_joints(shape: tuple[int, ...], *_: Any) -> torch.Tensor:
    return (torch.arange(shape[2])[:, None] + torch.arange(shape[3])).remainder(2).bool().expand(shape)


def _half_of_tubes(clips: int, grid: int, *_: Any) -> torch.Tensor:
    return torch.arange(grid * grid).remainder(2).bool().view(grid, grid).expand(clips, -1, -1)


def one_of_several(rank: int, processes: int, port: int, errors: str, *words: str) -> None:
    """Train as one of the processes that torchrun starts; what it says on stderr goes into a file."""
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    started = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    started |= {
        "GROUP_RANK": 0,
        "TORCHELASTIC_RUN_ID": "tests",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    os.environ |= {name: str(value) for name, value in started.items()}
    main(*words)


def run_cells(output: str, variables: dict[str, str], cells: list[str], names: dict[str, str]) -> None:
    """Run cells as a kernel does; what is printed goes into a file, and the first error ends the process."""
    for stream in (1, 2):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.environ |= variables
    from IPython.core.interactiveshell import InteractiveShell

    module = sys.modules["__main__"] = ModuleType("__main__")
    vars(module).update(names)
    shell = InteractiveShell.instance(user_module=module, user_ns=vars(module))
    for cell in cells:
        shell.run_cell(cell).raise_error()


if __name__ == "__main__":
    main(*sys.argv[1:])
