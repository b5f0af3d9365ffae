"""The clip player: exact frames with the skeleton, the network's input and its predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from mgkit.data.batches.spec import Inputs
from mgkit.data.clips import Clips
from mgkit.errors import MgkitError, counted
from mgkit.notebook import blurs_faces
from mgkit.results.run.folder import Run, as_clips, load_run
from mgkit.views.figures.clips import BLANK, SIDES, film_strip
from mgkit.views.figures.style import OUTPUT_COLOURS, PaperFigure
from mgkit.views.widgets.player.panels import NEIGHBOURS, Panels
from mgkit.views.widgets.shared.base import Previewed
from mgkit.views.widgets.shared.bundle import script, styles
from mgkit.views.widgets.shared.selection import Selected, Selection


class ClipPlayer(Previewed, anywidget.AnyWidget):
    """Plays clips frame by frame with their skeleton, over a run or over clips alone.

        mg.widgets.ClipPlayer(run)  # the test clips, with the predictions of each pathway
        mg.widgets.ClipPlayer(run, selection=selection, compare="nearest_correct")
        mg.widgets.ClipPlayer(clips)  # no run needed

    Frames are sent as JPEGs and drawn with the key-points of the same number on one canvas: frame and skeleton cannot
    drift apart, one-frame steps are free, and no video codec is needed. Keys, once the player has been clicked: space
    plays, left and right step one frame (ten with Shift), home and end go to the first and the last frame, up and down
    change the speed, n and p go to the next and the previous clip.

    Args:
        source: a run, whose predictions, recipe and clip folder are used, or clips.
        clip_id: the clip to start with.
        split: an evaluated split of the run.
        clips: the clips of the run, if its clip folder has moved.
        clip_ids: the clips to go through; by default those of the split, or all clips.
        selection: a `Selection` shared with other widgets: its focused (or first) clip is shown, n and p move the
            focus. Excludes `clip_ids` and `clip_id`.
        compare: a second clip next to the first, played in sync: "nearest_correct" (the nearest clip of the same true
            class that was classified correctly, by embedding), "exemplar" (the true positive closest to the prototype
            of the true class), or a clip id.
        pathway: the output that decides what is correct and near in `compare`; by default fused, or the only one.
        inputs: the input of a network, to show the heatmaps and sampled frames of clips without a run, or what its
            stream makes of their frames (`pictures="network"`); with a run it is that of its recipe.
        view: the test view whose sampling is shown, from 0; by default the middle one.
        quality: of the JPEGs, 1 to 100.
        max_frames: longer clips are cut to this number of frames, and the player says so.
        blur_faces: blur heads before anything is sent to the page, so that no saved notebook has them (docs/faces.md);
            by default as `mg.set_up_notebook` was told, else not.
        cache_mb: size of the cache of packed clips, so that going back is quick.
        options: `frame`, `playing`, `speed`, `loop`, `in_step`, `skeleton`, `limbs`, `confidence`, `frames`,
            `pictures`, `heatmap`, `saliency`: the traits below, which can be set at any time.

    Raises:
        MgkitError: the run has no such split, its clip folder is missing, or an unknown clip id or option.
    """

    _esm = script("player/player.js")
    _css = styles("player/player.css")

    # Shown frame of the clip, from 0. The page shows the last frame instead of one beyond it, and reports where it is
    # when it does not play. It is not bounded here: the page's report may still be of the previous clip.
    frame = traitlets.Int(0, min=0).tag(sync=True)
    playing = traitlets.Bool(False).tag(sync=True)
    # Times the frame rate of the clip.
    speed = traitlets.Float(1.0, min=0.125, max=4.0).tag(sync=True)
    loop = traitlets.Bool(True).tag(sync=True)
    # How two clips are synchronised: by the share of their length, or by frame.
    in_step = traitlets.Enum(("time", "frame"), "time").tag(sync=True)
    skeleton = traitlets.Bool(True).tag(sync=True)
    limbs = traitlets.Bool(True).tag(sync=True)
    # Size and opacity of joints and limbs by their score.
    confidence = traitlets.Bool(False).tag(sync=True)
    frames = traitlets.Enum(("show", "dim", "hide"), "show").tag(sync=True)
    # The clip's own, or what the network is fed in their place (`rgb_stream`): magnified motion, say.
    pictures = traitlets.Enum(("clip", "network"), "clip").tag(sync=True)
    # The maximum over all joints (or limbs), or one colour per side; only for networks that read heatmaps.
    heatmap = traitlets.Enum(("off", "max", "sides"), "off").tag(sync=True)
    # Evidence for the decision over time, on the joints and on the picture, once `mgkit explain` was run.
    saliency = traitlets.Bool(False).tag(sync=True)
    # "" (no second clip), "nearest_correct", "exemplar" or a clip id.
    compare = traitlets.Unicode("").tag(sync=True)

    # One update per clip: words and numbers, and all frames, key-points and heatmaps as one buffer (`bytes`).
    content = traitlets.Dict().tag(sync=True)
    look = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        source: Run | Clips | str | Path,
        clip_id: str | None = None,
        *,
        split: str = "test",
        clips: Clips | None = None,
        clip_ids: Iterable[str] | None = None,
        selection: Selection | None = None,
        compare: str | None = None,
        pathway: str | None = None,
        inputs: Inputs | None = None,
        view: int | None = None,
        quality: int = 90,
        max_frames: int = 1500,
        blur_faces: bool | None = None,
        cache_mb: float = 64,
        **options: Any,
    ) -> None:
        self._stop_watching: Callable[[], None] = lambda: None  # a refused player is closed, too
        if selection is not None and (clip_ids is not None or clip_id is not None):
            raise MgkitError(
                "give either a selection, or clip_ids and clip_id: a selection already decides what is shown."
            )
        if quality not in range(1, 101) or max_frames < 1:
            raise MgkitError(f"quality is {quality}, max_frames {max_frames}: use 1 to 100, and at least 1.")
        if isinstance(source, str | Path):
            source = load_run(source) if (Path(source) / "config.json").is_file() else as_clips(source)
        run = source if isinstance(source, Run) else None
        there = as_clips(source) if run is None or clips is None else clips
        self._clips = there
        self.blur_faces = blurs_faces(blur_faces)
        self._panels = Panels(
            there, run, split=split, pathway=pathway, inputs=inputs, view=view, quality=quality, limit=max_frames,
            blur_faces=self.blur_faces, cache=round(cache_mb * 2**20),
        )  # fmt: skip
        _check_options(type(self), options)
        if compare and compare not in NEIGHBOURS:
            there.row(compare)  # refuses an unknown clip
        if "heatmap" not in options and self._panels.heatmapped:
            options["heatmap"] = "max"
        self.selection = self._all_clips(clip_ids, clip_id) if selection is None else selection
        layout = there.skeleton
        look = {
            "sides": SIDES, "ground": BLANK, "outputs": OUTPUT_COLOURS, "joint_sides": layout.sides,
            "edges": layout.edges, "edge_sides": layout.edge_sides,
        }  # fmt: skip
        frame = options.pop("frame", 0)
        super().__init__(look=look, compare=compare or "", **options)
        self._refresh()
        self.frame = frame
        self.observe(self._refresh, ["compare", "heatmap", "saliency", "pictures"])
        self.on_msg(self._received)
        self._stop_watching = self.selection.watch(self._refresh)

    # --- what a notebook calls --------------------------------------------------------------------------------------

    @property
    def clip_id(self) -> str | None:
        """The shown clip: the focus of the selection, or its first clip; None when nothing is selected."""
        ids = self.selection.clip_ids
        return self.selection.focus or (ids[0] if ids else None)

    @property
    def compared_id(self) -> str | None:
        """The second clip, or None."""
        panels = self.content.get("panels", [])
        return panels[1]["clip"]["clip_id"] if len(panels) > 1 else None

    def show(self, clip_id: str) -> None:
        """Go to a clip; a clip outside the selection becomes the selection."""
        self._clips.row(clip_id)
        if clip_id in self.selection.clip_ids:
            self.selection.focus_on(clip_id, source="ClipPlayer")
        else:
            self.selection.set([clip_id], focus=clip_id, source="ClipPlayer")

    def next(self) -> None:
        """Go to the next clip of the selection, from the last to the first."""
        self._step(1)

    def previous(self) -> None:
        """Go to the previous clip of the selection, from the first to the last."""
        self._step(-1)

    def to_figure(
        self, frames: int = 8, *, which: str = "shown", venue: str = "cvpr", columns: int = 2
    ) -> PaperFigure:
        """A film strip of the shown clip for a paper, or of the second clip (`which="compared"`).

        Arguments and result as of `mgkit.figures.film_strip`; skeleton and saliency are drawn if the player shows them.
        """
        if which not in ("shown", "compared"):
            raise MgkitError(f"which is {which!r}: use 'shown' or 'compared'.")
        clip_id = self.clip_id if which == "shown" else self.compared_id
        if clip_id is None:
            raise MgkitError(f"there is no {which} clip to draw: select one with show, or set compare.")
        found = self._panels.saliency() if self.saliency else None
        return film_strip(
            self._clips, clip_id, frames, skeleton=self.skeleton, venue=venue, columns=columns,
            saliency=found if found is not None and clip_id in found else None, blur_faces=self.blur_faces,
        )  # fmt: skip

    def close(self) -> None:
        """Take the player off the page, and stop listening to the selection."""
        self._stop_watching()
        super().close()

    def __repr__(self) -> str:
        return f"ClipPlayer({self.clip_id or 'no clip'}, {self.selection!r})"

    def _preview(self) -> tuple[PaperFigure, str]:
        strip = self.to_figure(6)
        return strip, f"film strip of {strip.note}"

    # --- from events to content -------------------------------------------------------------------------------------

    def _received(self, _: object, message: Any, __: object) -> None:
        if isinstance(message, dict) and message.get("act") == "step":
            self._step(-1 if message.get("by") == -1 else 1)

    def _step(self, by: int) -> None:
        ids = self.selection.clip_ids
        if self.clip_id is not None:
            at = (ids.index(self.clip_id) + by) % len(ids)
            self.selection.focus_on(ids[at], source="ClipPlayer")

    def _refresh(self, _: Selected | dict[str, Any] | None = None) -> None:
        content = self._contents()
        with self.hold_sync():
            another = self.content.get("clip_id") != content["clip_id"]
            self.content = content
            if another:  # switching on a heatmap or a second clip keeps the frame
                self.frame = 0

    def _contents(self) -> dict[str, Any]:
        """Everything the page shows; the `panels` point into `bytes`, the one buffer."""
        clip_id, ids = self.clip_id, self.selection.clip_ids
        neighbours = {"": "no second clip", **(NEIGHBOURS if self._panels.run is not None else {})}
        content: dict[str, Any] = {
            "clip_id": clip_id,
            "position": None if clip_id is None else ids.index(clip_id),
            "count": len(ids),
            "description": self.selection.description,
            "neighbours": [[key, name] for key, name in neighbours.items()],
            "can_map": self._panels.heatmapped,
            "can_stream": self._panels.streamed,
            "can_explain": self._panels.run is not None,
            "view": list(self._panels.view),
            "panels": [],
            "note": "",
            "bytes": b"",
        }
        if clip_id is None:
            return content
        if clip_id not in self._panels:
            content["note"] = f"{self._clips.root} has no clip {clip_id}: open the clips it belongs to."
            return content
        wanted = [(clip_id, "")]
        if self.compare:
            try:
                wanted.append(self._panels.second(clip_id, self.compare))
            except MgkitError as error:
                content["note"] = f"No second clip: {error}"
        parts: list[bytes] = []
        for one, relation in wanted:
            panel, packed = self._panels.panel(
                one, heat=self.heatmap != "off", saliency=self.saliency, stream=self.pictures == "network"
            )
            offset = sum(map(len, parts))
            panel |= {"relation": relation, "offset": offset}
            if panel["heat"] is not None:
                panel["heat"] |= {"offset": offset + len(packed[0].data), "bytes": len(packed[1].data)}
            content["panels"].append(panel)
            parts += [part.data for part in packed]
        content["bytes"] = b"".join(parts)
        return content

    def _all_clips(self, clip_ids: Iterable[str] | None, clip_id: str | None) -> Selection:
        """The selection of a player that shares none."""
        if clip_ids is not None:
            ids = self._clips.select(clip_ids).ids
            words = counted(len(ids), "chosen clip")
        elif self._panels.predictions is not None:
            ids, words = self._panels.predictions.clip_ids, f"split {self._panels.split}"
        else:
            ids, words = self._clips.ids, "all clips"
        if clip_id is not None and clip_id not in ids:
            self._clips.row(clip_id)
            ids, words = [clip_id], f"clip {clip_id}"
        selection = Selection(ids, words)
        selection.focus_on(clip_id, source="ClipPlayer")
        return selection


def _check_options(player: type[ClipPlayer], options: dict[str, Any]) -> None:
    """Refuse an unknown option or an impossible value."""
    hints = {
        "frame": "a whole number from 0", "speed": "a number from 1/8 to 4", "in_step": "'time' or 'frame'",
        "frames": "'show', 'dim' or 'hide'", "pictures": "'clip' or 'network'", "heatmap": "'off', 'max' or 'sides'",
        **dict.fromkeys(("playing", "loop", "skeleton", "limbs", "confidence", "saliency"), "True or False"),
    }  # fmt: skip
    for name, value in options.items():
        if name not in hints:
            raise MgkitError(f"unknown option {name!r}: use one of {', '.join(hints)}.")
        try:
            player.class_traits()[name].validate(None, value)
        except traitlets.TraitError:
            raise MgkitError(f"{name} is {value!r}: use {hints[name]}.") from None
