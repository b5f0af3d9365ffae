"""All figures of a run at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError, command
from mgkit.progress import Progress
from mgkit.results.run.folder import Run, as_run
from mgkit.views.analysis.errors import ambiguous
from mgkit.views.figures.classes import class_accuracy
from mgkit.views.figures.clips import contact_sheet, film_strip
from mgkit.views.figures.confusion import confusion
from mgkit.views.figures.maps import prototype_map
from mgkit.views.figures.saliency import joint_importance
from mgkit.views.figures.similarity import prototype_similarity
from mgkit.views.figures.style import PaperFigure
from mgkit.views.figures.training import training_curves


class Drawn(list[Path]):
    """The files that `draw_figures` wrote.

    Attributes:
        skipped: name of each figure that was not drawn, and why.
    """

    def __init__(self, paths: Iterable[Path], skipped: dict[str, str]) -> None:
        super().__init__(paths)
        self.skipped = skipped


def draw_figures(
    run: Run | str | Path,
    clips: Clips | None = None,
    split: str = "test",
    *,
    venue: str = "cvpr",
    progress: bool = True,
    blur_faces: bool | None = None,
) -> Drawn:
    """Draw every figure that a run has the data for into `run.figures`.

    Training curves, a confusion matrix per output, class accuracy, a map and the similarity of the prototypes per
    pathway; if the clips are available, a contact sheet of the split and film strips of the three most ambiguous clips.
    If the split was explained, also the importance of joints, and saliency on the strips.

    Args:
        run: an evaluated run.
        clips: the clips it was evaluated on; by default the folder that the run recorded. Figures that need clips are
            skipped if there are none.
        split: an evaluated split.
        venue: a key of `style.VENUES`, which fixes the widths.
        progress: show how far it is.
        blur_faces: blur heads, see docs/faces.md; by default as `mg.set_up_notebook` was told, else not.

    Returns:
        The files written: PDF, PNG and CSV of each figure. Its `skipped` names the figures not drawn, and why.

    Raises:
        MgkitError: the split was not evaluated, or the folder cannot be written.
    """
    run = as_run(run)
    predictions = run.predictions(split)
    draw: dict[str, Callable[[], PaperFigure]] = {}
    skipped: dict[str, str] = {}
    if run.history().empty:
        skipped["training_curves"] = f"{run.root} has no training history"
    else:
        draw["training_curves"] = partial(training_curves, run, venue=venue)
    for output in predictions.outputs:
        draw[f"confusion_{output}"] = partial(confusion, run, split, output, venue=venue)
    draw["class_accuracy"] = partial(class_accuracy, run, split, venue=venue)
    if (run.root / "splits" / split / "embeddings.npz").is_file():
        for pathway in run.embeddings(split).vectors:
            draw[f"prototype_map_{pathway}"] = partial(prototype_map, run, split, pathway, venue=venue)
    else:
        skipped["prototype_map"] = f"{run.root} has no embeddings of {split}"
    try:
        with_prototypes = list(run.prototypes().vectors)
    except MgkitError as error:
        with_prototypes, skipped["prototype_similarity"] = [], str(error)
    for pathway in with_prototypes:
        draw[f"prototype_similarity_{pathway}"] = partial(
            prototype_similarity, run, pathway, split=split, venue=venue
        )
    saliency = run.saliency(split) if run.has_saliency(split) else None
    if saliency is None:
        skipped["joint_importance"] = (
            f"{split} was not explained: run `{command('explain', run.root, '--split', split)}`"
        )
    elif saliency.joints is None or not (saliency.joints > 0).any():
        skipped["joint_importance"] = "no joint speaks for a class in the explained clips"
    else:
        draw["joint_importance"] = partial(joint_importance, run, split, venue=venue)

    # Figures that show clips.
    if clips is None:
        try:
            clips = run.clips()
        except MgkitError as error:  # moved or imported; the other figures do not need them
            skipped["contact_sheet"] = skipped["ambiguous"] = str(error)
    if clips is not None:
        table = clips.select(predictions.clip_ids).table
        drawable = list(table.loc[(table["video"] != "") | (table["pose_offset"] >= 0), "clip_id"])
        if not drawable:
            skipped["contact_sheet"] = skipped["ambiguous"] = "no clip has a video or a pose"
        else:
            shown, there = clips.select(drawable), set(drawable)
            draw["contact_sheet"] = partial(contact_sheet, shown, venue=venue, blur_faces=blur_faces)
            hard = [clip_id for clip_id in ambiguous(run, split)["clip_id"] if clip_id in there][:3]
            for number, clip_id in enumerate(hard, 1):
                known = saliency if saliency is not None and clip_id in saliency else None
                draw[f"ambiguous_{number}"] = partial(
                    film_strip, shown, clip_id, saliency=known, venue=venue, blur_faces=blur_faces
                )
    written = []
    with Progress("figures", progress, unit="figures") as bar:
        for name, make in draw.items():
            bar.advance(0, len(draw), name)
            written += make().save(run.figures / name)
            bar.advance(1, len(draw))
    return Drawn(written, skipped)
