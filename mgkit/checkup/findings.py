"""What a check finds, and the report of all of them."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

MARKS = {"ok": "ok", "note": "note", "broken": "BROKEN"}
# Readable on the light and the dark pages of JupyterLab; the word stands there as well.
COLOURS = {"ok": "#2e8b57", "note": "#b8860b", "broken": "#d1442f"}
WIDTH = 110  # characters of a line in a terminal


@dataclass(frozen=True)
class Finding:
    """One line of a report.

    Attributes:
        what: what was looked at.
        found: what was found, for people.
        state: "ok", "note" (all works, but slower or with less) or "broken" (something of mgkit will fail).
        advice: what to do about it, one sentence; empty where nothing is to be done.
        group: what it belongs to, e.g. "Device".
    """

    what: str
    found: str
    state: str = "ok"
    advice: str = ""
    group: str = ""


def ok(what: str, found: str) -> Finding:
    """Nothing is to be done."""
    return Finding(what, found)


def note(what: str, found: str, advice: str) -> Finding:
    """All works, but slower or with less."""
    return Finding(what, found, "note", advice)


def broken(what: str, found: str, advice: str) -> Finding:
    """Something of mgkit will fail."""
    return Finding(what, found, "broken", advice)


def short(error: BaseException) -> str:
    """An error in one line of at most 200 characters."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}"[:200]


@dataclass(frozen=True, repr=False)
class Report:
    """What `doctor` found; shows itself as a table in a terminal and in a notebook.

    Attributes:
        findings: what was looked at, in the order of the checks.
    """

    findings: tuple[Finding, ...]

    @property
    def broken(self) -> tuple[Finding, ...]:
        """What something of mgkit will fail on."""
        return tuple(finding for finding in self.findings if finding.state == "broken")

    @property
    def ok(self) -> bool:
        """Whether nothing is broken. Notes (little memory, a missing font, ...) do not count."""
        return not self.broken

    def __getitem__(self, what: str) -> Finding:
        """The first finding of this name, e.g. `report["torch"]`; a `KeyError` if that was not looked at."""
        for finding in self.findings:
            if finding.what == what:
                return finding
        raise KeyError(what)

    def __repr__(self) -> str:
        lines = []
        column = max((len(finding.what) for finding in self.findings), default=0) + 2
        for group, findings in self._groups():
            lines.append(group)
            for finding in findings:
                head = f"  {MARKS[finding.state]:<8}{finding.what:<{column}}"
                indent = " " * len(head)
                lines += textwrap.wrap(
                    finding.found, WIDTH, initial_indent=head, subsequent_indent=indent
                ) or [head.rstrip()]
                lines += textwrap.wrap(
                    finding.advice, WIDTH, initial_indent=f"{indent}-> ", subsequent_indent=f"{indent}   "
                )
        return "\n".join([*lines, "", self._verdict()])

    def _repr_html_(self) -> str:
        rows = []
        for group, findings in self._groups():
            rows.append(f'<tr><th colspan="3" style="text-align:left">{html.escape(group)}</th></tr>')
            for finding in findings:
                advice = f"<br><b>→ {html.escape(finding.advice)}</b>" if finding.advice else ""
                style = f"color:{COLOURS[finding.state]};font-weight:bold"
                rows.append(
                    f'<tr><td style="{style}">{MARKS[finding.state]}</td>'
                    f'<td style="text-align:left">{html.escape(finding.what)}</td>'
                    f'<td style="text-align:left">{html.escape(finding.found)}{advice}</td></tr>'
                )
        return f"<table>{''.join(rows)}</table><p>{html.escape(self._verdict())}</p>"

    def _groups(self) -> Iterator[tuple[str, list[Finding]]]:
        for group in dict.fromkeys(finding.group for finding in self.findings):
            yield group, [finding for finding in self.findings if finding.group == group]

    def _verdict(self) -> str:
        notes = sum(finding.state == "note" for finding in self.findings)
        words = f"{notes} note{'s' * (notes != 1)}"
        if self.ok:
            return f"Nothing is broken; {words}."
        names = ", ".join(finding.what for finding in self.broken)
        return f"Broken: {names}; {words}. What to do stands beside each."
