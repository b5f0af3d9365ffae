from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from mgkit.errors import MgkitError
from mgkit.results.compare.runs import compare_runs
from mgkit.results.stats.metrics import evaluate, per_class
from mgkit.views import figures
from mgkit.views.figures.tables import latex_escaped
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
