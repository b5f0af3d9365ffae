"""A table as it is printed: LaTeX that needs booktabs and nothing else, Markdown, plain text, CSV."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from mgkit.files import atomic

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
