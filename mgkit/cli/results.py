"""Commands on runs: test, explain, compare, ensemble, scores, submit, figures, review.

Each command is its parser and, below it, its function; heavy libraries are imported inside.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

from mgkit.cli.options import (
    RUN_CODE,
    Commands,
    add_hardware,
    add_processes,
    print_once,
    results,
)
from mgkit.errors import MgkitError, command, counted


def add_commands(commands: Commands) -> None:
    """Add these commands to the command line."""
    _add_test(commands)
    _add_explain(commands)
    _add_compare(commands)
    _add_ensemble(commands)
    _add_scores(commands)
    _add_submit(commands)
    _add_figures(commands)
    _add_review(commands)


def _add_test(commands: Commands) -> None:
    parser = commands.add_parser("test", help="test a run on a split; writes predictions and embeddings")
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--split", default="test", help="(default: %(default)s)")
    parser.add_argument("--clips", type=Path, help="clip folder (default: the one it was trained on)")
    parser.add_argument(
        "--views", type=int, default=1, help="views per clip; the paper uses 10 (default: %(default)s)"
    )
    parser.add_argument("--flip", action="store_true", help="also test the mirror image of each view")
    parser.add_argument(
        "--weights",
        type=float,
        nargs=2,
        metavar=("RGB", "POSE"),
        help="weights of the two pathways in the mean (default: 1 1)",
    )
    parser.add_argument(
        "--rectification",
        type=float,
        default=0.0,
        metavar="LAMBDA",
        help="add LAMBDA times the similarity to each prototype to the logits (default: 0, off)",
    )
    parser.add_argument(
        "--choose-on",
        metavar="SPLIT",
        help="choose the weights of the pathways and the rectification on this validation split",
    )
    parser.add_argument("--checkpoint", default="best", help="best or last (default: %(default)s)")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for the results as a run of its own, to compare ways of testing (default: in the run)",
    )
    parser.add_argument("--run-code", action="store_true", help=RUN_CODE)
    add_hardware(parser)
    add_processes(parser)
    parser.set_defaults(command=test)


def test(options: Any) -> None:
    from mgkit.data.clips import load_clips
    from mgkit.results.run.folder import load_run
    from mgkit.training.inference import test

    run = load_run(options.run)
    clips = None if options.clips is None else load_clips(options.clips)
    weights = None if options.weights is None else dict(zip(("rgb", "pose"), options.weights, strict=True))
    run.checkpoint(options.checkpoint)  # an unfinished run is refused before any part of it is tested
    # The branches too: a fusion is worth its cost only if it beats the parts it was made of.
    stages = [] if options.out is not None else [run.stage(name) for name in run.stages()]
    fused = {"weights": weights, "rectification": options.rectification, "choose_on": options.choose_on}
    for part, own in (*((stage, {}) for stage in stages), (run, fused)):
        test(
            part, options.split, clips=clips, views=options.views, flip=options.flip, checkpoint=options.checkpoint,
            **own, out=options.out,
            device=options.device, devices=options.devices, nodes=options.nodes, workers=options.workers,
            run_code=options.run_code,
        )  # fmt: skip
    print_once(results(run if options.out is None else load_run(options.out), options.split))


def _add_explain(commands: Commands) -> None:
    parser = commands.add_parser(
        "explain",
        help="which frames and joints a run's decisions come from; resumes",
    )
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--split", default="test", help="(default: %(default)s)")
    parser.add_argument("--clips", type=Path, help="clip folder (default: the one it was trained on)")
    parser.add_argument(
        "--clip", action="append", metavar="ID", help="only this clip of the split; repeatable"
    )
    parser.add_argument(
        "--target", default="predicted", help="class to explain: predicted or true (default: %(default)s)"
    )
    parser.add_argument("--output", help="rgb, pose or fused (default: fused, or the only one)")
    parser.add_argument("--checkpoint", default="best", help="best or last (default: %(default)s)")
    parser.add_argument(
        "--replace", action="store_true", help="redo clips that were explained with other settings"
    )
    parser.add_argument("--run-code", action="store_true", help=RUN_CODE)
    add_hardware(parser)
    parser.set_defaults(command=explain)


def explain(options: Any) -> None:
    from mgkit.data.clips import load_clips
    from mgkit.training.explain import explain

    clips = None if options.clips is None else load_clips(options.clips)
    saliency = explain(
        options.run, options.split, clips=clips, clip_ids=options.clip, target=options.target, output=options.output,
        checkpoint=options.checkpoint, device=options.device,
        workers=options.workers, replace=options.replace, run_code=options.run_code,
    )  # fmt: skip
    print(f"{saliency}\nshow it with mg.widgets.ClipPlayer(run) or mg.figures.film_strip(..., saliency=...)")


def _add_compare(commands: Commands) -> None:
    parser = commands.add_parser(
        "compare", help="compare runs in one table: differing settings, results, significance"
    )
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="run folder; the first is the baseline"
    )
    parser.add_argument("--split", default="test", help="(default: %(default)s)")
    parser.add_argument("--output", help="rgb, pose or fused (default: the best that each run has)")
    parser.add_argument(
        "--baseline", help="baseline run: its folder or its name in the table (default: the first)"
    )
    parser.add_argument("--common", action="store_true", help="compare on the clips that all runs have")
    parser.add_argument(
        "--without-background", action="store_true",
        help="compare on labelled clips, as if there were no background class",
    )  # fmt: skip
    parser.add_argument("--seeds", action="store_true", help="one row for runs that differ only in the seed")
    form = parser.add_mutually_exclusive_group()
    for name, what in (
        ("csv", "all columns as CSV"),
        ("markdown", "Markdown"),
        ("latex", "LaTeX (booktabs)"),
    ):
        form.add_argument(
            f"--{name}", dest="form", action="store_const", const=name, help=f"print it as {what}"
        )
    parser.set_defaults(command=compare)


def compare(options: Any) -> None:
    from mgkit.results.compare.runs import compare_runs
    from mgkit.views.figures.tables import table

    found = table(
        compare_runs(
            options.runs,
            options.split,
            output=options.output,
            baseline=options.baseline,
            group_seeds=options.seeds,
            common=options.common,
            background=not options.without_background,
        )
    )
    shown = {"csv": found.csv, "markdown": found.markdown, "latex": found.latex, None: found.text}[
        options.form
    ]
    print(shown().rstrip("\n"))
    if options.form is None:
        width = max(80, shutil.get_terminal_size((100, 24)).columns)
        print(f"\n{textwrap.fill(found.note, width)}")


def _add_ensemble(commands: Commands) -> None:
    parser = commands.add_parser(
        "ensemble", help="fuse runs or score files, and show the contribution of each"
    )
    parser.add_argument(
        "members", type=Path, nargs="+", metavar="RUN", help="run folder, or score file with clip ids"
    )
    parser.add_argument("--split", default="test", help="(default: %(default)s)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--weights", metavar="W,W,...", help="weights of the members, in their order (default: equal)"
    )
    how.add_argument("--search", metavar="SPLIT", help="search for weights on this validation split")
    parser.add_argument(
        "--method", default="grid", choices=["grid", "convex"], help="of the search (default: %(default)s)"
    )
    parser.add_argument(
        "--metric",
        default="top1",
        choices=["top1", "macro_f1", "log_loss"],
        help="of a grid search (default: %(default)s)",
    )
    parser.add_argument("--step", type=float, default=0.05, help="of a grid search (default: %(default)s)")
    parser.add_argument("--output", help="rgb, pose or fused (default: the best that each has)")
    parser.add_argument("--common", action="store_true", help="fuse on the clips that all members have")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write the fusion as a run folder")
    parser.set_defaults(command=ensemble)


def ensemble(options: Any) -> None:
    from mgkit.results.ensembles.contributions import summary
    from mgkit.results.ensembles.fuse import ensemble
    from mgkit.results.ensembles.search import search_weights

    weights: Any = None
    if options.search is not None:
        found = search_weights(
            options.members, options.search, method=options.method, metric=options.metric, step=options.step,
            output=options.output, common=options.common,
        )  # fmt: skip
        print(f"{found}\n")
        weights = found.weights
    elif options.weights is not None:
        try:
            weights = [float(word) for word in options.weights.split(",")]
        except ValueError:
            raise MgkitError(
                f"--weights is {options.weights!r}: write comma-separated numbers, e.g. 1,2."
            ) from None
    fused = ensemble(
        options.members, options.split, weights=weights, output=options.output, common=options.common
    )
    print(summary(fused))
    if options.out is not None:
        split = [] if options.split == "test" else ["--split", options.split]
        next_one = command("figures", options.out, *split)
        print(f"\nrun folder {fused.to_run(options.out).root}\nnext: {next_one}")


def _add_scores(commands: Commands) -> None:
    parser = commands.add_parser("scores", help="write the scores of a run to a file for other tools")
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--split", default="test", help="(default: %(default)s)")
    parser.add_argument("--output", help="rgb, pose or fused (default: fused, or the only one)")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="output: .parquet, .npz, .csv or .pkl"
    )
    parser.add_argument(
        "--layout", choices=["pyskl", "mmaction2"], help="layout of a .pkl; pyskl has no ids, only an order"
    )
    parser.add_argument(
        "--annotations", type=Path, metavar="PKL", help="PYSKL annotation file that gives the order of a .pkl"
    )
    parser.set_defaults(command=scores)


def scores(options: Any) -> None:
    from mgkit.results.run.folder import load_run
    from mgkit.results.scores.files import write
    from mgkit.results.scores.pickles import annotation_order
    from mgkit.results.scores.scores import Scores

    run = load_run(options.run)
    found = Scores.of(run.predictions(options.split), options.output, split=options.split, name=run.name)
    order = None if options.annotations is None else annotation_order(options.annotations, options.split)[0]
    print(write(options.out, found, layout=options.layout, clip_ids=order))


def _add_submit(commands: Commands) -> None:
    parser = commands.add_parser(
        "submit", help="write a run's predictions in a leaderboard's format, if valid"
    )
    parser.add_argument("run", type=Path, help="run folder, tested on the split")
    parser.add_argument(
        "--challenge", default="miga2025", help="miga2023, miga2025 or ma52 (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the csv or zip to write")
    parser.add_argument("--split", default="test", help="(default: %(default)s)")
    parser.add_argument("--output", help="rgb, pose or fused (default: fused, or the only one)")
    parser.add_argument("--clips", type=Path, help="clip folder (default: the one it was trained on)")
    parser.add_argument(
        "--ids",
        type=Path,
        metavar="FILE",
        help="file of expected ids, one per line (default: those of the split)",
    )
    parser.set_defaults(command=submit)


def submit(options: Any) -> None:
    from mgkit.data.clips import load_clips
    from mgkit.results.scores import submission

    given = {
        "ids": options.ids, "split": options.split,
        "clips": None if options.clips is None else load_clips(options.clips),
    }  # fmt: skip
    path = submission.write(options.run, options.out, options.challenge, output=options.output, **given)
    rows = submission.check(path, options.challenge)
    print(f"written to {path}: {counted(len(rows), 'clip')}, valid for {options.challenge}")


def _add_figures(commands: Commands) -> None:
    parser = commands.add_parser("figures", help="draw the figures of a tested run")
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--split", default="test", help="(default: %(default)s)")
    parser.add_argument("--blur-faces", action="store_true", help="blur heads (docs/faces.md)")
    parser.set_defaults(command=figures)


def figures(options: Any) -> None:
    from mgkit.results.run.folder import load_run
    from mgkit.views.figures import draw_figures

    drawn = draw_figures(load_run(options.run), split=options.split, blur_faces=options.blur_faces)
    for path in drawn:
        print(path)
    for name, reason in drawn.skipped.items():
        print(f"not drawn: {name} ({reason})", file=sys.stderr)


def _add_review(commands: Commands) -> None:
    parser = commands.add_parser("review", help="print the review notes of a run, or apply them to the clips")
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write the notes to this file")
    parser.add_argument(
        "--apply", action="store_true", help="apply the notes: write the split table for the next training"
    )
    parser.add_argument(
        "--exclude",
        default="label wrong",
        help="comma-separated tags of clips to leave out (default: %(default)s)",
    )
    parser.add_argument("--keep-labels", action="store_true", help="do not apply the proposed classes")
    parser.add_argument(
        "--splits", help="comma-separated splits to apply notes to (default: all but test splits)"
    )
    parser.add_argument("--clips", type=Path, help="clip folder (default: the one it was trained on)")
    parser.add_argument("--name", help="of the split table")
    parser.set_defaults(command=review)


def review(options: Any) -> None:
    from mgkit.data.clips import load_clips
    from mgkit.results.run.folder import load_run, run_folder

    run = load_run(options.run)
    notes = run.notes()
    print(notes.frame().to_string(index=False) if len(notes) else f"there are no review notes in {run.root}")
    for text in notes.odd:
        print(f"  odd: {text}")
    if options.csv is not None:
        print(f"written to {notes.save(options.csv)}")
    if not options.apply:
        return
    clips = run.clips() if options.clips is None else load_clips(options.clips)
    before = len(clips.report)
    made = clips.reviewed(
        notes, exclude=[tag.strip() for tag in options.exclude.split(",") if tag.strip()],
        relabel=not options.keep_labels, splits=options.splits.split(",") if options.splits else None,
        name=options.name,
    )  # fmt: skip
    for entry in made.report[before:]:
        print(f"  {entry['what']}: {entry['detail']}")
    print(f"{made.path}\nnext: {command('train', made.path, run_folder(made))}")
