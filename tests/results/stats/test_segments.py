"""Scores of segments against slow loops written from their definitions, and cases worked out by hand."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mgkit.data.clips import Classes, write_clip_folder
from mgkit.errors import MgkitError
from mgkit.results.stats import segments
from tests.tiny import TRIANGLE, tiny_row


def table(*rows: tuple[object, ...]) -> pd.DataFrame:
    """Segments of one video "v", or of the one a row ends with: (start, end, class, score[, video])."""
    full = [(*row, *(1.0, "v")[len(row) - 3 :]) for row in rows]
    return pd.DataFrame(full, columns=["start", "end", "class", "score", "video"])


EMPTY = table()


def drawn(seed: int, classes: int = 3, videos: int = 2) -> tuple[pd.DataFrame, pd.DataFrame]:
    """True segments, and answers that are moved, repeated, missing and made up; scores have ties."""
    rng = np.random.default_rng(seed)
    truth, answers = [], []
    for video in range(videos):
        for _ in range(rng.integers(0, 7)):
            start, length, label = rng.uniform(0, 8), rng.uniform(0.4, 3), int(rng.integers(classes))
            truth.append((start, start + length, label, 1.0, f"v{video}"))
            for _ in range(rng.integers(0, 3)):
                a, b = np.sort([start, start + length] + rng.normal(0, 0.3, 2))
                answers.append((a, b + 0.1, label, round(rng.uniform(), 1), f"v{video}"))
        for _ in range(rng.integers(0, 4)):
            start = rng.uniform(0, 10)
            answers.append(
                (start, start + 1, int(rng.integers(classes)), round(rng.uniform(), 1), f"v{video}")
            )
    rng.shuffle(answers)
    return table(*truth), table(*answers)


Row = dict[str, Any]


def every(segments: pd.DataFrame) -> list[Row]:
    return [{**row, "at": at} for at, row in enumerate(segments.to_dict("records"))]


def iou_of(a: Row, b: Row) -> float:
    shared = max(0.0, min(a["end"], b["end"]) - max(a["start"], b["start"]))
    return float(shared / (max(a["end"], b["end"]) - min(a["start"], b["start"]) if shared else 1.0))


def rows_of(segments: pd.DataFrame, video: object, label: object) -> list[Row]:
    return [row for row in every(segments) if row["video"] == video and row["class"] == label]


def kinds(*tables: pd.DataFrame) -> list[tuple[object, object]]:
    return list(
        product(
            sorted({v for t in tables for v in t["video"]}), sorted({c for t in tables for c in t["class"]})
        )
    )


def most_pairs(answers: list[Row], truths: list[Row], iou: float) -> int:
    """By trying every way to give each answer a truth or none."""
    if not answers:
        return 0
    first, rest = answers[0], answers[1:]
    best = most_pairs(rest, truths, iou)
    for i, truth in enumerate(truths):
        if iou_of(first, truth) >= iou:
            best = max(best, 1 + most_pairs(rest, truths[:i] + truths[i + 1 :], iou))
    return best


def confident_pairs(answers: list[Row], truths: list[Row], iou: float) -> list[bool]:
    """Whether each answer, the surest first, gets the free truth that it overlaps most."""
    free, right = list(truths), []
    for answer in answers:
        best = max(free, key=lambda truth: iou_of(answer, truth), default=None)
        right.append(best is not None and iou_of(answer, best) >= iou)
        if right[-1]:
            free = [truth for truth in free if truth is not best]
    return right


def by_score(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (-row["score"], row["at"]))


@pytest.mark.parametrize("seed", range(8))
def test_f1_agrees_with_trying_every_matching(seed: int) -> None:
    truth, answers = drawn(seed)
    for matching in ("maximum", "confidence"):
        found = segments.f1(truth, answers, matching=matching)
        assert found["iou"].tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]
        for _, row in found.iterrows():
            matched = 0
            for video, label in kinds(truth, answers):
                pair = rows_of(answers, video, label), rows_of(truth, video, label)
                if matching == "maximum":
                    matched += most_pairs(*pair, row["iou"])
                else:
                    matched += sum(confident_pairs(by_score(pair[0]), pair[1], row["iou"]))
            assert row["matched"] == matched
            assert row["truths"] == len(truth)
            assert row["answers"] == len(answers)
            assert row["precision"] == pytest.approx(matched / len(answers))
            if len(truth):
                assert row["recall"] == pytest.approx(matched / len(truth))
            assert row["f1"] == pytest.approx(2 * matched / (len(truth) + len(answers)))
        each = segments.f1(truth, answers, [0.3], matching=matching, by_class=True)
        assert each["matched"].sum() == found["matched"][2]
        assert sorted(each["class"]) == sorted({*truth["class"], *answers["class"]})


@pytest.mark.parametrize("seed", range(8))
def test_smg_f1_agrees_with_its_loop(seed: int) -> None:
    truth, answers = drawn(seed, classes=2)
    correct = 0
    for true in every(truth):
        for answer in every(answers):
            if (answer["video"], answer["class"]) != (true["video"], true["class"]):
                continue
            together = min(answer["end"], true["end"]) - max(answer["start"], true["start"])
            if together / (max(answer["end"], true["end"]) - min(answer["start"], true["start"])) > 0.3:
                correct += 1
                break
    found = segments.smg_f1(truth, answers)
    assert found["precision"] == pytest.approx(correct / len(answers))
    assert found["recall"] == pytest.approx(correct / len(truth) if len(truth) else np.nan, nan_ok=True)
    assert found["f1"] == pytest.approx(2 * correct / (len(truth) + len(answers)))


@pytest.mark.parametrize("seed", range(8))
def test_average_precision_agrees_with_the_area_under_the_curve(seed: int) -> None:
    truth, answers = drawn(seed)
    table = segments.average_precision(truth, answers)
    assert list(table.columns) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert sorted(table.index) == sorted(set(truth["class"])), "classes without truths have no precision"
    for label in table.index:
        truths = (truth["class"] == label).sum()
        for iou in table.columns:
            right = {}
            for video in set(answers["video"]):
                own = by_score(rows_of(answers, video, label))
                pairs = confident_pairs(own, rows_of(truth, video, label), iou)
                right |= {row["at"]: good for row, good in zip(own, pairs, strict=True)}
            ranked = [right[row["at"]] for row in by_score(every(answers)) if row["class"] == label]
            points = [(sum(ranked[:n]) / truths, sum(ranked[:n]) / n) for n in range(1, len(ranked) + 1)]
            area, before = 0.0, 0.0
            for recall, _ in points:
                area += (recall - before) * max(p for r, p in points if r >= recall)
                before = recall
            assert table.loc[label, iou] == pytest.approx(area)
    expected = table.to_numpy().mean() if len(table) else np.nan
    assert segments.mean_average_precision(truth, answers) == pytest.approx(expected, nan_ok=True)


def test_the_ways_of_matching_differ_where_they_should() -> None:
    # The surest answer takes the truth that the second needs; the other way round both find one.
    truth = table((0, 10, "a"), (10, 20, "a"))
    answers = table((5, 14.9, "a", 0.9), (1, 10, "a", 0.2))
    assert segments.f1(truth, answers, [0.3])["matched"].tolist() == [2]
    assert segments.f1(truth, answers, [0.3], matching="confidence")["matched"].tolist() == [1]
    # One long answer over two gestures: the script of SMG finds both with it, and its precision is 2.
    truth, answers = table((0, 1, "a"), (1, 2, "a")), table((0, 2, "a"))
    assert segments.smg_f1(truth, answers) == {"precision": 2, "recall": 1, "f1": pytest.approx(4 / 3)}
    assert segments.f1(truth, answers, [0.3])["f1"].tolist() == [pytest.approx(2 / 3)]


def test_duplicates_touching_segments_and_other_classes_are_wrong_answers() -> None:
    truth = table((1, 2, "a"), (2, 3, "b"))
    twice = table((1, 2, "a", 0.9), (1, 2, "a", 0.8))
    assert segments.f1(truth, twice, [0.5]).iloc[0].to_dict() == pytest.approx(
        {"iou": 0.5, "truths": 2, "answers": 2, "matched": 1, "precision": 0.5, "recall": 0.5, "f1": 0.5}
    )
    assert segments.average_precision(truth, twice, [0.5]).to_dict() == {0.5: {"a": 1.0, "b": 0.0}}
    late = table((1, 2, "a", 0.8), (5, 6, "a", 0.9))
    assert segments.average_precision(truth, late, [0.5]).loc["a", 0.5] == 0.5
    for other in (table((2, 3, "a")), table((0, 1, "a")), table((1, 2, "b")), table((1, 2, "a", 1.0, "w"))):
        assert segments.f1(truth, other, [0.01])["matched"].tolist() == [0]
        assert segments.smg_f1(truth, other, 0.01)["f1"] == 0


def test_nothing_true_or_nothing_answered() -> None:
    some = table((0, 1, "a"))
    for truth, answers, expected in (
        (some, EMPTY, {"precision": np.nan, "recall": 0, "f1": 0}),
        (EMPTY, some, {"precision": 0, "recall": np.nan, "f1": 0}),
        (EMPTY, EMPTY, {"precision": np.nan, "recall": np.nan, "f1": np.nan}),
    ):
        found = segments.f1(truth, answers)
        assert len(found) == 5
        assert found[["precision", "recall", "f1"]].iloc[0].to_dict() == pytest.approx(expected, nan_ok=True)
        assert segments.smg_f1(truth, answers) == pytest.approx(expected, nan_ok=True)
    assert segments.mean_average_precision(some, EMPTY) == 0
    assert np.isnan(segments.mean_average_precision(EMPTY, some))
    assert segments.f1(EMPTY, EMPTY, by_class=True).empty


def test_an_iou_of_exactly_the_threshold_is_reached_and_is_not_above_it() -> None:
    for fps in (24, 25, 29.97, 30):  # 3 of 10 frames
        truth, answer = table((100 / fps, 110 / fps, "a")), table((100 / fps, 103 / fps, "a"))
        assert segments.f1(truth, answer, [0.3])["matched"].tolist() == [1]
        assert segments.smg_f1(truth, answer)["f1"] == 0


def test_kappa_agrees_with_its_formula_frame_by_frame() -> None:
    truth, answers = drawn(3)
    lengths, fps = {"v0": 12.0, "v1": 11.0, "empty": 2.0}, 10.0
    found = segments.kappa(truth, answers, lengths, fps).set_index("class")
    assert list(found.index[:1]) == ["all classes"]

    def frames(segments: list[Row], label: object | None) -> list[object]:
        answer: list[object] = []
        for video, seconds in lengths.items():
            for frame in range(round(seconds * fps)):
                middle = (frame + 0.5) / fps
                over = [
                    row for row in segments
                    if row["video"] == video and row["start"] <= middle < row["end"]
                ]  # fmt: skip
                if label is None:
                    top = max(over, key=lambda row: (row["score"], row["start"]), default=None)
                    answer.append(None if top is None else top["class"])
                else:
                    answer.append(any(row["class"] == label for row in over))
        return answer

    for label in (None, 0, 1, 2):
        one, other = frames(every(truth), label), frames(every(answers), label)
        agreed = np.mean([a == b for a, b in zip(one, other, strict=True)])
        chance = sum((one.count(x) / len(one)) * (other.count(x) / len(other)) for x in {*one, *other})
        row = found.loc["all classes" if label is None else label]
        assert row["kappa"] == pytest.approx((agreed - chance) / (1 - chance))
        assert row["agreement"] == pytest.approx(agreed)
        assert row["frames"] == 250
        assert row["first"] == sum(bool(x) if label is not None else x is not None for x in one)
        assert row["second"] == sum(bool(x) if label is not None else x is not None for x in other)


def test_kappa_by_hand() -> None:
    one = table((0, 1, "a"), (1, 2, "b"))
    same = segments.kappa(one, one, {"v": 4.0})
    assert same["class"].tolist() == ["all classes", "a", "b"]
    assert same["kappa"].tolist() == [1, 1, 1]
    assert same["first"].tolist() == [50, 25, 25], "touching segments share no frame"
    nobody = segments.kappa(EMPTY, EMPTY, {"v": 4.0})
    assert nobody["agreement"].tolist() == [1]
    assert np.isnan(nobody["kappa"][0]), "both never saw anything: there is no chance to beat"
    # A whole gesture of one second missed in four.
    missed = segments.kappa(one, one[:1], {"v": 4.0}).set_index("class")
    assert missed.loc["b", "kappa"] == 0
    assert missed.loc["all classes", "agreement"] == 0.75


def test_the_truth_of_clips_is_in_the_seconds_of_predictions(tmp_path: Path) -> None:
    spans = [
        ("b1", 0, "b", 50, 75, 25.0),
        ("b0", 1, "b", 0, 10, 25.0),
        ("n", 2, "b", 90, 99, 25.0),
        ("a0", 0, "a", 30, 60, 30.0),
    ]
    rows = [
        tiny_row(
            name, label, source=f"{video}.mp4", start=start, end=end, frames=end - start, fps=fps, persons=0
        )
        for name, label, video, start, end, fps in spans
    ]
    clips = write_clip_folder(
        tmp_path, rows, [None] * 4, Classes(("nod", "wave", "nothing"), background=2), TRIANGLE
    )
    assert segments.truth(clips).to_numpy().tolist() == [
        ["a.mp4", 1.0, 2.0, "nod"], ["b.mp4", 0.0, 0.4, "wave"], ["b.mp4", 2.0, 3.0, "nod"],
    ]  # fmt: skip
    clips.table["fps"] = [25.0, 0.0, 0.0, 30.0]
    with pytest.raises(MgkitError, match="of b0, b1 are not known"):
        segments.truth(clips)


def test_wrong_tables_are_named() -> None:
    good = table((0, 1, "a"))
    with pytest.raises(MgkitError, match="answers lacks the column score"):
        segments.average_precision(good, good.drop(columns="score"))
    with pytest.raises(MgkitError, match="truth row 1: the segment of v starts at 3 s and ends at 3 s"):
        segments.f1(table((0, 1, "a"), (3, 3, "a")), good)
    with pytest.raises(MgkitError, match="truth row 0: end is 'x', not a number"):
        segments.f1(good.astype(object).assign(end="x"), good)
    with pytest.raises(MgkitError, match="truth row 0: the video or the class is empty"):
        segments.f1(good.assign(video=None), good)
    with pytest.raises(MgkitError, match="numbers above 0 and up to 1"):
        segments.f1(good, good, [0.0])
    with pytest.raises(MgkitError, match="matching is 'greedy'"):
        segments.f1(good, good, matching="greedy")  # type: ignore[arg-type]
    with pytest.raises(MgkitError, match="second has segments of w"):
        segments.kappa(good, table((0, 1, "a", 1.0, "w")), {"v": 1.0})
    with pytest.raises(MgkitError, match="first: a segment of v ends at 1 s, the video at 0.5 s"):
        segments.kappa(good, good, {"v": 0.5})
