"""Where in time, on the body and in the picture a decision comes from: gradients from a class's score to the inputs.

The method is gradient times input (Shrikumar et al., 2016; Ancona et al., "Towards better understanding of
gradient-based attribution methods", ICLR 2018): to first order, what the score would lose without that joint. It
costs one backward pass per clip. Integrated gradients (Sundararajan, Taly and Yan, ICML 2017) predicted the effect of
removing a joint or a part of the picture less well, at ten times the cost (docs/analysis.md). Grad-CAM maps the last
features, which know neither joints nor single frames.

The score is the log-odds of the class, which unlike the probability still has a slope where the network is sure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mgkit.data.batches.dataset import ClipDataset
from mgkit.data.batches.device import batch_inputs
from mgkit.data.batches.loader import Loader
from mgkit.data.batches.samplers import EpochSampler
from mgkit.data.batches.spec import view_times
from mgkit.data.clips import Clips
from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError, some
from mgkit.files import exclusive, sha256_of
from mgkit.models import PathwayOutput
from mgkit.progress import Progress
from mgkit.results.run.folder import Run, load_run
from mgkit.results.run.saliency import Saliency, read_saliency, saliency_path, write_saliency
from mgkit.training.inference import Network, check_whole, open_network, rectified
from mgkit.training.machine import cpu_threads, default_workers, unwrapped_errors

GRID = 14  # parts of a picture along each side: 16 pixels each of the paper's 224
SAVED_EVERY = 30.0  # seconds: what a killed process loses at most

Score = Callable[[Mapping[str, Tensor]], Tensor]


def explain(
    run: Run | str | Path,
    split: str = "test",
    *,
    clips: Clips | None = None,
    clip_ids: Iterable[str] | None = None,
    target: str = "predicted",
    output: str | None = None,
    checkpoint: str = "best",
    weights: Mapping[str, float] | None = None,
    rectification: float = 0.0,
    batch_size: int | None = None,
    device: str = "auto",
    workers: int | None = None,
    replace: bool = False,
    progress: bool = True,
    run_code: bool = False,
) -> Saliency:
    """Measure how much each joint in each sampled frame, and each part of each picture, speaks for a class.

    The explained score is the log-odds of the class in one output, log p - log(1 - p), for the view in the middle (the
    only one of `test` with one view). That of "fused" goes back through both pathways, and with laterals or fusion that
    of either pathway reaches the inputs of both. What a joint is given is summed over its heatmap, or its coordinates
    and score; a limb or bone gives half to each of its ends; a picture is summed over a coarse grid. All in nats, in
    float32 on any device.

    Interrupted work is kept up to the last clips saved, and the same call resumes there: clips that have been
    explained with the same settings are not explained again.

    Args:
        run: a run, or its folder.
        split: the split whose clips to explain.
        clips: the clip folder; the one the run was trained on by default.
        clip_ids: only these clips of the split.
        target: "predicted", the class that this output gives the clip in this view, or "true".
        output: "rgb", "pose" or "fused"; by default fused, or the only one.
        checkpoint, weights, rectification: as of the `test` to explain.
        batch_size: clips a step; any value gives the same answer. The recipe's by default.
        device: "auto", "cpu", "cuda".
        workers: loader processes; chosen from the number of cores by default.
        replace: throw away what is there, rather than add to it.
        progress: show a bar.
        run_code: as of `test`.

    Returns:
        The saliency of all clips of the split that have been explained; read back with `run.saliency(split)`.

    Raises:
        MgkitError: what is there was made with other settings (without `replace`), another process explains this split,
            an unknown clip or output, and whatever `test` refuses.
    """
    run = run if isinstance(run, Run) else load_run(run)
    check_whole(batch_size=batch_size)
    name = run.outputs[-1] if output is None else output
    for what, value, known in (
        ("target", target, ("predicted", "true")),
        ("output", name, run.outputs),
    ):
        if value not in known:
            raise MgkitError(f"{what} is {value!r}: use {' or '.join(map(repr, known))}.")
    network = open_network(run, clips, checkpoint, device, weights, rectification, run_code=run_code)
    chosen = network.clips.split(split)
    if clip_ids is not None:
        wanted, there_are = list(dict.fromkeys(clip_ids)), set(chosen.ids)
        lacking = [clip_id for clip_id in wanted if clip_id not in there_are]
        if lacking or not wanted:
            raise MgkitError(f"split {split!r} has no clip {some(lacking)}: give ids of its clips.")
        chosen = chosen.select(wanted)
    settings: dict[str, Any] = {
        "target": target,
        "output": name,
        "weights": None if weights is None else dict(weights),
        "rectification": rectification,
        "checkpoint": checkpoint,
        "epoch": network.epoch,
        "content": _digest(run.checkpoint(checkpoint)),
        "clips": network.clips.fingerprint,
    }
    path = saliency_path(run.root, split)
    _make_folder(path.parent)
    with exclusive(path.parent):  # two at once would each save without the other's clips
        there = _there(path, settings, replace)
        todo = [clip_id for clip_id in chosen.ids if there is None or clip_id not in there]
        if todo:
            workers = default_workers(network.recipe.pathways, network.device) if workers is None else workers
            size = batch_size or network.recipe.optimisation.batch_size
            with Progress(f"explain {split}", progress) as bar, cpu_threads(network.device, workers):
                found = _explained(network, chosen.select(todo), settings, size, workers)
                _saved(run.root, split, there, found, len(todo), bar)
    return run.saliency(split)


# ---------------------------------------------------------------------------------------------------------------------
# The method


class Attribution(NamedTuple):
    """Per input a tensor of its shape, and the score (N,) at the input."""

    parts: dict[str, Tensor]
    score: Tensor


def gradient_times_input(score: Score, inputs: Mapping[str, Tensor]) -> Attribution:
    """The slope of each clip's score at its inputs, times these: what to first order taking them away would change.

    Zero is an empty heatmap, and a picture of the mean colour of the data that published backbones were trained with.

    Args:
        score: from inputs to one number per clip (N,), each of its own clip only; an input that it does not depend on
            has the part 0.
        inputs: (N, ...) by pathway.
    """
    leaves = {name: x.detach().clone().requires_grad_() for name, x in inputs.items()}
    with torch.enable_grad():
        found = score(leaves)
    # The clips do not touch each other, so one backward pass is enough.
    slopes = torch.autograd.grad(
        found.sum(), list(leaves.values()), allow_unused=True, materialize_grads=True
    )
    parts = {name: x * slope for (name, x), slope in zip(inputs.items(), slopes, strict=True)}
    return Attribution(parts, found.detach())


def log_odds(
    outputs: Mapping[str, PathwayOutput], output: str, weights: Mapping[str, float] | None = None
) -> Tensor:
    """(N, K) log p - log(1 - p) of what `fuse_probabilities` gives for an output, exact where p is near 0 or 1."""
    logs = {name: one.logits.log_softmax(1) for name, one in outputs.items()}
    if output == "fused":
        shares = dict.fromkeys(logs, 1.0) if weights is None else weights
        total = sum(shares[name] for name in logs)
        parts = [log + float(np.log(shares[name] / total)) for name, log in logs.items() if shares[name] > 0]
        log = torch.stack(parts).logsumexp(0)
    else:
        log = logs[output]
    others = log[:, None, :].expand(-1, log.shape[1], -1)  # (N, K, K): row k without column k
    own = torch.eye(log.shape[1], dtype=torch.bool, device=log.device)
    return log - others.masked_fill(own, -torch.inf).logsumexp(2)


def over_joints(values: Tensor, skeleton: Skeleton, heatmap: str) -> Tensor:
    """Attributions of heatmaps (N, V or E, T, H, W) to (N, T, V): sums over the maps, of a limb half to each end."""
    sums = values.double().sum((3, 4)).transpose(1, 2)  # (N, T, channels)
    if not heatmap.startswith("limb"):
        return sums
    ends = torch.zeros(len(skeleton.edges), len(skeleton), dtype=torch.float64, device=values.device)
    for limb, (a, b) in enumerate(skeleton.edges):
        ends[limb, a] = ends[limb, b] = 0.5
    return sums @ ends


def over_skeleton(values: Tensor, skeleton: Skeleton, stream: str) -> Tensor:
    """Attributions of key-points (N, M, T, V, 3) to (N, T, V): sums over people, x, y and score.

    A bone gives half to each of its ends; the root's, which is nothing but its score, stays there. A movement belongs
    to the frame that it starts from.
    """
    sums = values.double().sum((1, 4))  # (N, T, V)
    if not stream.startswith("bone"):
        return sums
    ends = 0.5 * torch.eye(len(skeleton), dtype=torch.float64, device=values.device)
    for joint, parent in enumerate(skeleton.parents):
        ends[joint, int(parent)] += 0.5
    return sums @ ends


def over_grid(values: Tensor, parts: int = GRID) -> Tensor:
    """Attributions of pictures (N, C, T, H, W) to (N, T, G, G): sums over the channels and over G x G even parts.

    G is `parts`, or the number of pixels where there are fewer. Pixel i of n belongs to part floor(i * G / n).
    """
    sums = values.double().sum(1)  # (N, T, H, W)
    for axis in (2, 3):
        size = sums.shape[axis]
        count = min(parts, size)
        part = torch.arange(size, device=values.device) * count // size
        shape = [*sums.shape[:axis], count, *sums.shape[axis + 1 :]]
        sums = torch.zeros(shape, dtype=torch.float64, device=values.device).index_add_(axis, part, sums)
    return sums


# ---------------------------------------------------------------------------------------------------------------------
# Clips to a file


def _explained(
    network: Network, clips: Clips, settings: dict[str, Any], batch_size: int, workers: int
) -> Iterator[Saliency]:
    """The saliency of clips, batch by batch, in their order."""
    spec = network.inputs
    dataset = ClipDataset(clips, spec, training=False)
    batches = EpochSampler(dataset).in_batches(batch_size)
    loader = Loader(dataset, batches, batch_size, workers=workers, device=network.device)
    network.model.eval().requires_grad_(False)
    network.prototypes.requires_grad_(False)
    lengths = clips.column("frames").to_numpy()

    def odds(inputs: Mapping[str, Tensor]) -> Tensor:
        outputs: Mapping[str, PathwayOutput] = network.model(inputs)
        if settings["rectification"]:
            outputs = rectified(outputs, network.prototypes, settings["rectification"])
        return log_odds(outputs, settings["output"], settings["weights"])

    with unwrapped_errors():
        for batch in loader:
            batch = batch.to(network.device)
            inputs = batch_inputs(batch, spec)
            if settings["target"] == "true":
                target = batch.labels
            else:
                with torch.no_grad():
                    target = odds(inputs).argmax(1)

            def score(inputs: Mapping[str, Tensor], target: Tensor = target) -> Tensor:
                return odds(inputs).gather(1, target[:, None])[:, 0]

            found = gradient_times_input(score, inputs)
            rows = batch.rows.tolist()
            times = [view_times(spec, int(lengths[row])) for row in rows]
            parts: dict[str, npt.NDArray[Any]] = {}
            if "pose" in inputs:
                values, part = found.parts["pose"].cpu(), dataset.spec.skeleton or clips.skeleton
                if spec.keypoints:
                    joints = over_skeleton(values, part, spec.stream)
                else:
                    joints = over_joints(values, part, spec.heatmap)
                of_all = torch.zeros(*joints.shape[:2], len(clips.skeleton), dtype=joints.dtype)
                of_all[..., clips.skeleton.positions(part)] = (
                    joints  # 0 for a joint that the network does not see
                )
                parts |= {"joints": of_all.numpy(), "pose_frames": np.stack([t["pose"] for t in times])}
            if "rgb" in inputs:
                maps = over_grid(found.parts["rgb"].cpu())
                parts |= {"maps": maps.numpy(), "rgb_frames": np.stack([t["rgb"] for t in times])}
            yield Saliency(
                [clips.ids[row] for row in rows],
                target.cpu().numpy(),
                found.score.cpu().numpy(),
                **parts,
                settings=settings,
            )


def _saved(
    root: Path, split: str, there: Saliency | None, found: Iterator[Saliency], count: int, bar: Progress
) -> None:
    """Add what is found to what is there, in the file too: now and then, and when the work ends, however it does."""
    fresh: list[Saliency] = []
    last = time.monotonic()

    def save() -> None:
        nonlocal there, last
        if fresh:
            new = Saliency.joined(fresh)
            there = new if there is None else there.merged(new)
            write_saliency(root, split, there)
            fresh.clear()
        last = time.monotonic()

    try:
        for one in found:
            fresh.append(one)
            bar.advance(len(one), count)
            if time.monotonic() - last > SAVED_EVERY:
                save()
    finally:
        save()


def _there(path: Path, settings: dict[str, Any], replace: bool) -> Saliency | None:
    """What the file holds, if it can be added to."""
    if replace or not path.is_file():
        return None
    there = read_saliency(path)
    unlike = [key for key in settings if there.settings.get(key) != settings[key]]
    if unlike:
        raise MgkitError(
            f"{path} was made with another {some(unlike)}: pass replace=True (--replace) to start again, or delete it."
        )
    return there


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MgkitError(
            f"{folder} cannot be made ({error.strerror}): copy the run to where you may write."
        ) from None


def _digest(path: Path) -> str:
    """Of the weights, so that those of a training that was resumed are never mixed with older ones."""
    return sha256_of(path)[:16]
