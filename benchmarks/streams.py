"""What should an RGB network, or one of heatmaps, be fed: frames, differences, Taylor frames, magnified motion?

    python benchmarks/streams.py rgb data/ablation runs/streams-rgb
    python benchmarks/streams.py pose data/ablation runs/streams-pose

Narrow networks from nothing, one per stream and seed, without prototypes, with the same settings; the last weights, so
nothing is chosen on any clip. Prints gains on the first row over seeds, tested on the test split.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import mgkit as mg
from mgkit.data.batches.streams import magnify


def rgb_rows(epochs: int) -> dict[str, mg.Recipe]:
    """A narrow SlowOnly ResNet on each stream of the frames."""
    plain = mg.recipes.narrow(mg.recipes.rgb_only(prototypes=False, epochs=epochs, keep="last", rgb_size=64))
    return {
        "frames": plain,
        "difference": plain.with_(rgb_stream="difference"),
        "taylor": plain.with_(rgb_stream="taylor"),
        "magnified, 0.5 to 3 Hz": plain.with_(rgb_stream=mg.part(magnify, band=(0.5, 3), factor=10)),
    }


def pose_rows(epochs: int) -> dict[str, mg.Recipe]:
    """A narrow PoseConv3D on heatmaps of joints, and on their change."""
    plain = mg.recipes.narrow(
        mg.recipes.pose_only(prototypes=False, epochs=epochs, keep="last", pose_frames=16)
    )
    return {"joint": plain, "joint-motion": plain.with_(heatmap="joint-motion")}


ROWS = {"rgb": rgb_rows, "pose": pose_rows}


def main() -> None:
    """Train what is not trained yet, then print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pathway", choices=ROWS)
    parser.add_argument("clips", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--only", nargs="+", help="some of the rows, by name")
    options = parser.parse_args()
    rows = ROWS[options.pathway](options.epochs)
    rows = {name: rows[name] for name in options.only or rows}
    study = mg.study(
        mg.open_clips(options.clips), rows, options.out, seeds=options.seeds,
        val_split=None, device="cpu", workers=0, progress=False,
    )  # fmt: skip
    print(study.text())


if __name__ == "__main__":
    main()
