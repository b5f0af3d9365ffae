"""A clickable map of clip embeddings and prototypes."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import traitlets

from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run, as_run
from mgkit.views.analysis.embedding import (
    COLOURS,
    MOST,
    EmbeddingMap,
    coloured_classes,
    confidence_of,
    embedding_map,
    subjects_of,
    worst_class,
)
from mgkit.views.analysis.outcomes import KINDS, Outcomes
from mgkit.views.figures.maps import prototype_map
from mgkit.views.figures.style import CLASS_COLOURS, OUTPUT_NAMES, PaperFigure
from mgkit.views.widgets.shared.base import RunWidget, class_index, one_of
from mgkit.views.widgets.shared.bundle import script, styles
from mgkit.views.widgets.shared.selection import Selection

Ints = npt.NDArray[np.int64]
FEWER = 6  # subjects coloured at first if there are more than colours


class PrototypeMap(RunWidget):
    """UMAP of one pathway: one point per clip, one star per prototype, and how the prototypes moved over the epochs.

    A click on a point selects that clip and puts it in focus; a lasso selects all clips inside; a click on a star
    selects the clips of its class. Shift adds them to the selection. A click on a clip that is already selected only
    puts it in focus. Arrow keys go from point to point, Enter clicks.

    The map is computed once and kept in `cache/` of the run; it then opens without UMAP. Neighbours on it are
    meaningful, distances between clusters mean little.

    Args:
        run: a run with embeddings of the split.
        split: an evaluated split.
        pathway: "rgb" or "pose"; by default the first. Predictions and distances shown are those of the pathway.
        colour: "class", "kind" (TP, FN and FP of `highlight`), "subject", "confidence" or "distance" (cosine, to the
            prototype of the clip's own class).
        highlight: the class whose TP, FN and FP "kind" shows; by default the one with the most errors. With more than
            10 classes this one and the five it is most confused with are coloured, the others are grey.
        epoch: the epoch whose prototypes are shown; by default the last. Clips are embedded by the tested weights.
        selection: shared with other views; by default a new one.
        height: of the map, in pixels.
        width: of the map, in pixels; by default as wide as the notebook.

    Raises:
        MgkitError: no embeddings, or an unknown split, pathway, colour, class or epoch.

    `pathway`, `colour`, `highlight`, `epoch`, `chosen` (classes coloured, by number, at most 10), `paths` and `names`
    are traits: set them to change what is shown.
    """

    _esm = script("map/map.js")
    _css = styles("map/map.css")
    palette: traitlets.List[Any] = traitlets.List().tag(sync=True)  # colours of the chosen groups, in order
    pathways: traitlets.List[Any] = traitlets.List().tag(sync=True)
    colours: traitlets.List[Any] = traitlets.List().tag(sync=True)  # the COLOURS that the run can show
    pathway = traitlets.Unicode().tag(sync=True)
    colour = traitlets.Enum(COLOURS, "class").tag(sync=True)
    highlight = traitlets.Unicode().tag(sync=True)
    epoch = traitlets.Int(None, allow_none=True).tag(sync=True)
    chosen: traitlets.List[Any] = traitlets.List().tag(sync=True)
    chosen_subjects: traitlets.List[Any] = traitlets.List().tag(sync=True)
    paths = traitlets.Bool(False).tag(sync=True)
    names = traitlets.Bool(True).tag(sync=True)
    height = traitlets.Int(460).tag(sync=True)
    width = traitlets.Int(None, allow_none=True).tag(sync=True)
    # "ids", and (N,) "labels" as int32 bytes: the same for every pathway.
    clips = traitlets.Dict().tag(sync=True)
    # Of the current pathway: "points" (N, 2), "paths" (E, K, 2), "confidence" (N,), "own" (N,) as float32 bytes,
    # "predicted" (N,) as int32 bytes, "epochs", "seen", "method", "note", "pathway".
    drawn = traitlets.Dict().tag(sync=True)
    subjects = traitlets.Dict().tag(sync=True)  # "names" and (N,) "of" as int32 bytes; empty until needed
    trouble = traitlets.Unicode().tag(sync=True)  # why another pathway or colour cannot be shown

    def __init__(
        self,
        run: Run | str | Path,
        split: str = "test",
        *,
        pathway: str | None = None,
        colour: str = "class",
        highlight: str | None = None,
        epoch: int | None = None,
        selection: Selection | None = None,
        height: int = 460,
        width: int | None = None,
    ) -> None:
        run = as_run(run)
        predictions = run.predictions(split)
        self._map = embedding_map(run, split, pathway)
        pathway = self._map.pathway
        one_of(colour, COLOURS, "colour")
        index = worst_class(predictions, pathway) if highlight is None else run.classes.index(highlight)
        self._map.stars(epoch)  # refuses an unknown epoch
        offered = [name for name in COLOURS if name != "distance" or predictions.own]
        if run.config["data"]["root"] is None:
            offered.remove("subject")
        if colour not in offered:
            what = "no clip folder that names its subjects" if colour == "subject" else "no prototypes"
            raise MgkitError(f"{run.root} has {what}: colour by one of {', '.join(offered)}.")
        self._outcomes: Outcomes | None = None
        super().__init__(
            run,
            predictions,
            split,
            selection,
            palette=list(CLASS_COLOURS),
            pathways=list(run.pathways),
            colours=offered,
            pathway=pathway,
            colour="class",
            highlight=run.classes.names[index],
            epoch=epoch,
            chosen=coloured_classes(predictions, pathway, index),
            height=height,
            width=width,
            clips={"ids": predictions.clip_ids, "labels": _ints(predictions.labels)},
        )
        self._show_map(self._map)
        if colour == "subject":
            self._read_subjects()  # asked for explicitly: a missing clip folder is an error here
        self.colour = colour
        self.observe(self._other_pathway, "pathway")
        self.observe(self._other_colour, "colour")

    def select(self, name: str, kind: str | None = None, *, add: bool = False) -> Selection:
        """Select what the legend selects: the clips of a class, or its "TP", "FN" or "FP" clips.

        Args:
            name: a class.
            kind: by default all of its clips.
            add: in addition to what is selected.

        Raises:
            MgkitError: an unknown class or kind.
        """
        self._pick_class(self.run.classes.index(name), kind, add=add)
        return self.selection

    def to_figure(self, *, venue: str = "cvpr", columns: int | None = None) -> PaperFigure:
        """`mg.figures.prototype_map` of what is shown: the same map, colours, epoch and paths."""
        of_classes = self.colour != "subject"
        names: Sequence[str] = self.run.classes.names if of_classes else self.subjects["names"]
        return prototype_map(
            self.run,
            self.split,
            self.pathway,
            self.highlight,
            colour=self.colour,
            chosen=[names[k] for k in (self.chosen if of_classes else self.chosen_subjects)],
            epoch=self.epoch,
            paths=self.paths,
            venue=venue,
            columns=columns or 1,
        )

    @traitlets.validate("pathway")
    def _known_pathway(self, proposal: Any) -> str:
        return one_of(proposal["value"], self.pathways or [proposal["value"]], "pathway")

    @traitlets.validate("highlight")
    def _known_class(self, proposal: Any) -> str:
        self.run.classes.index(proposal["value"])
        return str(proposal["value"])

    @traitlets.validate("colour")
    def _known_colour(self, proposal: Any) -> str:
        return one_of(proposal["value"], self.colours or COLOURS, "colour")

    @traitlets.validate("epoch")
    def _known_epoch(self, proposal: Any) -> int | None:
        self._map.stars(proposal["value"])
        return None if proposal["value"] is None else int(proposal["value"])

    @traitlets.validate("chosen")
    def _few_classes(self, proposal: Any) -> list[int]:
        return _few(proposal["value"], len(self.run.classes), "classes")

    @traitlets.validate("chosen_subjects")
    def _few_subjects(self, proposal: Any) -> list[int]:
        return _few(proposal["value"], len(self.subjects.get("names", ())), "subjects")

    def _marks(self, rows: Ints, focus: int | None) -> dict[str, Any]:
        # One bit per clip: 3 kB for 20,000 clips, whatever is selected.
        mask = np.zeros(len(self.predictions), bool)
        mask[rows] = True
        packed = base64.b64encode(np.packbits(mask, bitorder="little").tobytes()).decode()
        return {"mask": packed, "focus_row": focus}

    def _act(self, act: str, content: dict[str, Any]) -> None:
        add = content.get("add") is True
        if act == "click":
            (row,) = self._rows([content.get("row")])
            self._click(int(row), add=add)
        elif act == "lasso":
            rows = self._rows(content.get("rows"))
            if len(rows):
                where = f" on the {OUTPUT_NAMES[self.pathway]} map" if len(self.pathways) > 1 else ""
                self._select(rows, f"lasso{where}", add=add)
        elif act == "class":
            self._pick_class(
                class_index(len(self.run.classes), content, "label"), content.get("kind"), add=add
            )
        elif act == "subject":
            of = np.frombuffer(self.subjects.get("of", b""), np.int32)
            names = self.subjects.get("names", [])
            index = class_index(len(names), content, "label")
            self._select(np.flatnonzero(of == index), f"clips of subject {names[index]}", add=add)

    def _click(self, row: int, *, add: bool) -> None:
        clip_id, before = self.predictions.clip_ids[row], self.selection.state
        if clip_id in before.clip_ids:
            self.selection.focus_on(clip_id, source=type(self).__name__)
        elif add and before.clip_ids:
            self.selection.set(
                (*before.clip_ids, clip_id),
                focus=clip_id,
                description=f"{before.description} + clip {clip_id}",
                source=type(self).__name__,
            )
        else:
            self.selection.set([clip_id], focus=clip_id, source=type(self).__name__)

    def _pick_class(self, label: int, kind: Any, *, add: bool) -> None:
        if self._outcomes is None:
            predicted = self.predictions.predicted(self.pathway)
            self._outcomes = Outcomes(self.predictions.labels, predicted, len(self.run.classes))
        name = self.run.classes.names[label]
        if kind is None:
            self._select(self._outcomes.of(label), f"clips of {name}", add=add)
            return
        which = f" ({OUTPUT_NAMES[self.pathway]})" if len(self.pathways) > 1 else ""
        rows = self._outcomes.kind(one_of(str(kind), KINDS, "kind"), label)
        self._select(rows, f"{kind} of {name}{which}", add=add)

    def _rows(self, rows: Any) -> Ints:
        count = len(self.predictions)
        if not isinstance(rows, list) or any(type(row) is not int or not 0 <= row < count for row in rows):
            raise MgkitError(f"the page sent clips outside 0 to {count - 1}.")
        return np.array(rows, np.int64)

    def _other_pathway(self, change: Any) -> None:
        self._outcomes = None
        try:
            found = embedding_map(self.run, self.split, change["new"])
        except MgkitError as error:
            self.pathway, self.trouble = change["old"], str(error)
            return
        self.trouble = ""
        self._show_map(found)

    def _other_colour(self, change: Any) -> None:
        if change["new"] == "subject" and not self.subjects:
            try:
                self._read_subjects()
            except MgkitError as error:
                self.colour, self.trouble = change["old"], str(error)
                return
        self.trouble = ""

    def _read_subjects(self) -> None:
        groups = subjects_of(self.run, self.predictions.clip_ids)
        self.subjects = {"names": list(groups.names), "of": _ints(groups.of)}
        few = len(groups.names) <= MOST
        self.chosen_subjects = list(range(len(groups.names) if few else FEWER))

    def _show_map(self, found: EmbeddingMap) -> None:
        self._map = found
        if self.epoch is not None and self.epoch not in found.epochs:
            self.epoch = None
        own = self.predictions.own.get(found.pathway)
        self.drawn = {
            "pathway": found.pathway,
            "points": _floats(found.points),
            "paths": _floats(found.paths),
            "epochs": found.epochs.tolist(),
            "seen": found.seen.tolist(),
            "predicted": _ints(self.predictions.predicted(found.pathway)),
            "confidence": _floats(confidence_of(self.predictions, found.pathway)),
            "own": _floats(np.full(len(self.predictions), np.nan) if own is None else own),
            "method": found.method,
            "note": found.note,
        }


def _few(numbers: list[Any], count: int, what: str) -> list[int]:
    if any(type(k) is not int or not 0 <= k < count for k in numbers):
        raise MgkitError(f"chosen {what} are {numbers}: use numbers from 0 to {count - 1}.")
    if len(numbers) > MOST:
        raise MgkitError(
            f"{len(numbers)} {what} are too many to tell apart by colour: choose at most {MOST}."
        )
    return list(dict.fromkeys(numbers))


def _floats(values: npt.ArrayLike) -> bytes:
    return np.ascontiguousarray(values, "<f4").tobytes()


def _ints(values: npt.ArrayLike) -> bytes:
    return np.ascontiguousarray(values, "<i4").tobytes()
