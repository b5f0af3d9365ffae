"""What a venue refuses, for every public figure of a run, with long names, 2 and 52 classes."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from mgkit.data.clips import Classes
from mgkit.data.prepare.footage import of_clip
from mgkit.results.compare.methods import method_table
from mgkit.results.run.folder import Run, load_run
from mgkit.results.run.saliency import write_saliency
from mgkit.results.scores.calibration import scores_of, temper
from mgkit.results.scores.prediction import Prediction
from mgkit.views import figures
from mgkit.views.figures.style import VENUES, PaperFigure
from tests.results.fake_run import fake_clips, fake_frames, fake_run
from tests.results.run.test_saliency import made
from tests.views.figures.test_figures import content

pytestmark = [pytest.mark.usefixtures("flat"), pytest.mark.slow]

LONG = "an exceedingly long name of a gesture that nobody would ever read to its very end, not even number"
CLASSES = {
    "2 classes": Classes(("touch face", "illustrative (non-micro-gesture)")),
    "9 long names": Classes(
        tuple(f"{LONG} {k}" for k in range(9)), ("upper body and both arms",) * 4 + ("head",) * 5
    ),
    "52 classes": Classes(tuple(f"gesture of quite some length {k}" for k in range(52)), tuple("abcd") * 13),
}

RERUN = (
    "9 long names",
    "cvpr",
)  # each figure is drawn again here: drawing is dear, and is the same elsewhere


def study(run: Run, **size: object) -> PaperFigure:
    names = run.classes.names
    table = pd.DataFrame(
        {
            "seeds": 5, "top1": 0.7, "top1_low": 0.6, "top1_high": 0.8, "top1_of_seeds": [[0.6, 0.7, 0.8]] * len(names),
            "against": names[0], "gain": 0.02, "p_seeds_holm": 0.01, "p_subjects_holm": 0.01, "resampled": "subjects",
        },
        index=pd.Index(names, name="row"),
    )  # fmt: skip
    return figures.study(table, **size)  # type: ignore[arg-type]


def seeds(run: Run, **size: object) -> PaperFigure:
    return figures.training_curves([run, load_run(run.root.with_name("second"))], **size)  # type: ignore[arg-type]


def settings(run: Run, **size: object) -> PaperFigure:
    return figures.training_curves(dict.fromkeys(run.classes.names[:10], run), **size)  # type: ignore[arg-type]


def strip(run: Run, **size: object) -> PaperFigure:
    clips = run.clips()
    clip_id = run.predictions().clip_ids[0]
    return figures.film_strip(clips, clip_id, 3, saliency=run.saliency("test"), **size)  # type: ignore[arg-type]


def difference(run: Run, **size: object) -> PaperFigure:
    return figures.confusion(run, other=load_run(run.root.with_name("second")), **size)  # type: ignore[arg-type]


def comparison(run: Run, **size: object) -> PaperFigure:
    return figures.run_comparison(run, load_run(run.root.with_name("second")), **size)  # type: ignore[arg-type]


def reliabilities(run: Run, **size: object) -> PaperFigure:
    systems = {LONG: run, "tempered": temper(scores_of(run), 0.5)}
    return figures.reliability(systems, adaptive=True, **size)  # type: ignore[arg-type]


def predicted(run: Run, **size: object) -> PaperFigure:
    """Windows of the run's first test clip, with the answers of the run for other clips."""
    clips, found = run.clips(), run.predictions()
    embeddings, history = run.embeddings(), run.prototypes()
    prototypes = {name: history.last(name)[0] for name in run.pathways}
    rows = np.arange(4)
    one = Prediction(
        LONG, run.classes, run.skeleton, np.stack([2 * rows, 2 * rows + 6], 1), 25.0,
        {name: array[:4] for name, array in found.probabilities.items()},
        {name: array[:4] for name, array in embeddings.vectors.items()}, prototypes, np.ones(4, np.float32),
        {"size": 32}, footage=of_clip(clips, found.clip_ids[0]),
    )  # fmt: skip
    return figures.prediction(one, 1, frames=4, **size)  # type: ignore[arg-type]


def compared_methods(run: Run, **size: object) -> PaperFigure:
    table = method_table(
        [run, load_run(run.root.with_name("second"))], names=[LONG, "other"], published=True, draws=20
    )
    return figures.methods(table, **size)  # type: ignore[arg-type]


FIGURES: dict[str, Callable[..., PaperFigure]] = {
    "confusion": figures.confusion,
    "confusion of two runs": difference,
    "class_accuracy": figures.class_accuracy,
    "training_curves": figures.training_curves,
    "training_curves of seeds": seeds,
    "training_curves of settings": settings,
    "prototype_map": figures.prototype_map,
    "prototype_similarity": figures.prototype_similarity,
    "study": study,
    "run_comparison": comparison,
    "joint_importance": figures.joint_importance,
    "film_strip": strip,
    "methods": compared_methods,
    "prediction": predicted,
    "reliability": figures.reliability,
    "reliability of two": reliabilities,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    out: dict[str, Run] = {}
    for kind, classes in CLASSES.items():
        root = tmp_path_factory.mktemp("rules")
        clips = fake_clips(root / "clips", classes, 8, video=True)
        out[kind] = fake_run(root / "first", clips, epochs=3, splits=("test",))
        fake_run(root / "second", clips, epochs=3, splits=("test",), seed=1, noise=4.0)
        ids = out[kind].predictions().clip_ids
        targets = np.random.default_rng(0).integers(0, len(classes), len(ids))
        write_saliency(out[kind].root, "test", made(ids, target=targets))
    return out


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("name", FIGURES)
def test_what_a_venue_checks(
    runs: dict[str, Run], name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mgkit.data.video.read_frames", fake_frames)
    # The number of draws is about p and the interval, not about the drawing.
    monkeypatch.setattr("mgkit.views.figures.similarity.DRAWS", 20)
    for venue, columns in (("cvpr", 1),) if kind == "52 classes" else (("cvpr", 1), ("acm", 2)):
        figure = FIGURES[name](load_run(runs[kind].root), venue=venue, columns=columns)
        width = VENUES[venue][columns - 1]
        written = figure.save(tmp_path / "one") if (kind, venue) == RERUN else []
        pdf = outside(figure, monkeypatch)
        if written:
            assert written[0].read_bytes() == pdf, "another file once it has been shown"
            again = FIGURES[name](load_run(runs[kind].root), venue=venue, columns=columns)
            for one, two in zip(written, again.save(tmp_path / "two"), strict=True):
                assert one.read_bytes() == two.read_bytes(), f"another {one.suffix} on rerun"
            with written[2].open(newline="", encoding="utf-8") as file:
                assert len(list(csv.reader(file))) == len(figure.data) + 1

        box = re.search(rb"/MediaBox \[ ?([\d. ]+?) ?\]", pdf)
        assert box is not None
        page = [float(part) for part in box[1].split()]
        assert page[2] == pytest.approx(72 * width, abs=0.01)
        assert page[3] < 72 * 9.6, "higher than a page"
        assert b"/Type3" not in content(pdf)
        assert b"/FontFile2" in pdf, "fonts are embedded as TrueType (Type 42)"

        assert len(figure.data)
        assert figure.figure.get_suptitle() == ""
        # Times above frames, and the names of a map's panels, which inside would hide marks.
        assert name in ("film_strip", "prototype_map") or not any(
            axes.get_title(loc) for axes in figure.figure.axes for loc in ("left", "center", "right")
        )


def outside(figure: PaperFigure, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The PDF; every text drawn in it (not all there is: ticks beyond the limits are kept) is 6 pt or more, on the
    canvas."""
    found: list[tuple[Text, Bbox, Bbox]] = []
    draw = Text.draw

    def record(text: Text, renderer: Any) -> None:
        if text.get_text().strip() and text.get_visible():
            found.append((text, text.get_window_extent(renderer), figure.figure.bbox.frozen()))
        draw(text, renderer)

    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", record)
        pdf = figure.pdf()
    assert found
    for text, box, canvas in found:
        assert text.get_fontsize() >= 6, text
        slack = 0.5  # points, as which a PDF is drawn
        assert box.x0 >= canvas.x0 - slack, f"{text} sticks out at the left"
        assert box.x1 <= canvas.x1 + slack, f"{text} sticks out at the right"
        assert box.y0 >= canvas.y0 - slack, f"{text} sticks out at the bottom"
        assert box.y1 <= canvas.y1 + slack, f"{text} sticks out at the top"
    return pdf
