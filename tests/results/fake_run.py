"""A plausible run without any training: what the tests of results and views look at.

Classes cluster in groups, rare classes are rare and poorly recognised, pose is a little worse than RGB, fusion a little
better than both, and prototypes settle over the epochs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.data.clips import Classes, Clips, write_clip_folder
from mgkit.data.skeletons import COCO17, Skeleton
from mgkit.results.run.files import append_history, write_embeddings, write_prototypes
from mgkit.results.run.folder import Run, create_run, load_run, write_predictions
from mgkit.results.run.records import Embeddings, Predictions
from mgkit.results.run.status import write_status

GESTURES = {
    "head": ("touch face", "touch forehead", "cover face", "rub eyes", "touch other face part", "touch ears"),
    "mouth": ("bite nails", "bite or press lips", "touch chin"),
    "neck": ("touch neck", "play or adjust hair", "adjust tie", "turtle neck"),
    "body": ("touch chest", "scratch back", "move torso", "sit straight", "shake or shrug shoulders"),
    "arms": (
        "fold arms",
        "tidy sleeve",
        "put arms behind body",
        "scratch arm",
        "hold back arms",
        "arms akimbo",
    ),
    "hands": ("rub hands", "cross fingers", "minaret gesture", "play with things", "touch hat"),
    "other": ("head up", "deep breath", "illustrative (non-micro-gesture)"),
}
# x, y on a unit body whose shoulders are 1 apart; y grows downwards.
BODY = {
    "nose": (0, -0.75), "eye": (0.12, -0.85), "ear": (0.25, -0.8), "shoulder": (0.5, 0), "elbow": (0.65, 0.75),
    "wrist": (0.3, 1.2), "hip": (0.35, 1.5), "knee": (0.4, 2.6), "ankle": (0.4, 3.6),
}  # fmt: skip


def gesture_classes(count: int) -> Classes:
    """`count` class names (2 to 52) in groups, as gesture sets have them; beyond 32 they are numbered variants."""
    pairs = [(name, group) for group, names in GESTURES.items() for name in names]
    if count == 2:
        pairs = [pairs[0], pairs[-1]]
    elif count <= len(pairs):
        pairs = pairs[: count - 1] + [pairs[-1]]
    else:
        extra = [(f"{name} with the other hand", group) for name, group in pairs[: count - len(pairs)]]
        pairs = sorted(pairs[:-1] + extra, key=lambda pair: list(GESTURES).index(pair[1])) + [pairs[-1]]
    names, groups = zip(*pairs, strict=True)
    return Classes(names, groups, len(names) - 1)


def fake_pose(rng: np.random.Generator, frames: int, width: int, height: int) -> npt.NDArray[np.float32]:
    """(1, T, 17, 3): an upper body with one hand that moves; legs are never seen, a joint is lost now and then."""
    scale = height / 3.2
    pose = np.full((1, frames, len(COCO17), 3), np.nan, np.float32)
    reach, side = rng.uniform(0.2, 1.6), rng.choice(["left", "right"])
    for v, joint in enumerate(COCO17.joints):
        part, half = joint.split("_")[-1], joint.split("_")[0]
        x, y = BODY[part]
        sign = {"left": 1, "right": -1}.get(half, 0)
        track = np.tile([width / 2 + sign * x * scale, height * 0.4 + y * scale], (frames, 1))
        if part == "wrist" and half == side:
            bump = np.sin(np.linspace(0, np.pi, frames))
            track -= np.stack([0.2 * sign * bump, reach * bump], 1) * scale
        if part in ("knee", "ankle"):
            continue
        pose[0, :, v, :2] = track + rng.normal(0, 0.4, (frames, 2))
        pose[0, :, v, 2] = rng.uniform(0.6, 1, frames)
    pose[0, frames // 3, 9] = np.nan
    return pose


def fake_clips(
    root: Path,
    classes: int | Classes = 8,
    per_class: int = 20,
    seed: int = 0,
    video: bool = False,
    pose: bool = True,
    skeleton: Skeleton = COCO17,
) -> Clips:
    """A clip folder with about `classes * per_class` clips in train, val and test; video files are empty."""
    rng = np.random.default_rng(seed)
    names = gesture_classes(classes) if isinstance(classes, int) else classes
    share = 1 / np.arange(1, len(names) + 1) ** 0.7
    share = rng.permutation(share)
    counts = np.maximum(1, np.round(share / share.mean() * per_class)).astype(int)
    rows: list[dict[str, Any]] = []
    poses: list[npt.NDArray[np.float32] | None] = []
    number = 0
    for label, count in enumerate(counts):
        for i in range(count):
            clip_id = f"c{number:05d}"
            number += 1
            frames = int(rng.integers(12, 40))
            name = f"videos/{clip_id}.mp4" if video else ""
            if video:
                (root / "videos").mkdir(parents=True, exist_ok=True)
                (root / name).touch()
            rows.append(
                {
                    "clip_id": clip_id, "split": ("train", "test", "val", "train")[i % 4], "label": label,
                    "subject": f"p{number % 9}", "source": "film.mp4", "start": 0, "end": frames,
                    "frames": frames, "fps": 25.0,
                    "width": 160, "height": 200, "video": name, "persons": int(pose),
                    "crop_x": 0.0, "crop_y": 0.0, "crop_width": 160.0, "crop_height": 200.0,
                }
            )  # fmt: skip
            poses.append(fake_pose(rng, frames, 160, 200) if pose else None)
    return write_clip_folder(root, rows, poses, names, skeleton)


def fake_frames(path: Path, indices: Any) -> npt.NDArray[np.uint8]:
    """Stands in for `mgkit.data.video.read_frames`: a soft background, (n, 200, 160, 3) uint8."""
    y, x = np.mgrid[:200, :160]
    base = np.stack([90 + x / 4, 110 + y / 5, 130 - x / 6], -1)
    return np.stack([(base + 2 * (int(i) % 20)).astype(np.uint8) for i in indices])


def _cosine(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
    a = a / np.linalg.norm(a, axis=-1, keepdims=True)
    return a @ (b / np.linalg.norm(b, axis=-1, keepdims=True)).T


def _softmax(logits: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    e = np.exp(logits - logits.max(1, keepdims=True))
    return (e / e.sum(1, keepdims=True)).astype(np.float32)


def fake_run(
    root: Path,
    clips: Clips,
    pathways: tuple[str, ...] = ("rgb", "pose"),
    epochs: int = 30,
    unseen: tuple[int, ...] = (),
    dimensions: int = 32,
    noise: float = 2.0,
    seed: int = 0,
    prototypes: bool = True,
    splits: tuple[str, ...] = ("val", "test"),
) -> Run:
    """A finished run on `clips`. Classes in `unseen` never got a prototype."""
    rng = np.random.default_rng(seed)
    count = len(clips.classes)
    groups = clips.classes.groups or tuple("all" for _ in range(count))
    middle = {group: rng.normal(size=dimensions) for group in dict.fromkeys(groups)}
    centres = np.stack([0.8 * middle[group] + rng.normal(size=dimensions) for group in groups])
    train = np.bincount(clips.split("train").labels, minlength=count)
    recipe = {"epochs": epochs, "milestones": [8, 22], "learning_rate": 0.0075, "seed": seed}
    create_run(
        root, recipe=recipe, clips=clips, pathways=pathways, environment={"python": "3.11", "device": "cpu"}
    )

    seen = np.array([k not in unseen for k in range(count)])
    last: dict[str, npt.NDArray[Any]] = {}
    for epoch in range(1, epochs + 1):
        vectors, updates = {}, {}
        for pathway in pathways:
            start = rng.normal(size=centres.shape)
            settle = 1 - np.exp(-epoch / 4)
            array = settle * centres + (1 - settle) * start + rng.normal(0, 0.05, centres.shape)
            vectors[pathway] = np.where(seen[:, None], array, start).astype(np.float32)
            updates[pathway] = np.where(seen, epoch * np.maximum(1, train // 3), 0)
        last = vectors
        if prototypes:
            write_prototypes(root, epoch, vectors, updates)
        append_history(root, _history_row(rng, epoch, epochs, pathways))

    for split in splits:
        part = clips.split(split)
        embeddings, scores, own, other = {}, {}, {}, {}
        common = rng.normal(size=(len(part), dimensions))  # a clip that is hard is hard for both pathways
        for pathway in pathways:
            spread = noise * (1.15 if pathway == "pose" else 1.0)
            alone = rng.normal(size=(len(part), dimensions))
            z = centres[part.labels] + spread * (0.75 * common + 0.66 * alone)
            logits = (
                9 * _cosine(z, centres) + 0.35 * np.log(train + 1) + rng.normal(0, 1.2, (len(part), count))
            )
            embeddings[pathway], scores[pathway] = z.astype(np.float32), _softmax(logits)
            distance = np.where(seen, 1 - _cosine(z, last[pathway]), np.nan)
            rows = np.arange(len(part))
            own[pathway] = distance[rows, part.labels].astype(np.float32)
            rest = distance.copy()
            rest[rows, part.labels] = np.nan
            nearest = np.where(np.isnan(rest).all(1), np.nan, np.nanmin(np.where(np.isnan(rest), 9, rest), 1))
            other[pathway] = nearest.astype(np.float32)
        if len(pathways) == 2:
            scores["fused"] = (scores["rgb"] + scores["pose"]) / 2
        if not prototypes:
            own, other = {}, {}
        write_predictions(root, split, Predictions(part.ids, part.labels, scores, own, other))
        mixed = rng.permutation(len(part))  # another order on purpose: everything is keyed by clip_id
        write_embeddings(
            root,
            split,
            Embeddings(
                [part.ids[i] for i in mixed], {name: array[mixed] for name, array in embeddings.items()}
            ),
        )
    write_status(root, "finished", epochs, epochs)
    (root / "checkpoints").mkdir(exist_ok=True)
    (root / "checkpoints" / "best.pt").write_bytes(b"")
    return load_run(root)


def _history_row(
    rng: np.random.Generator, epoch: int, epochs: int, pathways: tuple[str, ...]
) -> dict[str, Any]:
    rate = 0.0075 * 0.1 ** ((epoch > 8) + (epoch > 22))
    drop = np.exp(-epoch / 6) + (0.12 if epoch <= 8 else 0.03 if epoch <= 22 else 0)
    row: dict[str, Any] = {"epoch": epoch}
    total = 0.0
    for pathway, factor in (("rgb", 1.0), ("pose", 1.2)):
        if pathway not in pathways:
            continue
        row[f"loss_ce_{pathway}"] = 2.8 * factor * drop + 0.2 + rng.normal(0, 0.03)
        row[f"loss_pr_{pathway}"] = 4.4 * factor * drop + 1.9 + rng.normal(0, 0.05)
        total += row[f"loss_ce_{pathway}"] + 0.2 * row[f"loss_pr_{pathway}"]
        row |= {
            f"tp_{pathway}": 300 + 10 * epoch,
            f"fn_{pathway}": 400 - 8 * epoch,
            f"fp_{pathway}": 400 - 8 * epoch,
        }
    row["loss"] = total
    for name, best in (("rgb", 0.62), ("pose", 0.58), ("fused", 0.68)):
        if name in pathways or (name == "fused" and len(pathways) == 2):
            row[f"train_top1_{name}"] = float(
                np.clip((best + 0.25) * (1 - 0.8 * drop) + rng.normal(0, 0.008), 0, 1)
            )
            row[f"val_top1_{name}"] = float(np.clip(best * (1 - 0.75 * drop) + rng.normal(0, 0.012), 0, 1))
    return row | {"learning_rate": rate, "clips_per_second": 40 + rng.normal()}
