from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest

from mgkit.errors import MgkitError
from mgkit.results.compare import published
from mgkit.results.compare.published import IMIGUE_TEST_CLIPS, within_noise
from tests.conftest import SHARED


def test_the_gap_of_the_first_two_of_2024_is_within_noise() -> None:
    found = within_noise(0.70254, 0.70188)
    assert (found.right_a, found.right_b, found.gap, found.n) == (3205, 3202, 3, 4562)
    assert found.verdict == "within noise"
    assert found.p_least == pytest.approx(2 / 2**3)  # three clips, all one way
    assert found.p_most == pytest.approx(mcnemar([[0, 1360], [1357, 0]], exact=True).pvalue)
    assert found.significant_up_to is None
    assert found.low < 0 < found.high
    assert "3 clips of 4,562" in found.sentence("A", "B")
    assert found.sentence("A", "B").startswith("A (70.254 %) and B (70.188 %) are")


def test_every_printed_number_is_a_whole_number_of_the_test_clips() -> None:
    table = published.table()
    assert table.index.is_unique
    for printed in table["printed"]:
        digits = len(printed.partition(".")[2])
        # a leaderboard cuts digits off where a paper rounds them
        shares = 100 * np.arange(IMIGUE_TEST_CLIPS + 1) / IMIGUE_TEST_CLIPS - float(printed)
        fits = np.flatnonzero((shares > -0.51 * 0.1**digits) & (shares < 0.1**digits))
        assert fits.tolist() == [round(float(printed) / 100 * IMIGUE_TEST_CLIPS)]
    assert (table["clips"] == 4562).all()
    assert table["source"].ne("").all()


def test_the_papers_table_is_all_there() -> None:
    path = SHARED / "design" / "paper.txt"
    if not path.is_file():
        pytest.skip("the paper's text is not beside this checkout")
    text = path.read_text(encoding="utf-8").replace("\xa0", " ")
    rows = text[text.index("Table 2:") : text.index("As shown in Table 2")].splitlines()[2:]
    printed = [found[1] for row in rows if (found := re.search(r"(\d+\.\d+)$", row.strip()))]
    ours = published.table()
    ours = ours[ours["source"].str.contains("Table 2|Tables 1 and 2")]
    assert printed == [f"{float(value):.2f}" for value in ours["printed"]]
    for name, row in zip(ours.index, rows, strict=False):
        assert ours.loc[name, "modality"].startswith("RGB") == (" RGB" in row)
        assert ("Skeleton" in ours.loc[name, "modality"]) == ("Skeleton" in row)
    board = re.findall(
        r"^\d (\S+).*? (\d+\.\d+)$", text[text.index("Table 1:") : text.index("Table 2:")], re.M
    )
    assert [value for _, value in board] == ["70.254", "70.188", "68.917"]
    assert {value for _, value in board} <= set(published.table()["printed"])


@pytest.mark.parametrize(
    ("a", "b", "n"), [(7, 5, 10), (9, 2, 12), (4, 4, 9), (10, 0, 10), (0, 0, 3), (6, 1, 8)]
)
def test_the_range_of_mcnemar_by_trying_every_table(a: int, b: int, n: int) -> None:
    """Every 2 x 2 table with these totals, by statsmodels."""
    found = within_noise(a / n, b / n, n)
    tried = {}
    for both in range(min(a, b) + 1):
        only_a, only_b, neither = a - both, b - both, n - a - b + both
        if neither >= 0:
            table = [[both, only_a], [only_b, neither]]
            tried[only_a + only_b] = min(1.0, mcnemar(table, exact=True).pvalue) if only_a + only_b else 1.0
    assert (found.least, found.most) == (min(tried), max(tried))
    assert found.p_least == pytest.approx(tried[found.least])
    assert found.p_most == pytest.approx(tried[found.most])
    assert found.p_least == pytest.approx(min(tried.values()))
    assert found.p_most == pytest.approx(max(tried.values()))
    significant = [count for count, p in tried.items() if p < 0.05]
    assert found.significant_up_to == (max(significant) if significant else None)
    want = (
        "within noise"
        if not significant
        else "beyond noise"
        if len(significant) == len(tried)
        else "undetermined"
    )
    assert found.verdict == want


@pytest.mark.parametrize(("a", "b", "n"), [(3205, 3202, 4562), (2925, 2875, 4562), (40, 20, 60), (9, 1, 10)])
def test_the_unpaired_interval_and_p(a: int, b: int, n: int) -> None:
    found = within_noise(a / n, b / n, n)
    low, high = confint_proportions_2indep(a, n, b, n, method="newcomb", compare="diff")
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.p_unpaired == pytest.approx(proportions_ztest([a, b], [n, n])[1])


def test_the_three_verdicts_and_their_sentences() -> None:
    assert within_noise(0.6412, 0.6302).verdict == "undetermined"
    sentence = within_noise(0.6412, 0.6302).sentence("Li", "EHCT")
    assert "50 clips" in sentence
    found = re.search(r"at most (\d+) clips", sentence)
    assert found
    broken = (int(found[1]) - 50) // 2
    assert mcnemar([[0, broken + 50], [broken, 0]], exact=True).pvalue < 0.05
    assert mcnemar([[0, broken + 51], [broken + 1, 0]], exact=True).pvalue > 0.05
    assert within_noise(0.70254, 0.6111).verdict == "beyond noise"
    assert "beyond noise" in within_noise(0.70254, 0.6111).sentence()
    assert within_noise(0.5, 0.5 + 1 / 4562).sentence().count("1 clip of") == 1
    assert "there is no gap" in within_noise(0.4956, 0.4956).sentence()
    assert (within_noise(1.0, 1.0, 5).p_unpaired, within_noise(1.0, 1.0, 5).p_most) == (1, 1)


def test_all_pairs_in_a_table() -> None:
    table = published.noise()
    methods = len(published.table())
    assert len(table) == methods * (methods - 1) // 2
    assert (np.diff(table["clips"]) >= 0).all()
    assert (table["clips"] >= 0).all()
    row = table[table["sentence"].str.contains("70.254") & table["sentence"].str.contains("70.188")]
    assert row["verdict"].tolist() == ["within noise"]
    assert row["significant_up_to"].isna().all()
    near = published.noise(neighbours=True)
    assert len(near) == methods - 1
    assert near["gap"].sum() == pytest.approx(
        within_noise(published.table()["top1"].max(), published.table()["top1"].min()).gap / IMIGUE_TEST_CLIPS
    )
    own = published.noise(pd.DataFrame({"top1": [0.5, 0.9]}, index=["x", "y"]), n=10)
    assert own.loc[0, "better"] == "y"
    assert len(published.noise(published.table().head(1))) == 0


def test_what_is_no_accuracy_is_refused() -> None:
    with pytest.raises(MgkitError, match=r"a is 70\.254.*divide per cent by 100"):
        within_noise(70.254, 70.188)
    with pytest.raises(MgkitError, match="b is nan"):
        within_noise(0.5, float("nan"))
    with pytest.raises(MgkitError, match="n is 0"):
        within_noise(0.5, 0.5, 0)
    with pytest.raises(MgkitError, match="x has no Top-1"):
        published.noise(pd.DataFrame({"top1": [np.nan, 0.9]}, index=["x", "y"]))
    with pytest.raises(MgkitError, match="each method once"):
        published.noise(pd.DataFrame({"top1": [0.5, 0.9]}, index=["x", "x"]))
