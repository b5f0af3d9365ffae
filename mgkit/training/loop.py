"""The training: from clips and a recipe to a run folder, one loop that reads top to bottom.

A staged recipe trains its branches first, each a run folder of its own under `stages/`, merges their weights and goes
on jointly. Every random draw comes from (seed, epoch), so an interrupted training that resumes at the beginning of
the epoch it was in ends as if it had never stopped.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mgkit.data.batches import ClipDataset, EpochSampler, batch_inputs, collate, worker_options
from mgkit.data.clips import Clips
from mgkit.data.video import probe
from mgkit.errors import MgkitError, some
from mgkit.files import atomic, exclusive
from mgkit.models import Objective, SinglePathway, TwoPathway, fuse_probabilities
from mgkit.progress import Progress
from mgkit.results.beginning import create_run
from mgkit.results.metrics import macro_f1, top1
from mgkit.results.runs import Run, append_history, load_run, write_prototypes, write_status
from mgkit.training.building import build_model, build_objective
from mgkit.training.device import cpu_threads, default_workers, environment, make_fabric, unwrapped_errors
from mgkit.training.inference import load_checkpoint, predict, restore
from mgkit.training.live import Live
from mgkit.training.recipes import Recipe
from mgkit.training.starts import Start, Weights, apply_start, check_start, find_start, start_settings


def train(
    clips: Clips,
    recipe: Recipe,
    out: str | Path,
    *,
    seed: int = 0,
    train_split: str = "train",
    val_split: str | None = "val",
    device: str = "auto",
    precision: str = "auto",
    workers: int | None = None,
    progress: bool = True,
    start: Start | None = None,
) -> Run:
    """Train a recipe; start it, resume it, or return it if it is finished, whatever the folder says.

    Args:
        clips: the clip folder.
        recipe: what to do; `mg.recipes.paper()`, `mg.recipes.demo()`, ...
        out: the run folder. If it holds an unfinished run of the same recipe, clips and seed, that one is resumed.
        seed: of the initial weights, the order of clips, augmentation and dropout.
        train_split: the split to train on.
        val_split: the split to choose the best epoch on; None for none, then the last epoch's weights are kept.
        device: "auto", "cpu" or "cuda".
        precision: "auto" (bf16 on a GPU that has it, else float32) or a precision of Lightning Fabric.
        workers: loader processes; chosen from the number of cores by default.
        progress: show a bar, and a line an epoch.
        start: what to start from, under "rgb", "pose" or, for the whole model, "all". A finished run, or its folder,
            gives its best weights and takes the place of the stage that would train that branch. A file of published
            weights, or `Weights` to adapt its classes or joints, is what a stage begins with; without stages it goes
            into the model itself. Hashes are part of the run's settings, and start.txt says what was used.

    Returns:
        The run, with the weights that `recipe.keep` says in `checkpoints/best.pt`.

    Raises:
        MgkitError: before anything is trained: an empty or unknown split, clips without what the recipe needs, a
            missing or broken video, a folder that holds another run. During it: a loss that is not finite.
        KeyboardInterrupt: passed on after the run folder says that it can be resumed by the same call.
    """
    out = Path(out)
    if val_split == train_split:
        raise MgkitError(
            f"the validation split is the training split {train_split!r}: choose another one, or none (the last epoch)."
        )
    fabric = make_fabric(device, precision)
    training_clips = clips.split(train_split)
    if val_split is not None and val_split not in clips.splits:
        raise MgkitError(
            f"{clips.root} has no clip in the validation split {val_split!r}; its splits are {some(clips.splits)}: "
            "name one of them, train on a fold (`mgkit folds`), or on none (--val-split none: the last epoch is kept)."
        )
    val_clips = None if val_split is None else clips.split(val_split)
    # Both sets are made before any training, so that whatever is wrong with the clips is said now.
    spec = recipe.input_spec()
    train_set = ClipDataset(training_clips, spec, training=True, seed=seed)
    val_set = None if val_clips is None else ClipDataset(val_clips, spec, training=False)
    given = find_start(start, recipe, clips)
    settings: dict[str, Any] = {"seed": seed, "train_split": train_split, "val_split": val_split}
    if given:
        settings["start"] = start_settings(given, recipe)
        if not (out / "checkpoints" / "last.pt").is_file():
            check_start(given, recipe, clips)
    run = create_run(
        out,
        recipe=recipe.to_dict(),
        settings=settings,
        clips=clips,
        pathways=recipe.pathways,
        environment=environment(fabric, seed),
    )
    if run.status()["state"] == "finished":
        if progress:
            Progress(recipe.name).say(f"{recipe.name}: already finished in {out}")
        return run
    if "rgb" in recipe.pathways:
        check_videos([training_clips] if val_clips is None else [training_clips, val_clips])

    with exclusive(out), _status(out, recipe):
        first = dict(given)
        for stage in [] if "all" in given else recipe.stages:
            begin = given.get(stage.name)
            if begin is not None and begin.finished:
                continue
            stage_run = train(
                clips, stage, out / "stages" / stage.name, seed=seed, train_split=train_split, val_split=val_split,
                device=device, precision=precision, workers=workers, progress=progress,
                start=None if begin is None else {"all": begin},
            )  # fmt: skip
            first[stage.name] = Weights(stage_run.checkpoint("best"), finished=True)
        processes = default_workers(recipe.pathways, fabric.device) if workers is None else workers
        # The caller's random state is left as it was: inside, torch is seeded for each epoch.
        with (
            torch.random.fork_rng(devices=range(torch.cuda.device_count())),
            cpu_threads(fabric.device, processes),
        ):
            _train(fabric, recipe, train_set, val_set, out, seed, first, processes, progress)
    return load_run(out)


def _train(
    fabric: Fabric,
    recipe: Recipe,
    train_set: ClipDataset,
    val_set: ClipDataset | None,
    out: Path,
    seed: int,
    start: Mapping[str, Weights],
    workers: int,
    progress: bool,
) -> None:
    clips = train_set.clips
    generator = torch.Generator().manual_seed(seed)
    model = build_model(recipe, len(clips.classes), train_set.spec.channels(clips.skeleton), generator)
    objective = build_objective(recipe, len(clips.classes), generator)
    if start and not (out / "checkpoints" / "last.pt").is_file():
        report = str(apply_start(model, objective, start, recipe, clips))
        with atomic(out / "start.txt") as temporary:
            temporary.write_text(report + "\n", encoding="utf-8")
    model.to(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    first, best = 0, -np.inf
    last_path, best_path = out / "checkpoints" / "last.pt", out / "checkpoints" / "best.pt"
    if last_path.is_file():
        state = load_checkpoint(last_path)
        restore(state, last_path, model=model, objective=objective, optimizer=optimizer)
        first, best = state["epoch"] + 1, state["best"]
    net, optimizer = fabric.setup(model, optimizer)
    objective.to(fabric.device)
    sampler = EpochSampler(train_set)
    loader = DataLoader(
        train_set, batch_size=recipe.batch_size, sampler=sampler, collate_fn=collate,
        **worker_options(workers, fabric.device),
    )  # fmt: skip

    for epoch in range(first, recipe.epochs):
        began = time.monotonic()
        rate = recipe.learning_rate_at(epoch)
        for group in optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(
            seed * 1_000_003 + epoch
        )  # dropout of this epoch, whether or not the run was resumed
        sampler.epoch = epoch
        model.train()
        objective.train()
        tally = _Tally(recipe.pathways)
        with Progress(f"{recipe.name} {epoch + 1}/{recipe.epochs}", progress) as bar:
            head = {
                "stage": recipe.name, "epoch": epoch + 1, "epochs": recipe.epochs, "learning_rate": rate,
                "steps": len(loader), "of": len(train_set),
            }  # fmt: skip
            live = Live(out, head, tally.row, bar)
            with unwrapped_errors():
                for batch in loader:
                    batch = batch.to(fabric.device)
                    inputs = batch_inputs(batch, train_set.spec, clips.skeleton)
                    outputs = net(inputs)
                    step = objective(outputs, batch.labels)
                    optimizer.zero_grad(set_to_none=True)
                    fabric.backward(step.loss)
                    if recipe.gradient_clip is not None:
                        nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
                    optimizer.step()
                    tally.add(batch.labels, outputs, step)
                    live.step(len(batch.labels))
            seconds = time.monotonic() - began
            row = {"epoch": epoch + 1, "learning_rate": rate, **tally.row()}
            if not np.isfinite(row["loss"]):
                raise MgkitError(
                    f"the loss of {out} is not finite in epoch {epoch + 1}: try a lower learning_rate than "
                    f"{recipe.learning_rate}, or precision='32-true'."
                )
            row |= {"clips_per_second": round(len(train_set) / seconds, 2)}
            if val_set is not None:
                row |= _validate(model, objective, val_set, fabric, recipe, workers, bar)
            row["seconds"] = round(time.monotonic() - began, 2)
            bar.say(_line(recipe, row))
        score = row.get("val_top1_fused", row.get(f"val_top1_{recipe.pathways[0]}"))
        chosen = score is None or recipe.keep == "last" or score >= best
        best = score if chosen and score is not None else best
        weights = {
            "format": 1, "epoch": epoch, "model": model.state_dict(), "objective": objective.state_dict(),
        }  # fmt: skip
        if objective.refinement:
            bank: Any = objective.refinement.items()
            write_prototypes(
                out, epoch + 1,
                {name: module.prototypes.float().cpu().numpy() for name, module in bank},
                {name: module.updates.cpu().numpy() for name, module in bank},
            )  # fmt: skip
        append_history(out, row)
        if chosen:
            _save(best_path, weights)
        # Last of all: an epoch counts as done once this file says so; until then a resumed run repeats it.
        _save(last_path, {**weights, "optimizer": optimizer.state_dict(), "best": float(best)})
        write_status(out, "running", epoch + 1, recipe.epochs)


# What the history counts, per pathway: TP, FN and FP, and the clips whose score the refinement lowered.
COUNTS = ("tp", "fn", "fp", "lowered_fn", "lowered_fp")


class _Tally:
    """Sums over one epoch, kept on the device so that no step waits for them."""

    def __init__(self, pathways: tuple[str, ...]) -> None:
        self.names = [*pathways, "fused"] if len(pathways) > 1 else list(pathways)
        self.count = 0
        self.sums: dict[str, Tensor] = {}

    def add(self, labels: Tensor, outputs: Mapping[str, Any], step: Any) -> None:
        n = len(labels)
        self.count += n
        values = {"loss": step.loss.detach() * n, **{f"loss_{k}": v * n for k, v in step.terms.items()}}
        for name, probability in fuse_probabilities({k: _detached(v) for k, v in outputs.items()}).items():
            if name in self.names:
                values[f"train_top1_{name}"] = (probability.argmax(1) == labels).sum()
        for name, refined in step.refinement.items():
            for kind in COUNTS:
                values[f"{kind}_{name}"] = getattr(refined, kind).sum()
        for key, value in values.items():
            self.sums[key] = self.sums[key] + value if key in self.sums else value

    def row(self) -> dict[str, float]:
        counted = tuple(f"{kind}_" for kind in COUNTS)
        return {
            key: int(value) if key.startswith(counted) else round(float(value) / self.count, 6)
            for key, value in self.sums.items()
        }


def _detached(output: Any) -> Any:
    return output._replace(logits=output.logits.detach())


def _validate(
    model: SinglePathway | TwoPathway,
    objective: Objective,
    val_set: ClipDataset,
    fabric: Fabric,
    recipe: Recipe,
    workers: int,
    bar: Progress,
) -> dict[str, float]:
    predictions, *_ = predict(
        model, objective, val_set, device=fabric.device, autocast=fabric.autocast,
        batch_size=recipe.batch_size, workers=workers,
    )  # fmt: skip
    labels, classes = predictions.labels, predictions.class_count
    row = {f"val_top1_{name}": top1(labels, predictions.predicted(name)) for name in predictions.outputs}
    row["val_macro_f1"] = macro_f1(labels, predictions.predicted(), classes)
    return {key: round(value, 6) for key, value in row.items()}


def _save(path: Path, state: Mapping[str, Any]) -> None:
    # Through memory: torch reports a full disk as an internal error, a plain write says what it is.
    content = io.BytesIO()
    torch.save(dict(state), content)
    with atomic(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def _line(recipe: Recipe, row: Mapping[str, Any]) -> str:
    """One readable line an epoch: loss, accuracies, speed."""

    def percents(prefix: str) -> str:
        names = [n for n in ("rgb", "pose", "fused") if f"{prefix}_{n}" in row]
        return "  ".join(f"{n} {100 * row[f'{prefix}_{n}']:5.1f} %" for n in names)

    parts = [
        f"{recipe.name:5s} {row['epoch']:3d}/{recipe.epochs}",
        f"loss {row['loss']:.3f}",
        f"train {percents('train_top1')}",
    ]
    if "val_macro_f1" in row:
        parts.append(f"val {percents('val_top1')}")
    return " | ".join([*parts, f"{row['clips_per_second']:.0f} clips/s"])


class _status:
    """Keep status.json true to what happens: running, finished, interrupted or failed."""

    def __init__(self, out: Path, recipe: Recipe) -> None:
        self.out, self.recipe = out, recipe

    def _done(self) -> int:
        return int(load_run(self.out).status()["epoch"])

    def __enter__(self) -> None:
        write_status(self.out, "running", self._done(), self.recipe.epochs)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is None:
            state, message = "finished", ""
        elif isinstance(error, KeyboardInterrupt):
            state, message = "interrupted", "resume with the same call, or the same command"
        else:
            state, message = "failed", str(error).splitlines()[0] if str(error) else type(error).__name__
        write_status(self.out, state, self._done(), self.recipe.epochs, message)


def check_videos(parts: list[Clips]) -> None:
    """Open every video once; one that is broken, or shorter than its row says, is named before any training."""
    jobs = [(c.root / row["video"], int(row["frames"])) for c in parts for row in c.table.to_dict("records")]

    def fault(job: tuple[Path, int]) -> str | None:
        path, frames = job
        try:
            found = probe(path).frames
        except MgkitError as error:
            return str(error)
        return None if found >= frames else f"{path} has {found} frames, {frames} were expected"

    with ThreadPoolExecutor(8) as pool:
        faults = [text for text in pool.map(fault, jobs) if text]
    if faults:
        raise MgkitError(
            f"{len(faults)} of {len(jobs)} videos cannot be used: {some(faults, 3).rstrip('.')}. Delete them and run "
            "`mgkit prepare` again."
        )
