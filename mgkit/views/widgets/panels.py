"""Clips as a page is told of them: words and numbers, and their frames, key-points and heatmaps as bytes."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError, some
from mgkit.results.runs import Embeddings, Predictions, Run
from mgkit.results.saliency import Saliency, saliency_path
from mgkit.views.analysis.neighbours import exemplar, nearest_correct
from mgkit.views.widgets import evidence, explained, seen
from mgkit.views.widgets.frames import PackCache, Packed, pack_clip, pack_heatmaps

if TYPE_CHECKING:  # it needs torch, which clips without heatmaps do without
    from mgkit.data.batches import InputSpec

NEIGHBOURS = {"nearest_correct": "nearest correct clip", "exemplar": "class exemplar"}


class Panels:
    """Makes a panel of a clip: of clips alone, or with what a run says about it.

    Args:
        clips: the clips.
        run: a run on them, or None.
        split: the evaluated split of the run.
        pathway: the output that decides what is correct and near; None = fused, or the only one.
        inputs: what a network is fed; by default what the recipe of the run records.
        view: which test view's sampling, from 0; by default the one in the middle.
        quality, limit: see `pack_clip`.
        cache: bytes of packed clips that are kept.

    Raises:
        MgkitError: the run has no such split or output, was tested with fewer views, or is over other classes.
    """

    def __init__(
        self,
        clips: Clips,
        run: Run | None,
        *,
        split: str,
        pathway: str | None,
        inputs: InputSpec | None,
        view: int | None,
        quality: int,
        limit: int,
        cache: int,
    ) -> None:
        self.clips, self.run, self.split, self.pathway = clips, run, split, pathway
        self.predictions: Predictions | None = None
        views = 1
        if run is not None:
            if run.classes.names != clips.classes.names:
                odd = sorted(set(run.classes.names) ^ set(clips.classes.names))
                raise MgkitError(
                    f"{run.root} and {clips.root} are over different classes ({some(odd) or 'another order'}): open "
                    "the clips that the run was made from."
                )
            self.predictions = run.predictions(split)
            self.predictions.scores(pathway)  # an unknown output is refused here, by name
            views = int(run.test_settings(split).get("views", 1))
        self.view = seen.checked_view(view, views)
        self._inputs, self._quality, self._limit = inputs, quality, limit
        self._cache = PackCache(cache)
        self._saliency: tuple[int, Saliency] | None = None  # when the file was written, and what is in it

    @property
    def pathways(self) -> tuple[str, ...]:
        """Of which it is known what they are fed."""
        return () if self._spec is None else tuple(self._spec.pathways)

    @property
    def heatmapped(self) -> bool:
        """Whether the network is fed heatmaps, and not the key-points themselves or frames alone."""
        return self._spec is not None and "pose" in self._spec.pathways and not self._spec.keypoints

    def __contains__(self, clip_id: object) -> bool:
        return clip_id in self._ids

    def panel(
        self, clip_id: str, *, heat: bool, saliency: bool = False
    ) -> tuple[dict[str, Any], list[Packed]]:
        """One clip.

        Returns:
            `clip` (see `pack_clip`), `caption` and `verdict` (see `evidence`), `sampled` (per pathway the frames that a
            test view shows it), `heat` (`width`, `height`, `count`, `kind`, or None) and `saliency` (see `explained`,
            or None); and the bytes: frames and key-points, then the heatmaps if there are any.
        """
        frames = self._cache.get(
            clip_id, lambda: pack_clip(self.clips, clip_id, quality=self._quality, limit=self._limit)
        )
        packed = [frames]
        panel: dict[str, Any] = {
            "clip": frames.meta,
            "caption": evidence.caption(self.clips, clip_id),
            "verdict": None,
            "sampled": {},
            "heat": None,
            "saliency": self._explained(clip_id) if saliency else None,
        }
        if self.predictions is not None:
            panel["verdict"] = evidence.verdict(self.predictions, self.clips.classes.names, clip_id)
        spec = self._spec
        if spec is not None:
            times = seen.sampled(spec, frames.meta["total"], self.view)
            panel["sampled"] = {name: times[name].tolist() for name in self.pathways}
            if heat and self.heatmapped and frames.meta["pose"] is not None:
                maps = self._cache.get(
                    (clip_id, "heat"),
                    lambda: pack_heatmaps(seen.seen_heatmaps(self.clips, clip_id, spec, self.view)),
                )
                panel["heat"] = {**maps.meta, "kind": spec.heatmap}
                packed.append(maps)
        return panel, packed

    def second(self, clip_id: str, compare: str) -> tuple[str, str]:
        """The clip to put beside a clip, and how the two are related.

        Raises:
            MgkitError: there is no such clip, or not enough in the run to find it; the message says what is missing.
        """
        if compare not in NEIGHBOURS:
            self.clips.row(compare)
            return compare, "chosen clip"
        if self.predictions is None:
            raise MgkitError(f"{compare!r} needs a run with predictions: give a run instead of clips.")
        if compare == "nearest_correct":
            found = nearest_correct(self.predictions, self._embeddings, clip_id, self.pathway)
            return found.clip_id, f"nearest correct clip, at distance {found.distance:.2f}"
        found = exemplar(self.predictions, clip_id, self.pathway)
        return found.clip_id, f"class exemplar, at distance {found.distance:.2f} from the prototype"

    def saliency(self) -> Saliency | None:
        """What was explained of the split, read again where the file has changed; None without a run or a file.

        Raises:
            MgkitError: the file cannot be used, or is of other joints than the clips, or of other weights or clips
                than the predictions beside it: a training that went on was tested again, say.
        """
        if self.run is None or not self.run.has_saliency(self.split):
            return None
        changed = saliency_path(self.run.root, self.split).stat().st_mtime_ns
        if self._saliency is None or self._saliency[0] != changed:
            found = self.run.saliency(self.split)
            if found.joints is not None and self.run.skeleton.joints != self.clips.skeleton.joints:
                raise MgkitError(
                    f"{self.clips.root} has other joints than {self.run.root}: open the clips that the run was made "
                    "from, to see what was explained."
                )
            self._saliency = changed, found
        made, tested = self._saliency[1].settings, self.run.test_settings(self.split)
        unlike = [
            key for key in ("checkpoint", "epoch", "clips") if made.get(key) != tested.get(key, made.get(key))
        ]
        if made.get("content") and unlike:  # only what `mg.explain` made says of which weights it is
            raise MgkitError(
                f"What was explained has another {some(unlike)} than what was tested: run `mgkit explain "
                f"{self.run.root} --split {self.split} --replace`, or test again."
            )
        return self._saliency[1]

    def _explained(self, clip_id: str) -> dict[str, Any] | None:
        if self.run is None:
            return None
        try:
            return explained.clip_saliency(self.run, self.split, self.saliency(), clip_id)
        except MgkitError as error:
            return {"empty": str(error)}

    @cached_property
    def _ids(self) -> frozenset[str]:
        return frozenset(self.clips.ids)

    @cached_property
    def _spec(self) -> InputSpec | None:
        if self._inputs is not None or self.run is None:
            return self._inputs
        return seen.recorded_inputs(self.run.recipe)

    @cached_property
    def _embeddings(self) -> Embeddings:
        assert self.run is not None
        return self.run.embeddings(self.split)
