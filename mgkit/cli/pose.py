"""The command on a person's own videos: pose.

Heavy libraries are imported inside.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mgkit.cli.options import Commands
from mgkit.errors import MgkitError

FETCH = "fetch"


def add_commands(commands: Commands) -> None:
    """Add this command to the command line."""
    parser = commands.add_parser(
        "pose",
        help="key-points from videos; resumes",
        description="Estimate the key-points of videos, one .npz each, for mgkit prepare ... --poses OUT. "
        "`mgkit pose fetch` gets the weights of the estimator holistic, once.",
    )
    parser.add_argument("videos", type=Path, help="a folder of videos, or one video; or the word fetch")
    parser.add_argument("out", type=Path, nargs="?", help="the folder for the key-points, made or resumed")
    parser.add_argument(
        "--estimator",
        default="holistic",
        help="holistic, holistic-legacy (true to small motions, in an environment of its own), rtmw (an ONNX file of "
        "yours), or FILE.py:FUNCTION (default: %(default)s)",
    )
    parser.add_argument(
        "--person",
        default="largest",
        choices=["largest", "left", "right", "all"],
        help="whom to follow; left and right look at half of the picture (default: %(default)s)",
    )
    parser.add_argument(
        "--layout",
        metavar="NAME",
        help="give the points in another layout: imigue22, coco17, ... or a .json file",
    )
    parser.add_argument(
        "--quality",
        default="full",
        choices=["lite", "full", "heavy"],
        help="of holistic (default: %(default)s)",
    )
    parser.add_argument(
        "--model", metavar="FILE", help="weights to use: a .task file, or one or two .onnx files"
    )
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    parser.add_argument("--report", action="store_true", help="print the whole report, not its first entries")
    fetching = parser.add_argument_group("mgkit pose fetch")
    fetching.add_argument(
        "--wheel", type=Path, metavar="FILE", help="the wheel, downloaded on another machine"
    )
    fetching.add_argument(
        "--network",
        type=Path,
        metavar="FILE",
        help="pose_landmark_lite.tflite or _heavy.tflite, for --quality",
    )
    parser.set_defaults(command=pose)


def pose(options: Any) -> None:
    from mgkit.cli.data import print_report
    from mgkit.pose import estimate, fetch

    if str(options.videos) == FETCH and options.out is None:
        path = fetch(options.quality, network=options.network, wheel=options.wheel)
        print(f"the weights of holistic ({options.quality}) are in {path}, their SHA-256 in {path.stem}.json")
        return
    if options.out is None:
        raise MgkitError(f"name the folder for the key-points, too: `mgkit pose {options.videos} poses`.")
    if options.wheel or options.network:
        raise MgkitError("--wheel and --network belong to `mgkit pose fetch`: leave them out here.")
    poses = estimate(
        options.videos, options.out, options.estimator, quality=options.quality, model=options.model,
        person=options.person, layout=options.layout, workers=options.workers,
    )  # fmt: skip
    print(poses)
    print_report(poses.report, options.report, "videos")
