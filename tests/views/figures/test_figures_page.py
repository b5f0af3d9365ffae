"""The code of docs/figures.md runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import pytest

import mgkit as mg
from mgkit.results.run.folder import Run

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "figures.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("flat")
@pytest.mark.parametrize("number", [0, 1])
def test_each_block_runs(make_run: Callable[..., Run], number: int) -> None:
    mpl.use("Agg")
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(blocks) == 2
    exec(blocks[number], {"mg": mg, "run": make_run(9)})
    import matplotlib.pyplot as plt

    plt.close("all")
