"""The page of results: its commands are the recipes it speaks of, and its range holds its figures."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from mgkit.cli import _parser, train
from mgkit.training import recipes

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


def test_the_narrow_networks_are_made_by_one_command() -> None:
    (line,) = (line for line in PAGE.splitlines() if "--narrow" in line and line.startswith("    mgkit"))
    made = train._recipe(_parser().parse_args(shlex.split(line)[1:]))
    given = {"prototypes": True, "flip": 0.5, "gradient_clip": 40.0, "epochs": 60}
    assert made == recipes.narrow(recipes.stgcnpp(**given)) == recipes.narrow(recipes.stgcnpp(), **given)
    for setting in re.findall(r"--set (\w+)=", line):
        assert f"`{setting}=" in PAGE, f"{setting} is not explained"


def test_figures_of_the_embedded_data_come_with_their_range_and_its_reason() -> None:
    rows = re.findall(r"^\| \d \| ([\d.]+) \| ([\d.]+) \| \*\*([\d.]+)\*\*", PAGE, re.M)
    low, high = map(float, re.findall(r"fused Top-1\s+of (\d+) to (\d+)", PAGE)[0])
    assert len(rows) == 6  # on one thread, and on two
    assert all(low <= float(fused) <= high for *_, fused in rows)
    assert "Another machine gives other figures" in PAGE
    readme = re.sub(r"\s+", " ", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert f"{low:.0f} to {high:.0f} % fused Top-1" in readme
    notebook = (ROOT / "notebooks" / "01_quick_start.py").read_text(encoding="utf-8").replace("\n# ", " ")
    assert f"{low:.0f} to {high:.0f} %" in notebook


def test_whose_work_it_is_and_what_was_not_measured_stand_at_the_top() -> None:
    paragraphs = (ROOT / "README.md").read_text(encoding="utf-8").split("\n\n")
    for text in (paragraphs[2], PAGE[:2000]):  # after the title and the first paragraph
        words = re.sub(r"[\s*]+", " ", text).lower()
        assert "independent implementation" in words
        assert "imigue, smg" in words
        assert "nothing was measured" in words or "nothing here was measured" in words
