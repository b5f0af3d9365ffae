"""Windows to segments, and thresholds chosen on validation videos."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from mgkit.data.table import Classes
from mgkit.errors import MgkitError
from mgkit.results.scores import spotting
from mgkit.results.scores.spotting import Rule, Windows
from mgkit.results.stats import segments

NAMES = ("rest", "nod", "wave")


def windows(
    *scores: list[float], step: float = 0.1, video: str = "v", times: list[float] | None = None
) -> Windows:
    """Windows of (W, K) scores, every `step` seconds, the first in the middle of the first step."""
    each = np.array(scores, float).reshape(-1, len(NAMES))
    middles = step * (np.arange(len(each)) + 0.5) if times is None else np.array(times)
    return Windows(video, middles, each, step)


def of_nod(*scores: float, **options: object) -> Windows:
    """Windows in which the rest is sure of what "nod" is not."""
    return windows(*([1 - score, score, 0] for score in scores), **options)  # type: ignore[arg-type]


def spans(found: pd.DataFrame) -> list[tuple[float, float]]:
    return [(round(a, 6), round(b, 6)) for a, b in zip(found["start"], found["end"], strict=True)]


PLAIN = Rule(NAMES, skip=("rest",), smooth=1)


def test_windows_above_the_threshold_become_segments() -> None:
    found = PLAIN.segments(of_nod(0, 0.5, 0.9, 0.7, 0.4, 0, 0, 0, 0, 0.6, 0.6, 0.6))
    assert spans(found) == [(0.1, 0.4), (0.9, 1.2)]
    assert found["class"].tolist() == ["nod", "nod"]
    assert found["video"].tolist() == ["v", "v"]
    assert found["score"].tolist() == pytest.approx([0.7, 0.6])
    assert PLAIN.segments(of_nod(0, 0, 0)).columns.tolist() == ["video", "start", "end", "class", "score"]


def test_gaps_under_the_limit_are_joined_and_short_segments_dropped() -> None:
    gap_of_2 = of_nod(0.9, 0.9, 0, 0, 0.9, 0.9)
    gap_of_3 = of_nod(0.9, 0.9, 0, 0, 0, 0.9, 0.9)
    assert spans(PLAIN.segments(gap_of_2)) == [(0, 0.6)]
    assert spans(PLAIN.segments(gap_of_3)) == [(0, 0.2), (0.5, 0.7)], "0.3 s are not under 0.3 s"
    assert PLAIN.segments(gap_of_2)["score"].tolist() == pytest.approx([0.9]), "of the windows above alone"
    assert spans(PLAIN.segments(of_nod(0, 0.9, 0, 0, 0, 0, 0.9, 0.9))) == [(0.6, 0.8)]
    assert spans(PLAIN.segments(of_nod(0.9, 0, 0.9))) == [(0, 0.3)], "joined first, then too short or not"
    strict = Rule(NAMES, skip=("rest",), smooth=1, join=0, shortest=0)
    assert spans(strict.segments(of_nod(0.9, 0, 0.9, 0.9))) == [(0, 0.1), (0.2, 0.4)]


def test_windows_that_are_missing_belong_to_no_segment() -> None:
    found = PLAIN.segments(of_nod(0.9, 0.9, 0.9, 0.9, times=[0.05, 0.15, 2.05, 2.15]))
    assert spans(found) == [(0, 0.2), (2, 2.2)]
    smooth = of_nod(1, 0, 0, 1, times=[0.05, 0.15, 2.05, 2.15]).smoothed(3)
    assert smooth[:, 1].tolist() == pytest.approx([0.5, 0.5, 0.5, 0.5]), "no mean over the gap"


def test_smoothing_is_a_moving_mean() -> None:
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(3), 40)
    for over in (1, 3, 7):
        found = windows(*scores.tolist()).smoothed(over)
        for i in range(40):
            np.testing.assert_allclose(found[i], scores[max(0, i - over // 2) : i + over // 2 + 1].mean(0))


def test_windows_of_several_lengths_are_averaged() -> None:
    both = of_nod(0.2, 0.8, 0.6, 0.6, times=[0.15, 0.05, 0.05, 0.15])
    assert both.times.tolist() == [0.05, 0.15]
    assert both.scores[:, 1].tolist() == pytest.approx([0.7, 0.4])


def test_a_window_counts_for_its_most_probable_class_unless_classes_may_overlap() -> None:
    both = windows(*[[0.1, 0.5, 0.4]] * 3, *[[0.1, 0.4, 0.5]] * 3)
    low = {"nod": 0.3, "wave": 0.3}
    one = Rule(NAMES, low, skip=("rest",), smooth=1).segments(both)
    assert list(zip(one["class"], spans(one), strict=True)) == [("nod", (0, 0.3)), ("wave", (0.3, 0.6))]
    two = Rule(NAMES, low, skip=("rest",), smooth=1, exclusive=False).segments(both)
    assert sorted(zip(two["class"], spans(two), strict=True)) == [("nod", (0, 0.6)), ("wave", (0, 0.6))]
    # A skipped class does not compete: whether a window is rest is for the threshold to say.
    assert spans(Rule(NAMES, low, skip=("rest",), smooth=1).segments(of_nod(0.4, 0.4, 0.4))) == [(0, 0.3)]


def made(seed: int, videos: int = 3) -> tuple[list[Windows], pd.DataFrame]:
    """Windows with noise and the true segments beneath them."""
    rng = np.random.default_rng(seed)
    given, truth = [], []
    for video in range(videos):
        label = np.zeros(300, int)
        for start in range(10, 280, 30):
            kind, length = int(rng.integers(1, 3)), int(rng.integers(5, 20))
            label[start : start + length] = kind
            truth.append((f"v{video}", start / 10, (start + length) / 10, NAMES[kind]))
        logits = rng.normal(0, 0.9, (300, 3)) + 2 * np.eye(3)[label]
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        given.append(windows(*p.tolist(), video=f"v{video}"))
    return given, pd.DataFrame(truth, columns=["video", "start", "end", "class"])


@pytest.mark.parametrize("seed", range(3))
def test_chosen_thresholds_have_the_highest_f1_of_the_grid(seed: int) -> None:
    given, truth = made(seed, videos=2)
    grid = [0.2, 0.4, 0.6, 0.8]
    rule = Rule(NAMES, skip=("rest",))
    chosen = spotting.choose(given, truth, rule, grid=grid, fewest=1)

    def score(rule: Rule) -> float:
        answers = pd.concat([rule.segments(one) for one in given])
        return float(segments.f1(truth, answers, [0.3])["f1"][0])

    tried = {
        pair: score(Rule(NAMES, dict(zip(NAMES[1:], pair, strict=True)), skip=("rest",)))
        for pair in product(grid, repeat=2)
    }
    assert chosen.f1 == pytest.approx(max(tried.values()))
    assert score(chosen.rule) == pytest.approx(chosen.f1), "what it promises is what its segments get"
    assert chosen.f1_common == pytest.approx(max(tried[t, t] for t in grid))
    assert chosen.own == ("nod", "wave")
    assert "2 videos of 'val'" in repr(chosen)


def test_classes_with_few_segments_share_the_common_threshold() -> None:
    given, truth = made(1)
    rare = truth[(truth["class"] == "nod") | (truth["video"] == "none")]
    chosen = spotting.choose(given, rare, Rule(NAMES, skip=("rest",)))
    assert chosen.own == ("nod",)
    assert chosen.rule.threshold("wave") == chosen.common
    alone = spotting.choose(given, truth, Rule(NAMES, skip=("rest",)), fewest=1000)
    assert alone.own == ()
    assert alone.f1 == alone.f1_common


def test_of_equal_thresholds_the_middle_one_is_taken() -> None:
    sure = of_nod(*[0] * 5, *[0.9] * 5, *[0] * 5)
    truth = pd.DataFrame([("v", 0.5, 1.0, "nod")], columns=["video", "start", "end", "class"])
    chosen = spotting.choose([sure], truth, PLAIN, fewest=1)
    assert chosen.f1 == 1
    assert chosen.rule.threshold("nod") == 0.45  # 0.05 to 0.9 are as good


def test_thresholds_are_never_chosen_on_test_videos() -> None:
    given, truth = made(0)
    for split in ("test", "official_test", "eval"):
        with pytest.raises(MgkitError, match=f"validation videos, not on '{split}'"):
            spotting.choose(given, truth, PLAIN, split)


def test_a_background_class_is_skipped() -> None:
    rule = Rule.of(Classes(NAMES, background=0), smooth=1)
    assert rule == Rule(NAMES, skip=("rest",), smooth=1)
    assert Rule.of(Classes(NAMES)).skip == ()


def test_what_does_not_go_together_is_named() -> None:
    given, truth = made(0)
    with pytest.raises(MgkitError, match="truth has segments of v2, of which there are no windows"):
        spotting.choose(given[:2], truth, PLAIN)
    with pytest.raises(MgkitError, match="segments of Nod, which are not classes of the rule"):
        spotting.choose(given, truth.replace("nod", "Nod"), PLAIN)
    with pytest.raises(MgkitError, match="windows of v0 are given twice"):
        spotting.choose([*given, given[0]], truth, PLAIN)
    with pytest.raises(MgkitError, match="no segment of nod, wave"):
        spotting.choose(given, truth[:0], PLAIN)
    with pytest.raises(MgkitError, match="there is no class 'Nod': did you mean 'nod'"):
        Rule(NAMES, skip=("Nod",))
    with pytest.raises(MgkitError, match="no threshold for wave"):
        Rule(NAMES, {"nod": 0.5}, skip=("rest",))
    with pytest.raises(MgkitError, match="smooth is 2"):
        Rule(NAMES, smooth=2)
    with pytest.raises(MgkitError, match="v: scores over 3 classes for a rule of 2"):
        Rule(NAMES[:2]).segments(given[0].__class__("v", given[0].times, given[0].scores, 0.1))
    with pytest.raises(MgkitError, match="v: scores outside 0 to 1"):
        windows([2, 0, 0])
