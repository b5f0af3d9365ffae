"""What helps where few clips are labelled: pre-training, pseudo-labels, choosing what to label.

    python benchmarks/learning.py pretrain data/penn runs/learning --seeds 5 --steps 2000 --pretraining 4000
    python benchmarks/learning.py frames data/ablation runs/learning --network videomae --steps 600 --pretraining 1000

`pretrain`: a share of the training clips keeps its labels (drawn class by class, another draw for each seed); a narrow
skeleton network is pre-trained on all of them without labels. Rows: trained from nothing, fine-tuned from the
pre-trained weights, and a linear probe (logistic regression) on features of the pre-trained network and of one with
random weights. All trainings of a seed have as many steps. There is no validation split: the last weights are tested,
once.

`frames`: the same of the pictures of the embedded clips, with a narrow VideoMAE or ResNet. One pre-training (seed 0)
serves all seeds, and nothing is fine-tuned on a twentieth of the labels, which is two or three clips a class.

`probe`: the same probes of one pre-training (seed 0) over many draws of the labelled clips, with the floor.

`pseudo` and `choose`: a twentieth of the training clips has labels and a tenth is to validate on; the labels of the
rest are hidden. The classifier is logistic regression on features that were pre-trained without labels (seed 0), which
takes no time, so that many draws of the labelled clips (the seeds) are affordable. `pseudo` gives the hidden clips
labels that a network on joints and one on bones agree on; `choose` has as many again labelled, twice, in four ways.

Everything is an ordinary run folder; a second call resumes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mgkit as mg
from mgkit.baselines import keypoint_features
from mgkit.data.clips import Clips
from mgkit.results.run.files import write_embeddings
from mgkit.results.run.folder import Run, create_run, write_predictions
from mgkit.results.run.records import Embeddings, Predictions
from mgkit.results.run.status import write_status
from mgkit.results.stats.significance import seed_difference, seed_mean

SHARES = (0.05, 0.2, 1.0)
FLOOR: dict[str, np.ndarray] = {}  # features of the floor by clip, computed once
HERE: dict[str, Any] = {"device": "cpu", "workers": 0, "progress": False}


def recipe(steps: int, **changes: Any) -> mg.Recipe:
    """ST-GCN of two blocks on 16 frames, with as many steps whatever the number of clips: seconds on one core."""
    small = mg.recipes.small_skeleton(
        network=mg.part("mgkit.models.gcns.stgcn:stgcn", width=16, blocks=(1, 1)), pose_frames=16, joints=(),
        centre="picture", batch_size=32, learning_rate=0.004, learning_rate_batch=32,
    )  # fmt: skip
    return small.with_(epochs=2, warmup_epochs=1, steps=steps, **changes)


def labelled(clips: Clips, share: float, seed: int, at_least: int = 2) -> Clips:
    """The clips with a share of the training split kept, class by class, and the others in the split "unlabelled"."""
    if share >= 1:
        return clips
    train = clips.split("train")
    count = max(round(share * len(train)), at_least * len(clips.classes))
    ids, _ = train_test_split(train.ids, train_size=count, stratify=train.labels, random_state=seed)
    return kept(clips, ids, f"share{round(100 * share)}-seed{seed}")


def kept(clips: Clips, ids: Iterable[str], name: str) -> Clips:
    """The clips with the training split cut to these, under the name of a split table."""
    chosen, table = set(ids), clips.table
    splits = {
        clip_id: "unlabelled" if split == "train" and clip_id not in chosen else split
        for clip_id, split in zip(table["clip_id"], table["split"], strict=True)
    }
    made = clips.with_splits(splits, name)
    made.save_splits()
    return made


def trained(clips: Clips, made: mg.Recipe, out: Path, seed: int, **options: Any) -> Run:
    run = mg.train(clips, made, out, seed=seed, val_split=None, **{**HERE, **options})
    if "test" not in run.splits():
        mg.test(run, "test", **HERE)
    return run


def top1(run: Run, split: str = "test") -> float:
    return float(run.predictions(split).correct().mean())


def probed(run: Run, clips: Clips) -> float:
    """Top-1 on test clips of logistic regression on a run's features of the training clips of `clips`."""
    for split in ("train", "test"):
        if split not in run.splits():
            mg.test(run, split, **HERE)
    name = run.pathways[0]
    features = {}
    for split in ("train", "test"):
        found = run.embeddings(split)
        features[split] = dict(zip(found.clip_ids, found.vectors[name], strict=True))
    train, test = clips.split("train"), clips.split("test")
    x, y = (np.stack([features[s][i] for i in c.ids]) for s, c in (("train", train), ("test", test)))
    return float((linear().fit(x, train.labels).predict(y) == test.labels).mean())


def linear() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))


def pretrain(clips: Clips, out: Path, seed: int, options: Any) -> list[dict[str, Any]]:
    """The rows of one seed."""
    made = recipe(options.steps)
    masked = mg.recipes.masked(recipe(options.pretraining))
    first = mg.pretrain(clips, masked, out / f"masked-{seed}", splits=["train"], seed=seed, **HERE)
    random = mg.pretrain(
        clips, untrained(masked), out / f"random-{seed}", splits=["train"], seed=seed, **HERE
    )
    return compared(clips, made, first, random, out, seed, SHARES)


def frames(clips: Clips, out: Path, seed: int, options: Any) -> list[dict[str, Any]]:
    """The rows of one seed, of a narrow network of frames."""
    made = {
        "videomae": mg.recipes.videomae_small(learning_rate=4e-3, epochs=2),
        "resnet": mg.recipes.rgb_only(prototypes=False, rgb_size=64, keep="last", epochs=2),
    }[options.network]
    made, out = mg.recipes.narrow(made), out / options.network
    masked = mg.recipes.masked(made, patch=8, share=0.75).with_(
        steps=options.pretraining,
        batch_size=16,
        optimizer="adamw",
        learning_rate=2e-3,
        learning_rate_batch=16,
    )
    first = mg.pretrain(clips, masked, out / "masked", splits=["train"], **HERE)
    random = mg.pretrain(clips, untrained(masked), out / "random", splits=["train"], **HERE)
    return compared(clips, made.with_(steps=options.steps), first, random, out, seed, SHARES[1:])


def untrained(masked: mg.Recipe) -> mg.Recipe:
    """One pass for the statistics of BatchNorm, with steps too small to change a weight."""
    return masked.with_(epochs=1, steps=0, warmup_epochs=0, learning_rate=1e-12)


def compared(
    clips: Clips, made: mg.Recipe, first: Run, random: Run, out: Path, seed: int, tuned: Sequence[float]
) -> list[dict[str, Any]]:
    """Probes of a pre-trained and of a random network for every share of the labels, and trainings for some."""
    rows = []
    for share in SHARES:
        few, name = labelled(clips, share, seed), f"{round(100 * share)}-{seed}"
        found = {"probe, random weights": probed(random, few), "probe, pre-trained": probed(first, few)}
        if share in tuned:
            start = {first.pathways[0]: first}
            found["from nothing"] = top1(trained(few, made, out / f"scratch-{name}", seed))
            found["fine-tuned"] = top1(trained(few, made, out / f"tuned-{name}", seed, start=start))
        rows += [{"labels": f"{share:.0%}", "row": row, "top1": value} for row, value in found.items()]
    return rows


def parted(clips: Clips, seed: int) -> Clips:
    """A tenth of the training clips to validate on, a twentieth with labels, the others "unlabelled"."""
    train = clips.split("train")
    rest, val = train_test_split(train.ids, test_size=0.1, stratify=train.labels, random_state=seed)
    labels = clips.select(rest).labels
    few_ids, _ = train_test_split(
        rest, train_size=round(0.05 * len(train)), stratify=labels, random_state=seed
    )
    of = dict.fromkeys(train.ids, "unlabelled") | dict.fromkeys(val, "val") | dict.fromkeys(few_ids, "train")
    splits = {i: of.get(i, split) for i, split in zip(clips.ids, clips.table["split"], strict=True)}
    made = clips.with_splits(splits, f"parted-seed{seed}")
    made.save_splits()
    return made


def features(
    clips: Clips, out: Path, stream: str, options: Any, *, random: bool = False
) -> dict[str, np.ndarray]:
    """Features of every clip, from a network that was pre-trained without labels on the training clips, or was not."""
    masked = mg.recipes.masked(recipe(options.pretraining, stream=stream))
    name = f"masked-{stream}"
    if random:
        masked, name = untrained(masked), f"random-{stream}"
    run = mg.pretrain(clips, masked, out.parent / name, splits=["train"], **HERE)
    found: dict[str, np.ndarray] = {}
    for split in ("train", "test"):
        if split not in run.splits():
            mg.test(run, split, **HERE)
        embeddings = run.embeddings(split)
        found |= dict(zip(embeddings.clip_ids, embeddings.vectors["pose"], strict=True))
    return found


def probe_run(clips: Clips, vectors: dict[str, np.ndarray], out: Path) -> Run:
    """A run whose scores are those of logistic regression on features, trained on the clips of "train"."""
    train = clips.split("train")
    probe = linear()
    probe.fit(np.stack([vectors[i] for i in train.ids]), train.labels)
    run = create_run(
        out, recipe={"imported": "probe"}, settings={}, clips=clips, pathways=("pose",), environment={}
    )
    for split in (name for name in clips.splits if name != "train"):
        part = clips.split(split)
        x = np.stack([vectors[i] for i in part.ids])
        scores = np.zeros((len(part), len(clips.classes)), np.float32)
        scores[:, probe.classes_] = probe.predict_proba(x)
        found = Predictions(part.ids, part.labels, {"pose": scores}, classes=clips.classes)
        write_predictions(run.root, split, found, {})
        write_embeddings(run.root, split, Embeddings(part.ids, {"pose": x}))
    write_status(run.root, "finished", 0, 0)
    return mg.load_run(run.root)


def probe(clips: Clips, out: Path, seed: int, options: Any) -> list[dict[str, Any]]:
    """Rows of one seed: the floor, and probes of features of random and of pre-trained weights."""
    trained, still = (
        features(clips, out, "joint", options),
        features(clips, out, "joint", options, random=True),
    )
    if not FLOOR:
        FLOOR.update(zip(clips.ids, keypoint_features(clips), strict=True))
    rows = []
    for share in SHARES:
        few = labelled(clips, share, seed)
        train, test = few.split("train"), few.split("test")
        joined = {i: np.concatenate([FLOOR[i], trained[i]]) for i in few.ids}
        forest = ExtraTreesClassifier(500, max_features="sqrt", random_state=seed)
        for row, model, vectors in (
            ("floor, extra trees", forest, FLOOR),
            ("floor with pre-trained features", forest, joined),
            ("probe, random weights", linear(), still),
            ("probe, pre-trained", linear(), trained),
        ):
            x, y = (np.stack([vectors[i] for i in part.ids]) for part in (train, test))
            value = float((model.fit(x, train.labels).predict(y) == test.labels).mean())
            rows.append({"labels": f"{share:.0%}", "row": row, "top1": value})
    return rows


def named(clips: Clips) -> dict[str, str]:
    """The true class of each clip, which the methods are not shown."""
    return dict(zip(clips.ids, (clips.classes.names[k] for k in clips.labels), strict=True))


def pseudo(clips: Clips, out: Path, seed: int, options: Any) -> list[dict[str, Any]]:
    """Rows of one seed: labels that probes of joints and of bones agree on; hidden labels are known here alone."""
    few, truth = parted(clips, seed), named(clips)
    vectors = {stream: features(clips, out, stream, options) for stream in ("joint", "bone")}
    both = {i: np.concatenate([one[i] for one in vectors.values()]) for i in clips.ids}
    runs = {s: probe_run(few, v, out / f"{s}-{seed}") for s, v in (*vectors.items(), ("both", both))}
    rows: list[dict[str, Any]] = [{"row": "few labels", "top1": top1(runs["both"])}]
    agreement = [runs["joint"], runs["bone"]]
    for row, asked, cap in (
        ("one network", [runs["both"]], None), ("agreement", agreement, None), ("agreement, capped", agreement, 20),
    ):  # fmt: skip
        try:
            found = mg.scores.pseudo_labels(asked, "unlabelled", precision=options.precision, per_class=cap)
        except mg.MgkitError as error:  # no threshold is good enough: nothing is labelled
            print(f"seed {seed}, {row}: {error}", flush=True)
            rows += [{"row": kind, "top1": rows[0]["top1"]} for kind in (row, f"{row}, true labels")]
            rows[-2]["coverage"] = 0.0
            continue
        right = float((found.table["label"] == found.table["clip_id"].map(truth)).mean())
        for kind, labels in (
            (row, found.table["label"]),
            (f"{row}, true labels", found.table["clip_id"].map(truth)),
        ):
            more = few.with_labels(found.table.assign(label=labels))
            run = probe_run(more, both, out / f"{kind.replace(', ', '-').replace(' ', '-')}-{seed}")
            rows.append({"row": kind, "top1": top1(run)})
            if kind == row:
                rows[-1] |= {
                    "precision": right,
                    "coverage": len(found) / found.of,
                    "on validation": found.precision[0],
                }
    return rows


def choose(clips: Clips, out: Path, seed: int, options: Any) -> list[dict[str, Any]]:
    """Rows of one seed: as many clips again are labelled, chosen in one way or another, in two rounds."""
    few, truth = parted(clips, seed), named(clips)
    vectors = features(clips, out, "joint", options)
    rows = []
    n = len(few.split("train"))
    for way in ("random", "gradient", "margin", "centres"):
        now = few
        for step in (1, 2):
            run = probe_run(now, vectors, out / f"{way}-{seed}-{step}")
            hidden = now.split("unlabelled").ids
            if way == "random":
                ids = np.random.default_rng([seed, step]).permutation(hidden)[:n].tolist()
            else:
                ids = mg.scores.what_to_label(run, "unlabelled", n, way=way, seed=seed)["clip_id"].tolist()
            now = now.with_labels(pd.DataFrame({"clip_id": ids, "label": [truth[i] for i in ids]}))
            after = probe_run(now, vectors, out / f"{way}-{seed}-{step}-after")
            rows.append({"labels": (step + 1) * n, "row": way, "top1": top1(after)})
    return sorted(rows, key=lambda row: row["labels"])


PARTS: dict[str, Callable[[Clips, Path, int, Any], list[dict[str, Any]]]] = {
    "pretrain": pretrain, "frames": frames, "probe": probe, "pseudo": pseudo, "choose": choose,
}  # fmt: skip


BASES = {
    "fine-tuned": "from nothing",
    "probe, pre-trained": "probe, random weights",
}  # of other parts the first row


def table(found: pd.DataFrame, keys: Sequence[str]) -> str:
    """Mean over seeds with 95 % t interval, and the gain on the row's base with its own, seeds paired; in points."""
    lines = [f"| {' | '.join(keys)} | Top-1 | gain | on |", "|" + "---|" * (len(keys) + 3)]
    first = found[keys[-1]].iloc[0]
    for key, rows in found.groupby(list(keys), sort=False):
        base = BASES.get(key[-1], "" if key[-1] in BASES.values() else first)
        theirs = found[found[keys[-1]] == base]
        for name, value in zip(keys[:-1], key[:-1], strict=True):
            theirs = theirs[theirs[name] == value]
        ours, gain = rows["top1"].to_numpy(), ""
        if base and base != key[-1]:
            gain = f"{_shown(seed_difference(ours, theirs['top1'].to_numpy()), '+')} | {base}"
        lines.append(
            f"| {' | '.join(map(str, key))} | {_shown(seed_mean(ours, within=(0, 1)))} | {gain or '|'} |"
        )
    return "\n".join(lines)


def _shown(estimate: Any, sign: str = "") -> str:
    value, low, high = (100 * x for x in (estimate.mean, estimate.low, estimate.high))
    if not low <= high:  # one seed has no interval
        return f"{value:{sign}.1f}"
    return f"{value:{sign}.1f} ({low:{sign}.1f} to {high:{sign}.1f})"


def main() -> None:
    """Train what is not trained yet, then print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("clips", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200, help="of each training")
    parser.add_argument(
        "--precision", type=float, default=0.9, help="wanted of pseudo-labels on validation clips"
    )
    parser.add_argument("--network", choices=("videomae", "resnet"), default="videomae", help="of `frames`")
    parser.add_argument("--pretraining", type=int, default=400, help="steps of the pre-training")
    options = parser.parse_args()
    clips, rows = mg.load_clips(options.clips), []
    for seed in range(options.seeds):
        mine = PARTS[options.part](clips, options.out / options.part, seed, options)
        rows += [{"seed": seed, **row} for row in mine]
        print(pd.DataFrame(mine).to_string(), flush=True)
    found = pd.DataFrame(rows)
    found.to_csv(options.out / f"{options.part}.csv", index=False)
    keys = [name for name in found if name in ("labels", "row")]
    if "precision" in found:
        print(
            found[found["coverage"].notna()]
            .groupby("row", sort=False)[["precision", "coverage", "on validation"]]
            .agg(["mean", "min", "max"])
            .round(3)
            .to_string()
        )
    print(table(found, keys))


if __name__ == "__main__":
    main()
