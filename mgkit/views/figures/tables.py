"""Tables of results for a paper: LaTeX that needs booktabs and nothing else, Markdown, plain text, CSV."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mgkit.errors import MgkitError
from mgkit.files import atomic
from mgkit.results.comparison import SETTING_KINDS
from mgkit.views.figures.style import OUTPUT_NAMES

PERCENT = " (%)"
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "|": r"$|$",
    "–": "--", "—": "---", "±": r"$\pm$", "≥": r"$\geq$", "≤": r"$\leq$", "…": r"\ldots{}", "−": "$-$",
    "\n": " ", "\r": " ", "[": "{[}", "]": "{]}",  # after a row's \\ a bracket would be taken for a length
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class PaperTable:
    """A table as it is to be printed, and the numbers behind it. It shows itself in a notebook.

    Attributes:
        header: the column heads, units included.
        rows: the cells as text, one list a row, each as long as the header.
        bold: (row, column) of the cells in bold.
        text_columns: columns of words, which stand left; all others stand right.
        data: the numbers, which go to the CSV.
        note: what a reader must know; belongs in the caption.
    """

    header: list[str]
    rows: list[list[str]]
    bold: frozenset[tuple[int, int]]
    text_columns: frozenset[int]
    data: pd.DataFrame
    note: str = ""

    def latex(self) -> str:
        """A `tabular` with rules of booktabs (`\\usepackage{booktabs}`), all text escaped, best values in bold."""
        spec = "".join("l" if j in self.text_columns else "r" for j in range(len(self.header)))
        lines = [f"\\begin{{tabular}}{{@{{}}{spec}@{{}}}}", "\\toprule"]
        lines += [" & ".join(map(latex_escaped, self.header)) + " \\\\", "\\midrule"]
        for cells in self._marked(latex_escaped, "\\textbf{", "}"):
            lines.append(" & ".join(cells) + " \\\\")
        return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"

    def markdown(self) -> str:
        """A table for a page on GitHub and the like."""
        rules = ["---" if j in self.text_columns else "---:" for j in range(len(self.header))]
        lines = [
            list(map(_markdown_escaped, self.header)),
            rules,
            *self._marked(_markdown_escaped, "**", "**"),
        ]
        return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)

    def text(self) -> str:
        """For a terminal, in columns; best values carry a star."""
        lines = [self.header, *self._marked(lambda cell: cell, "", "*")]
        widths = [max(len(line[j]) for line in lines) for j in range(len(self.header))]
        out = []
        for line in lines:
            cells = [
                cell.ljust(width) if j in self.text_columns else cell.rjust(width)
                for j, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            out.append("  ".join(cells).rstrip())
        return "\n".join([out[0], "-" * max(map(len, out)), *out[1:]]) + "\n"

    def csv(self) -> str:
        """The numbers behind it."""
        return self.data.to_csv(index=False, float_format="%.6g", lineterminator="\n")

    def save(self, path: str | Path) -> list[Path]:
        """Write `<path>.tex`, `<path>.md` and `<path>.csv`, each whole or not at all; returns the three paths."""
        path = Path(path)
        stem = path.with_suffix("") if path.suffix.lower() in (".tex", ".md", ".csv") else path
        written = []
        for suffix, content in ((".tex", self.latex()), (".md", self.markdown()), (".csv", self.csv())):
            written.append(stem.with_name(stem.name + suffix))
            with atomic(written[-1]) as temporary:
                temporary.write_text(content, encoding="utf-8", newline="\n")
        return written

    def __repr__(self) -> str:
        return self.text() + (f"\n{self.note}\n" if self.note else "")

    def _repr_html_(self) -> str:
        def line(tag: str, cells: Sequence[str]) -> str:
            sides = ("left" if j in self.text_columns else "right" for j in range(len(cells)))
            return "".join(
                f'<{tag} style="text-align:{side}">{cell}</{tag}>'
                for side, cell in zip(sides, cells, strict=True)
            )

        body = "".join(f"<tr>{line('td', cells)}</tr>" for cells in self._marked(html.escape, "<b>", "</b>"))
        head = line("th", [html.escape(text) for text in self.header])
        note = f"<p><small>{html.escape(self.note)}</small></p>" if self.note else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"

    def _marked(self, escape: Callable[[str], str], before: str, after: str) -> list[list[str]]:
        return [
            [
                f"{before}{escape(cell)}{after}" if (i, j) in self.bold else escape(cell)
                for j, cell in enumerate(row)
            ]
            for i, row in enumerate(self.rows)
        ]


def table(data: pd.DataFrame) -> PaperTable:
    """The table to print of what `mg.compare_runs`, `mg.evaluate`, `per_class` or `mg.ablation_table` returned.

    Accuracies are in per cent to one decimal, with their 95 % interval in brackets; the best of a column is bold, and
    so is whatever is printed as the same number. Rows that are no result of a model (the majority class) are never the
    best.

    Raises:
        MgkitError: a table that is none of these, or has no row.
    """
    if not len(data):
        raise MgkitError("the table has no row: there is nothing to print.")
    kind = str(data.index.name)
    if kind in ("run", "row", "output") and "top1" in data:
        return _of_results(data, kind)
    if {"class", "support", "recall", "f1"} <= set(data.columns):
        return _of_classes(data)
    raise MgkitError(
        f"a table with the columns {', '.join(map(str, data.columns))} is not known: pass what mg.compare_runs, "
        "mg.evaluate, per_class or mg.ablation_table returned."
    )


def latex_escaped(text: str) -> str:
    """Text as LaTeX prints it, special characters included."""
    return "".join(_LATEX.get(character, character) for character in text)


def _markdown_escaped(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace("\r", " ").replace("\n", " ")
    return "".join(f"\\{c}" if c in "\\|*_`[]$~" else c for c in text)


class _Columns:
    """A table built column by column."""

    def __init__(self, count: int) -> None:
        self.count, self.header, self.columns = count, list[str](), list[list[str]]()
        self.bold, self.words = set[tuple[int, int]](), set[int]()

    def add_words(self, head: str, cells: Sequence[object]) -> None:
        self.words.add(len(self.header))
        self._add(head, [str(cell) for cell in cells])

    def add(self, head: str, cells: Sequence[str]) -> None:
        self._add(head, list(cells))

    def add_percent(
        self, head: str, data: pd.DataFrame, name: str, low: str = "", high: str = "", sign: str = "",
        best: Sequence[bool] | None = None,
    ) -> None:  # fmt: skip
        """`best` says which rows may be the best; None marks none."""
        shown = [_percent(value, sign) for value in data[name]]
        if best is not None:
            able = [
                float(text) for text, may in zip(shown, best, strict=True) if may and text != "-"
            ]  # what is printed as equal is equal
            for i, text in enumerate(shown):
                if able and best[i] and text != "-" and float(text) == max(able) and len(able) > 1:
                    self.bold.add((i, len(self.header)))
        if low in data and high in data:
            shown = [
                text if _missing(a) or _missing(b) else f"{text} [{_percent(a, sign)}, {_percent(b, sign)}]"
                for text, a, b in zip(shown, data[low], data[high], strict=True)
            ]
        self._add(head, shown)

    def table(self, data: pd.DataFrame, note: str) -> PaperTable:
        rows = [list(cells) for cells in zip(*self.columns, strict=True)]
        return PaperTable(self.header, rows, frozenset(self.bold), frozenset(self.words), data, note)

    def _add(self, head: str, cells: list[str]) -> None:
        assert len(cells) == self.count
        self.header.append(head)
        self.columns.append(cells)


def _of_results(data: pd.DataFrame, kind: str) -> PaperTable:
    out = _Columns(len(data))
    able = [name != "majority" or kind != "output" for name in data.index]
    names = [OUTPUT_NAMES.get(str(name), str(name)) if kind == "output" else str(name) for name in data.index]
    if kind == "output":
        names = ["Always the majority" if name == "majority" else name for name in names]
    out.add_words({"run": "Run", "row": "Row", "output": "Output"}[kind], names)
    for name in data.columns:
        if str(name).startswith(SETTING_KINDS):
            out.add_words(_setting_head(str(name)), data[name].tolist())
    if "seeds" in data and kind == "run":
        out.add_words("Seeds", data["seeds"].tolist())
    elif "seeds" in data:
        out.add("Seeds", [f"{int(value)}" for value in data["seeds"]])
    if kind == "run" and data["output"].nunique() > 1:
        out.add_words("Output", [OUTPUT_NAMES.get(str(value), str(value)) for value in data["output"]])
    if "clips" in data:
        out.add("Clips", [f"{int(value)}" for value in data["clips"]])
    out.add_percent(f"Top-1{PERCENT}", data, "top1", "top1_low", "top1_high", best=able)
    if "top1_spread" in data:
        out.add_percent("SD over seeds (points)", data, "top1_spread")
    if "top5" in data:
        out.add_percent(f"Top-5{PERCENT}", data, "top5", best=able)
    out.add_percent(f"Macro-F1{PERCENT}", data, "macro_f1", best=able)
    out.add_percent(f"Mean class acc.{PERCENT}", data, "mean_class_accuracy", best=able)
    note = "Top-1 with its 95 % interval; the best of a column is bold."
    if kind == "run" and "gain" in data:
        out.add_percent("Gain (points)", data, "gain", "gain_low", "gain_high", "+")
        if "fixed" in data:
            for name in ("fixed", "broken"):
                out.add(name.capitalize(), [_number(value) for value in data[name]])
        out.add("p (Holm)", [_p_value(value) for value in data["p_holm"]])
        tests, over = (" or ".join(data[name].dropna().unique()) for name in ("test", "interval_over"))
        base = " and ".join(str(name) for name in data.index[data["gain"].isna()])
        note += (
            f" Gain over {base} on the same clips, with its 95 % interval from resampling {over}; p by {tests}, "
            "adjusted after Holm."
        )
    for label, head in (("above", "Gain on the row above"), ("reference", "Gain on the reference")):
        if f"{label}_gain" in data:
            out.add_percent(f"{head} (points)", data, f"{label}_gain", f"{label}_low", f"{label}_high", "+")
            out.add("p (Holm)", [_p_value(value) for value in data[f"{label}_p_holm"]])
    if kind == "row":
        note += " Intervals and p (paired t-test, adjusted after Holm) are over seeds."
    return out.table(data.reset_index(), note)


def _of_classes(data: pd.DataFrame) -> PaperTable:
    out = _Columns(len(data))
    out.add_words("Class", data["class"].tolist())
    out.add("Clips", [f"{int(value)}" for value in data["support"]])
    out.add_percent(f"Recall{PERCENT}", data, "recall", "recall_low", "recall_high", best=[True] * len(data))
    out.add_percent(
        f"Precision{PERCENT}", data, "precision", "precision_low", "precision_high", best=[True] * len(data)
    )
    out.add_percent(f"F1{PERCENT}", data, "f1", best=[True] * len(data))
    return out.table(
        data, "With 95 % Wilson intervals; - where a number is not defined; the best of a column is bold."
    )


def _setting_head(name: str) -> str:
    """ "recipe.stages.rgb.epochs" -> "rgb stage: epochs"."""
    parts = name.split(".")
    if "stages" in parts[:-1]:
        at = parts.index("stages")
        return f"{parts[at + 1]} stage: {' '.join(parts[at + 2 :])}".replace("_", " ")
    return " ".join(parts[1:]).replace("_", " ")


def _missing(value: Any) -> bool:
    return value is None or math.isnan(value)


def _percent(value: Any, sign: str = "") -> str:
    if _missing(value):
        return "-"
    text = f"{100 * value:{sign}.1f}"
    return text if float(text) else f"{0:{sign}.1f}"  # never -0.0


def _number(value: Any) -> str:
    return "-" if _missing(value) else f"{value:.0f}" if value == int(value) else f"{value:.1f}"


def _p_value(value: Any) -> str:
    return "-" if _missing(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"
