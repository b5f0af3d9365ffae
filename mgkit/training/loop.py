"""The training: from clips and a recipe to a run folder, one loop that reads top to bottom.

A staged recipe trains its branches first, each a run folder of its own under `stages/`, merges their weights and goes
on jointly. The order of the clips and their augmentation come from (seed, epoch); everything else that decides how a
training goes on is in its checkpoints (`checkpoints.py`), so that one which was killed and called again ends, on a
CPU, with the weights of one that never was. On several processes each takes its share of the same batches.

Looking at every video once before a training, which else would meet a broken one hours later.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader

from mgkit.data.batches.dataset import ClipDataset, batch_inputs, collate, worker_options
from mgkit.data.batches.device import on_device
from mgkit.data.batches.samplers import StepSampler
from mgkit.data.clips import Clips
from mgkit.data.video import probe
from mgkit.errors import MgkitError, some
from mgkit.files import atomic, exclusive
from mgkit.models import Objective, recompute_blocks
from mgkit.models.layers import freeze_statistics, normalise_over_processes
from mgkit.progress import Progress
from mgkit.results.run.files import append_history, write_prototypes
from mgkit.results.run.folder import Run, create_run, load_run
from mgkit.results.run.status import write_status
from mgkit.results.stats.metrics import macro_f1, top1
from mgkit.training.build import (
    build_model,
    build_objective,
    check_network,
    check_training,
    embedding_widths,
    loss_reports,
    own_parts,
    smallest_part,
)
from mgkit.training.checkpoints import Checkpoints, Position, remove_left_overs
from mgkit.training.epoch import Live, Tally, epoch_line
from mgkit.training.inference import predict
from mgkit.training.machine import (
    cpu_threads,
    default_workers,
    environment,
    make_fabric,
    make_optimizer,
    on_first,
    restore_random_states,
    seed_process,
    share_buffers,
    suit_memory,
    unwrapped_errors,
)
from mgkit.training.recipe import Optimisation, Recipe
from mgkit.training.reporting import Logs, Status, Stop, stopping
from mgkit.training.start import Start, Weights, apply_start, check_start, find_start, start_settings


@dataclass(frozen=True)
class Plan:
    """What all stages of a training have in common; see `train`."""

    fabric: Fabric
    clips: Clips
    seed: int
    train_split: str
    val_split: str | None
    workers: int | None
    progress: bool
    checkpoint_minutes: float
    log: tuple[str, ...]
    save_memory: bool
    compiled: bool


def train(
    clips: Clips,
    recipe: Recipe,
    out: str | Path,
    *,
    seed: int = 0,
    train_split: str = "train",
    val_split: str | None = "val",
    device: str = "auto",
    devices: int | None = None,
    nodes: int | None = None,
    strategy: str = "auto",
    precision: str = "auto",
    workers: int | None = None,
    progress: bool = True,
    start: Start | None = None,
    checkpoint_minutes: float = 5.0,
    log: Sequence[str] = (),
    save_memory: bool = False,
    compiled: bool = False,
) -> Run:
    """Train a recipe; start it, resume it, or return it if it is finished, whatever the folder says.

    Args:
        clips: the clip folder.
        recipe: what to do; `mg.recipes.paper()`, `mg.recipes.demo()`, ...
        out: the run folder. If it holds an unfinished run of the same recipe, clips and seed, that one is resumed, on
            the same or on another number of processes.
        seed: of the initial weights, the order of clips, augmentation and dropout.
        train_split: the split to train on.
        val_split: the split to choose the best epoch on; None for none, then the last epoch's weights are kept.
        device: "auto", "cpu" or "cuda".
        devices: processes on this machine, each with a GPU of its own (or a share of the CPU); they share the batch,
            so the recipe means the same on any number. None: as many as torchrun or srun started, else 1.
        nodes: machines; None: as many as torchrun or srun started, else 1.
        strategy: "auto" or "ddp", how the processes work together.
        precision: "auto" (bf16 on a GPU that has it, else float32) or a precision of Lightning Fabric.
        workers: loader processes of each process; chosen from the number of cores by default.
        progress: show a bar, and a line an epoch.
        start: what to start from, under "rgb", "pose" or, for the whole model, "all". A finished run, or its folder,
            gives its best weights and takes the place of the stage that would train that branch. A file of published
            weights, or `Weights` to adapt its classes or joints, is what a stage begins with; without stages it goes
            into the model itself. Hashes are part of the run's settings, and start.txt says what was used.
        checkpoint_minutes: how much work an interruption may cost at most, in minutes; 0 saves after every step.
        save_memory: keep only the input of each residual block and compute its inside again for the gradient: about
            half the activations for a step a quarter longer, with the same result (docs/performance.md).
        compiled: let torch.compile make the network's kernels: minutes at the beginning, faster steps on a GPU.
        log: where else the history goes: "tensorboard" (event files in the run folder), "wandb", or both.

    Returns:
        The run, with the weights that `recipe.keep` says in `checkpoints/best.pt`.

    Raises:
        MgkitError: before anything is trained: an empty or unknown split, clips without what the recipe needs, a
            missing or broken video, a folder that holds another run. During it: a loss that is not finite, a file
            that cannot be written, memory that ran out; the same call then goes on where it stopped.
        KeyboardInterrupt: passed on after the step is done and saved.
    """
    check_training(clips, recipe, seed=seed, workers=workers, checkpoint_minutes=checkpoint_minutes)
    fabric = make_fabric(
        device, precision, devices=devices, nodes=nodes, strategy=strategy,
        unused_parameters=recipe.refinement is None or bool(own_parts(recipe)),
    )  # fmt: skip
    plan = Plan(
        fabric,
        clips,
        seed,
        train_split,
        val_split,
        workers,
        progress,
        checkpoint_minutes,
        tuple(log),
        save_memory,
        compiled,
    )
    _run(plan, recipe, Path(out), start)
    return load_run(out)


def _run(plan: Plan, recipe: Recipe, out: Path, start: Start | None, checked: bool = False) -> None:
    """Train one recipe, its stages before it; their networks were `checked` with it."""
    fabric, clips, seed = plan.fabric, plan.clips, plan.seed
    if plan.val_split == plan.train_split:
        raise MgkitError(
            f"the validation split is the training split {plan.train_split!r}: choose another one, or none (the last "
            "epoch)."
        )
    training_clips = clips.split(plan.train_split)
    if plan.val_split is not None and plan.val_split not in clips.splits:
        raise MgkitError(
            f"{clips.root} has no clip in the validation split {plan.val_split!r}; its splits are "
            f"{some(clips.splits)}: name one of them, train on a fold (`mgkit folds`), or on none (--val-split none: "
            "the last epoch is kept)."
        )
    watched = recipe.optimisation.stop_on
    if plan.val_split is None and recipe.optimisation.patience and watched != "loss":
        raise MgkitError(
            f"the recipe stops when {watched!r} gets no better, which needs a validation split: name one, or "
            "use stop_on='loss', or patience=0."
        )
    val_clips = None if plan.val_split is None else clips.split(plan.val_split)
    # Both sets are made before any training, so that whatever is wrong with the clips is said now.
    spec = recipe.inputs.on(clips.skeleton)
    train_set = ClipDataset(training_clips, spec, training=True, seed=seed, augment=recipe.augment)
    val_set = None if val_clips is None else ClipDataset(val_clips, spec, training=False)
    given = find_start(start, recipe, clips)
    settings: dict[str, Any] = {"seed": seed, "train_split": plan.train_split, "val_split": plan.val_split}
    reports, prints = loss_reports(recipe, training_clips)
    if prints:
        settings["losses"] = prints
    begun = (out / "checkpoints" / "last.pt").is_file()
    if not begun and not checked:
        for part in (recipe, *recipe.stages):
            check_network(part, training_clips, smallest_part(len(training_clips), part))
    if given:
        settings["start"] = start_settings(given, recipe)
        if not begun:
            check_start(given, recipe, clips)
    logs = Logs(plan.log, out)
    fabric.launch()  # from here on there are several processes, where there shall be

    def begin() -> str:
        run = create_run(
            out, recipe=recipe.to_dict(), settings=settings, clips=clips, pathways=recipe.pathways,
            environment=environment(fabric, seed, clips.fingerprint), epochs=recipe.optimisation.epochs,
        )  # fmt: skip
        for name, report in reports.items():
            _write_text(out / f"loss_{name}.txt", report)
        state = str(run.status()["state"])
        if state != "finished" and "rgb" in recipe.pathways:
            check_videos([training_clips] if val_clips is None else [training_clips, val_clips])
        return state

    progress = plan.progress and fabric.is_global_zero
    if on_first(fabric, begin) == "finished":
        if progress:
            Progress(recipe.name).say(f"{recipe.name}: already finished in {out}")
        return
    for report in reports.values() if progress else ():
        Progress(recipe.name).say(report)

    with ExitStack() as held:

        def hold() -> None:
            held.enter_context(exclusive(out, wait=1.0))  # `is_held` takes it for a moment
            remove_left_overs(out)

        on_first(fabric, hold)
        status = held.enter_context(Status(out, recipe, write=fabric.is_global_zero))
        first = dict(given)
        for stage in [] if "all" in given else recipe.stages:
            beginning = given.get(stage.name)
            if beginning is not None and beginning.finished:
                continue
            folder = out / "stages" / stage.name
            _run(plan, stage, folder, None if beginning is None else {"all": beginning}, checked=True)
            first[stage.name] = Weights(load_run(folder).checkpoint("best"), finished=True)
        beside = fabric.world_size // getattr(fabric.strategy, "num_nodes", 1)
        workers = (
            default_workers(recipe.pathways, fabric.device, beside) if plan.workers is None else plan.workers
        )
        # The caller's random state is left as it was: inside, torch is seeded for each epoch.
        with (
            torch.random.fork_rng(devices=range(torch.cuda.device_count())),
            cpu_threads(fabric.device, workers, beside),
            logs,
            stopping() as stop,
        ):
            status.message = _train(
                plan, recipe, train_set, val_set, out, first, workers, progress, logs, stop
            )


def _train(
    plan: Plan,
    recipe: Recipe,
    train_set: ClipDataset,
    val_set: ClipDataset | None,
    out: Path,
    start: Mapping[str, Weights],
    workers: int,
    progress: bool,
    logs: Logs,
    stop: Stop,
) -> str:
    """Train the epochs of one recipe; returns what there is to say about how it ended."""
    fabric, seed, clips = plan.fabric, plan.seed, train_set.clips
    generator = torch.Generator().manual_seed(seed)
    classes = len(clips.classes)
    counts = np.bincount(clips.labels, minlength=classes)
    settings, spec = recipe.optimisation, train_set.spec
    model = build_model(recipe, classes, spec, generator, counts)
    embedding = embedding_widths(recipe, model, spec)
    objective = build_objective(
        recipe,
        classes,
        embedding,
        generator,
        inputs=spec,
        class_counts=counts,
        class_names=clips.classes.names,
    )
    if start and not (out / "checkpoints" / "last.pt").is_file():
        report = str(apply_start(model, objective, start, recipe, clips))
        on_first(fabric, lambda: _write_text(out / "start.txt", report))
    if settings.batch_norm == "batch" and fabric.world_size > 1:
        normalise_over_processes(model, fabric.device)
    suit_memory(model)
    if plan.save_memory:
        recompute_blocks(model)
    optimizer = make_optimizer(model, settings, fabric.device)
    parts = {
        "model": model,
        "objective": objective,
        "optimizer": optimizer,
        "precision": fabric.strategy.precision,
    }
    checkpoints = Checkpoints(fabric, out, parts, plan.checkpoint_minutes)
    at = checkpoints.position()
    # A process that was killed between the last checkpoint and its status has left an older status.
    on_first(fabric, lambda: write_status(out, "running", at.epoch, settings.epochs))
    on_first(fabric, lambda: logs.open(load_run(out).config, at.epoch))
    if plan.compiled:
        model.compile()
    net, optimizer = fabric.setup(model, optimizer)
    objective.to(fabric.device)
    sampler = StepSampler(
        train_set, settings.batch_size, parts=settings.accumulation, rank=fabric.global_rank,
        processes=fabric.world_size, sampling=settings.sampling,
    )  # fmt: skip
    loader = DataLoader(
        train_set, batch_sampler=sampler, collate_fn=collate, **worker_options(workers, fabric.device)
    )

    while at.epoch < settings.epochs and not at.selection.over(recipe):
        began = time.monotonic() - at.seconds
        rate = settings.learning_rate_at(at.epoch)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
        model.train()
        objective.train()
        if settings.batch_norm == "frozen":
            freeze_statistics(model)
        tally = Tally(recipe.pathways, first=fabric.is_global_zero)
        seed_process(fabric, seed, at.epoch)
        if at.tally is not None and at.random is not None:
            tally.restore(at.tally, fabric.device)
            restore_random_states(fabric, at.random, seed, at.epoch, at.step)
        sampler.begin(at.epoch, at.step)
        bar = Progress(f"{recipe.name} {at.epoch + 1}/{settings.epochs}", progress)
        with bar, unwrapped_errors():
            done = min(at.step * settings.batch_size, len(train_set))
            bar.advance(done, len(train_set))
            head = {
                "stage": recipe.name, "epoch": at.epoch + 1, "epochs": settings.epochs, "learning_rate": rate,
                "steps": sampler.steps, "of": len(train_set),
            }  # fmt: skip
            live = Live(
                out if fabric.is_global_zero else None, head, tally.row_here, bar, step=at.step, clips=done
            )
            batches = on_device(loader, fabric.device)
            for step in range(at.step, sampler.steps):
                labels_of_all = sampler.whole_labels(step)
                shares = sampler.shares(step)
                whole = None if len(shares) == 1 else torch.from_numpy(labels_of_all).to(fabric.device)
                optimizer.zero_grad(set_to_none=True)
                for part, mine in enumerate(shares):
                    batch = next(batches)
                    inputs = batch_inputs(batch, spec, clips.skeleton)
                    labels = batch.labels[:mine]
                    if not mine:  # the last batch has fewer clips than there are processes
                        inputs = {name: value[:0] for name, value in inputs.items()}
                    with fabric.no_backward_sync(net, enabled=part + 1 < len(shares)):
                        outputs = net(inputs)
                        result = objective(outputs, labels, whole)
                        fabric.backward(result.loss)
                    tally.add(labels, outputs, result, len(labels_of_all))
                if settings.gradient_clip is not None:
                    fabric.clip_gradients(
                        net, optimizer, max_norm=settings.gradient_clip, error_if_nonfinite=False
                    )
                optimizer.step()

                # After the step: whoever follows the training is told here, then it is saved if that is due.
                live.step(len(labels_of_all))
                due = checkpoints.due(stop.asked)
                if due:
                    at.step, at.seconds = step + 1, time.monotonic() - began
                    checkpoints.save_step(at, tally)
                if due == 2:
                    raise KeyboardInterrupt

        seconds = time.monotonic() - began
        row = {"epoch": at.epoch + 1, "learning_rate": rate, **tally.row()}
        # The last step may have spoilt the weights after the last loss was taken.
        if not np.isfinite(row["loss"]) or not all(bool(p.isfinite().all()) for p in model.parameters()):
            raise MgkitError(
                f"the loss of {out}, or a weight, is not finite in epoch {at.epoch + 1}: try a lower learning_rate "
                f"than {settings.learning_rate}, or precision='32-true', in another run folder."
            )
        row |= {"clips_per_second": round(len(train_set) / seconds, 2)}
        share_buffers(model)
        if val_set is not None:
            row |= _validate(model, objective, embedding, val_set, fabric, settings, workers)
        row["seconds"] = round(time.monotonic() - began, 2)
        bar.say(epoch_line(recipe, row))
        at = at.next_epoch()
        chosen = at.selection.update(recipe, row)
        on_first(fabric, partial(_end_epoch, out, recipe, objective, checkpoints, at, chosen, row, logs))
        if checkpoints.due(stop.asked) == 2:
            raise KeyboardInterrupt
    if at.epoch < settings.epochs:
        return f"stopped after epoch {at.epoch}: {at.selection.waited} epochs without a better {settings.stop_on}"
    return ""


def _validate(
    model: nn.Module,
    objective: Objective,
    embedding: Mapping[str, int],
    val_set: ClipDataset,
    fabric: Fabric,
    settings: Optimisation,
    workers: int,
) -> dict[str, float]:
    predictions, *_ = predict(
        model, objective.refinement, val_set, embedding=embedding, device=fabric.device, autocast=fabric.autocast,
        batch_size=max(1, settings.batch_size // settings.accumulation), workers=workers,
    )  # fmt: skip
    labels, classes = predictions.labels, predictions.class_count
    row = {f"val_top1_{name}": top1(labels, predictions.predicted(name)) for name in predictions.outputs}
    row["val_macro_f1"] = macro_f1(labels, predictions.predicted(), classes)
    true = predictions.scores()[np.arange(len(labels)), labels].astype(np.float64)
    row["val_loss"] = float(-np.log(np.maximum(true, 1e-12)).mean())
    return {key: round(value, 6) for key, value in row.items()}


def _end_epoch(
    out: Path,
    recipe: Recipe,
    objective: Objective,
    checkpoints: Checkpoints,
    at: Position,
    chosen: bool,
    row: Mapping[str, Any],
    logs: Logs,
) -> None:
    """Write what an epoch leaves in the run folder; a resumed run that repeats its end writes the same again."""
    checkpoints.check_folder()
    if objective.refinement:
        bank: Any = objective.refinement.items()
        write_prototypes(
            out,
            at.epoch,
            {name: module.prototypes.float().cpu().numpy() for name, module in bank},
            {name: module.updates.cpu().numpy() for name, module in bank},
        )
    append_history(out, row)
    logs.epoch(row)
    checkpoints.save_epoch(at, chosen)
    write_status(out, "running", at.epoch, recipe.optimisation.epochs)


def _write_text(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


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
