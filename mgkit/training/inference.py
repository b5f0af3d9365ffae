"""Testing: a network over every view of every clip, averaged, keyed by clip_id, into the run folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import nn

from mgkit.data.batches.dataset import ClipDataset
from mgkit.data.batches.device import batch_inputs, on_device
from mgkit.data.batches.loader import Loader
from mgkit.data.batches.samplers import EpochSampler
from mgkit.data.batches.spec import Inputs
from mgkit.data.clips import Clips
from mgkit.errors import MgkitError, some
from mgkit.models import PathwayOutput, PrototypicalRefinement, fuse_probabilities, rectify
from mgkit.models.layers import cosine_similarity, rank, sum_over_processes, world_size
from mgkit.progress import Progress
from mgkit.results.compare.runs import subjects_of
from mgkit.results.ensembles.fuse import fuse
from mgkit.results.ensembles.search import Choice, choose, refuse_test, simplex_grid
from mgkit.results.run.files import write_embeddings
from mgkit.results.run.folder import (
    FORMAT,
    Run,
    begin_run,
    load_run,
    other_estimators,
    recorded,
    write_predictions,
)
from mgkit.results.run.records import Embeddings, Predictions
from mgkit.results.run.view_scores import ViewScores, write_view_scores
from mgkit.training.build import build_model, build_objective, check_workers, embedding_widths
from mgkit.training.checkpoints import load_checkpoint, restore
from mgkit.training.code import recipe_of
from mgkit.training.machine import (
    cpu_threads,
    default_workers,
    make_fabric,
    on_first,
    start_processes,
    suit_memory,
    unwrapped_errors,
)
from mgkit.training.recipe import Recipe

RECTIFICATIONS = (0.0, 0.5, 1.0, 2.0, 5.0)  # PCAN's code has 5 for RGB and 1 for pose


def test(
    run: Run | str | Path,
    split: str = "test",
    *,
    clips: Clips | None = None,
    checkpoint: str = "best",
    views: int = 1,
    flip: bool = False,
    weights: Mapping[str, float] | None = None,
    rectification: float = 0.0,
    choose_on: str | None = None,
    out: str | Path | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    devices: int | None = None,
    nodes: int | None = None,
    workers: int | None = None,
    progress: bool = True,
    run_code: bool = False,
) -> Predictions:
    """Test a run on one split and write predictions and embeddings into its folder.

    Args:
        run: a run, or its folder.
        split: the split to test on.
        clips: the clip folder; the one the run was trained on by default.
        checkpoint: "best" (what the recipe's `keep` chose) or "last".
        views: clips drawn from each video at evenly spread time shifts; the paper tests with 10.
        flip: test the mirrored twin of each view too. The scores of classes that the recipe's `mirror_pairs` names
            trade places in it; other classes that differ in left and right are warned about.
        weights: of the pathways in the fused probabilities, 1:1 by default.
        rectification: lambda of PCAN's prototype-guided rectification: lambda times the similarity to each class's
            prototype is added to the logits. 0, the default, leaves them alone. Choose it on the validation split.
        choose_on: a validation split: the weights of the pathways (in steps of 0.05), and for a run with prototypes the
            rectification (of `RECTIFICATIONS`), that have the highest Top-1 there, in place of `weights` and
            `rectification`. Of equally good ones those nearest to equal weights without rectification are taken, and
            these themselves where choosing gains nothing on validation clips that are left out of it
            (`mgkit.results.ensembles.search.choose`).
        out: folder that takes the results as a run of its own, without a network, so that one run tested in several
            ways can be compared; by default they replace those in the run's folder.
        batch_size: views a step; any value gives the same answer. The recipe's by default.
        device: "auto", "cpu", "cuda".
        devices, nodes: processes that share the clips, as for `train`.
        workers: loader processes; chosen from the number of cores by default.
        progress: show a bar.
        run_code: allow the code in the run's folder (`code/`) to be run, if it has parts of somebody's own that are
            neither defined in this session nor have been trained on this machine.

    Returns:
        The predictions; probabilities are averaged over views. They are read back with `run.predictions(split)`,
        how they were made with `run.test_settings(split)`, and what each of several views said with
        `run.view_scores(split)`.

    Raises:
        MgkitError: no such split or checkpoint, `choose_on` that names a split that is, or may be, a test split, clips
            of other classes or another skeleton than the run's, a video that cannot be decoded.
    """
    run = run if isinstance(run, Run) else load_run(run)
    check_whole(views=views, batch_size=batch_size)
    check_workers(workers)
    network = open_network(
        run,
        clips,
        checkpoint,
        device,
        weights,
        rectification,
        devices=devices,
        nodes=nodes,
        run_code=run_code,
    )
    recipe = network.recipe
    chosen = network.clips.split(split)
    workers = default_workers(recipe.pathways, network.device) if workers is None else workers
    if choose_on is not None:
        weights, rectification = _choose(run, network, choose_on, weights, rectification, workers, progress)
    bar = Progress(f"test {split}", progress and network.fabric.is_global_zero)
    if caution := other_estimators(run, network.clips):
        bar.say(f"{run.root.name}: CAUTION: {caution}")
    if flip and (warning := network.inputs.mirror_warning(network.clips.classes)):
        bar.say(f"flip: {warning}")
    with bar, cpu_threads(network.device, workers):
        predictions, embeddings, by_view = predict(
            network.model,
            network.prototypes,
            ClipDataset(chosen, network.inputs, training=False, views=views, flip=flip),
            embedding=network.embedding,
            device=network.device,
            autocast=network.autocast,
            weights=weights,
            rectification=rectification,
            batch_size=batch_size or recipe.optimisation.batch_size,
            workers=workers,
            progress=bar,
        )
    settings = {
        "checkpoint": checkpoint, "epoch": network.epoch, "views": views, "flip": flip,
        "weights": None if weights is None else dict(weights), "rectification": rectification,
        "clips": network.clips.fingerprint,
    }  # fmt: skip
    if choose_on is not None:
        settings["chosen_on"] = choose_on

    def write() -> None:
        root = run.root if out is None else _results_beside(run, network, Path(out)).root
        write_predictions(root, split, predictions, settings)
        if by_view is not None:
            write_view_scores(root, split, by_view)
        if embeddings is not None:
            write_embeddings(root, split, embeddings)

    on_first(network.fabric, write)
    return predictions


def _results_beside(run: Run, network: Network, root: Path) -> Run:
    """A run for the results of another way of testing, without a network."""
    config = {
        "format": FORMAT,
        "recipe": {"tested": Path(os.path.relpath(run.root, root)).as_posix()},
        "data": recorded(network.clips, root),
        "pathways": list(network.recipe.pathways),
    }
    return begin_run(root, config, {}, state="finished", epochs=0)


def _choose(
    run: Run,
    network: Network,
    split: str,
    given: Mapping[str, float] | None,
    rectification: float,
    workers: int,
    progress: bool,
) -> tuple[dict[str, float] | None, float]:
    """The weights of the pathways and the rectification of the highest Top-1 on a validation split, if that pays."""
    if given is not None or rectification:
        raise MgkitError(
            "weights and rectification are either given or chosen on a split: leave out one of the two."
        )
    pathways = network.recipe.pathways
    if len(pathways) < 2 and not len(network.prototypes):
        raise MgkitError("there is nothing to choose: the run has one pathway, and no prototypes.")
    refuse_test(split, "Name a validation split.")
    clips = network.clips.split(split)
    # Those nearest to equal weights first, and all of them without rectification before any with it.
    grid = simplex_grid(len(pathways), 0.05)
    grid = grid[np.argsort(((grid - grid[0]) ** 2).sum(1), kind="stable")]
    settings: list[tuple[float, npt.NDArray[np.float64]]] = []  # rectification, weights
    right: list[npt.NDArray[np.bool_]] = []
    bar = Progress(f"choose on {split}", progress and network.fabric.is_global_zero)
    with bar, cpu_threads(network.device, workers):
        for value in RECTIFICATIONS if len(network.prototypes) else (0.0,):
            predictions, *_ = predict(
                network.model, network.prototypes, ClipDataset(clips, network.inputs, training=False),
                embedding=network.embedding, device=network.device, autocast=network.autocast, rectification=value,
                batch_size=network.recipe.optimisation.batch_size, workers=workers, progress=bar,
            )  # fmt: skip
            scores = np.stack([predictions.scores(name) for name in pathways])  # (P, N, K)
            for weights in grid:
                settings.append((value, weights))
                right.append(fuse(scores, weights).argmax(1) == predictions.labels)
        found = choose(np.stack(right), predictions.labels, subjects_of(run, predictions.clip_ids, clips))
        bar.say(_chosen(split, found, settings[found.best], pathways))
    value, weights = settings[found.taken]
    plain = found.taken == 0 or len(pathways) == 1
    return (None if plain else dict(zip(pathways, weights.tolist(), strict=True))), value


def _chosen(
    split: str, found: Choice, best: tuple[float, npt.NDArray[np.float64]], pathways: Sequence[str]
) -> str:
    """What was chosen on a split, and what that is worth."""
    what = ", ".join(f"{name} {weight:.2f}" for name, weight in zip(pathways, best[1], strict=True))
    what += f", rectification {best[0]:g}" if best[0] else ""
    interval = (
        ""
        if np.isnan(found.low)
        else f", 95 % {100 * found.low:+.1f} to {100 * found.high:+.1f} over {found.drawn}"
    )
    there = (
        f"Top-1 {100 * found.apparent_gain:+.1f} points there, {100 * found.gain:+.1f} on clips left out of the "
        f"choice{interval}"
    )
    if found.best == 0:
        return f"{split}: nothing is better there than equal weights without rectification"
    if found.taken:
        return f"chosen on {split}: {what} ({there})"
    return f"{split}: equal weights without rectification are kept, {what} gains nothing ({there})"


def tested_as(
    run: Run,
    split: str,
    clips: Clips,
    *,
    views: int = 1,
    flip: bool = False,
    choose_on: str | None = None,
    out: Path | None = None,
) -> bool:
    """Whether what is there of a split is the test that these arguments make, on these clips and the kept weights.

    Somebody may have tested the run by hand in another way, or before its training had ended.
    """
    if out is not None and not (out / "config.json").is_file():
        return False
    tested = run if out is None else load_run(out)
    if split not in tested.splits():
        return False
    wanted: dict[str, Any] = {
        "views": views, "flip": flip, "clips": clips.fingerprint, "checkpoint": "best",
        "epoch": load_checkpoint(run.checkpoint("best"))["epoch"] + 1,
    }  # fmt: skip
    wanted |= {"chosen_on": choose_on} if choose_on else {"weights": None, "rectification": 0.0}
    there = tested.test_settings(split)
    return all(there.get(name) == value for name, value in wanted.items())


class Network(NamedTuple):
    """The network of a run as it is tested and explained, on its device, with what it was trained on."""

    model: nn.Module
    prototypes: nn.ModuleDict  # PrototypicalRefinement of each pathway; empty without
    embedding: dict[str, int]  # width of each pathway that has an embedding
    recipe: Recipe
    inputs: Inputs
    clips: Clips
    fabric: Fabric
    epoch: int  # after which its weights were kept, from 1

    @property
    def device(self) -> torch.device:
        return self.fabric.device

    @property
    def autocast(self) -> Callable[[], AbstractContextManager[Any]]:
        return self.fabric.autocast


def open_network(
    run: Run,
    clips: Clips | None,
    checkpoint: str,
    device: str,
    weights: Mapping[str, float] | None,
    rectification: float,
    *,
    devices: int | None = None,
    nodes: int | None = None,
    run_code: bool = False,
) -> Network:
    """Load what `test` needs, and refuse what does not fit the run; arguments and errors as there."""
    if run.scores_only:
        raise MgkitError(f"{run.root} was made from scores, so it has no network that could look at clips.")
    if weights is not None and set(weights) != set(run.pathways):
        raise MgkitError(
            f"weights are for {some(weights) or 'nothing'}: give one for each of {', '.join(run.pathways)}."
        )
    clips = run.clips() if clips is None else clips
    if clips.classes.names != run.classes.names:
        raise MgkitError(
            f"{clips.root} has other classes than the run {run.root} was trained on: test on its own classes."
        )
    if clips.skeleton.joints != run.skeleton.joints:
        raise MgkitError(
            f"{clips.root} has the joints of {clips.skeleton.name}, the run those of {run.skeleton.name}."
        )
    recipe = recipe_of(run, run_code=run_code)
    if rectification and recipe.refinement is None:
        raise MgkitError(
            f"{run.root} was trained without prototypes: it cannot be tested with rectification."
        )
    if not 0 <= rectification < float("inf"):
        raise MgkitError(f"rectification is {rectification}: use a number, 0 or more.")
    fabric = make_fabric(device, devices=devices, nodes=nodes)
    start_processes(fabric)
    path, state = run.checkpoint(checkpoint), load_checkpoint(run.checkpoint(checkpoint))
    inputs, classes = recipe.inputs.on(clips.skeleton), len(clips.classes)
    model = build_model(recipe, classes, inputs)
    restore(state, path, model=model)
    embedding = embedding_widths(recipe, model, inputs)
    # Losses are not needed, but the prototypes that were trained with them.
    prototypes = build_objective(recipe.with_(losses=()), classes, embedding).refinement
    first = "refinement."
    saved = {key.removeprefix(first): v for key, v in state["objective"].items() if key.startswith(first)}
    restore({"objective": saved}, path, objective=prototypes)
    model.to(fabric.device)
    suit_memory(model)
    prototypes.to(fabric.device)
    return Network(model, prototypes, embedding, recipe, inputs, clips, fabric, state["epoch"] + 1)


def check_whole(**values: int | None) -> None:
    """Refuse numbers below 1, by name; None is the default."""
    for name, value in values.items():
        if value is not None and value < 1:
            raise MgkitError(f"{name} is {value!r}: use a whole number, 1 or more.")


def predict(
    model: nn.Module,
    prototypes: nn.ModuleDict,
    dataset: ClipDataset,
    *,
    embedding: Mapping[str, int],
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[Any]],
    weights: Mapping[str, float] | None = None,
    rectification: float = 0.0,
    batch_size: int = 10,
    workers: int = 0,
    progress: Progress | None = None,
) -> tuple[Predictions, Embeddings | None, ViewScores | None]:
    """Probabilities, embeddings and prototype distances of every clip of a dataset, averaged over its views.

    The embeddings are None for a network without any, what each view said where there is one view a clip. Several
    processes take a share of the clips each, and all of them get the whole.
    """
    sampler = EpochSampler(dataset, rank(), world_size())
    loader = Loader(dataset, sampler.in_batches(batch_size), batch_size, workers=workers, device=device)
    count, classes = len(dataset), len(dataset.clips.classes)
    pathways = dataset.spec.pathways
    names = [*pathways, "fused"] if len(pathways) > 1 else list(pathways)
    views, swapped = dataset.views_per_clip, torch.from_numpy(dataset.mirrored_class).to(device)
    sums = {name: torch.zeros(count, classes, dtype=torch.float64) for name in names}
    each = {name: torch.zeros(count, views, classes, dtype=torch.float32) for name in names if views > 1}
    done = 0  # the sampler goes through the views of a clip in order, whatever the batches and workers
    vectors = {name: torch.zeros(count, size, dtype=torch.float64) for name, size in embedding.items()}
    was_training, kind = model.training, next(model.parameters()).dtype
    model.eval()
    with unwrapped_errors(), torch.inference_mode():
        for batch in on_device(loader, device):
            inputs = batch_inputs(batch, dataset.spec)
            with autocast():
                outputs = model({name: value.to(kind) for name, value in inputs.items()})
            if rectification:
                outputs = rectified(outputs, prototypes, rectification)
            rows = batch.rows.cpu()
            view = (done + torch.arange(len(rows))) % views
            done += len(rows)
            twins = (view >= dataset.views).to(batch.rows.device)
            for name, probability in fuse_probabilities(outputs, weights).items():
                if dataset.flip:  # what a mirrored clip shows is the other class of a pair
                    probability = torch.where(twins[:, None], probability[:, swapped], probability)
                if name in sums:
                    sums[name].index_add_(0, rows, probability.double().cpu())
                if name in each:
                    each[name][rows, view] = probability.float().cpu()
            for name, output in outputs.items():
                if output.embedding is not None:
                    vectors[name].index_add_(0, rows, output.embedding.double().cpu())
            if progress is not None:
                progress.advance(len(rows), len(sampler))
    model.train(was_training)
    for store in (*sums.values(), *vectors.values(), *each.values()):
        # each clip is in one process's share, and 0 in the others
        store.copy_(sum_over_processes(store.to(device)))
    embeddings = {name: (value / views).float().numpy() for name, value in vectors.items()}
    labels = dataset.clips.labels
    own, other = prototype_distances(prototypes, embeddings, labels)
    predictions = Predictions(
        clip_ids=dataset.clips.ids,
        labels=labels,
        probabilities={name: (value / views).float().numpy() for name, value in sums.items()},
        own=own,
        other=other,
    )
    mirrored = np.arange(views) >= dataset.views
    return (
        predictions,
        Embeddings(dataset.clips.ids, embeddings) if embeddings else None,
        ViewScores(dataset.clips.ids, {k: v.numpy() for k, v in each.items()}, mirrored) if each else None,
    )


def rectified(
    outputs: Mapping[str, PathwayOutput], prototypes: nn.ModuleDict, weight: float
) -> dict[str, PathwayOutput]:
    """Every pathway's logits moved towards the prototypes that its embedding lies close to."""
    moved = {}
    for name, output in outputs.items():
        bank = cast(PrototypicalRefinement, prototypes[name])
        assert output.embedding is not None
        logits = rectify(output.logits, output.embedding, bank.prototypes, bank.seen, weight)
        moved[name] = output._replace(logits=logits)
    return moved


def prototype_distances(
    prototypes: nn.ModuleDict,
    embeddings: Mapping[str, npt.NDArray[np.float32]],
    labels: npt.NDArray[np.int64],
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, npt.NDArray[np.float32]]]:
    """Cosine distance (0 to 2) of each clip to the prototype of its own class and to the nearest other one.

    NaN where that prototype has never been updated: a class never seen as a true positive has none.
    """
    own: dict[str, npt.NDArray[np.float32]] = {}
    other: dict[str, npt.NDArray[np.float32]] = {}
    for name, module in prototypes.items():
        bank = cast(PrototypicalRefinement, module)
        vectors, seen = bank.prototypes.float().cpu(), bank.seen.cpu()
        z = torch.from_numpy(embeddings[name])
        distance = (1 - cosine_similarity(z, vectors)).clamp(0, 2)  # (N, K); rounding may step outside
        distance[:, ~seen] = torch.nan
        target = torch.tensor(labels)[:, None]
        own[name] = distance.gather(1, target)[:, 0].numpy()
        rest = distance.scatter(1, target, torch.nan)
        nearest = torch.where(rest.isnan(), torch.inf, rest).amin(dim=1)
        other[name] = torch.where(nearest.isinf(), torch.nan, nearest).numpy()
    return own, other
