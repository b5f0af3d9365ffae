"""docs/method.md names settings, arguments and files that exist, with the defaults they have."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import mgkit.models
from mgkit.data.batches.spec import Inputs
from mgkit.models import TwoPathway
from mgkit.training import recipes
from mgkit.training.build import build_model, build_objective

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
ARGUMENT = re.compile(r"`(\w+)\((\w+)=([^`]+)\)`")
FIELD = re.compile(r"`(\w+)=([^`]+)`")


def rows(column: str) -> Iterator[tuple[str, str]]:
    """(first cell, cell of that column) of every row of every table that has the column."""
    header: list[str] | None = None
    for line in PAGE.splitlines():
        if not line.startswith("|"):
            header = None
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if header is None:
            header = cells
        elif column in header and not set(line) <= set("|-"):
            assert len(cells) == len(header), line
            yield cells[0], cells[header.index(column)]


FIELDS = [
    (row, name, value) for row, cell in rows("recipe") for name, value in FIELD.findall(cell)
]  # fmt: skip
ARGUMENTS = [(row, *found) for row, cell in rows("argument") for found in ARGUMENT.findall(cell)]


def test_each_decision_has_its_row() -> None:
    decisions = [row for row, _ in rows("recipe") if re.fullmatch(r"D\d+", row)]
    assert decisions == [f"D{i}" for i in range(1, 11)]
    assert {row for row, *_ in FIELDS} >= set(decisions)
    assert {row for row, *_ in ARGUMENTS} >= set(decisions) - {"D9"}


@pytest.mark.parametrize(("row", "name", "value"), FIELDS)
def test_recipe_fields_have_the_default_that_is_stated(row: str, name: str, value: str) -> None:
    assert recipes.paper()[name] == ast.literal_eval(value), row


@pytest.mark.parametrize(("row", "where", "name", "value"), ARGUMENTS)
def test_arguments_have_the_default_that_is_stated(row: str, where: str, name: str, value: str) -> None:
    signature = inspect.signature(Inputs if where == "Inputs" else getattr(mgkit.models, where))
    assert name in signature.parameters, f"{row}: {where} has no argument {name}"
    assert signature.parameters[name].default == ast.literal_eval(value)


def test_a_recipes_decisions_reach_the_modules() -> None:
    changes: dict[str, Any] = {
        "axis": "time", "sequential": True, "zero_init_gates": False, "embedding_dim": 7, "alpha": 0.3,
        "detach_probability": False, "shift": "all", "temperature": 0.5, "prototype_momentum": 0.8, "margin": 0.6,
        "time_sampling": "independent",
    }  # fmt: skip
    recipe = recipes.paper(**changes)
    with torch.device("meta"):
        model = build_model(recipe, 3, recipe.inputs.on(5))
        objective = build_objective(recipe, 3, {"rgb": 7, "pose": 7})
    assert isinstance(model, TwoPathway)
    for fusion in model.fusion:
        assert (fusion.attend_rgb.axis, fusion.sequential, fusion.zero_init_gates) == ("time", True, False)
    assert objective.alpha == 0.3
    assert set(objective.refinement) == {"rgb", "pose"}
    for name, refinement in objective.refinement.items():
        assert model.heads[name].embedding.out_features == refinement.prototypes.shape[1] == 7
        settings = ("detach_probability", "shift", "temperature", "momentum", "margin")
        assert [getattr(refinement, setting) for setting in settings] == [False, "all", 0.5, 0.8, 0.6]
    assert recipe.inputs.time_sampling == "independent"


def test_linked_files_hold_what_is_said_of_them() -> None:
    links = re.findall(r"\[([^\]]+)\]\((\.\.?/[^)]+)\)", PAGE)
    assert len(links) > 10
    for text, target in links:
        path = (ROOT / "docs" / target).resolve()
        assert path.is_file(), target
        source = path.read_text(encoding="utf-8")
        for name in re.findall(r"`(\w+)`", text):
            assert re.search(rf"^(def|class) {name}\b", source, re.MULTILINE), f"{target} has no {name}"


def test_the_example_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    labels = torch.arange(8)
    given = {
        "PrototypicalRefinement": mgkit.models.PrototypicalRefinement,
        "cross_entropy": torch.nn.functional.cross_entropy,
        "embeddings": torch.randn(8, 256),
        "labels": labels,
        "logits": torch.randn(8, 32),
    }
    exec(code, given)
    assert given["loss"].isfinite()
    assert int((given["step"].tp + given["step"].fn).sum()) == len(labels)
