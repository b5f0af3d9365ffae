"""The figure of a study: what is bold, and what it refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mgkit.errors import MgkitError
from mgkit.views import figures


def table(seeds: int = 3) -> pd.DataFrame:
    accuracies = {"laterals": 0.80, "the paper's": 0.78, "mine": 0.86}
    rows = {}
    for name, mean in accuracies.items():
        first = name == "laterals"
        rows[name] = {
            "seeds": seeds, "top1": mean, "top1_low": mean - 0.02, "top1_high": mean + 0.02,
            "top1_of_seeds": [mean] * seeds, "macro_f1": mean, "mean_class_accuracy": mean,
            "against": None if first else "laterals", "gain": np.nan if first else mean - 0.80,
            "p_seeds_holm": np.nan if first or seeds == 1 else 0.01,
            "p_subjects_holm": np.nan if first else 0.2 if name == "the paper's" else 0.01,
            "resampled": None if first else "subjects",
        }  # fmt: skip
    found = pd.DataFrame.from_dict(rows, orient="index")
    found.index.name = "row"
    return found


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_gain_is_bold_where_both_tests_agree(seeds: int) -> None:
    figure = figures.study(table(seeds))
    gains = {text.get_text(): text.get_fontweight() for text in figure.figure.axes[0].texts}
    assert gains == {"vs laterals": "normal", "-2.0": "normal", "+6.0": "bold"}
    assert list(figure.data["row"]) == ["laterals", "the paper's", "mine"]
    assert "'laterals'" in figure.note


def test_one_row_has_no_gains() -> None:
    alone = table().iloc[:1]
    assert not figures.study(alone).figure.axes[0].texts


def test_another_table_is_refused() -> None:
    with pytest.raises(MgkitError, match=r"study\.table"):
        figures.study(pd.DataFrame({"top1": [0.5]}))


def test_it_is_drawn_the_same_again_and_with_one_seed() -> None:
    made = figures.study(table())
    assert made.figure.get_size_inches()[0] == 3.25
    assert made.pdf() == figures.study(table()).pdf()
    alone = table(1).assign(top1_low=np.nan, top1_high=np.nan)  # one seed has no interval
    assert figures.study(alone).png()[:4] == b"\x89PNG"
