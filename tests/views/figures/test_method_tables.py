from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from mgkit.results.compare import published
from mgkit.results.compare.methods import method_table
from mgkit.views import figures
from tests.views.figures.test_tables import check_latex

METRICS = ("top1", "macro_f1", "mean_class_accuracy")


def methods(p_holm: list[float | None], top1: list[float], **columns: list[object]) -> pd.DataFrame:
    """A table as `method_table` returns it: the first method is the best, the last row is constant."""
    count = len(top1)
    data = pd.DataFrame(index=pd.Index([f"net {i} & co_{i}" for i in range(count)], name="method"))
    data["modality"], data["source"], data["tested_on"] = "RGB", "tested here", "other data"
    data["seeds"], data["clips"], data["interval_over"] = 1, 200, "subjects"
    for name in METRICS:
        data[name], data[f"{name}_low"], data[f"{name}_high"] = (
            top1,
            [v - 0.1 for v in top1],
            [v + 0.1 for v in top1],
        )
        data[f"{name}_spread"] = float("nan")
    for name in ("parameters", "flops", "clips_per_second", "gain"):
        data[name] = float("nan")
    data["measured_on"], data["test"] = None, "McNemar exact"
    data["p"] = data["p_holm"] = pd.Series(p_holm, data.index, dtype=float)
    data.loc[data["p"].notna(), "gain"] = -0.1
    data["against"] = [None if pd.isna(p) else data.index[data["p"].isna()][0] for p in data["p"]]
    for name, values in columns.items():
        data[name] = values
    return data.astype(dict.fromkeys(("seeds", "clips", "parameters", "flops"), "Int64"))


def test_bold_is_only_what_differs_from_all_others() -> None:
    made = figures.table(methods([None, 0.01, 0.04], [0.8, 0.7, 0.6]))
    assert made.bold == {(0, 2)}
    assert "\\textbf{80.0} {\\scriptsize {[}70.0, 90.0{]}}" in made.latex()
    assert "Bold: a best Top-1" in made.note
    made = figures.table(methods([None, 0.2, 0.04], [0.8, 0.7, 0.6]))
    assert not made.bold
    assert "None is bold: net 0 & co_0 does not differ significantly (0.05) from net 1 & co_1." in made.note
    # against another baseline than the best nothing is claimed of the best
    made = figures.table(methods([0.01, None], [0.8, 0.7]))
    assert not made.bold
    assert "bold" not in made.note.lower()
    alone = figures.table(methods([None], [0.8]))
    assert not alone.bold
    assert "p (Holm)" not in alone.header


def test_costs_are_shown_where_measured_and_missing_ones_named() -> None:
    nothing = figures.table(methods([None, 0.1], [0.8, 0.7]))
    assert not {"Parameters (M)", "GFLOPs", "Clips/s"} & set(nothing.header)
    assert "Cost not measured (mg.measure): net 0 & co_0, net 1 & co_1." in nothing.note
    some = methods(
        [None, 0.1, 0.2], [0.8, 0.7, 0.6], parameters=[38_711_744, None, 12_000],
        flops=[120_895_078_400, None, 5 * 10**8],
        clips_per_second=[3.14159, None, 1234.5], measured_on=["cpu, 2 threads", None, "cpu, 2 threads"],
    )  # fmt: skip
    made = figures.table(some)
    at = made.header.index("Parameters (M)")
    assert [row[at : at + 3] for row in made.rows] == [
        ["38.7", "121", "3.14"],
        ["-"] * 3,
        ["0.0120", "0.50", "1234"],
    ]
    assert "the network alone, one view, on cpu, 2 threads." in made.note
    assert "Cost not measured (mg.measure): net 1 & co_1." in made.note
    some.loc[some.index[2], "measured_on"] = "Tesla"
    assert "different conditions: net 0 & co_0 on cpu" in figures.table(some).note


def test_spread_interval_and_what_the_tests_cover() -> None:
    data = methods(
        [None, 0.3], [0.8, 0.7], seeds=[3, 3], test=["subjects and seeds"] * 2, top1_spread=[0.02, 0.03]
    )
    made = figures.table(data)
    assert made.rows[0][made.header.index("Seeds")] == "3"
    assert "80.0 ± 2.0 [70.0, 90.0]" in made.text()
    assert "80.0 ± 2.0 \\[70.0, 90.0\\]" in made.markdown()
    assert "<small>± 2.0 [70.0, 90.0]</small>" in made._repr_html_()
    assert "the larger of a bootstrap over subjects and a t-test over seeds" in made.note
    assert "which the intervals do not cover" in made.note


@pytest.mark.parametrize("whole", [False, True])
def test_published_numbers_are_kept_apart(whole: bool) -> None:
    ours = methods([None, 0.01], [0.8, 0.7], tested_on=["iMiGUE test" if whole else "other data"] * 2)
    theirs = published.table()[["modality", "top1", "clips"]].tail(5)
    theirs = theirs.assign(source="published", tested_on="iMiGUE test", top1_low=0.6, top1_high=0.8)
    data = pd.concat([ours, theirs])
    data.index.name = "method"
    made = figures.table(data)
    assert made.rules == {2}
    check_latex(made.latex().replace("\\midrule\nC", "C", 1))
    assert made.latex().count("\\midrule") == 2
    assert made.text().count("\n---") == 2
    column = made.header.index("Top-1 (%)")
    assert made.rows[2][column : column + 3] == ["70.25", "-", "-"]
    assert made.bold == {(0, column)}, "never a published number, though one may be higher"
    assert "they were not measured here" in made.note
    assert ("cannot be compared with them" in made.note) != whole
    assert made._repr_html_().count("border-top") == 1


def test_parts_of_a_table_can_be_printed() -> None:
    theirs = published.table()[["modality", "top1", "clips"]].tail(2)
    theirs = theirs.assign(source="published", tested_on="iMiGUE test", top1_low=0.6, top1_high=0.8)
    whole = pd.concat([methods([None, 0.01, 0.4], [0.8, 0.7, 0.6]), theirs])
    whole.index.name = "method"
    alone = figures.table(whole.tail(2))
    assert alone.note.startswith("Published numbers")
    assert not alone.rules
    without = figures.table(whole.iloc[1:3])
    assert "p against net 0 & co_0: McNemar's exact test" in without.note
    assert not without.bold


def test_a_real_table_in_every_form(tmp_path: Path) -> None:
    from tests.results.fake_run import fake_clips, fake_run

    clips = fake_clips(tmp_path / "clips", 4, 10)
    runs = [fake_run(tmp_path / f"run_{i}", clips, epochs=1 + i, splits=("test",), seed=i) for i in range(2)]
    data = method_table(runs, published=True, draws=50)
    made = figures.table(data)
    latex = made.latex()
    assert latex.count("\\midrule") == 3
    rows = [line for line in latex.splitlines() if line.endswith("\\\\")]
    assert len(rows) == len(data) + 1
    assert {len(re.sub(r"\\&", "", row).split("&")) for row in rows} == {len(made.header)}
    lines = made.markdown().splitlines()
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(made.header) + 1}
    written = made.save(tmp_path / "table")
    assert "run_0" in written[2].read_text()
    assert len(pd.read_csv(written[2])) == len(data)
