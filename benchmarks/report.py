"""Tables of a benchmark written into docs/performance.md, each between two comments that carry its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mgkit.files import atomic

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"


def write_section(name: str, lines: Sequence[str], page: Path = PAGE) -> None:
    """Replace what stands between `<!-- name -->` and `<!-- end of name -->`; a page without them is an error."""
    text = page.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise SystemExit(
            f"{page} needs the lines {begin} and {end}, once each: add them where the table belongs."
        )
    head, rest = text.split(begin)
    tail = rest.split(end)[1]
    with atomic(page) as temporary:
        temporary.write_text(f"{head}{begin}\n\n" + "\n".join(lines) + f"\n\n{end}{tail}", encoding="utf-8")
