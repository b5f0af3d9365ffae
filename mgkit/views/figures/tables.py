"""Tables of results for a paper, of what the functions of `mgkit.results` return.

A table as it is printed: LaTeX that needs booktabs and nothing else, Markdown, plain text, CSV.

The comparison of methods as a paper prints it.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from mgkit.errors import MgkitError, some
from mgkit.files import atomic
from mgkit.results.compare.runs import SETTING_KINDS
from mgkit.views.figures.style import OUTPUT_NAMES

__all__ = ["PaperTable", "latex_escaped", "table"]


def table(data: pd.DataFrame) -> PaperTable:
    """The table to print of what `mg.compare_runs`, `mg.method_table`, `mg.evaluate`, `per_class` or
    `study.table()` returned.

    Accuracies are in per cent to one decimal, with their 95 % interval in brackets; the best of a column is bold, and
    so is whatever is printed as the same number. Rows that are no result of a model (the majority class) are never the
    best. In a table of methods, where each is tested against the best, only Top-1 may be bold, and only if it differs
    significantly (p after Holm below 0.05) from that of every other method; else the note names those that it does not
    differ from. Intervals stand there in smaller type.

    Raises:
        MgkitError: a table that is none of these, or has no row.
    """
    if not len(data):
        raise MgkitError("the table has no row: there is nothing to print.")
    kind = str(data.index.name)
    if kind == "method" and {"top1", "source", "p_holm"} <= set(data.columns):
        return table_of_methods(data)
    if kind in ("run", "row", "output") and "top1" in data:
        return _of_results(data, kind)
    if {"class", "support", "recall", "f1"} <= set(data.columns):
        return _of_classes(data)
    raise MgkitError(
        f"a table with the columns {', '.join(map(str, data.columns))} is not known: pass what mg.compare_runs, "
        "mg.method_table, mg.evaluate, per_class or study.table() returned."
    )


def _of_results(data: pd.DataFrame, kind: str) -> PaperTable:
    out = Columns(len(data))
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
    out.addpercent(f"Top-1{PERCENT}", data, "top1", "top1_low", "top1_high", best=able)
    if "top1_spread" in data:
        out.addpercent("SD over seeds (points)", data, "top1_spread")
    if "top5" in data:
        out.addpercent(f"Top-5{PERCENT}", data, "top5", best=able)
    out.addpercent(f"Macro-F1{PERCENT}", data, "macro_f1", best=able)
    out.addpercent(f"Mean class acc.{PERCENT}", data, "mean_class_accuracy", best=able)
    which = f" ({' or '.join(data['top1_interval'].unique())})" if "top1_interval" in data else ""
    note = f"Top-1 with its 95 % interval{which}; the best of a column is bold."
    if kind == "run" and "gain" in data:
        out.addpercent("Gain (points)", data, "gain", "gain_low", "gain_high", "+")
        if "fixed" in data:
            for name in ("fixed", "broken"):
                out.add(name.capitalize(), [number(value) for value in data[name]])
        out.add("p (Holm)", [p_value(value) for value in data["p_holm"]])
        tests, over = (" or ".join(data[name].dropna().unique()) for name in ("test", "interval_over"))
        base = " and ".join(str(name) for name in data.index[data["gain"].isna()])
        note += (
            f" Gain over {base} on the same clips, with its 95 % interval from resampling {over}; p by {tests}, "
            "adjusted after Holm."
        )
    if kind == "row" and "gain" in data:
        bases = list(dict.fromkeys(data["against"].dropna()))
        over = " and ".join(sorted(set(data["resampled"].dropna()))) or "subjects"
        out.addpercent("Gain (points)", data, "gain", "gain_low", "gain_high", "+")
        out.add("p, seeds", [p_value(value) for value in data["p_seeds_holm"]])
        out.add(f"p, {over}", [p_value(value) for value in data["p_subjects_holm"]])
        note += f" Gain over {'the row above' if len(bases) > 1 else ' '.join(bases)}." if bases else ""
        note += (
            f" Intervals are over seeds; p of the paired t-test over seeds and of the bootstrap over {over}, both "
            "adjusted after Holm."
        )
        data = data.drop(columns="top1_of_seeds", errors="ignore")
    return out.table(data.reset_index(), note)


def _of_classes(data: pd.DataFrame) -> PaperTable:
    out = Columns(len(data))
    out.add_words("Class", data["class"].tolist())
    out.add("Clips", [f"{int(value)}" for value in data["support"]])
    out.addpercent(f"Recall{PERCENT}", data, "recall", "recall_low", "recall_high", best=[True] * len(data))
    out.addpercent(
        f"Precision{PERCENT}", data, "precision", "precision_low", "precision_high", best=[True] * len(data)
    )
    out.addpercent(f"F1{PERCENT}", data, "f1", best=[True] * len(data))
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
        small: what follows the text of a cell in smaller type, by (row, column).
        rules: rows that a rule is drawn above.
    """

    header: list[str]
    rows: list[list[str]]
    bold: frozenset[tuple[int, int]]
    text_columns: frozenset[int]
    data: pd.DataFrame
    note: str = ""
    small: Mapping[tuple[int, int], str] = field(default_factory=dict)
    rules: frozenset[int] = frozenset()

    def latex(self) -> str:
        """A `tabular` with rules of booktabs (`\\usepackage{booktabs}`), all text escaped, best values in bold."""
        spec = "".join("l" if j in self.text_columns else "r" for j in range(len(self.header)))
        lines = [f"\\begin{{tabular}}{{@{{}}{spec}@{{}}}}", "\\toprule"]
        lines += [" & ".join(map(latex_escaped, self.header)) + " \\\\", "\\midrule"]
        for i, cells in enumerate(self._marked(latex_escaped, "\\textbf{", "}", "{\\scriptsize ", "}")):
            lines += ["\\midrule"] if i in self.rules else []
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
        rule = "-" * max(map(len, out))
        body = [
            part for i, line in enumerate(out[1:]) for part in ([rule, line] if i in self.rules else [line])
        ]
        return "\n".join([out[0], rule, *body]) + "\n"

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

        rows = self._marked(html.escape, "<b>", "</b>", "<small>", "</small>")
        above = ' style="border-top:1px solid"'
        body = "".join(
            f"<tr{above if i in self.rules else ''}>{line('td', cells)}</tr>" for i, cells in enumerate(rows)
        )
        head = line("th", [html.escape(text) for text in self.header])
        note = f"<p><small>{html.escape(self.note)}</small></p>" if self.note else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"

    def _marked(
        self, escape: Callable[[str], str], before: str, after: str, opening: str = "", closing: str = ""
    ) -> list[list[str]]:
        """The cells, escaped, with marks around those in bold, and around what is in smaller type."""
        return [
            [
                (f"{before}{escape(cell)}{after}" if (i, j) in self.bold else escape(cell))
                + (f" {opening}{escape(self.small[i, j])}{closing}" if (i, j) in self.small else "")
                for j, cell in enumerate(row)
            ]
            for i, row in enumerate(self.rows)
        ]


def latex_escaped(text: str) -> str:
    """Text as LaTeX prints it, special characters included."""
    return "".join(_LATEX.get(character, character) for character in text)


def _markdown_escaped(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace("\r", " ").replace("\n", " ")
    return "".join(f"\\{c}" if c in "\\|*_`[]$~" else c for c in text)


class Columns:
    """A table built column by column."""

    def __init__(self, count: int) -> None:
        self.count, self.header, self.columns = count, list[str](), list[list[str]]()
        self.bold, self.words = set[tuple[int, int]](), set[int]()

    def add_words(self, head: str, cells: Sequence[object]) -> None:
        self.words.add(len(self.header))
        self._add(head, [str(cell) for cell in cells])

    def add(self, head: str, cells: Sequence[str]) -> None:
        self._add(head, list(cells))

    def addpercent(
        self, head: str, data: pd.DataFrame, name: str, low: str = "", high: str = "", sign: str = "",
        best: Sequence[bool] | None = None,
    ) -> None:  # fmt: skip
        """`best` says which rows may be the best; None marks none."""
        shown = [percent(value, sign) for value in data[name]]
        if best is not None:
            able = [
                float(text) for text, may in zip(shown, best, strict=True) if may and text != "-"
            ]  # what is printed as equal is equal
            for i, text in enumerate(shown):
                if able and best[i] and text != "-" and float(text) == max(able) and len(able) > 1:
                    self.bold.add((i, len(self.header)))
        if low in data and high in data:
            shown = [
                text if missing(a) or missing(b) else f"{text} [{percent(a, sign)}, {percent(b, sign)}]"
                for text, a, b in zip(shown, data[low], data[high], strict=True)
            ]
        self._add(head, shown)

    def table(self, data: pd.DataFrame, note: str) -> PaperTable:
        rows = [list(cells) for cells in zip(*self.columns, strict=True)]
        if left_out := data.attrs.get("note"):  # of runs that were tested on different clips
            note += f" Numbers are {left_out}."
        return PaperTable(self.header, rows, frozenset(self.bold), frozenset(self.words), data, note)

    def _add(self, head: str, cells: list[str]) -> None:
        assert len(cells) == self.count
        self.header.append(head)
        self.columns.append(cells)


def missing(value: Any) -> bool:
    """Whether a cell has no number."""
    return value is None or value is pd.NA or math.isnan(value)


def percent(value: Any, sign: str = "") -> str:
    """A share as per cent to one decimal, "-" without one."""
    if missing(value):
        return "-"
    text = f"{100 * value:{sign}.1f}"
    return text if float(text) else f"{0:{sign}.1f}"  # never -0.0


def number(value: Any) -> str:
    """A count, to one decimal where it is a mean."""
    return "-" if missing(value) else f"{value:.0f}" if value == int(value) else f"{value:.1f}"


def p_value(value: Any) -> str:
    """A p-value to three decimals."""
    return "-" if missing(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


LEVEL = 0.05  # of what is bold


def table_of_methods(data: pd.DataFrame) -> PaperTable:
    """The table to print of what `mg.method_table` returned; what is bold is said in `figures.table`."""
    out = Columns(len(data))
    ours = data["source"] == "tested here"
    base = data.index[ours & data["gain"].isna()]
    out.add_words("Method", data.index.tolist())
    out.add_words("Modality", data["modality"].tolist())
    if (data["seeds"] > 1).any():
        out.add("Seeds", [_whole(value) for value in data["seeds"]])
    small: dict[tuple[int, int], str] = {}
    for name, head in (
        ("top1", "Top-1"),
        ("macro_f1", "Macro-F1"),
        ("mean_class_accuracy", "Mean class acc."),
    ):
        if name == "top1" and _not_told(data, base) == []:
            out.bold.add((list(data.index).index(base[0]), len(out.header)))
        for i, row in enumerate(data.to_dict("records")):
            if text := _around(row, name):
                small[i, len(out.header)] = text
        shown = [percent(value) for value in data[name]]
        if name == "top1":  # others' numbers with the digits that are usually printed
            shown = [
                f"{100 * value:.2f}" if source == "published" else text
                for value, source, text in zip(data[name], data["source"], shown, strict=True)
            ]
        out.add(f"{head}{PERCENT}", shown)
    if data["parameters"].notna().any():
        out.add("Parameters (M)", [_scaled(value, 1e6) for value in data["parameters"]])
        out.add("GFLOPs", [_scaled(value, 1e9) for value in data["flops"]])
    if data["clips_per_second"].notna().any():
        out.add("Clips/s", [_scaled(value, 1) for value in data["clips_per_second"]])
    if ours.sum() > 1:
        out.add("p (Holm)", [p_value(value) for value in data["p_holm"]])
    made = out.table(data.reset_index(), " ".join(_notes(data, base)))
    rules = {i for i in range(1, len(data)) if data["source"].iloc[i] != data["source"].iloc[i - 1]}
    return PaperTable(
        made.header, made.rows, made.bold, made.text_columns, made.data, made.note, small, frozenset(rules)
    )


def _not_told(data: pd.DataFrame, base: pd.Index) -> list[str] | None:
    """Methods that no test tells from the best one; None where there is one method, or tests against another."""
    ours = data[data["source"] == "tested here"]
    if len(ours) < 2 or len(base) != 1 or ours["top1"].max() > ours.loc[base[0], "top1"]:
        return None
    return [str(name) for name in ours.index if name != base[0] and not ours.loc[name, "p_holm"] < LEVEL]


def _around(row: dict[Any, Any], name: str) -> str:
    """The spread over seeds and the interval of a number."""
    spread, low, high = (row[f"{name}_{end}"] for end in ("spread", "low", "high"))
    parts = [] if missing(spread) else [f"± {percent(spread)}"]
    if not missing(low) and not missing(high):
        parts.append(f"[{percent(low)}, {percent(high)}]")
    return " ".join(parts)


def _notes(data: pd.DataFrame, base: pd.Index) -> list[str]:
    """What a reader must know, one sentence each."""
    ours, others = data[data["source"] == "tested here"], data[data["source"] == "published"]
    notes = []
    if len(ours):
        over = ours["interval_over"].iloc[0]
        notes.append(
            f"{int(ours['clips'].iloc[0]):,} clips. In brackets 95 % intervals from resampling {over}; the trained "
            "networks stay the same."
        )
        if (ours["seeds"] > 1).any():
            notes.append("Means over seeds, ± their standard deviation, which the intervals do not cover.")
        if len(ours) > 1:
            against = some(ours["against"].dropna().unique())
            notes.append(
                f"p against {against}: {_tests(ours['test'].dropna().unique(), over)}, adjusted after Holm."
            )
        ways = (
            ours.loc[ours["tested_with"] != "-", "tested_with"] if "tested_with" in ours else ours["source"]
        )
        if ways.nunique() > 1:
            notes.append(
                "Methods were tested differently: "
                + "; ".join(
                    f"{some(rows.index)} with {way}" for way, rows in ours.loc[ways.index].groupby(ways)
                )
                + "."
            )
        alike = _not_told(data, base)
        if alike:
            notes.append(f"None is bold: {base[0]} does not differ significantly (0.05) from {some(alike)}.")
        elif alike == []:
            notes.append("Bold: a best Top-1 that differs significantly (0.05) from every other method's.")
        notes += _cost_notes(ours)
    if len(others):
        counts = sorted({int(value) for value in others["clips"]})
        notes.append(
            f"Published numbers are their authors', on iMiGUE's test split ({some(f'{n:,}' for n in counts)} clips, "
            "Wilson intervals); they were not measured here."
        )
        if (ours["tested_on"] != "iMiGUE test").any():
            notes.append("The rows above are on other data and cannot be compared with them.")
    return notes


def _tests(kinds: Iterable[str], over: str) -> str:
    said = {
        "McNemar exact": "McNemar's exact test",
        f"{over} and seeds": f"the larger of a bootstrap over {over} and a t-test over seeds",
    }
    return " or ".join(said.get(kind, kind) for kind in sorted(kinds))


def _cost_notes(ours: pd.DataFrame) -> list[str]:
    notes = []
    if ours["parameters"].notna().any():
        notes.append("FLOPs of one view, a multiplication and an addition being two.")
    on = list(ours["measured_on"].dropna().unique())
    if len(on) == 1:
        notes.append(f"Clips/s: the network alone, one view, on {on[0]}.")
    elif on:
        timed = ours[ours["measured_on"].notna()]
        each = "; ".join(
            f"{some(rows.index)} on {what}" for what, rows in timed.groupby("measured_on", sort=False)
        )
        notes.append(f"Clips/s were measured under different conditions: {each}.")
    lacking = list(ours.index[ours["parameters"].isna() | ours["clips_per_second"].isna()])
    if lacking:
        notes.append(f"Cost not measured (mg.measure): {some(lacking)}.")
    return notes


def _whole(value: Any) -> str:
    return "-" if missing(value) else f"{int(value):,}"


def _scaled(value: Any, unit: float) -> str:
    """Three digits, never in powers of ten."""
    if missing(value):
        return "-"
    number = float(value) / unit
    digits = 0 if number >= 100 else 1 if number >= 10 else 2 if number >= 0.1 else 4
    return f"{number:.{digits}f}"
