"""Which network can be trained on which GPU: the largest batch, estimated from networks without weights.

    python benchmarks/memory.py

Counted are the tensors that autograd keeps for the backward pass, as in docs/performance.md, half as large in bfloat16,
and for each parameter 4 bytes of the weight, 4 of the gradient, 4 (SGD) or 8 (AdamW) of the optimiser and 2 of the
copy in bfloat16. Fused attention keeps no products of tokens where a network uses it. Norms, which stay in float32, are
counted as half: they add about an eighth in a transformer. Of a GPU 85 % can be used; the rest is CUDA itself,
workspaces and what is lost between tensors. Nothing runs, and no GPU was there to compare it with.
"""

from __future__ import annotations

import argparse

import mgkit as mg
from benchmarks.step_floors import activation_bytes, on_meta
from mgkit.data.skeletons import IMIGUE22
from mgkit.training.recipe import Recipe

CLASSES = 32  # of iMiGUE

NETWORKS: dict[str, Recipe] = {
    "`small_skeleton`": mg.recipes.small_skeleton(),
    "`stgcnpp`": mg.recipes.stgcnpp(),
    "`pose_only`": mg.recipes.pose_only(),
    "`rgb_only`": mg.recipes.rgb_only(),
    "`tsm`": mg.recipes.tsm(),
    "two pathways, `paper`": mg.recipes.paper(),
    "`mvit_v2_small`": mg.recipes.mvit_v2_small(),
    "`video_swin_tiny`": mg.recipes.video_swin_tiny(),
    "`video_swin_base`": mg.recipes.video_swin_base(),
    "`videomae_small`": mg.recipes.videomae_small(),
    "`videomae_base`": mg.recipes.videomae_base(),
    "`videomae_large`": mg.recipes.videomae_large(),
    "`vjepa2_large`": mg.recipes.vjepa2_large(),
    "`videoprism_base`": mg.recipes.videoprism_base(),
}


def row(name: str, recipe: Recipe, sizes: list[int]) -> str:
    """A line of the table: clips of the largest batch with all activations kept, and with blocks recomputed."""
    model, _ = on_meta(recipe, CLASSES, IMIGUE22, 1)
    values = sum(parameter.numel() for parameter in model.parameters())
    fixed = values * (18 if recipe["optimizer"] == "adamw" else 14)
    cells = [name, f"{values / 1e6:.1f}", f"{fixed / 1e9:.2f}"]
    clips = [activation_bytes(recipe, CLASSES, IMIGUE22, recomputed=one) / 2 for one in (False, True)]
    cells += [f"{one / 1e6:,.0f}" for one in clips]
    for gigabytes in sizes:
        room = 0.85 * gigabytes * 1e9 - fixed
        cells.append(" / ".join(_count(room / one) for one in clips))
    return f"| {' | '.join(cells)} |"


def _count(clips: float) -> str:
    return "> 1,000" if clips >= 1000 else str(max(0, int(clips)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 12, 24, 80], help="of the GPUs, GB")
    options = parser.parse_args()
    head = ["network", "parameters (M)", "GB for them", "MB a clip", "recomputed"]
    print(f"| {' | '.join([*head, *(f'{size} GB' for size in options.sizes)])} |")
    print("|" + "---|" * (len(head) + len(options.sizes)))
    for name, recipe in NETWORKS.items():
        print(row(name, recipe, options.sizes), flush=True)


if __name__ == "__main__":
    main()
