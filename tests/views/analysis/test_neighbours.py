"""The clip beside a clip, against a plain search."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.views.analysis import exemplar, nearest_correct


@pytest.mark.parametrize("pathway", [None, "rgb", "pose"])
def test_nearest_correct_against_a_search(make_run: Callable[..., Run], pathway: str | None) -> None:
    run = make_run(5)
    predictions, embeddings = run.predictions(), run.embeddings()
    right = dict(zip(predictions.clip_ids, predictions.correct(pathway), strict=True))
    label = dict(zip(predictions.clip_ids, predictions.labels, strict=True))
    names = ["rgb", "pose"] if pathway is None else [pathway]
    vectors = {name: dict(zip(embeddings.clip_ids, embeddings.of(name), strict=True)) for name in names}

    def distance(a: str, b: str) -> float:
        each = []
        for name in names:
            u, v = vectors[name][a].astype(float), vectors[name][b].astype(float)
            each.append(1 - u @ v / np.linalg.norm(u) / np.linalg.norm(v))
        return float(np.mean(each))

    checked = 0
    for clip_id in predictions.clip_ids:
        others = [i for i in predictions.clip_ids if i != clip_id and right[i] and label[i] == label[clip_id]]
        if not others:
            with pytest.raises(MgkitError, match="no other clip of"):
                nearest_correct(predictions, embeddings, clip_id, pathway)
            continue
        found = nearest_correct(predictions, embeddings, clip_id, pathway)
        assert found.clip_id == min(others, key=lambda other, at=clip_id: distance(at, other))
        assert found.distance == pytest.approx(distance(clip_id, found.clip_id), abs=1e-6)
        checked += 1
    assert checked > 10


def test_exemplar_against_a_search(make_run: Callable[..., Run]) -> None:
    run = make_run(5)
    predictions = run.predictions()
    own = (predictions.own["rgb"] + predictions.own["pose"]) / 2
    for at, clip_id in enumerate(predictions.clip_ids):
        hits = predictions.kinds(None, int(predictions.labels[at])) == "TP"
        hits[at] = False
        if not hits.any():
            continue
        found = exemplar(predictions, clip_id)
        assert found.distance == pytest.approx(own[hits].min())
        assert hits[predictions.clip_ids.index(found.clip_id)]


def test_what_is_missing_is_said(make_run: Callable[..., Run]) -> None:
    run = make_run(5, prototypes=False)
    predictions = run.predictions()
    with pytest.raises(MgkitError, match="no distances to prototypes"):
        exemplar(predictions, predictions.clip_ids[0])
    with pytest.raises(MgkitError, match="no clip 'nobody'"):
        exemplar(predictions, "nobody")
    with pytest.raises(MgkitError, match="no clip 'nobody'"):
        nearest_correct(predictions, run.embeddings(), "nobody")
