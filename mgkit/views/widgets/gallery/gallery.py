"""The selected clips as pages of thumbnails: the middle frame of each clip with its skeleton."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import traitlets

from mgkit.data.clips import Clips
from mgkit.data.faces import blur_heads
from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError, counted
from mgkit.notebook import blurs_faces
from mgkit.results.run.folder import Run, as_run
from mgkit.results.run.review import Note
from mgkit.views.figures.clips import BLANK, SIDES, clip_sheet
from mgkit.views.figures.style import PaperFigure
from mgkit.views.widgets.player.packing import PackCache, Packed
from mgkit.views.widgets.shared.base import RunWidget, one_of
from mgkit.views.widgets.shared.bundle import script, styles
from mgkit.views.widgets.shared.selection import Selection

LONGEST = 128  # pixels of a thumbnail's longer side
RIM = "#1A1A1A"
SHIFT = 4  # fractional bits of the coordinates given to OpenCV
AT_ONCE = 4  # thumbnails per answer: other clicks are answered in between
CACHED = 8 << 20  # bytes of thumbnails

Ints = npt.NDArray[np.int64]


def thumbnail(
    clips: Clips, clip_id: str, longest: int = LONGEST, quality: int = 82, *, blur_faces: bool = False
) -> Packed:
    """The middle frame of a clip with its key-points.

    Args:
        clips: the clips.
        clip_id: one of them.
        longest: the longer side, pixels.
        quality: of the JPEG, 1 to 100.
        blur_faces: blur heads.

    Returns:
        `data` is the JPEG; `meta` holds `clip_id`, `frame`, `width`, `height` (pixels) and `problem`: why the video or
        the pose is missing, or the picture blurred as a whole; "" otherwise.

    Raises:
        MgkitError: an unknown clip, or one with nothing to show.
    """
    import cv2

    row = clips.row(clip_id)
    frame = int(row["frames"]) // 2
    scale = longest / max(row["width"], row["height"])
    width, height = (max(1, round(scale * row[side])) for side in ("width", "height"))
    picture, problem = _frame(clips, clip_id, frame, (width, height), blur_faces)
    posed = row["pose_offset"] >= 0
    if picture is None and not posed:
        raise MgkitError(problem or f"clip {clip_id!r} has neither a video nor a pose.")
    if picture is None:
        picture = np.full((height, width, 3), _rgb(BLANK), np.uint8)
    if posed:
        points = clips.pose(clip_id)[:, frame, :, :2] * [width / row["width"], height / row["height"]]
        for person in points:
            draw_skeleton(picture, person, clips.skeleton)
    elif not problem:
        problem = "no pose"
    good, jpeg = cv2.imencode(
        ".jpg", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    assert good
    meta = {"clip_id": clip_id, "frame": frame, "width": width, "height": height, "problem": problem}
    return Packed(meta, jpeg.tobytes())


def draw_skeleton(picture: npt.NDArray[np.uint8], points: npt.NDArray[Any], skeleton: Skeleton) -> None:
    """Draw (V, 2) key-points into an (H, W, 3) picture whose pixel i covers [i, i + 1); NaN joints are skipped."""
    import cv2

    seen = np.isfinite(points).all(1)
    # OpenCV counts from pixel centres; nothing far outside the picture can be seen.
    at = np.clip(np.nan_to_num(points) - 0.5, -4000, 4000)
    at = np.rint(at * (1 << SHIFT)).astype(int)
    limbs = [
        (edge, side)
        for edge, side in zip(skeleton.edges, skeleton.edge_sides, strict=True)
        if seen[list(edge)].all()
    ]
    for thick, rim in ((3, True), (1, False)):
        for (a, b), side in limbs:
            tone = _rgb(RIM if rim else SIDES[side])
            cv2.line(picture, at[a].tolist(), at[b].tolist(), tone, thick, cv2.LINE_AA, SHIFT)
    for joint in np.flatnonzero(seen):
        centre = at[joint].tolist()
        cv2.circle(picture, centre, round(1.9 * (1 << SHIFT)), _rgb(RIM), -1, cv2.LINE_AA, SHIFT)
        tone = _rgb(SIDES[skeleton.sides[joint]])
        cv2.circle(picture, centre, round(1.3 * (1 << SHIFT)), tone, -1, cv2.LINE_AA, SHIFT)


def _frame(
    clips: Clips, clip_id: str, frame: int, size: tuple[int, int], blur: bool
) -> tuple[npt.NDArray[np.uint8] | None, str]:
    """One frame (H, W, 3) of this size (width, height), or None and the reason; heads blurred if so wished."""
    import cv2

    if clips.video(clip_id) is None:
        return None, "no video"
    try:
        picture = clips.frames(clip_id, [frame])[0]
    except MgkitError as error:
        return None, str(error)
    problem = ""
    if blur:
        heads = clips.heads(clip_id)
        picture, problem = blur_heads(picture, heads, frame), heads.note if heads.lost[frame] else ""
    made = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(made, np.uint8), problem


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


class Gallery(RunWidget):
    """The selected clips, each with its middle frame and skeleton, its true and its predicted class.

    Thumbnails are made when their page is shown, a few at a time. The border shows the outcome: correct or wrong, or
    TP, FN or FP if a `label` is given. A click or an arrow key moves the focus of the selection; n and p go to the
    next and the previous clip, e and Shift+e to the next and the previous wrong one.

    Args:
        run: a run.
        split: an evaluated split.
        clips: the clips to show pictures of; by default those of the run. They are optional: without them the gallery
            shows why there are no pictures.
        selection: shared with other views; by default a new one.
        output: the output that decides what is wrong; by default fused, or the only one.
        notes: review notes to mark, by clip id.
        page_size: clips per page.
        blur_faces: blur heads before anything is sent to the page (docs/faces.md); by default as `mg.set_up_notebook`
            was told, else not.

    Raises:
        MgkitError: an unknown split or output.
    """

    _esm = script("gallery/gallery.js")
    _css = styles("gallery/gallery.css")
    output = traitlets.Unicode().tag(sync=True)
    trouble = traitlets.Unicode().tag(sync=True)  # why there are no pictures

    def __init__(
        self,
        run: Run | str | Path,
        split: str = "test",
        *,
        clips: Clips | None = None,
        selection: Selection | None = None,
        output: str | None = None,
        notes: Mapping[str, Note] | None = None,
        page_size: int = 24,
        blur_faces: bool | None = None,
    ) -> None:
        run = as_run(run)
        predictions = run.predictions(split)
        if page_size < 1:
            raise MgkitError(f"page_size is {page_size}: use at least 1.")
        trouble = ""
        if clips is None:
            try:
                clips = run.clips()
            except MgkitError as error:
                trouble = f"No pictures: {error}"
        self.clips, self.page_size, self.notes = clips, page_size, notes or {}
        self.label: int | None = None  # the class whose TP, FN and FP are shown
        self.blur_faces = blurs_faces(blur_faces)
        self._predicted = {name: predictions.predicted(name) for name in predictions.outputs}
        self._cache = PackCache(CACHED)
        self._page: int | None = None  # turned to; None = the page of the clip in focus
        self._last: tuple[tuple[str, ...], str | None] = (), None  # selection and focus shown last
        super().__init__(
            run,
            predictions,
            split,
            selection,
            output=one_of(output or predictions.best, predictions.outputs, "output"),
            trouble=trouble,
        )

    @property
    def shown(self) -> list[str]:
        """The clips on the current page."""
        return [item["id"] for item in self.selected["items"]]

    def look(self, *, output: str | None = None, label: int | None = None) -> None:
        """Show outcomes by this output, and as TP, FN and FP of this class (None: as correct and wrong)."""
        self.output = one_of(output or self.output, self.outputs, "output")
        self.label = label
        self.refresh()

    def refresh(self) -> None:
        """Show the current notes."""
        self._show(self.selection.state)

    def step(self, by: int, *, wrong: bool = False) -> None:
        """Move the focus by this number of selected clips, around the end; with `wrong` to wrong ones only."""
        here = [clip_id for clip_id in self.selection.clip_ids if clip_id in self._row]
        if not here:
            return
        at = here.index(self.selection.focus) if self.selection.focus in here else (-1 if by > 0 else 0)
        predicted, true = self._predicted[self.output], self.predictions.labels
        for distance in range(1, len(here) + 1):
            clip_id = here[(at + (distance if by > 0 else -distance) * (1 if wrong else abs(by))) % len(here)]
            row = self._row[clip_id]
            if not wrong or predicted[row] != true[row]:
                self.selection.focus_on(clip_id, source="Gallery")
                return

    def to_figure(
        self, *, venue: str = "cvpr", columns: int | None = None, limit: int | None = None
    ) -> PaperFigure:
        """A sheet of the clips on the current page, or of the first `limit` selected ones, with the same borders.

        Raises:
            MgkitError: there are no pictures, or no clip is selected.
        """
        if self.clips is None:
            raise MgkitError(self.trouble)
        rows = self._selected_rows()
        first = 0 if limit is not None else self.selected["page"] * self.page_size
        items = self._items(rows[first : first + (limit or self.page_size)])
        if not items:
            raise MgkitError(f"{self.selection.description}: no clips to draw")
        words = [item["true"] if item["right"] else f"{item['true']} → {item['predicted']}" for item in items]
        return clip_sheet(
            self.clips, [item["id"] for item in items], words, [item["kind"] for item in items],
            note=f"{self.selection.description}, {len(items)} of {counted(len(rows), 'clip')}",
            blur_faces=self.blur_faces, venue=venue, columns=columns or 2,
        )  # fmt: skip

    # -----------------------------------------------------------------------------------------------------------------

    def _selected_rows(self) -> Ints:
        row = self._row
        return np.array([row[clip_id] for clip_id in self.selection.clip_ids if clip_id in row], np.int64)

    def _marks(self, rows: Ints, focus: int | None) -> dict[str, Any]:
        pages = max(1, -(-len(rows) // self.page_size))
        at = np.flatnonzero(rows == (-1 if focus is None else focus))
        page = int(at[0]) // self.page_size if len(at) else 0
        if self._page is not None:
            page = min(self._page, pages - 1)
        shown = rows[page * self.page_size : (page + 1) * self.page_size]
        return {
            "items": self._items(shown),
            "page": page,
            "pages": pages,
            "first": page * self.page_size,
            "position": int(at[0]) if len(at) else None,
        }

    def _items(self, rows: Ints) -> list[dict[str, Any]]:
        names, scores, items = self.run.classes.names, self.predictions.scores(self.output), []
        for row in rows.tolist():
            true, predicted = int(self.predictions.labels[row]), int(self._predicted[self.output][row])
            clip_id = self.predictions.clip_ids[row]
            note = self.notes.get(clip_id)
            items.append(
                {
                    "id": clip_id, "true": names[true], "predicted": names[predicted], "right": true == predicted,
                    "sure": float(scores[row, predicted]), "kind": self._kind(true, predicted),
                    "tags": list(note.tags) if note is not None else [], "noted": note is not None,
                }
            )  # fmt: skip
        return items

    def _kind(self, true: int, predicted: int) -> str:
        if self.label is None or self.label not in (true, predicted):
            return "right" if true == predicted else "wrong"
        return "TP" if true == predicted else "FN" if true == self.label else "FP"

    def _act(self, act: str, content: dict[str, Any]) -> None:
        if act == "focus":
            clip_id = content.get("clip_id")
            if clip_id in self.selection.clip_ids:
                self._page = None
                self.selection.focus_on(clip_id, source="Gallery")
        elif act == "step":
            by = content.get("by")
            if type(by) is int and by:
                self._page = None
                self.step(by, wrong=content.get("wrong") is True)
        elif act == "page":
            page = content.get("page")
            if type(page) is int and 0 <= page < self.selected["pages"]:
                self._page = page
                self.refresh()
        elif act == "thumbs":
            asked = content.get("ids")
            self._send_pictures([i for i in asked if isinstance(i, str)] if isinstance(asked, list) else [])

    def _show(self, state: Any) -> None:
        # After another selection, or a focus moved elsewhere, the page of the focus is shown.
        if (state.clip_ids, state.focus) != self._last:
            self._last, self._page = (state.clip_ids, state.focus), None
        super()._show(state)

    def _send_pictures(self, clip_ids: list[str]) -> None:
        answer: list[dict[str, Any]] = []
        buffers: list[bytes] = []
        for clip_id in clip_ids[:AT_ONCE]:
            try:
                if self.clips is None:
                    raise MgkitError(self.trouble)
                made = self._cache.get(
                    clip_id,
                    lambda i=clip_id: thumbnail(self.clips, i, blur_faces=self.blur_faces),  # type: ignore[misc]
                )
            except MgkitError as error:
                answer.append({"clip_id": clip_id, "problem": str(error), "buffer": None})
                continue
            answer.append({**made.meta, "buffer": len(buffers)})
            buffers.append(made.data)
        self.send({"thumbs": answer}, buffers)
