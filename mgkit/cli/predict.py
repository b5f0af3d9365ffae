"""The command predict: what a run says of new clips and videos."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mgkit.cli.options import RUN_CODE, Commands


def add_commands(commands: Commands) -> None:
    """Add this command to the command line."""
    parser = commands.add_parser(
        "predict",
        help="ask a run about new clips or videos, without labels; resumes",
        epilog="A video no longer than the longest training clip is one clip, a longer one becomes windows.",
    )
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument(
        "sources",
        type=Path,
        nargs="+",
        metavar="VIDEO",
        help="video, folder of videos, or key-points (.npz, .npy, PYSKL .pkl)",
    )
    parser.add_argument(
        "--poses",
        type=Path,
        metavar="PATH",
        help="key-points: a file, or a folder with NAME.npz for each video (default: next to it, or in poses/ there)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for the predictions (default: long ones next to the video)",
    )
    parser.add_argument(
        "--window", type=float, nargs="+", metavar="S",
        help="seconds of a window; several for windows of several lengths (default: the median training clip)",
    )  # fmt: skip
    parser.add_argument(
        "--stride", type=float, metavar="S", help="seconds from one window to the next (default: 1/4 window)"
    )
    parser.add_argument(
        "--whole", action="store_true", help="take each source as one clip, whatever its length"
    )
    parser.add_argument("--views", type=int, default=1, help="views per window (default: %(default)s)")
    parser.add_argument("--flip", action="store_true", help="also the mirror image of each view")
    parser.add_argument(
        "--weights",
        type=float,
        nargs=2,
        metavar=("RGB", "POSE"),
        help="weights of the pathways (default: 1 1)",
    )
    parser.add_argument(
        "--rectification", type=float, default=0.0, metavar="LAMBDA", help="as of `mgkit test`"
    )
    parser.add_argument("--checkpoint", default="best", help="best or last (default: %(default)s)")
    points = parser.add_argument_group("key-points, as for `mgkit prepare` and `mgkit pose`")
    points.add_argument("--pose-units", choices=["pixels", "shares", "centred", "percent"])
    points.add_argument("--pose-size", metavar="1280x720")
    points.add_argument("--pose-fps", type=float, metavar="RATE")
    points.add_argument("--pose-step", type=float, metavar="N")
    points.add_argument(
        "--estimator",
        default="holistic",
        help="for videos without key-points, as of `mgkit pose` (default: %(default)s)",
    )
    points.add_argument(
        "--person", default="largest", help="largest, left, right or all (default: %(default)s)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--csv", dest="form", action="store_const", const="csv", help="print one row per window as CSV"
    )
    form.add_argument(
        "--json", dest="form", action="store_const", const="json", help="print all probabilities as JSON"
    )
    parser.add_argument(
        "--replace", action="store_true", help="overwrite predictions made with other settings"
    )
    parser.add_argument("--run-code", action="store_true", help=RUN_CODE)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.set_defaults(command=predict)


def predict(options: Any) -> int:
    from mgkit.results.scores.prediction import PredictionList
    from mgkit.training.predict import predict

    sources = options.sources[0] if len(options.sources) == 1 else options.sources
    found = predict(
        options.run, sources, poses=options.poses, window=options.window, stride=options.stride,
        whole=True if options.whole else None, checkpoint=options.checkpoint, views=options.views, flip=options.flip,
        weights=None if options.weights is None else dict(zip(("rgb", "pose"), options.weights, strict=True)),
        rectification=options.rectification, pose_fps=options.pose_fps, pose_step=options.pose_step,
        pose_units=options.pose_units, pose_size=options.pose_size, estimator=options.estimator,
        person=options.person, out=options.out, replace=options.replace,
        device=options.device, run_code=options.run_code,
    )  # fmt: skip
    several = found if isinstance(found, PredictionList) else PredictionList([found])
    if options.form == "csv":
        several.frame().to_csv(sys.stdout, index=False, float_format="%.6g", lineterminator="\n")
    elif options.form == "json":
        print(json.dumps([one.to_dict() for one in several], indent=2, ensure_ascii=False))
    else:
        print(several.text())
        for one in several:
            if len(one) > 1:
                print(f"\n{one.name}: neighbouring windows of one class")
                print(
                    one.stretches()
                    .drop(columns="name")
                    .to_string(index=False, float_format=lambda v: f"{v:.2f}")
                )
    return 1 if several.left_out else 0
