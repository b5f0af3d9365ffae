"""The examples of docs/spotting.md run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import mgkit as mg
from mgkit.data.table import Classes

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "spotting.md").read_text(encoding="utf-8")


def test_the_examples_run() -> None:
    said = np.tile([0.9, 0.05, 0.05], (60, 1))
    said[20:40] = [0.1, 0.8, 0.1]
    windows = mg.spotting.Windows("interview", np.arange(60) + 0.5, said, step=1.0)
    truth = pd.DataFrame([("interview", 20.0, 40.0, "nod")], columns=["video", "start", "end", "class"])
    given: dict[str, Any] = {
        "windows": windows,
        "classes": Classes(("rest", "nod", "wave"), background=0),
        "validation": [windows],
        "truth": truth,
        "validation_truth": truth,
    }
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(code, given)
    assert given["answers"]["class"].tolist() == ["nod"]
    assert mg.spotting.f1(truth, given["answers"])["f1"].tolist() == [1] * 5
