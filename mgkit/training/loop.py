"""The training: from clips and a recipe to a run folder, one loop that reads top to bottom.

A staged recipe trains its branches first, each in its own run folder under `stages/`, merges their weights and
continues jointly. The order of the clips and their augmentation come from (seed, epoch); everything else that decides
how a training continues is in its checkpoints (`checkpoints.py`), so that one which was killed and called again ends,
on a CPU, with the weights of one that never was. On several processes each takes its share of the same batches.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mgkit.data.batches.dataset import ClipDataset
from mgkit.data.batches.device import batch_inputs, mixed, on_device
from mgkit.data.batches.loader import Loader
from mgkit.data.batches.samplers import StepSampler
from mgkit.data.clips import Clips
from mgkit.data.video import probe
from mgkit.errors import MgkitError, counted, some
from mgkit.files import atomic, exclusive, write_json
from mgkit.models import recompute_blocks
from mgkit.models.layers import (
    freeze_statistics,
    gather_over_processes,
    normalise_over_processes,
    sum_over_processes,
)
from mgkit.models.losses.objective import Mixing
from mgkit.progress import Progress
from mgkit.results.run.files import append_history, keep_code, write_prototypes
from mgkit.results.run.folder import Run, cautions, create_run, load_run
from mgkit.results.run.status import write_status
from mgkit.results.stats.metrics import macro_f1, top1
from mgkit.training import code
from mgkit.training.build import (
    build_model,
    build_objective,
    check_network,
    check_training,
    embedding_widths,
    loss_reports,
    outline,
    own_parts,
    smallest_part,
)
from mgkit.training.checkpoints import Checkpoints, remove_left_overs
from mgkit.training.cost import say_duration
from mgkit.training.epoch import Live, Tally, add_to_mean, epoch_line, gate_sizes, still_rising
from mgkit.training.inference import predict
from mgkit.training.machine import (
    CoreTimes,
    cpu_threads,
    crowded,
    default_workers,
    environment,
    make_fabric,
    make_optimizer,
    on_first,
    restore_random_states,
    seed_process,
    share_buffers,
    start_processes,
    suit_memory,
    unwrapped_errors,
)
from mgkit.training.options import Options, takes_options
from mgkit.training.recipe import Recipe
from mgkit.training.reporting import Logs, Status, Stop, stopping
from mgkit.training.start import Start, Weights, apply_start, check_start, find_start, start_settings


@takes_options
def train(
    clips: Clips, recipe: Recipe, out: str | Path, *, start: Start | None = None, **options: Any
) -> Run:
    """Train a recipe; start it, resume it, or return it if it is finished, as the folder says.

    Args:
        clips: the clip folder.
        recipe: what to do; `mg.recipes.paper()`, `mg.recipes.demo()`, `mg.Recipe(mg.part(my_net), ...)`.
        out: the run folder. If it holds an unfinished run of the same recipe, clips and seed, that one is resumed, on
            the same or on another number of processes.
        start: what to start from, under "rgb", "pose" or, for the whole model, "all". A finished run, or its folder,
            gives its best weights and takes the place of the stage that would train that branch. A file of published
            weights, or `Weights` to adapt its classes or joints, is what a stage begins with; without stages it goes
            into the model itself. Hashes are part of the run's settings, and start.txt lists what was used.
        options: see Options.

    Returns:
        The run, with the weights that the recipe's `keep` chose in `checkpoints/best.pt`.

    Raises:
        MgkitError: before anything is trained: an empty or unknown split, clips without what the recipe needs, a
            network or loss that does not fit them, a missing or broken video, a folder that holds another run. During
            it: a loss that is not finite, a file that cannot be written, memory that ran out; the same call then
            resumes.
        KeyboardInterrupt: passed on after the step is done and saved.
    """
    check_training(recipe)
    chosen = Options(**options)
    fabric = make_fabric(
        chosen.device, chosen.precision, devices=chosen.devices, nodes=chosen.nodes, strategy=chosen.strategy,
        unused_parameters=recipe.refinement is None or bool(own_parts(recipe)),
    )  # fmt: skip
    count = int((clips.rows.narrow("split") == chosen.train_split).sum())
    _train_recipe(Plan(fabric, clips, chosen), recipe.for_clips(count), Path(out), start)
    return load_run(out)


@dataclass(frozen=True)
class Plan:
    """What all stages of a training have in common."""

    fabric: Fabric
    clips: Clips
    options: Options


# --- one recipe -----------------------------------------------------------------------------------------------------


def _train_recipe(
    plan: Plan, recipe: Recipe, out: Path, start: Start | None, outlines: Mapping[str, Any] | None = None
) -> None:
    """Train one recipe, its stages before it; a stage's network was checked with the recipe's, and outlined."""
    fabric, options, whole = plan.fabric, plan.options, outlines is None
    train_set, val_set = _clip_sets(plan, recipe)
    given = find_start(start, recipe, plan.clips)
    reports, settings = _settings(plan, recipe, train_set, given)
    files = code.collect(recipe.parts())
    begins = not (out / "checkpoints" / "last.pt").is_file()
    unused: list[str] = []
    if begins:
        if outlines is None:
            unused, outlines = _check(recipe, train_set)
        if given:
            check_start(given, recipe, plan.clips)
    logs = Logs(options.log, out)
    start_processes(fabric)  # from here on there are as many processes as there should be

    progress = options.progress and fabric.is_global_zero
    if progress and begins and whole and fabric.device.type == "cpu":
        say_duration(recipe, train_set.clips)
    if progress and unused:
        Progress(recipe.name).say(
            f"{recipe.name}: no gradient reaches {some(unused)} of the network on two clips"
        )
    outlines = outlines or {}
    state = on_first(
        fabric,
        partial(
            _begin,
            plan,
            recipe,
            out,
            settings,
            files,
            reports,
            [train_set, val_set],
            outlines.get(recipe.name),
        ),
    )
    if state == "finished":
        if progress:
            Progress(recipe.name).say(f"{recipe.name}: already finished in {out}")
        return
    if progress and whole and (caution := cautions([load_run(out)])):
        Progress(recipe.name).say(f"{recipe.name}: CAUTION: {caution}")
    mirror = ""
    if whole and recipe.inputs.flip and recipe.cross_entropy is not None:
        mirror = recipe.inputs.mirror_warning(plan.clips.classes)
    for report in [*reports.values(), *([mirror] if mirror else [])] if progress else ():
        Progress(recipe.name).say(report)

    with ExitStack() as held:

        def hold() -> None:
            held.enter_context(exclusive(out, wait=1.0))  # `is_held` takes it for a moment
            remove_left_overs(out)

        on_first(fabric, hold)
        status = held.enter_context(Status(out, recipe, write=fabric.is_global_zero))
        first = _train_stages(plan, recipe, out, given, outlines)
        processes = fabric.world_size // getattr(fabric.strategy, "num_nodes", 1)
        workers = options.workers
        if workers is None:
            workers = default_workers(recipe.pathways, fabric.device, processes)
        if workers and files:  # they import the code from where it is kept
            train_set.augment = code.rebound(train_set.augment, out)
            for one in filter(None, (train_set, val_set)):
                if one.spec.parts:
                    (stream,) = code.rebound(one.spec.parts, out)
                    one.spec = replace(one.spec, rgb_stream=stream)
        # The caller's random state is left as it was: inside, torch is seeded for each epoch.
        with (
            torch.random.fork_rng(devices=range(torch.cuda.device_count())),
            cpu_threads(fabric.device, workers, processes),
            logs,
            stopping() as stop,
        ):
            status.message = Training(plan, recipe, train_set, val_set, out, first, workers, logs, stop).run()


def _clip_sets(plan: Plan, recipe: Recipe) -> tuple[ClipDataset, ClipDataset | None]:
    """The clips to train and to validate on; whatever is wrong with them is reported before any training."""
    clips, options = plan.clips, plan.options
    if options.val_split == options.train_split:
        raise MgkitError(
            f"the validation split is the training split {options.train_split!r}: choose another one, or none "
            "(the last epoch)."
        )
    if options.train_split not in clips.splits:
        raise MgkitError(
            f"{clips.root} has no clip in the training split {options.train_split!r}; its splits are "
            f"{some(clips.splits)}: name one of them (--train-split {clips.splits[0] if clips.splits else 'NAME'}), or "
            "make folds of it (`mgkit folds`)."
        )
    training = clips.split(options.train_split)
    _check_content(training, recipe)
    if options.val_split is not None and options.val_split not in clips.splits:
        raise MgkitError(
            f"{clips.root} has no clip in the validation split {options.val_split!r}; its splits are "
            f"{some(clips.splits)}: name one of them, train on a fold (`mgkit folds`), or on none (--val-split none: "
            "the last epoch is kept)."
        )
    watched = recipe.optimisation.stop_on
    if options.val_split is None and recipe.optimisation.patience and watched != "loss":
        raise MgkitError(
            f"the recipe stops when {watched!r} gets no better, which needs a validation split: name one, or use "
            "stop_on='loss', or patience=0."
        )
    spec = recipe.inputs.on(clips.skeleton)
    train_set = ClipDataset(training, spec, training=True, seed=options.seed, augment=recipe.augment)
    if options.val_split is None:
        return train_set, None
    return train_set, ClipDataset(clips.split(options.val_split), spec, training=False)


def _check_content(training: Clips, recipe: Recipe) -> None:
    """Refuse clips from which nothing can be learned: of one class, or without any joint for a pose network."""
    where = f"all {counted(len(training), 'clip')} of the training split of {training.root}"
    if recipe.cross_entropy is not None and len(set(training.labels.tolist())) < 2:
        name = training.classes.names[training.labels[0]]
        raise MgkitError(
            f"{where}: of one class, {name!r}, so any answer would be right: check the labels, or give clips of "
            "other classes."
        )
    if "pose" not in recipe.pathways or not training.has_pose:  # without a pose the dataset says so itself
        return
    if not training.has_seen_joint:
        raise MgkitError(
            f"{where}: without a joint that was seen, so a pose network would learn from nothing: check the "
            "key-points (`mgkit show`), or train the videos alone (--recipe rgb-only)."
        )


def _settings(
    plan: Plan, recipe: Recipe, train_set: ClipDataset, given: Mapping[str, Weights]
) -> tuple[dict[str, str], dict[str, Any]]:
    """The reports of the losses, and what decides the result in addition to the recipe, as config.json holds it."""
    options = plan.options
    reports, prints = loss_reports(recipe, train_set.clips)
    settings: dict[str, Any] = {
        "seed": options.seed, "train_split": options.train_split, "val_split": options.val_split,
    }  # fmt: skip
    if prints:
        settings["losses"] = prints
    if given:
        settings["start"] = start_settings(given, recipe)
    return reports, settings


def _check(recipe: Recipe, train_set: ClipDataset) -> tuple[list[str], dict[str, Any]]:
    """Refuse networks and losses that do not fit; names of parameters without a gradient, and outlines by stage."""
    unused: list[str] = []
    outlines = {}
    for part in (recipe, *recipe.stages):
        smallest = smallest_part(len(train_set), part)
        without, outlines[part.name] = check_network(part, train_set.clips, smallest)
        unused = without or unused
    return unused, outlines


def _begin(
    plan: Plan,
    recipe: Recipe,
    out: Path,
    settings: dict[str, Any],
    files: Mapping[str, str],
    reports: Mapping[str, str],
    sets: list[ClipDataset | None],
    outlined: dict[str, Any] | None,
) -> str:
    """Begin or find the run folder, with the code of its parts; returns the state that it is in."""
    if files and (out / "config.json").is_file():
        _accept_code(plan.options, out, files)
    run = create_run(
        out, recipe=recipe.to_dict(), settings=settings, clips=plan.clips, pathways=recipe.pathways,
        environment=environment(plan.fabric, plan.options.seed, plan.clips.fingerprint)
        | {"parts": code.shipped(recipe.parts())},
        epochs=recipe.optimisation.epochs, code=code.digests(files),
    )  # fmt: skip
    if files:
        keep_code(out, files)
        code.remember(files)
    for name, report in reports.items():
        _write_text(out / f"loss_{name}.txt", report)
    if not (out / "outline.json").is_file():
        write_json(out / "outline.json", outlined or outline(recipe, plan.clips))
    state = str(run.status()["state"])
    if state != "finished" and "rgb" in recipe.pathways:
        check_videos([one.clips for one in sets if one is not None])
    return state


def _accept_code(options: Options, out: Path, files: Mapping[str, str]) -> None:
    """Refuse code that has changed since the run was begun, with the differences, or record them."""
    config = load_run(out).config
    recorded = config.get("code", {})
    changes = code.differences(out, files, recorded)
    if not changes:
        return
    if options.changed_code == "refuse":
        code.refuse_changes(out, files)
    now = (
        f"# {datetime.now(UTC).isoformat(timespec='seconds')}, after epoch {load_run(out).status()['epoch']}"
    )
    record = out / "code" / "changes.diff"
    before = record.read_text(encoding="utf-8") if record.is_file() else ""
    _write_text(record, f"{before}{now}\n{changes}")
    keep_code(out, files)
    write_json(out / "config.json", {**config, "code": recorded | code.digests(files)})


def _train_stages(
    plan: Plan, recipe: Recipe, out: Path, given: Mapping[str, Weights], outlines: Mapping[str, Any]
) -> dict[str, Weights]:
    """Train the stages that nothing finished stands for; what the recipe itself starts from then."""
    first = dict(given)
    for stage in [] if "all" in given else recipe.stages:
        beginning = given.get(stage.name)
        if beginning is not None and beginning.finished:
            continue
        folder = out / "stages" / stage.name
        weights = None if beginning is None else {"all": beginning}
        _train_recipe(plan, stage, folder, weights, outlines)
        first[stage.name] = Weights(load_run(folder).checkpoint("best"), finished=True)
    return first


# --- its epochs -----------------------------------------------------------------------------------------------------


class Training:
    """The epochs of one recipe, in one run folder: network, loss, optimiser, loader, and how far they are.

    Args:
        plan, recipe, train_set, val_set, out: as they were checked.
        start: weights that the network begins with, unless there is a checkpoint.
        workers: loader processes.
        logs, stop: opened around the training.
    """

    def __init__(
        self,
        plan: Plan,
        recipe: Recipe,
        train_set: ClipDataset,
        val_set: ClipDataset | None,
        out: Path,
        start: Mapping[str, Weights],
        workers: int,
        logs: Logs,
        stop: Stop,
    ) -> None:
        self.fabric, self.options, self.recipe, self.out = plan.fabric, plan.options, recipe, out
        self.train_set, self.val_set, self.workers = train_set, val_set, workers
        self.logs, self.stop, self.settings, self.spec = logs, stop, recipe.optimisation, train_set.spec
        self.progress = plan.options.progress and plan.fabric.is_global_zero
        # Since when is looked whether other programs use the cores: on a GPU never, and no longer once it is said.
        self.since = CoreTimes.now() if plan.fabric.device.type == "cpu" else None
        fabric, clips = plan.fabric, train_set.clips

        # Network and loss, from the seed, from weights given, or from a checkpoint.
        generator = torch.Generator().manual_seed(plan.options.seed)
        counts = np.bincount(clips.labels, minlength=len(clips.classes))
        self.model = build_model(recipe, len(clips.classes), self.spec, generator, counts)
        self.embedding = embedding_widths(recipe, self.model, self.spec)
        self.objective = build_objective(
            recipe, len(clips.classes), self.embedding, generator, inputs=self.spec, class_counts=counts,
            class_names=clips.classes.names,
        )  # fmt: skip
        if start and not (out / "checkpoints" / "last.pt").is_file():
            about = [weights.about for weights in start.values() if weights.about]
            report = "\n".join([*about, str(apply_start(self.model, self.objective, start, recipe, clips))])
            on_first(fabric, lambda: _write_text(out / "start.txt", report))
        if self.settings.batch_norm == "batch" and fabric.world_size > 1:
            normalise_over_processes(self.model, fabric.device)
        suit_memory(self.model)
        if plan.options.save_memory:
            recompute_blocks(self.model)
        optimizer = make_optimizer(self.model, self.settings, fabric.device)
        saved = {
            "model": self.model, "objective": self.objective, "optimizer": optimizer,
            "precision": fabric.strategy.precision,
        }  # fmt: skip
        self.averaged = _copy_for_mean(self.model, recipe) if self.settings.average else None
        self.checkpoints = Checkpoints(fabric, out, saved, plan.options.checkpoint_minutes, self.averaged)
        self.at = self.checkpoints.position()

        # A process that was killed between the last checkpoint and its status has left an older status.
        on_first(fabric, lambda: write_status(out, "running", self.at.epoch, self.settings.epochs))
        on_first(fabric, lambda: logs.open(load_run(out).config, self.at.epoch))
        if plan.options.compiled:
            self.model.compile()
        self.net, self.optimizer = fabric.setup(self.model, optimizer)
        self.objective.to(fabric.device)
        if self.averaged is not None:
            fabric.strategy.precision.convert_module(self.averaged).to(fabric.device)
        self.sampler = StepSampler(
            train_set, self.settings.batch_size, parts=self.settings.accumulation, rank=fabric.global_rank,
            processes=fabric.world_size, sampling=self.settings.sampling,
        )  # fmt: skip
        self.loader = Loader(
            train_set, self.sampler, self.settings.batch_size, workers=workers, device=fabric.device
        )

    def run(self) -> str:
        """Train the epochs that are left; returns what there is to say about how it ended."""
        while self.at.epoch < self.settings.epochs and not self.at.selection.over(self.recipe):
            self._epoch()
        if self.at.epoch < self.settings.epochs:
            waited = self.at.selection.waited
            return (
                f"stopped after epoch {self.at.epoch}: {counted(waited, 'epoch')} without a better "
                f"{self.settings.stop_on}"
            )
        rising = on_first(self.fabric, lambda: still_rising(load_run(self.out).history()))
        if rising and self.progress:
            Progress(self.recipe.name).say(f"{self.recipe.name}: {rising}")
        return rising

    def _epoch(self) -> None:
        """Train one epoch, or what is left of it, validate, and write what it leaves in the run folder."""
        fabric, at = self.fabric, self.at
        began = time.monotonic() - at.seconds
        rate = self.settings.learning_rate_at(at.epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
        if self.recipe.refinement is not None:
            self.objective.alpha = self.recipe.refinement.alpha_at(at.epoch)
        self.model.train()
        self.objective.train()
        if self.settings.batch_norm == "frozen":
            freeze_statistics(self.model)

        # Where the epoch was interrupted, sums and random states continue as they were.
        labels = self.recipe.cross_entropy is not None
        tally = Tally(self.recipe.pathways, first=fabric.is_global_zero, labels=labels)
        seed_process(fabric, self.options.seed, at.epoch)
        if at.tally is not None and at.random is not None:
            tally.restore(at.tally, fabric.device)
            restore_random_states(fabric, at.random, self.options.seed, at.epoch, at.step)
        bar = Progress(f"{self.recipe.name} {at.epoch + 1}/{self.settings.epochs}", self.progress)
        with bar, unwrapped_errors():
            self._steps(tally, bar, rate, began)
        self._say_if_crowded(bar)

        seconds = time.monotonic() - began
        row = {"epoch": at.epoch + 1, "learning_rate": rate, **tally.row()}
        # The last step may have spoilt the weights after the last loss was taken.
        if not np.isfinite(row["loss"]) or not all(bool(p.isfinite().all()) for p in self.model.parameters()):
            raise MgkitError(
                f"the loss of {self.out}, or a weight, is not finite in epoch {at.epoch + 1}: try a lower "
                f"learning_rate than {self.settings.learning_rate}, or precision='32-true', in another run folder."
            )
        row |= {"clips_per_second": round(len(self.train_set) / seconds, 2)}
        share_buffers(self.model)
        row |= self._validate(self._mean())
        row["seconds"] = round(time.monotonic() - began, 2)
        bar.say(epoch_line(self.recipe, row))
        self.at = at.next_epoch()
        chosen = self.at.selection.update(self.recipe, row)
        on_first(fabric, partial(self._end_epoch, chosen, row))
        if self.checkpoints.due(self.stop.asked) == 2:
            raise KeyboardInterrupt

    def _say_if_crowded(self, bar: Progress) -> None:
        """Once a stage, that other programs use the cores; quick epochs are looked at together."""
        now = CoreTimes.now()
        if self.since is None or now.clock - self.since.clock < 2:
            return
        said = crowded(self.since, now, torch.get_num_threads())
        self.since = None if said else now
        if said:
            bar.say(f"{self.recipe.name}: {said}")

    def _steps(self, tally: Tally, bar: Progress, rate: float, began: float) -> None:
        """The steps of an epoch that are left; after each, what follows the training is told, and saved if due."""
        fabric, at, of = self.fabric, self.at, len(self.train_set)
        self.sampler.begin(at.epoch, at.step)
        done = min(at.step * self.settings.batch_size, of)
        bar.advance(done, of)
        head = {
            "stage": self.recipe.name, "epoch": at.epoch + 1, "epochs": self.settings.epochs, "learning_rate": rate,
            "steps": self.sampler.steps, "of": of,
        }  # fmt: skip
        live = Live(
            self.out if fabric.is_global_zero else None, head, tally.row_here, bar, step=at.step, clips=done
        )
        batches = on_device(self.loader, fabric.device)
        for step in range(at.step, self.sampler.steps):
            clips = self._step(step, batches, tally)
            live.step(clips)
            due = self.checkpoints.due(self.stop.asked)
            if due:
                at.step, at.seconds = step + 1, time.monotonic() - began
                self.checkpoints.save_step(at, tally)
            if due == 2:
                raise KeyboardInterrupt

    def _step(self, step: int, batches: Any, tally: Tally) -> int:
        """One step of the optimiser, over the parts of its batch; returns the clips of all processes."""
        fabric = self.fabric
        labels_of_all = self.sampler.whole_labels(step)
        parts = self.sampler.positions(step)
        whole = None if len(parts) == 1 else torch.from_numpy(labels_of_all).to(fabric.device)
        partner, mixing = np.empty(0, np.int64), None
        if self.settings.mixup:
            partner, share = self.sampler.partners(step, self.settings.mixup)
            second = torch.from_numpy(labels_of_all[partner]).to(fabric.device)
            mixing = Mixing(second, torch.from_numpy(share).to(fabric.device))
        self.optimizer.zero_grad(set_to_none=True)
        for part, (all_rows, rows) in enumerate(parts):
            batch = next(batches)
            inputs = batch_inputs(batch, self.spec)
            labels = batch.labels[: len(rows)]
            if not len(rows):  # the last batch has fewer clips than there are processes
                inputs = {name: value[:0] for name, value in inputs.items()}
            mine = None
            if mixing is not None:
                inputs, mine = self._mixed(inputs, all_rows, rows, partner, mixing)
            with fabric.no_backward_sync(self.net, enabled=part + 1 < len(parts)):
                outputs = self.net(inputs)
                result = self.objective(outputs, labels, whole, mine, mixing)
                fabric.backward(result.loss)
            shown = labels if mine is None else mine.greater(labels)
            tally.add(shown, outputs, result, len(labels_of_all))
        if self.settings.gradient_clip is not None:
            fabric.clip_gradients(
                self.net, self.optimizer, max_norm=self.settings.gradient_clip, error_if_nonfinite=False
            )
        self.optimizer.step()
        return len(labels_of_all)

    def _mixed(
        self,
        inputs: dict[str, Tensor],
        all_rows: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
        partner: npt.NDArray[np.int64],
        mixing: Mixing,
    ) -> tuple[dict[str, Tensor], Mixing]:
        """The inputs of this process's clips of a part, mixed with those of their partners, which may be another's."""
        device = self.fabric.device
        mine = Mixing(*(value[torch.from_numpy(rows).to(device)] for value in mixing))
        theirs = torch.from_numpy(partner[rows] - all_rows[0]).to(device)
        others = {name: gather_over_processes(value)[theirs] for name, value in inputs.items()}
        return mixed(inputs, others, mine.share, self.spec), mine

    def _mean(self) -> nn.Module:
        """The mean of the weights, with those that this epoch ends with in it; the network itself before it begins."""
        if self.averaged is None or self.at.epoch < self.settings.averaged_from:
            return self.model
        with self.fabric.autocast():
            frozen = self.settings.batch_norm == "frozen"
            add_to_mean(self.averaged, self.model, None if frozen else self._shown_again())
        share_buffers(self.averaged.module)
        return self.averaged.module

    def _shown_again(self) -> Iterator[dict[str, Tensor]]:
        """The inputs of this epoch once more: this process's share of each part of each batch, but unmixed."""
        self.sampler.begin(self.at.epoch)
        kind, device = next(self.model.parameters()).dtype, self.fabric.device
        batches = on_device(self.loader, device)
        for mine in (mine for step in range(self.sampler.steps) for mine in self.sampler.shares(step)):
            with torch.autocast(device.type, enabled=False):
                inputs = batch_inputs(next(batches), self.spec)
            yield {name: value[:mine].to(kind) for name, value in inputs.items()}

    def _validate(self, model: nn.Module) -> dict[str, float]:
        """The columns of the history that validation of a network gives."""
        if self.val_set is None:
            return {}
        with gate_sizes(model) as gates:
            predictions, *_ = predict(
                model, self.objective.refinement, self.val_set, embedding=self.embedding,
                device=self.fabric.device, autocast=self.fabric.autocast, workers=self.workers,
                batch_size=max(1, self.settings.batch_size // self.settings.accumulation),
            )  # fmt: skip
        labels, classes = predictions.labels, predictions.class_count
        row = {f"val_top1_{name}": top1(labels, predictions.predicted(name)) for name in predictions.outputs}
        row["val_macro_f1"] = macro_f1(labels, predictions.predicted(), classes)
        true = predictions.scores()[np.arange(len(labels)), labels].astype(np.float64)
        row["val_loss"] = float(-np.log(np.maximum(true, 1e-12)).mean())
        # How often the nearest prototype, alone, is that of the true class: where it is never better than the
        # classifier, rectification cannot help.
        for name, own in predictions.own.items():
            row[f"val_nearest_{name}"] = float((own < predictions.other[name]).mean())
        for name, size in gates.items():
            total, count = sum_over_processes(size.to(self.fabric.device)).tolist()
            if count:
                row[f"gate_{name}"] = total / count
        return {key: round(value, 6) for key, value in row.items()}

    def _end_epoch(self, chosen: bool, row: Mapping[str, Any]) -> None:
        """Write what an epoch leaves in the run folder; a resumed run that repeats its end writes the same again."""
        self.checkpoints.check_folder()
        if self.objective.refinement:
            bank: Any = self.objective.refinement.items()
            write_prototypes(
                self.out,
                self.at.epoch,
                {name: module.prototypes.float().cpu().numpy() for name, module in bank},
                {name: module.updates.cpu().numpy() for name, module in bank},
            )
        append_history(self.out, row)
        self.logs.epoch(row)
        self.checkpoints.save_epoch(self.at, chosen)
        write_status(self.out, "running", self.at.epoch, self.settings.epochs)


def _copy_for_mean(model: nn.Module, recipe: Recipe) -> AveragedModel:
    try:
        return AveragedModel(model)
    except (RuntimeError, TypeError) as error:  # such as weights that a hook computes anew, or a lock
        raise MgkitError(
            f"average needs a copy of the network {recipe.network.name}, which cannot be copied ({error}): change what "
            "it keeps, or use average=0."
        ) from None


def _write_text(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def check_videos(parts: list[Clips]) -> None:
    """Open every video once; one that is broken, or shorter than its row says, is named before any training."""
    jobs = [
        (clips.root / name, int(frames))
        for clips in parts
        for name, frames in zip(clips.column("video"), clips.column("frames"), strict=True)
    ]

    def fault(job: tuple[Path, int]) -> str | None:
        path, frames = job
        try:
            found = probe(path).frames
        except MgkitError as error:
            return str(error)
        return None if found >= frames else f"{path} has {counted(found, 'frame')}, {frames} were expected"

    with ThreadPoolExecutor(8) as pool:
        faults = [text for text in pool.map(fault, jobs) if text]
    if faults:
        raise MgkitError(
            f"{len(faults)} of {counted(len(jobs), 'video')} cannot be used: {some(faults, 3).rstrip('.')}. Delete "
            "them and run `mgkit prepare` again."
        )
