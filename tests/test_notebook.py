"""The sentence that stands for a result which the data do not allow."""

from __future__ import annotations

import pandas as pd
import pytest
from IPython.core.formatters import DisplayFormatter

from mgkit.errors import MgkitError
from mgkit.notebook import Reason, if_possible

WHY = "no clip has a pose."


def refuse(*given: object, **options: object) -> pd.DataFrame:
    raise MgkitError(WHY)


def test_a_result_is_a_result() -> None:
    assert if_possible(max, [1, 3], key=lambda value: -value) == 1


def test_a_refusal_is_shown_as_its_sentence_wherever_it_is_used() -> None:
    reason = if_possible(refuse, 1, split="test")
    assert isinstance(reason, Reason)
    for taken in (reason, reason.head(3), reason[["a", "b"]].T, reason.columns["x"].mul(100).round(1)):
        assert repr(taken) == str(taken) == WHY
        assert not taken
        assert list(taken) == []
    assert DisplayFormatter().format(reason) == ({"text/plain": WHY}, {})
    assert pd.DataFrame([line.split(": ") for line in reason], columns=["a", "b"]).empty


def test_a_call_with_a_reason_is_not_made() -> None:
    reason, called = if_possible(refuse), []
    assert if_possible(called.append, reason) is reason
    assert if_possible(dict, given=reason) is reason
    assert called == []


def test_other_errors_are_errors() -> None:
    with pytest.raises(ZeroDivisionError):
        if_possible(divmod, 1, 0)
