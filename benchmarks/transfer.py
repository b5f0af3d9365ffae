"""What does a training gain from starting on another clip folder, with joints and classes matched by name?

    mgkit prepare pyskl penn_action.pkl data/penn --skeleton penn13
    mgkit prepare pyskl jhmdb_holistic75.pkl data/jhmdb --skeleton holistic75 --splits train,val,test
    python benchmarks/transfer.py runs/penn-jhmdb data/penn data/jhmdb --shares 20 100 \\
        --joints nose left_eye right_eye "*_shoulder" "*_elbow" "*_wrist" left_index right_index "*_hip"
    python benchmarks/transfer.py runs/halves data/ablation --halves --source-steps 150 --steps 100 --shares 5 100

For each seed `small_skeleton`, with 16 frames and few steps, is trained on the first folder, then on the second from
nothing and from that run. It is paired by seed: the same initial weights, the same order of clips. Of the training
clips a share is taken, the same of each class and for all seeds. No validation split, the last weights: nothing is
chosen on any clip. `--halves` takes one folder and makes two of it: the key-points of every second class on a few
joints, and those of the others on all joints.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import mgkit as mg
from mgkit.data.clips import Classes, Clips
from mgkit.data.readers import RawClip, RawDataset


def read_classes(
    source: Path, *, cache: Path | None = None, names: tuple[str, ...], joints: tuple[str, ...]
) -> RawDataset:
    """The key-points of some classes of a clip folder, on some of its joints."""
    clips = mg.load_clips(source)
    skeleton = clips.skeleton.part(joints)
    classes = Classes(names)
    wanted = {clips.classes.index(name): label for label, name in enumerate(names)}
    found = [
        RawClip(
            row.clip_id, row.split, wanted[row.label], size=(int(row.width), int(row.height)),
            subject=row.subject, fps=float(row.fps),
            pose=partial(_pose, clips, row.clip_id, clips.skeleton.positions(skeleton)),
        )
        for row in clips.table.itertuples()
        if row.label in wanted
    ]  # fmt: skip
    return RawDataset(found, classes, skeleton, files=[source / "clips.parquet"])


def _pose(clips: Clips, clip_id: str, joints: list[int]) -> Any:
    return np.array(clips.pose(clip_id)[:, :, joints])


def halves(clips: Clips, out: Path) -> tuple[Clips, Clips]:
    """Two clip folders of the key-points of one: every second class on a few joints, the others on all."""
    made = []
    for part, joints in ((0, ("nose", "neck", "*shoulder", "*elbow", "*wrist")), (1, ())):
        names = clips.classes.names[part::2]
        folder = out / f"half{part}"
        made.append(
            mg.prepare(
                read_classes, clips.root, folder, names=names, joints=joints, workers=1, progress=False
            )
        )
    return made[0], made[1]


def with_share(clips: Clips, percent: int) -> Clips:
    """The clips with a share of the training clips of each class, at least one; the first by a fixed shuffle."""
    train = clips.split("train")
    generator = np.random.default_rng(0)
    kept: list[str] = [clip_id for clip_id in clips.ids if clip_id not in set(train.ids)]
    for label in range(len(clips.classes)):
        of_class = [clip_id for clip_id, own in zip(train.ids, train.labels, strict=True) if own == label]
        generator.shuffle(of_class)
        kept += of_class[: max(1, round(percent / 100 * len(of_class)))]
    return clips.select(kept)


def main() -> None:
    """Train what is not trained yet, then print one table per share."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path, nargs="?")
    parser.add_argument("--halves", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--source-steps", type=int, default=600)
    parser.add_argument("--joints", nargs="*", default=[], help="joints of the second folder")
    parser.add_argument("--shares", type=int, nargs="+", default=[100])
    options = parser.parse_args()
    source = mg.load_clips(options.source)
    source, target = (
        halves(source, options.out) if options.halves else (source, mg.load_clips(options.target))
    )
    recipe = mg.recipes.small_skeleton(steps=options.source_steps, joints=(), pose_frames=16)
    settings: dict[str, Any] = {"val_split": None, "workers": 0, "device": "cpu", "progress": False}
    first: dict[int, Any] = {}
    for seed in range(options.seeds):
        first[seed] = mg.train(source, recipe, options.out / f"source{seed}", seed=seed, **settings)
        print(f"source, seed {seed}: trained", flush=True)
    recipe = recipe.with_(steps=options.steps, joints=tuple(options.joints))
    rows = {"from nothing": recipe, "transferred": recipe}
    for share in options.shares:
        study = mg.study(
            with_share(target, share), rows, options.out / f"share{share}", seeds=options.seeds,
            start={"transferred": lambda seed: {"pose": first[seed]}}, **settings,
        )  # fmt: skip
        print(f"\n{share} % of the training clips\n{study.text()}", flush=True)
        print((study.runs("transferred")[0].root / "start.txt").read_text(), flush=True)


if __name__ == "__main__":
    main()
