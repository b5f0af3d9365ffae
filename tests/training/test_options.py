"""The options of a training, each against a slow reference: what its equation says, clip by clip or epoch by epoch."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError
from mgkit.models import Objective, PathwayOutput
from mgkit.models.losses.objective import Mixing
from mgkit.results.run.folder import load_run
from mgkit.training import checkpoints, recipes
from mgkit.training.build import build_model, build_objective, class_weights
from mgkit.training.checkpoints import load_checkpoint
from mgkit.training.epoch import Selection
from mgkit.training.inference import test as run_test
from mgkit.training.recipe import CrossEntropy
from mgkit.training.reporting import Logs
from tests.tiny import tiny_clips
from tests.training.training import TIMES, fit, tiny, tiny_pose_only


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return tiny_clips(
        tmp_path_factory.mktemp("clips"), counts={"train": 4, "val": 1, "test": 1}, videos=False
    )


# --- weights --------------------------------------------------------------------------------------------------------


def test_class_weights_are_those_of_their_equations() -> None:
    counts = np.array([1, 4, 100, 0])
    for kind, raw in (
        ("sqrt", [1 / n**0.5 for n in (1, 4, 100)]),
        # 1 / effective number, which is 1 + beta + beta^2 + ... of n terms.
        ("effective", [1 / sum(0.9**i for i in range(n)) for n in (1, 4, 100)]),
    ):
        weights = class_weights(CrossEntropy(class_weights=kind, class_weight_beta=0.9), counts)
        assert weights is not None
        np.testing.assert_allclose(weights[:3], np.array(raw) / np.mean(raw))
        assert weights[3] == 1
    assert class_weights(CrossEntropy(), counts) is None
    even = class_weights(CrossEntropy(class_weights="effective", class_weight_beta=0.0), counts)
    np.testing.assert_allclose(even, 1)  # type: ignore[arg-type]


def outputs_of(n: int, seed: int, classes: int = 4) -> tuple[dict[str, PathwayOutput], torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    outputs = {}
    for name in ("rgb", "pose"):
        logits, z = torch.randn(n, classes, generator=g), torch.randn(n, 6, generator=g)
        outputs[name] = PathwayOutput(logits.requires_grad_(), z.requires_grad_(), z)
    return outputs, torch.randint(0, classes, (n,), generator=g)


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    recipe = recipes.fusion(
        alpha=0.3, class_weights="sqrt", label_smoothing=0.1, ce_rgb_weight=0.5, ce_pose_weight=2.0,
        pr_rgb_weight=0.0, pr_pose_weight=3.0, embedding_dim=6,
    )  # fmt: skip
    counts = np.array([9, 1, 4, 2])
    objective = build_objective(
        recipe, 4, {"rgb": 6, "pose": 6}, torch.Generator().manual_seed(0), class_counts=counts
    )
    outputs, labels = outputs_of(7, 1)
    step = objective(outputs, labels)
    weights = class_weights(recipe.cross_entropy, counts)
    assert weights is not None
    expected = torch.zeros(())
    for name, ce, pr in (("rgb", 0.5, 0.0), ("pose", 2.0, 3.0)):
        total, norm = torch.zeros(()), 0.0
        for logits, label in zip(outputs[name].logits, labels.tolist(), strict=True):
            logs = logits.log_softmax(0)
            smooth = sum(float(weights[k]) * -logs[k] for k in range(4)) / 4
            total = total + 0.9 * float(weights[label]) * -logs[label] + 0.1 * smooth
            norm += float(weights[label])
        torch.testing.assert_close(step.terms[f"ce_{name}"], (total / norm).detach())
        expected = expected + ce * total / norm + 0.3 * pr * step.refinement[name].per_clip.mean()
    torch.testing.assert_close(step.loss, expected)
    with pytest.raises(MgkitError, match="term_weights has 1.0 for 'ce_flow': give numbers"):
        Objective(("rgb",), 4, 6, term_weights={"ce_flow": 1.0})
    with pytest.raises(MgkitError, match="-1"):
        Objective(("rgb",), 4, 6, term_weights={"ce_rgb": -1.0})


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sizes", [(3, 3, 3), (4, 1, 2), (5,)])
def test_parts_add_up_to_the_loss_and_gradient_of_the_batch(weighted: bool, sizes: tuple[int, ...]) -> None:
    """With frozen prototypes (momentum 1) and no ambiguous sets (margin 0), the parts share nothing but the mean."""
    whole, labels = outputs_of(sum(sizes), 3)
    options: dict[str, Any] = {"alpha": 0.7, "label_smoothing": 0.1, "momentum": 1.0, "margin": 0.0}
    options["class_weights"] = [1.0, 3.0, 0.5, 2.0] if weighted else None
    objective = Objective(("rgb", "pose"), 4, 6, generator=torch.Generator().manual_seed(2), **options)
    expected = objective(whole, labels)
    expected.loss.backward()
    gradients = {name: (o.logits.grad.clone(), o.embedding.grad.clone()) for name, o in whole.items()}  # type: ignore[union-attr]
    for o in whole.values():
        o.logits.grad = o.embedding.grad = None  # type: ignore[union-attr]
    losses, terms, first = torch.zeros(()), dict.fromkeys(expected.terms, torch.zeros(())), 0
    for size in sizes:
        rows = slice(first, first + size)
        part = {
            name: PathwayOutput(o.logits[rows], o.embedding[rows], o.features[rows])  # type: ignore[index]
            for name, o in whole.items()
        }
        step = objective(part, labels[rows], labels)
        step.loss.backward()
        losses = losses + step.loss.detach()
        terms = {name: value + step.terms[name] for name, value in terms.items()}
        first += size
    torch.testing.assert_close(losses, expected.loss.detach())
    for name, value in expected.terms.items():
        torch.testing.assert_close(terms[name], value)
    for name, o in whole.items():
        torch.testing.assert_close(o.logits.grad, gradients[name][0])
        torch.testing.assert_close(o.embedding.grad, gradients[name][1])  # type: ignore[union-attr]


@pytest.mark.parametrize("weighted", [False, True])
def test_a_mixed_clip_has_the_losses_of_both_its_labels(weighted: bool) -> None:
    """By a loop over clips and labels, with smoothing and a further loss; and of a part, its share of the batch's."""
    outputs, labels = outputs_of(6, 4)
    mixing = Mixing(labels[[2, 0, 1, 3, 5, 4]], torch.tensor([0.1, 0.9, 0.5, 0.3, 1.0, 0.0]))
    weights = [1.0, 3.0, 0.5, 2.0] if weighted else [1.0] * 4

    def own(given: Any, targets: torch.Tensor) -> torch.Tensor:
        return given["rgb"].embedding.sum(1) * (targets + 1)

    objective = Objective(
        ("rgb", "pose"), 4, None, prototypes=False, label_smoothing=0.1, losses={"own": (own, 0.5)},
        class_weights=weights if weighted else None, term_weights={"ce_rgb": 2.0},
    )  # fmt: skip
    slow = torch.zeros(())
    pairs = [
        (i, int(label), share)
        for both, shares in ((labels, mixing.share), (mixing.others, 1 - mixing.share))
        for i, (label, share) in enumerate(zip(both, shares.tolist(), strict=True))
    ]
    for name, factor in (("rgb", 2.0), ("pose", 1.0)):
        total, norm = torch.zeros(()), 0.0
        for i, label, share in pairs:
            logs = outputs[name].logits[i].log_softmax(0)
            smooth = sum(weights[k] * -logs[k] for k in range(4)) / 4
            total = total + share * (0.9 * weights[label] * -logs[label] + 0.1 * smooth)
            norm += share * weights[label]
        slow = slow + factor * total / norm
    for i, label, share in pairs:
        slow = slow + 0.5 * share * outputs["rgb"].embedding[i].sum() * (label + 1) / 6  # type: ignore[union-attr, index]
    torch.testing.assert_close(objective(outputs, labels, None, mixing).loss, slow)
    total = torch.zeros(())
    for rows in (slice(0, 4), slice(4, 6)):
        part = {name: PathwayOutput(o.logits[rows], o.embedding[rows]) for name, o in outputs.items()}  # type: ignore[index]
        mine = Mixing(mixing.others[rows], mixing.share[rows])
        total = total + objective(part, labels[rows], labels, mine, mixing).loss
    torch.testing.assert_close(total, slow)
    assert mixing.greater(labels).tolist() == [
        int(mixing.others[0]), int(labels[1]), int(labels[2]), int(mixing.others[3]), int(labels[4]),
        int(mixing.others[5]),
    ]  # fmt: skip
    with pytest.raises(MgkitError, match="prototypes of one"):
        Objective(("rgb", "pose"), 4, 6)(outputs, labels, None, mixing)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["both pathways", "key-points"])
def test_mixed_clips_train_every_kind_of_network(kind: str, tmp_path: Path) -> None:
    videos = kind == "both pathways"
    clips = tiny_clips(tmp_path / "clips", counts={"train": 4, "val": 1}, videos=videos)
    shared: dict[str, Any] = {"mixup": 0.3, "prototypes": False, "epochs": 1, "flip": 0.5}
    graph = {"pose_frames": 8, "width": 8, "blocks": (1,), "embedding_dim": 8, "stream": "bone-motion"}
    pairs = [(clips.classes.names[0], clips.classes.names[1])]
    recipe = tiny(**shared) if videos else recipes.narrow(recipes.ctrgcn(**shared), **graph)
    run = fit(clips, recipe.with_(mirror_pairs=pairs), tmp_path / "run")
    assert np.isfinite(run.history()["loss"]).all()


@pytest.mark.slow
def test_accumulation_is_the_training_of_the_whole_batch(clips: Clips, tmp_path: Path) -> None:
    """Where nothing looks across clips (frozen BatchNorm, no refinement): warm-up, clipping, smoothing and all."""
    options: dict[str, Any] = {
        "batch_norm": "frozen", "prototypes": False, "dropout": 0.0, "batch_size": 7, "label_smoothing": 0.1,
        "warmup_epochs": 1, "schedule": "cosine", "gradient_clip": 0.5, "class_weights": "sqrt",
    }  # fmt: skip
    one = fit(clips, tiny_pose_only(**options), tmp_path / "one", precision="64-true")
    three = fit(clips, tiny_pose_only(**options, accumulation=3), tmp_path / "three", precision="64-true")
    columns = [c for c in one.history() if c not in TIMES]
    assert one.history()["learning_rate"].nunique() == 3
    np.testing.assert_allclose(one.history()[columns], three.history()[columns], atol=1e-6)
    left, right = (load_checkpoint(run.checkpoint("last"))["model"] for run in (one, three))
    for name, value in left.items():
        torch.testing.assert_close(value, right[name], atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_a_step_is_that_of_a_plain_loop(clips: Clips, tmp_path: Path, mixup: float) -> None:
    """One epoch against SGD written out: momentum, weight decay, clipping of the gradient's norm, the learning rate."""
    from mgkit.data.batches.dataset import ClipDataset
    from mgkit.data.batches.device import batch_inputs
    from mgkit.data.batches.loader import collate
    from mgkit.data.batches.samplers import StepSampler, epoch_order

    recipe = tiny_pose_only(
        batch_norm="frozen",
        prototypes=False,
        dropout=0.0,
        epochs=1,
        gradient_clip=0.5,
        weight_decay=0.01,
        mixup=mixup,
    )
    run = fit(clips, recipe, tmp_path / "run", val_split=None)
    g = torch.Generator().manual_seed(0)
    spec = recipe.inputs.on(clips.skeleton)
    model = build_model(recipe, 4, spec, g).eval()  # without dropout, frozen BatchNorm is evaluation mode
    dataset = ClipDataset(clips.split("train"), spec, training=True)
    order = epoch_order(dataset.clips.labels, 0, 0)[:, 0]
    sampler, right = StepSampler(dataset, 4), 0
    velocity = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for i in range(0, 16, 4):
        batch = collate([dataset[(0, int(position), 0)] for position in order[i : i + 4]])
        model.zero_grad()
        inputs, labels = batch_inputs(batch, dataset.spec, clips.skeleton)["pose"], batch.labels
        if mixup:
            partner, share = sampler.partners(i // 4, mixup)
            part = torch.from_numpy(share)
            inputs = torch.stack([part[n] * inputs[n] + (1 - part[n]) * inputs[partner[n]] for n in range(4)])
            logits = model({"pose": inputs})["pose"].logits
            losses = [F.cross_entropy(logits, one, reduction="none") for one in (labels, labels[partner])]
            (part * losses[0] + (1 - part) * losses[1]).mean().backward()
            labels = torch.where(part >= 0.5, labels, labels[partner])
        else:
            logits = model({"pose": inputs})["pose"].logits
            F.cross_entropy(logits, labels).backward()
        right += int((logits.argmax(1) == labels).sum())
        gradients = {
            n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()
        }
        norm = sum(float(value.square().sum()) for value in gradients.values()) ** 0.5
        with torch.no_grad():
            for name, p in model.named_parameters():
                used = p.grad is not None
                step = gradients[name] * min(1.0, 0.5 / (norm + 1e-6)) + (0.01 * p if used else 0)
                velocity[name] = 0.9 * velocity[name] + step
                p -= recipe.optimisation.learning_rate_at(0) * velocity[name]
    assert run.history()["train_top1_pose"].tolist() == [right / 16]
    state = load_checkpoint(run.checkpoint("last"))["model"]
    for name, p in model.named_parameters():
        torch.testing.assert_close(
            state[name], p.detach(), atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_frozen_statistics_stay_and_their_scales_learn(clips: Clips, tmp_path: Path) -> None:
    run = fit(clips, tiny_pose_only(batch_norm="frozen", epochs=1), tmp_path / "run")
    state = load_checkpoint(run.checkpoint("last"))["model"]
    means = [value for name, value in state.items() if name.endswith("running_mean")]
    assert means
    assert all(not value.any() for value in means)
    assert any((value != 1).any() for name, value in state.items() if name.endswith("norm.weight"))


# --- what is kept, and when it stops --------------------------------------------------------------------------------


def slow_selection(keep: str, stop_on: str, patience: int, rows: list[dict[str, float]]) -> tuple[int, int]:
    """The epoch that is kept and the one after which training stops, both from 1, by looking at the whole past."""

    def value(name: str, row: dict[str, float]) -> float:
        key = {"best": "val_top1_fused"}.get(name, name)
        return -row[key] if "loss" in key else row[key]

    last = len(rows)
    for epoch in range(1, len(rows) + 1):
        watched = [value(stop_on, row) for row in rows[:epoch]]
        if patience and epoch - 1 - watched.index(max(watched)) >= patience:
            last = epoch
            break
    kept = last
    if keep != "last":
        values = [value(keep, row) for row in rows[:last]]
        kept = max(i + 1 for i, v in enumerate(values) if v == max(values))
    return kept, last


@pytest.mark.parametrize("keep", ["best", "last", "val_macro_f1", "val_loss", "loss"])
@pytest.mark.parametrize("stop_on", ["best", "val_loss"])
@pytest.mark.parametrize("patience", [0, 1, 3])
def test_what_is_kept_and_when_it_stops(keep: str, stop_on: str, patience: int) -> None:
    recipe = recipes.fusion(keep=keep, stop_on=stop_on, patience=patience)
    generator = np.random.default_rng(0)
    for _ in range(20):
        names = ("val_top1_fused", "val_macro_f1", "val_loss", "loss")
        rows = [dict(zip(names, generator.integers(0, 5, 4) / 4, strict=True)) for _ in range(12)]
        selection, kept, last = Selection(), 0, 0
        for epoch, row in enumerate(rows, start=1):
            if selection.over(recipe):
                break
            last = epoch
            if selection.update(recipe, row):
                kept = epoch
        assert (kept, last) == slow_selection(keep, stop_on, patience, rows)


def test_a_branch_is_judged_by_its_own_output() -> None:
    recipe = recipes.pose_only(keep="val_top1_fused")
    selection = Selection()
    assert selection.update(recipe, {"val_top1_pose": 0.5})
    assert not selection.update(recipe, {"val_top1_pose": 0.25})


def test_patience_ends_a_training_and_says_so(clips: Clips, tmp_path: Path) -> None:
    recipe = tiny_pose_only(epochs=8, learning_rate=1e-12, patience=2, stop_on="val_macro_f1")
    run = fit(clips, recipe, tmp_path / "run")
    status = run.status()
    assert (status["state"], status["epoch"]) == ("finished", 3)
    assert status["message"] == "stopped after epoch 3: 2 epochs without a better val_macro_f1"
    assert len(fit(clips, recipe, tmp_path / "run").history()) == 3
    with pytest.raises(MgkitError, match="needs a validation split"):
        fit(clips, recipe, tmp_path / "other", val_split=None)


def test_the_validation_loss_is_that_of_the_predictions(clips: Clips, tmp_path: Path) -> None:

    run = fit(clips, tiny_pose_only(keep="last"), tmp_path / "run")
    predictions = run_test(run, "val", workers=0, device="cpu", progress=False)
    slow = [-np.log(p[label]) for p, label in zip(predictions.scores(), predictions.labels, strict=True)]
    assert run.history()["val_loss"].iloc[-1] == pytest.approx(np.mean(slow), abs=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accumulation": 11}, "accumulation is 11, more parts than the batch has clips"),
        ({"class_weights": "inverse"}, "class_weights is 'inverse'"),
        ({"sampling": "even"}, "sampling is 'even'; use 'all' or 'balanced'"),
        ({"keep": "val_accuracy"}, "keep is 'val_accuracy'"),
        ({"stop_on": "last"}, "stop_on is 'last'"),
        ({"patience": -1}, "patience is -1"),
        ({"mixup": -0.1, "prototypes": False}, "mixup is -0.1"),
        ({"mixup": 0.2}, "mixup is 0.2: a mixed clip is of two classes"),
        ({"batch_norm": "sync"}, "batch_norm is 'sync'"),
        ({"class_weight_beta": 1.0}, "class_weight_beta is 1.0"),
        ({"ce_rgb_weight": -1.0}, "ce_rgb_weight is -1.0"),
    ],
)
def test_options_that_cannot_be_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(MgkitError, match=message):
        recipes.fusion(**change)


# --- folds ----------------------------------------------------------------------------------------------------------


# --- logs -----------------------------------------------------------------------------------------------------------


class FakeWandb(types.ModuleType):
    """What of Weights & Biases is used, remembering what it was told."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.inits: list[dict[str, Any]] = []
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.finished: list[int] = []
        self.id = "r1"

    def init(self, **options: Any) -> FakeWandb:
        self.inits.append(options)
        return self

    def log(self, row: dict[str, float], step: int) -> None:
        self.rows.append((step, row))

    def finish(self, exit_code: int) -> None:
        self.finished.append(exit_code)


def test_the_history_goes_to_wandb_and_a_resumed_run_goes_on_there(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mgkit.training import loop

    wandb, real, calls = FakeWandb(), loop.batch_inputs, 0
    monkeypatch.setitem(sys.modules, "wandb", wandb)

    def interrupted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 7:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(loop, "batch_inputs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(clips, tiny_pose_only(), tmp_path / "run", log=("wandb",))
    run = fit(clips, tiny_pose_only(), tmp_path / "run", log=("wandb",))
    assert [options["id"] for options in wandb.inits] == [None, "r1"]
    assert wandb.inits[0]["name"] == "run"
    assert wandb.inits[0]["config"]["batch_size"] == 4
    assert wandb.finished == [1, 0]
    assert [step for step, _ in wandb.rows] == [1, 2, 3]
    history = run.history()
    for (_, row), (_, kept) in zip(wandb.rows, history.iterrows(), strict=True):
        assert row["train/loss"] == pytest.approx(kept["loss"])
        assert row["val/top1_pose"] == pytest.approx(kept["val_top1_pose"])
        assert {"train/loss_ce_pose", "count/tp_pose", "run/learning_rate"} <= set(row)


def test_event_files_lie_in_the_run_folder(clips: Clips, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the package tensorboard, which is optional")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = fit(clips, tiny_pose_only(), tmp_path / "run", log=("tensorboard",))
    events = EventAccumulator(str(run.root / "tensorboard"))
    events.Reload()
    losses = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert [step for step, _ in losses] == [1, 2, 3]
    np.testing.assert_allclose([value for _, value in losses], run.history()["loss"], rtol=1e-6)


def test_a_log_that_cannot_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MgkitError, match="log has 'mlflow': use tensorboard or wandb"):
        Logs(("mlflow",), tmp_path)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MgkitError, match="needs the package wandb: pip install wandb"):
        Logs("wandb", tmp_path)


def test_a_process_killed_after_its_checkpoint_has_logged_that_epoch(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb, real = FakeWandb(), checkpoints.Checkpoints.save_epoch
    monkeypatch.setitem(sys.modules, "wandb", wandb)

    def killed(self: Any, position: Any, best: bool) -> None:
        real(self, position, best)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.Checkpoints, "save_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(clips, tiny_pose_only(), tmp_path / "run", log=("wandb",))
    fit(clips, tiny_pose_only(), tmp_path / "run", log=("wandb",))
    assert [step for step, _ in wandb.rows] == [1, 2, 3]


@pytest.mark.slow
def test_event_files_that_cannot_be_written_are_told_of_and_the_run_goes_on(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def __init__(self, *arguments: Any, **options: Any) -> None: ...
        def add_text(self, *arguments: Any) -> None: ...
        def add_scalar(self, *arguments: Any) -> None: ...
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

        close = flush

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Full  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    told = r"event files in .*tensorboard cannot be written \(No space left on device\): free some space"
    with pytest.raises(MgkitError, match=told):
        fit(clips, tiny_pose_only(), tmp_path / "run", log=("tensorboard",))
    assert "event files" in load_run(tmp_path / "run").status()["message"]
    assert fit(clips, tiny_pose_only(), tmp_path / "run").status()["state"] == "finished"
