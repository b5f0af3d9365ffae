"""All checks, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from mgkit.checkup import machine, versions, working
from mgkit.checkup.findings import Finding, Report, broken, short

Check = Callable[[], Iterator[Finding]]

CHECKS: tuple[tuple[str, Check], ...] = (
    ("Versions", versions.python_and_mgkit),
    ("Packages", versions.packages),
    ("Device", machine.device),
    ("Memory and disk", machine.memory_and_disk),
    ("Video", working.video),
    ("Widgets", working.widgets),
    ("Figures", working.fonts),
    ("Optional", versions.optional),
)


def doctor() -> Report:
    """Look at all that mgkit rests on: versions, device, memory, disk, video, widgets, fonts, git.

    Takes a few seconds, leaves nothing behind, and never raises: a check that fails in a way it does not know becomes
    a finding that says so.

    Returns:
        A report that shows itself; `report.ok` is False where something is broken.
    """
    return Report(tuple(finding for group, check in CHECKS for finding in _guarded(group, check)))


def _guarded(group: str, check: Check) -> list[Finding]:
    """What a check finds; what it raises is its last finding."""
    found: list[Finding] = []
    try:
        for finding in check():
            found.append(replace(finding, group=group))
    except Exception as error:
        unknown = broken(
            check.__name__.replace("_", " "),
            f"could not be looked at: {short(error)}",
            "Mend what stands above first; if nothing does, make the environment anew: make clean-env env",
        )
        found.append(replace(unknown, group=group))
    return found
