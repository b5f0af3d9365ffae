"""Words of messages."""

import numpy as np
import pytest

from mgkit.errors import counted


@pytest.mark.parametrize(
    ("n", "words"),
    [(0, "0 clips"), (1, "1 clip"), (2, "2 clips"), (1000, "1,000 clips"), (np.int64(1), "1 clip")],
)
def test_a_noun_agrees_with_its_number(n: int, words: str) -> None:
    assert counted(n, "clip") == words


def test_a_plural_of_its_own_is_given() -> None:
    assert counted(1, "class", "classes") == "1 class"
    assert counted(52, "class", "classes") == "52 classes"
