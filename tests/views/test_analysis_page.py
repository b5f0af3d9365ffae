"""docs/analysis.md speaks of every function there is, and of none that is not."""

from __future__ import annotations

import re
from pathlib import Path

from mgkit.views import analysis

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "analysis.md").read_text(encoding="utf-8")


def test_each_function_stands_on_the_page() -> None:
    functions = {name for name in analysis.__all__ if name[0].islower()}
    assert len(functions) > 10
    assert functions <= set(re.findall(r"`(\w+)`", PAGE))


def test_headings_name_what_exists() -> None:
    headings = [line for line in PAGE.splitlines() if line.startswith("## ")]
    for heading in headings:
        named = re.findall(r"`(\w+)`", heading)
        assert named, heading
        assert set(named) <= set(analysis.__all__)
