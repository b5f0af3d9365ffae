from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from mgkit.errors import MgkitError
from mgkit.results.compare import published
from mgkit.results.compare.methods import method_table
from mgkit.results.compare.runs import compare_runs
from mgkit.results.stats.metrics import evaluate, per_class
from mgkit.views import figures
from mgkit.views.figures.tables import latex_escaped
from tests.results.fake_run import fake_clips, fake_run
from tests.views.widgets.conftest import FUSED, POSE, RGB, made_run

ODD = ("rub_hands & 50% {x}", "touch #chin~^ $5 \\ <b>", "cover [face] | *")


def check_latex(text: str) -> None:
    """Balanced, every special character escaped, as many cells in each row as the preamble has columns."""
    bare = re.sub(r"\\[\\&%$#_{}]", "", text)
    assert bare.count("{") == bare.count("}")
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert bare.count("$") % 2 == 0
    assert not re.search(r"[%#_~^]", bare)
    rules = ("\\toprule", "\\midrule", "\\bottomrule")
    assert [line for line in text.splitlines() if line in rules] == list(rules)
    columns = len(re.search(r"@\{\}([lr]+)@\{\}", text)[1])  # type: ignore[index]
    rows = [line for line in text.splitlines() if line.endswith("\\\\")]
    assert rows
    for row in rows:
        assert len(re.sub(r"\\&", "", row).split("&")) == columns
        assert not row.startswith("["), "would be the length of the line above"


def tables(root: Path) -> dict[str, pd.DataFrame]:
    one = made_run(root / "one_a & b", {"fused": [1, 0, 0, 2, 1, 0, 1, 1]}, names=ODD)
    other = made_run(root / "other", {"rgb": RGB, "pose": POSE, "fused": FUSED}, names=ODD)
    study = pd.DataFrame(
        {"seeds": [2, 2], "top1": [0.5, 0.6], "top1_low": [0.4, 0.5], "top1_high": [0.6, 0.7],
         "top1_of_seeds": [[0.4, 0.6], [0.5, 0.7]], "macro_f1": [0.5, 0.5], "mean_class_accuracy": [0.1, 0.2],
         "against": [None, "RGB"], "gain": [float("nan"), 0.1], "gain_low": [float("nan"), 0.0],
         "gain_high": [float("nan"), 0.2], "p_seeds_holm": [float("nan"), 0.0001],
         "p_subjects_holm": [float("nan"), 0.2], "resampled": [None, "subjects"]},
        index=pd.Index(["RGB", "+ pose"], name="row"),
    )  # fmt: skip
    predictions = other.predictions()
    return {
        "runs": compare_runs([one, other]),
        "outputs": evaluate(other, train_labels=[0, 0, 1]),
        "classes": per_class(predictions.labels, predictions.predicted(), 3, ODD),
        "study": study,
    }


@pytest.mark.parametrize("kind", ["runs", "outputs", "classes", "study"])
def test_every_table_in_every_form(kind: str, tmp_path: Path) -> None:
    data = tables(tmp_path)[kind]
    made = figures.table(data)
    check_latex(made.latex())
    lines = made.markdown().splitlines()
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(made.header) + 1}
    assert len(lines) == len(data) + 2
    assert "(%)" in made.latex().replace("\\%", "%")
    written = made.save(tmp_path / "out" / "table.tex")
    assert [path.name for path in written] == ["table.tex", "table.md", "table.csv"]
    first = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in figures.table(data).save(tmp_path / "again")] == first
    assert "&lt;b&gt;" in made._repr_html_() or kind != "classes"


def test_best_is_bold_with_ties_and_never_the_majority(tmp_path: Path) -> None:
    data = evaluate(made_run(tmp_path / "run", {"rgb": RGB, "pose": POSE, "fused": FUSED}), train_labels=[0])
    data.loc["majority", "top1"] = 1.0
    data.loc["rgb", "top1"] = data.loc["fused", "top1"] + 1e-6
    made = figures.table(data)
    column = made.header.index("Top-1 (%)")
    assert {i for i, j in made.bold if j == column} == {0, 2}
    assert made.latex().count("\\textbf{75.0 {[}") == 2


def test_what_is_no_table_of_results_is_refused() -> None:
    with pytest.raises(MgkitError, match="no row"):
        figures.table(pd.DataFrame())
    with pytest.raises(MgkitError, match="columns x is not known"):
        figures.table(pd.DataFrame({"x": [1]}))


def test_every_special_character_is_escaped() -> None:
    assert latex_escaped("a_b & 5% #1") == r"a\_b \& 5\% \#1"
    assert latex_escaped("[x]") == "{[}x{]}"
    assert latex_escaped("two\n\nlines") == "two  lines", "an empty line ends a cell"


# ---------------------------------------------------------------------------------------------------------------------
# Methods

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
    assert made.text(400).count("\n---") == 2
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
