"""Tables of results for a paper, as LaTeX (with booktabs), Markdown, plain text, HTML and CSV."""

from __future__ import annotations

import html
import math
import shutil
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mgkit.errors import MgkitError, counted, some
from mgkit.files import atomic
from mgkit.results.compare.runs import SETTING_KINDS
from mgkit.views.figures.style import OUTPUT_NAMES

PERCENT = " (%)"
LEVEL = 0.05  # of the p below which a best Top-1 is bold
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "|": r"$|$",
    "–": "--", "—": "---", "±": r"$\pm$", "≥": r"$\geq$", "≤": r"$\leq$", "…": r"\ldots{}", "−": "$-$",
    "\n": " ", "\r": " ", "[": "{[}", "]": "{]}",  # a bracket after the \\ of a row would be read as a length
}  # fmt: skip
Cell = tuple[int, int]


def table(data: pd.DataFrame) -> PaperTable:
    """The printable form of a table from `mg.compare_runs`, `mg.method_table`, `mg.evaluate`, `mg.per_class` or
    `study.table()`.

    Accuracies are in per cent to one decimal, with their 95 % interval in brackets. The best value of a column is bold,
    and so is every value printed as the same number; rows that are not the result of a model (the majority class) are
    never the best. In a table of methods, where each is tested against the best, only Top-1 may be bold, and only if it
    differs significantly (p after Holm below 0.05) from that of every other method; otherwise the note names those from
    which it does not differ. Intervals are set in smaller type there.

    Raises:
        MgkitError: a table that is none of these, or has no row.
    """
    if not len(data):
        raise MgkitError("the table has no row, so there is nothing to print.")
    kind = str(data.index.name)
    if kind == "method" and {"top1", "source", "p_holm"} <= set(data.columns):
        return _of_methods(data)
    if kind in ("run", "row", "output") and "top1" in data:
        return _of_results(data, kind)
    if {"class", "support", "recall", "f1"} <= set(data.columns):
        return _of_classes(data)
    raise MgkitError(
        f"a table with the columns {', '.join(map(str, data.columns))} is not known: pass the result of "
        "mg.compare_runs, mg.method_table, mg.evaluate, mg.per_class or study.table()."
    )


@dataclass(frozen=True, eq=False)
class PaperTable:
    """A table as it is printed, and the numbers behind it. It displays itself in a notebook.

    Attributes:
        header: the column heads, units included.
        rows: the cells as text, one list per row, each as long as the header.
        bold: (row, column) of the cells in bold.
        text_columns: left-aligned columns of words; all others are right-aligned.
        data: the numbers, which go to the CSV.
        note: what a reader must know; belongs in the caption.
        small: text after that of a cell in smaller type, by (row, column).
        rules: rows with a rule above them.
        below: a second table that belongs to it: of runs, the settings in which they differ.
    """

    header: list[str]
    rows: list[list[str]]
    bold: frozenset[Cell]
    text_columns: frozenset[int]
    data: pd.DataFrame
    note: str = ""
    small: Mapping[Cell, str] = field(default_factory=dict)
    rules: frozenset[int] = frozenset()
    below: PaperTable | None = None

    # pandas' Styler.to_latex needs jinja2, to_markdown needs tabulate; neither can draw a rule between rows.

    def latex(self) -> str:
        """A `tabular` with rules of booktabs (`\\usepackage{booktabs}`), all text escaped, best values in bold."""
        spec = "".join("l" if j in self.text_columns else "r" for j in range(len(self.header)))
        lines = [f"\\begin{{tabular}}{{@{{}}{spec}@{{}}}}", "\\toprule"]
        lines += [" & ".join(map(latex_escaped, self.header)) + " \\\\", "\\midrule"]
        for i, cells in enumerate(self._marked(latex_escaped, "\\textbf{", "}", "{\\scriptsize ", "}")):
            lines += ["\\midrule"] if i in self.rules else []
            lines.append(" & ".join(cells) + " \\\\")
        whole = "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"
        return f"{whole}\n{self.below.latex()}" if self.below else whole

    def markdown(self) -> str:
        """A table for a page on GitHub and the like."""
        sides = ["---" if j in self.text_columns else "---:" for j in range(len(self.header))]
        cells = self._marked(_markdown_escaped, "**", "**")
        lines = [list(map(_markdown_escaped, self.header)), sides, *cells]
        whole = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        return f"{whole}\n{self.below.markdown()}" if self.below else whole

    def text(self, width: int | None = None) -> str:
        """Aligned columns for a terminal; best values carry a star.

        Args:
            width: characters of a line; by default those of the terminal. A wider table is folded into several, each
                with the first column.
        """
        if width is None:
            width = max(80, shutil.get_terminal_size((100, 24)).columns)
        columns = range(len(self.header))
        rows = [self.header, *self._marked(str, "", "*")]
        # A cell that is wider than a line goes on below itself.
        first = min(width // 2, max(len(row[0]) for row in rows))
        # Columns of words share the line, so that the settings of two or three runs are side by side.
        share = max(20, (width - first) // min(3, max(1, len(self.header) - 1)) - 2)
        limits = [first if j == 0 else share if j in self.text_columns else width for j in columns]
        cells = [[textwrap.wrap(row[j], limits[j]) or [""] for j in columns] for row in rows]
        widths = [max(len(line) for row in cells for line in row[j]) for j in columns]
        folds = [[0]]
        for j in columns[1:]:
            if len(folds[-1]) > 1 and sum(widths[k] + 2 for k in folds[-1]) + widths[j] > width:
                folds.append([0])
            folds[-1].append(j)
        blocks = []
        for fold in folds:
            shown = [self._lines([row[j] for j in fold], [widths[j] for j in fold], fold) for row in cells]
            rule = "-" * max(len(line) for lines in shown for line in lines)
            for i in {0, *self.rules}:
                shown[i].append(rule)
            blocks.append("\n".join(line for lines in shown for line in lines) + "\n")
        return "\n".join([*blocks, *([self.below.text(width)] if self.below else [])])

    def _lines(self, cells: list[list[str]], widths: list[int], columns: list[int]) -> list[str]:
        """The lines of a row of wrapped cells."""
        sides = [str.ljust if j in self.text_columns else str.rjust for j in columns]
        tall = max(map(len, cells))
        filled = [[*cell, *[""] * (tall - len(cell))] for cell in cells]
        return [
            "  ".join(
                side(cell[k], wide) for side, cell, wide in zip(sides, filled, widths, strict=True)
            ).rstrip()
            for k in range(tall)
        ]

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
        def line(tag: str, cells: Sequence[str], style: str = "") -> str:
            sides = ("left" if j in self.text_columns else "right" for j in range(len(cells)))
            row = "".join(
                f'<{tag} style="text-align:{s}">{c}</{tag}>' for s, c in zip(sides, cells, strict=True)
            )
            return f"<tr{style}>{row}</tr>"

        rows = self._marked(html.escape, "<b>", "</b>", "<small>", "</small>")
        above = ' style="border-top:1px solid"'
        body = "".join(line("td", cells, above if i in self.rules else "") for i, cells in enumerate(rows))
        head = line("th", [html.escape(text) for text in self.header])
        note = f"<p><small>{html.escape(self.note)}</small></p>" if self.note else ""
        below = self.below._repr_html_() if self.below else ""
        return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>{below}{note}"

    def _marked(
        self, escape: Callable[[str], str], before: str, after: str, opening: str = "", closing: str = ""
    ) -> list[list[str]]:
        """The cells, escaped, with marks around those in bold, and around text in smaller type."""

        def cell(i: int, j: int, text: str) -> str:
            shown = f"{before}{escape(text)}{after}" if (i, j) in self.bold else escape(text)
            return shown + (f" {opening}{escape(self.small[i, j])}{closing}" if (i, j) in self.small else "")

        return [[cell(i, j, text) for j, text in enumerate(row)] for i, row in enumerate(self.rows)]


def latex_escaped(text: str) -> str:
    """Text that LaTeX prints as it is, special characters included."""
    return "".join(_LATEX.get(character, character) for character in text)


def _markdown_escaped(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace("\r", " ").replace("\n", " ")
    return "".join(f"\\{c}" if c in "\\|*_`[]$~" else c for c in text)


# ---------------------------------------------------------------------------------------------------------------------
# Columns and numbers


class _Columns:
    """A table under construction, column by column."""

    def __init__(self) -> None:
        self.header, self.columns = list[str](), list[list[str]]()
        self.bold, self.words, self.small = set[Cell](), set[int](), dict[Cell, str]()

    def add(self, head: str, cells: Iterable[object], *, words: bool = False) -> None:
        if words:
            self.words.add(len(self.header))
        self.header.append(head)
        self.columns.append([str(cell) for cell in cells])

    def add_percent(
        self, head: str, data: pd.DataFrame, name: str, *, interval: str = "", sign: str = "",
        best: Sequence[bool] | None = None,
    ) -> None:  # fmt: skip
        """A column of shares. `interval` is the stem of its `_low` and `_high`, `best` which rows may be the best."""
        shown = [_percent(value, sign) for value in data[name]]
        # The best as printed: what is printed as equal is equal.
        able = {i: float(text) for i, text in enumerate(shown) if best and best[i] and text != "-"}
        if len(able) > 1:
            self.bold |= {(i, len(self.header)) for i, value in able.items() if value == max(able.values())}
        if interval and f"{interval}_low" in data:
            bounds = _intervals(data, interval, sign)
            shown = [
                text if both == "-" else f"{text} {both}" for text, both in zip(shown, bounds, strict=True)
            ]
        self.add(head, shown)

    def table(
        self, data: pd.DataFrame, note: str, rules: Iterable[int] = (), below: PaperTable | None = None
    ) -> PaperTable:
        rows = [list(cells) for cells in zip(*self.columns, strict=True)]
        if left_out := data.attrs.get("note"):  # runs that were tested on different clips
            note += f" Numbers are {left_out}."
        if tested := data.attrs.get("tested"):
            note += f" {tested}."
        if caution := data.attrs.get("caution"):
            note += f" Caution: {caution}."
        return PaperTable(
            self.header, rows, frozenset(self.bold), frozenset(self.words), data, note, self.small, frozenset(rules),
            below,
        )  # fmt: skip


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or math.isnan(value)


def _percent(value: Any, sign: str = "") -> str:
    """A share as per cent to one decimal, "-" if missing."""
    if _missing(value):
        return "-"
    text = f"{100 * value:{sign}.1f}"
    return text if float(text) else f"{0:{sign}.1f}"  # never -0.0


def _intervals(data: pd.DataFrame, name: str, sign: str = "") -> list[str]:
    """The intervals between two columns of shares, in per cent; "-" where one is missing."""
    return [
        "-" if _missing(low) or _missing(high) else f"[{_percent(low, sign)}, {_percent(high, sign)}]"
        for low, high in zip(data[f"{name}_low"], data[f"{name}_high"], strict=True)
    ]


def _count(value: Any) -> str:
    """A count, to one decimal if it is a mean."""
    return "-" if _missing(value) else f"{value:,.0f}" if value == int(value) else f"{value:.1f}"


def _p(value: Any) -> str:
    return "-" if _missing(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _scaled(value: Any, unit: float) -> str:
    """Three digits, never in powers of ten."""
    if _missing(value):
        return "-"
    number = float(value) / unit
    digits = 0 if number >= 100 else 1 if number >= 10 else 2 if number >= 0.1 else 4
    return f"{number:.{digits}f}"


# ---------------------------------------------------------------------------------------------------------------------
# Runs, rows of a study, outputs of a run, classes


def _of_results(data: pd.DataFrame, kind: str) -> PaperTable:
    out = _Columns()
    majority = [kind == "output" and name == "majority" for name in data.index]
    able = [not one for one in majority]
    names = [OUTPUT_NAMES.get(str(name), str(name)) if kind == "output" else str(name) for name in data.index]
    names = ["Always the majority" if one else name for name, one in zip(names, majority, strict=True)]
    out.add({"run": "Run", "row": "Row", "output": "Output"}[kind], names, words=True)

    if "seeds" in data:
        out.add("Seeds", data["seeds"] if kind == "run" else map(_count, data["seeds"]), words=kind == "run")
    if kind == "run" and data["output"].nunique() > 1:
        out.add("Output", [OUTPUT_NAMES.get(str(value), str(value)) for value in data["output"]], words=True)
    if "clips" in data:
        out.add("Clips", [f"{int(value)}" for value in data["clips"]])

    # How good they are.
    out.add_percent(f"Top-1{PERCENT}", data, "top1", interval="top1", best=able)
    if "clips_low" in data:
        out.add(f"{int(data['clips'].iloc[0])} clips show", _intervals(data, "clips"))
    if "top1_spread" in data:
        out.add_percent("SD over seeds (points)", data, "top1_spread")
    if "top5" in data:
        out.add_percent(f"Top-5{PERCENT}", data, "top5", best=able)
    out.add_percent(f"Macro-F1{PERCENT}", data, "macro_f1", best=able)
    out.add_percent(f"Mean class acc.{PERCENT}", data, "mean_class_accuracy", best=able)
    named = data["top1_interval"].unique() if "top1_interval" in data else [data.attrs.get("top1_interval")]
    ways = [str(name) for name in named if name]
    which = f" ({' or '.join(ways)})" if ways else ""
    note = f"Top-1 with its 95 % interval{which}; the best of a column is bold."

    # What they gain on a baseline, or on the row that a study compares with.
    if kind == "run" and "gain" in data:
        out.add_percent("Gain (points)", data, "gain", interval="gain", sign="+")
        for name in ("fixed", "broken") if "fixed" in data else ():
            out.add(name.capitalize(), map(_count, data[name]))
        out.add("p (Holm)", map(_p, data["p_holm"]))
        tests, over = (" or ".join(data[name].dropna().unique()) for name in ("test", "interval_over"))
        base = " and ".join(str(name) for name in data.index[data["gain"].isna()])
        interval = f"with its 95 % interval from resampling {over}"
        if data["gain_low"].isna().all():
            interval = f"without an interval, as there are only {over}"
        note += f" Gain over {base} on the same clips, {interval}; p by {tests}, adjusted after Holm."
    if kind == "row" and "gain" in data:
        bases = list(dict.fromkeys(data["against"].dropna()))
        over = " and ".join(sorted(set(data["resampled"].dropna()))) or "subjects"
        out.add_percent("Gain (points)", data, "gain", interval="gain", sign="+")
        out.add("p, seeds", map(_p, data["p_seeds_holm"]))
        if "subject_low" in data:
            out.add(f"Over {over}", _intervals(data, "subject", "+"))
        out.add(f"p, {over}", map(_p, data["p_subjects_holm"]))
        note += f" Gain over {'the row above' if len(bases) > 1 else ' '.join(bases)}." if bases else ""
        note += (
            f" Intervals are over seeds; p of the paired t-test over seeds and of the bootstrap over {over}, both "
            "adjusted after Holm."
        )
        if "smallest_gain" in data and not np.isnan(least := data["smallest_gain"].astype(float).min()):
            note += (
                f" On {int(data['clips'].iloc[0])} clips one seed shows a gain from about {_percent(least)} points on, "
                "in four of five cases; on clips of few people from more."
            )
        data = data.drop(columns="top1_of_seeds", errors="ignore")
    return out.table(data.reset_index(), note, below=_settings(data))


def _settings(data: pd.DataFrame) -> PaperTable | None:
    """The settings in which runs differ, one row per setting, one column per run."""
    names = [str(name) for name in data.columns if str(name).startswith(SETTING_KINDS)]
    if not names:
        return None
    out = _Columns()
    out.add("Setting", map(_setting_head, names), words=True)
    for run, values in data[names].iterrows():
        out.add(str(run), values, words=True)
    return out.table(data[names].T.reset_index(), "")


def _setting_head(name: str) -> str:
    """ "recipe.stages.rgb.epochs" -> "rgb stage: epochs"."""
    parts = name.split(".")
    if "stages" in parts[:-1]:
        at = parts.index("stages")
        return f"{parts[at + 1]} stage: {' '.join(parts[at + 2 :])}".replace("_", " ")
    return " ".join(parts[1:]).replace("_", " ")


def _of_classes(data: pd.DataFrame) -> PaperTable:
    out, every = _Columns(), [True] * len(data)
    out.add("Class", data["class"], words=True)
    out.add("Clips", [f"{int(value)}" for value in data["support"]])
    for name in ("recall", "precision", "f1"):
        out.add_percent(f"{name.capitalize()}{PERCENT}", data, name, interval=name, best=every)
    note = "With 95 % Wilson intervals; - if a number is not defined; the best of a column is bold."
    return out.table(data, note)


# ---------------------------------------------------------------------------------------------------------------------
# Methods, published ones among them


def _of_methods(data: pd.DataFrame) -> PaperTable:
    out = _Columns()
    ours = data["source"] == "tested here"
    base = data.index[ours & data["gain"].isna()]
    out.add("Method", data.index, words=True)
    out.add("Modality", data["modality"], words=True)
    if (data["seeds"] > 1).any():
        out.add("Seeds", map(_count, data["seeds"]))
    for name, head in (
        ("top1", "Top-1"),
        ("macro_f1", "Macro-F1"),
        ("mean_class_accuracy", "Mean class acc."),
    ):
        if name == "top1" and _undecided(data, base) == []:
            out.bold.add((list(data.index).index(base[0]), len(out.header)))
        for i, row in enumerate(data.to_dict("records")):
            if text := _around(row, name):
                out.small[i, len(out.header)] = text
        shown = [_percent(value) for value in data[name]]
        if name == "top1":  # published numbers with their usual two decimals
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
        out.add("p (Holm)", map(_p, data["p_holm"]))
    rules = {i for i in range(1, len(data)) if data["source"].iloc[i] != data["source"].iloc[i - 1]}
    return out.table(data.reset_index(), " ".join(_notes(data, base)), rules)


def _undecided(data: pd.DataFrame, base: pd.Index) -> list[str] | None:
    """Methods that no test separates from the best; None with a single method, or with tests against another one."""
    ours = data[data["source"] == "tested here"]
    if len(ours) < 2 or len(base) != 1 or ours["top1"].max() > ours.loc[base[0], "top1"]:
        return None
    return [str(name) for name in ours.index if name != base[0] and not ours.loc[name, "p_holm"] < LEVEL]


def _around(row: dict[Any, Any], name: str) -> str:
    """The spread over seeds and the interval of a number."""
    spread, low, high = (row[f"{name}_{end}"] for end in ("spread", "low", "high"))
    parts = [] if _missing(spread) else [f"± {_percent(spread)}"]
    if not _missing(low) and not _missing(high):
        parts.append(f"[{_percent(low)}, {_percent(high)}]")
    return " ".join(parts)


def _notes(data: pd.DataFrame, base: pd.Index) -> list[str]:
    """What a reader must know, one sentence each."""
    ours, others = data[data["source"] == "tested here"], data[data["source"] == "published"]
    notes = []
    if len(ours):
        over = ours["interval_over"].iloc[0]
        interval = f"In brackets 95 % intervals from resampling {over}; the trained networks stay the same."
        if ours["top1_low"].isna().all():
            interval = f"No intervals: {over} are too few to resample."
        notes.append(f"{counted(int(ours['clips'].iloc[0]), 'clip')}. {interval}")
        if (ours["seeds"] > 1).any():
            notes.append("Means over seeds, ± their standard deviation, which the intervals do not cover.")
        if len(ours) > 1:
            against, tests = (
                some(ours["against"].dropna().unique()),
                _tests(ours["test"].dropna().unique(), over),
            )
            notes.append(f"p against {against}: {tests}, adjusted after Holm.")
        ways = (
            ours.loc[ours["tested_with"] != "-", "tested_with"] if "tested_with" in ours else ours["source"]
        )
        if ways.nunique() > 1:
            groups = ours.loc[ways.index].groupby(ways)
            each = "; ".join(f"{some(rows.index)} with {way}" for way, rows in groups)
            notes.append(f"Methods were tested differently: {each}.")
        undecided = _undecided(data, base)
        if undecided:
            notes.append(
                f"None is bold: {base[0]} does not differ significantly ({LEVEL:g}) from {some(undecided)}."
            )
        elif undecided == []:
            notes.append(
                f"Bold: a best Top-1 that differs significantly ({LEVEL:g}) from that of every other method."
            )
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
    names = {
        "McNemar exact": "McNemar's exact test",
        f"{over} and seeds": f"the larger of a bootstrap over {over} and a t-test over seeds",
    }
    return " or ".join(names.get(kind, kind) for kind in sorted(kinds))


def _cost_notes(ours: pd.DataFrame) -> list[str]:
    notes = []
    if ours["parameters"].notna().any():
        notes.append("FLOPs of one view, counting a multiplication and an addition as two.")
    timed = ours[ours["measured_on"].notna()]
    on = list(timed["measured_on"].unique())
    if len(on) == 1:
        notes.append(f"Clips/s: the network alone, one view, on {on[0]}.")
    elif on:
        groups = timed.groupby("measured_on", sort=False)
        each = "; ".join(f"{some(rows.index)} on {what}" for what, rows in groups)
        notes.append(f"Clips/s were measured under different conditions: {each}.")
    lacking = list(ours.index[ours["parameters"].isna() | ours["clips_per_second"].isna()])
    if lacking:
        notes.append(f"Cost not measured (mg.measure): {some(lacking)}.")
    return notes
