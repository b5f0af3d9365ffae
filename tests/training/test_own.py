"""A user's own network, fusion module, loss and augmentation are trained, tested, resumed and kept like mgkit's."""

from __future__ import annotations

import os
import sys
import textwrap
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import mgkit as mg
from mgkit.data.clips import Clips
from mgkit.errors import MgkitError
from mgkit.models import PathwayOutput
from mgkit.results.run.folder import load_run
from mgkit.training import loop
from mgkit.training.build import outline
from mgkit.training.explain import explain
from mgkit.training.inference import test as run_test
from tests.tiny import tiny_clips
from tests.training import own
from tests.training.training import assert_same_weights, fit, run_cells, tiny, tiny_pose_only

QUIET: dict[str, Any] = {"workers": 0, "device": "cpu", "progress": False}
FILE = Path(own.__file__)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return tiny_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has been trained on this machine is another list in each test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def recipe(**changes: Any) -> mg.Recipe:
    """The page's own network, loss term and augmentation, from a file."""
    mine = mg.Recipe(
        network=mg.part(f"{FILE}:my_net", width=16),
        reads=("keypoints",),
        losses=[mg.part(f"{FILE}:centre_loss", weight=0.1)],
        augment=[mg.part(f"{FILE}:drop_joints", p=0.1)],
        epochs=2,
        batch_size=4,
        pose_frames=8,
    )
    return mine.with_(**changes)


@pytest.mark.slow
def test_an_own_network_loss_and_augmentation_go_the_one_way(clips: Clips, tmp_path: Path) -> None:
    run = fit(clips, recipe(), tmp_path / "run")
    assert {"loss_ce_pose", "loss_centre_loss_pose"} <= set(run.history())
    total = run.history()["loss_ce_pose"] + 0.1 * run.history()["loss_centre_loss_pose"]
    np.testing.assert_allclose(run.history()["loss"], total, atol=1e-5)
    assert (run.root / "code" / "own.py").read_text() == FILE.read_text()
    assert set(run.config["code"]) == {"own.py"}
    assert run.recipe["network"]["part"] == "code/own.py:my_net"
    predictions = run_test(run, "test", **QUIET)
    assert predictions.clip_ids == clips.split("test").ids
    assert run.embeddings("test").vectors["pose"].shape == (4, 16)
    assert len(explain(run, "test", **QUIET)) == 4
    cost = mg.measure(run, speed=False)
    assert cost.parameters == 9 * 16 + 16 + 16 * 4 + 4
    assert cost.flops > 0
    assert outline(run)["pathways"][0]["head"]["embedding"] == 16
    assert fit(clips, recipe(), tmp_path / "run").root == run.root


@pytest.mark.slow
def test_prototypes_of_an_own_network(clips: Clips, tmp_path: Path) -> None:
    run = fit(clips, recipe(prototypes=True, alpha=0.1), tmp_path / "run")
    assert run.prototypes().vectors["pose"].shape == (2, 4, 16)
    assert run_test(run, "test", **QUIET).own["pose"].shape == (4,)


@pytest.mark.slow
def test_an_own_fusion_module_in_the_staged_training(clips: Clips, tmp_path: Path) -> None:
    ours = tiny(fusion=mg.part(own.GatedSum, hidden=8), epochs=1)
    assert ours["hidden"] == 8
    run = fit(clips, ours, tmp_path / "run")
    run_test(run, "test", **QUIET)
    assert [one["name"] for one in outline(run)["fusions"]] == ["GatedSum"] * 2
    assert not any("GatedSum" in str(one.recipe) for one in (run.stage("rgb"), run.stage("pose")))
    changed = tiny(fusion=mg.part(own.GatedSum, hidden=4), epochs=1)
    with pytest.raises(MgkitError, match="hidden"):
        fit(clips, changed, tmp_path / "run")


@pytest.mark.slow
def test_an_own_head_with_a_loss_of_its_output(clips: Clips, tmp_path: Path) -> None:
    mine = tiny_pose_only(
        head=mg.part(own.CountingHead), losses=[mg.part(own.MotionLoss, name="motion", weight=0.5)], epochs=1
    )
    run = fit(clips, mine, tmp_path / "run")
    assert (run.history()["loss_motion"] > 0).all(), "a number per clip, of no pathway"
    assert (run.root / "loss_motion.txt").read_text() == "4 classes\n"
    assert run_test(run, "test", **QUIET).own["pose"].shape == (4,)
    assert mg.figures.training_curves(run).data["epoch"].tolist()
    assert mg.widgets.TrainingMonitor(run.root)


@pytest.mark.slow
def test_weights_of_an_own_network_are_found_by_name(clips: Clips, tmp_path: Path) -> None:
    still = recipe(epochs=1, learning_rate=1e-30, weight_decay=0.0, losses=[], augment=[])
    model = still.network.build(classes=4, inputs=still.inputs.on(clips.skeleton))
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    run = fit(clips, still, tmp_path / "run", start={"all": tmp_path / "weights.pt"})
    again = fit(clips, still, tmp_path / "again", start={"pose": run})
    for one in (run, again):
        saved = torch.load(one.checkpoint("best"), weights_only=True)["model"]
        assert all(torch.equal(saved[name], value) for name, value in model.state_dict().items())


@pytest.mark.slow
def test_an_interrupted_own_training_ends_as_one_that_was_not(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(clips, recipe(), tmp_path / "whole")
    real, calls = loop.batch_inputs, 0

    def stopped(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "batch_inputs", stopped)
        with pytest.raises(KeyboardInterrupt):
            fit(clips, recipe(), tmp_path / "parts", checkpoint_minutes=0)
    assert_same_weights(whole, fit(clips, recipe(), tmp_path / "parts", checkpoint_minutes=0))


@pytest.mark.slow
def test_loader_workers_import_the_code_of_the_run(clips: Clips, tmp_path: Path) -> None:
    assert_same_weights(
        fit(clips, recipe(), tmp_path / "none"), fit(clips, recipe(), tmp_path / "two", workers=2)
    )


# --- changed code ---------------------------------------------------------------------------------------------------

SOURCE = FILE.read_text(encoding="utf-8")


def in_file(folder: Path, source: str) -> mg.Recipe:
    file = folder / "mine.py"
    file.write_text(source)
    return mg.Recipe(mg.part(f"{file}:my_net"), reads=("keypoints",), epochs=2, batch_size=4, pose_frames=8)


@pytest.mark.slow
def test_changed_code_is_refused_with_its_lines_or_accepted_and_recorded(
    clips: Clips, tmp_path: Path
) -> None:
    run = fit(clips, in_file(tmp_path, SOURCE), tmp_path / "run")
    other = in_file(tmp_path, SOURCE.replace("nn.ReLU()", "nn.Tanh()"))
    with pytest.raises(
        MgkitError, match=r"code of this run has changed.*\n.*\n.*\n.*\n.*\n-.*ReLU.*\n\+.*Tanh"
    ):
        fit(clips, other, tmp_path / "run")
    with pytest.raises(MgkitError, match="has changed"):
        mg.launch(clips, other, tmp_path / "run", device="cpu")
    before = load_run(run.root).config["code"]
    fit(clips, other, tmp_path / "run", changed_code="accept")
    assert load_run(run.root).config["code"] != before
    assert "Tanh" in (run.root / "code" / "mine.py").read_text()
    assert "+" in (run.root / "code" / "changes.diff").read_text()
    fit(clips, other, tmp_path / "run")


@pytest.mark.slow
def test_code_of_a_run_is_run_only_if_it_is_known_or_allowed(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forkserver: ForkServerContext
) -> None:
    run = fit(clips, in_file(tmp_path, SOURCE), tmp_path / "run")

    def in_another_process(more: str = "") -> tuple[int, str]:
        test = f"import mgkit as mg; mg.test(RUN, 'val', workers=0, device='cpu', progress=False{more})"
        return notebook(forkserver, tmp_path, [test], RUN=run.root)

    assert in_another_process()[0] == 0, "what was trained on this machine may be run again"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    status, said = in_another_process()
    assert status
    assert "mine.py (SHA-256" in said
    assert "run_code=True" in said
    assert in_another_process(", run_code=True")[0] == 0
    # Looking at a run never imports its code, whoever it is from.
    (run.root / "code" / "mine.py").write_text("raise SystemExit(7)")
    opened = load_run(run.root)
    mg.evaluate(opened, "val")
    outline(opened)
    mg.figures.training_curves(opened)
    with pytest.raises(MgkitError, match="is not the code that this run was trained with"):
        run_test(opened, "val", **QUIET, run_code=True)


def test_no_path_leads_out_of_the_folder(clips: Clips, tmp_path: Path) -> None:
    from mgkit.training.code import load_from

    for path in ("code/../mine.py:x", "code//etc/x.py:x", "code/a.py:x y", "code/a:x"):
        with pytest.raises(MgkitError, match="is not a part of a run folder"):
            load_from(tmp_path, {}, run_code=True)(path)


# --- notebooks ------------------------------------------------------------------------------------------------------

CELLS = [
    """
    import math
    import torch
    from torch import nn, Tensor
    import mgkit as mg
    from mgkit.models import PathwayOutput
    SCALE, clips = 2.0, mg.load_clips(CLIPS)
    options = dict(workers=0, device="cpu", progress=False)
    """,
    """
    class Part(nn.Module):
        def __init__(self, size, classes):
            super().__init__()
            self.line = nn.Linear(size, classes)

        def forward(self, x):
            return self.line(SCALE * x) * math.sqrt(1)

    def pooled(x):
        return x.mean(dim=2).flatten(1)
    """,
    """
    from dataclasses import dataclass

    @dataclass
    class Sizes:
        of_clip: int
        classes: int = 4

    class Net(nn.Module):
        def __init__(self, size, classes):
            super().__init__()
            sizes = Sizes(size, classes=classes)
            self.part = Part(sizes.of_clip, sizes.classes)

        def forward(self, inputs):
            return {"pose": PathwayOutput(self.part(pooled(inputs["pose"])))}

    def my_net(classes, inputs, *, generator=None):
        clips = inputs.shapes["pose"]  # a name of the notebook, but here another thing
        return Net(clips[0] * clips[2] * clips[3], classes)

    recipe = mg.Recipe(mg.part(my_net), reads=("keypoints",), epochs=2, batch_size=4, pose_frames=8)
    run = mg.train(clips, recipe, OUT, **options)
    mg.test(run, "test", **options)
    """,
]


def notebook(
    context: ForkServerContext, tmp_path: Path, cells: list[str], **names: Any
) -> tuple[int | None, str]:
    """The cells in a process of IPython, as a kernel runs them: its exit status and all that it printed."""
    (output := tmp_path / "cells.txt").unlink(missing_ok=True)
    process = context.Process(
        target=run_cells,
        args=(
            str(output), {"XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"]}, [textwrap.dedent(cell) for cell in cells],
            {name: str(value) for name, value in names.items()},
        ),
    )  # fmt: skip
    process.start()
    process.join()
    return process.exitcode, output.read_text()


@pytest.mark.slow
def test_a_network_of_a_notebook_is_kept_and_used_again(
    clips: Clips, tmp_path: Path, forkserver: ForkServerContext
) -> None:
    status, said = notebook(forkserver, tmp_path, CELLS, CLIPS=clips.root, OUT=tmp_path / "run")
    assert status == 0, said
    run = load_run(tmp_path / "run")
    text = (run.root / "code" / "my_net.py").read_text()
    assert [
        line for line in ("import math", "SCALE = 2.0", "class Part(nn.Module):") if line not in text
    ] == []
    assert "load_clips" not in text
    # After a restart, without the cells; and in a new kernel with them.
    run_test(run, "val", **QUIET)
    status, said = notebook(forkserver, tmp_path, CELLS, CLIPS=clips.root, OUT=tmp_path / "run")
    assert status == 0, said
    calls = """
    for call in (lambda: mg.train(clips, recipe, OUT, **options), lambda: mg.test(OUT, "val", **options)):
        try:
            call()
        except mg.MgkitError as error:
            print(error)
    mg.test(OUT, "val", run_code=True, **options)
    """
    cells = [*CELLS[:2], CELLS[2].split("    run = mg.train")[0] + calls.lstrip("\n")]
    other = [cell.replace("math.sqrt(1)", "math.sqrt(4)") for cell in cells]
    status, said = notebook(forkserver, tmp_path, other, CLIPS=clips.root, OUT=tmp_path / "run")
    assert status == 0, said
    assert "the code of this run has changed since it was begun" in said
    assert "my_net of this session is not the one that this run was trained with" in said
    assert said.count("+        return self.line(SCALE * x) * math.sqrt(4)") == 2


@pytest.mark.slow
def test_a_module_of_a_package_is_imported_by_its_name_and_compared(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "mypackage"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "nets.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    mine = mg.Recipe("mypackage.nets:my_net", reads=("keypoints",), epochs=1, batch_size=4, pose_frames=8)
    run = fit(clips, mine, tmp_path / "run")
    assert run.recipe["network"]["part"] == "mypackage.nets:my_net"
    assert os.listdir(run.root / "code") == ["mypackage.nets.py"]
    run_test(run, "val", **QUIET)
    (package / "nets.py").write_text(SOURCE.replace("nn.ReLU()", "nn.Tanh()"))
    with pytest.raises(
        MgkitError, match=r"mypackage.nets has changed since this run was trained:\n[^$]*\+.*Tanh"
    ):
        run_test(run, "val", **QUIET)
    run_test(run, "val", **QUIET, run_code=True)
    for name in ("mypackage", "mypackage.nets"):
        del sys.modules[name]


@pytest.mark.slow
def test_a_network_of_a_notebook_is_launched_and_resumed(
    clips: Clips, tmp_path: Path, forkserver: ForkServerContext
) -> None:
    calls = """
    job = mg.launch(clips, recipe, OUT, workers=0, device="cpu")
    job.wait(300)
    """
    launched = CELLS[2].split("    run = mg.train")[0] + calls.lstrip("\n")
    status, said = notebook(
        forkserver, tmp_path, [*CELLS[:2], launched], CLIPS=clips.root, OUT=tmp_path / "run"
    )
    assert status == 0, said
    assert load_run(tmp_path / "run").status()["state"] == "finished"
    status, said = notebook(forkserver, tmp_path, CELLS, CLIPS=clips.root, OUT=tmp_path / "run")
    assert status == 0, said


WITHOUT = [  # (a definition that cannot be kept, what is said of it)
    (
        "table = torch.zeros(3)\ndef my_net(classes, inputs):\n    return table",
        "uses table of the notebook, a Tensor",
    ),
    ("my_net = (lambda: (lambda classes, inputs: None))()", "is defined inside another function"),
    (
        "def outer():\n    def my_net(classes, inputs): ...\n    return my_net\nmy_net = outer()",
        "inside another function",
    ),
    ("exec('def my_net(classes, inputs): ...')", "source of my_net cannot be found"),
]


@pytest.mark.slow
def test_what_cannot_be_kept_is_refused_before_anything_is_trained(
    clips: Clips, tmp_path: Path, forkserver: ForkServerContext
) -> None:
    train = """
    try:
        mg.train(clips, mg.Recipe(mg.part(my_net), reads=("keypoints",)), OUT, **options)
    except mg.MgkitError as error:
        print("refused:", error)
    """
    cells = [cell for definition, _ in WITHOUT for cell in (definition, train)]
    status, said = notebook(forkserver, tmp_path, [CELLS[0], *cells], CLIPS=clips.root, OUT=tmp_path / "run")
    refusals = [line for line in said.splitlines() if "refused:" in line]
    assert (status, len(refusals)) == (0, len(WITHOUT)), said
    for line, (_, message) in zip(refusals, WITHOUT, strict=True):
        assert message in line
    assert not (tmp_path / "run").exists()


# --- refusals -------------------------------------------------------------------------------------------------------


class Wrong(own.Net):
    """A network with a fault."""

    def __init__(self, classes: int, inputs: Any, *, fault: str) -> None:
        super().__init__(classes, int(np.prod(inputs.shapes["pose"])) // inputs.pose_frames, 8)
        self.fault = fault

    def forward(self, inputs: dict[str, torch.Tensor]) -> Any:
        (output,) = super().forward(inputs).values()
        logits, z = output.logits, output.embedding
        return {
            "names": {"poses": output},
            "kind": {"pose": logits},
            "shape": {"pose": PathwayOutput(logits[:, :2], z)},
            "type": {"pose": PathwayOutput(logits.argmax(1), z)},
            "finite": {"pose": PathwayOutput(logits / 0, z)},
            "embedding": {"pose": PathwayOutput(logits, logits[0])},
            "detached": {"pose": PathwayOutput(logits.detach().requires_grad_(), z)},
            "crash": {},
        }[self.fault if self.fault != "crash" else inputs["nothing"]]  # type: ignore[index]


def scalar_loss(outputs: Any, labels: Any) -> torch.Tensor:
    return outputs["pose"].logits.mean()


def elsewhere_loss(outputs: Any, labels: Any) -> Any:
    return {"flow": outputs["pose"].logits[:, 0]}


def infinite_loss(outputs: Any, labels: Any) -> Any:
    return outputs["pose"].logits[:, 0] / 0


def halved(keypoints: Any, generator: Any) -> Any:
    return keypoints[:, ::2]


def doubled(keypoints: Any, generator: Any) -> Any:
    return keypoints.double()


class Narrower(nn.Module):
    def __init__(self, rgb_channels: int, pose_channels: int) -> None:
        super().__init__()

    def forward(self, rgb: Any, pose: Any) -> Any:
        return rgb[:, :1], pose


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"network": mg.part(Wrong, fault="names")},
            r"network Wrong must return {'pose': PathwayOutput}.*'poses'",
        ),
        ({"network": mg.part(Wrong, fault="kind")}, r"Wrong must return .* 'pose' is a Tensor"),
        (
            {"network": mg.part(Wrong, fault="shape")},
            r"pose logits of the network Wrong .* \(2, 4\), but are \(2, 2\)",
        ),
        (
            {"network": mg.part(Wrong, fault="type")},
            r"pose logits of the network Wrong must be numbers .*int64",
        ),
        ({"network": mg.part(Wrong, fault="finite")}, "pose logits of the network Wrong are not finite"),
        (
            {"network": mg.part(Wrong, fault="embedding")},
            r"pose embedding of the network Wrong .* but are \(4,\)",
        ),
        (
            {"network": mg.part(Wrong, fault="detached"), "losses": []},
            "no parameter of the network Wrong gets",
        ),
        (
            {"network": mg.part(Wrong, fault="crash")},
            "the network Wrong fails on a batch of two clips: KeyError",
        ),
        ({"network": mg.part(own.Net, values=1, width=2)}, "Net fails on a batch of two clips"),
        (
            {"losses": [mg.part(scalar_loss)]},
            r"loss scalar_loss must return a number per clip.*scalar_loss is \(\)",
        ),
        ({"losses": [mg.part(elsewhere_loss)]}, "loss elsewhere_loss returned a term for 'flow'"),
        ({"losses": [mg.part(infinite_loss)]}, "the loss infinite_loss is .* it must be finite"),
        (
            {"augment": [mg.part(halved)]},
            r"augmentation halved must return key-points \(1, 8, 3, 3\).*\(1, 4, 3, 3\)",
        ),
        ({"augment": [mg.part(doubled)]}, "augmentation doubled .*float64"),
    ],
)
def test_a_part_that_does_not_fit_is_named_before_a_folder_is_made(
    changes: dict[str, Any], message: str, clips: Clips, tmp_path: Path
) -> None:
    with pytest.raises(MgkitError, match=message):
        fit(clips, recipe(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_fusion_module_that_changes_the_maps_is_named(clips: Clips, tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match=r"fusion module Narrower must return two maps of the shapes"):
        fit(clips, tiny(fusion=mg.part(Narrower)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- shell ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_own_network_and_recipe_from_a_shell(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mgkit.cli import main

    (tmp_path / "my_models.py").write_text(SOURCE)
    (tmp_path / "my_recipes.py").write_text(
        "import mgkit as mg\nfrom my_models import my_net\n"
        "ours = mg.Recipe(mg.part(my_net, width=4), reads=('keypoints',), epochs=1, pose_frames=8)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    quiet = ["--device", "cpu", "--workers", "0"]
    words = [
        "--network",
        "my_models.py:my_net",
        "--set",
        "width=16",
        "--set",
        "epochs=1",
        "--set",
        "batch_size=4",
    ]
    assert main(["train", str(clips.root), "runs/mine", *words, "--set", "pose_frames=8", *quiet]) == 0
    assert load_run("runs/mine").recipe["network"]["settings"] == {"width": 16}
    words = ["--recipe", "my_recipes.py:ours", "--set", "batch_size=4"]
    assert main(["train", str(clips.root), "runs/ours", *words, *quiet]) == 0
    assert sorted(os.listdir("runs/ours/code")) == ["my_models.py"]
    assert main(["test", "runs/ours", *quiet]) == 0
