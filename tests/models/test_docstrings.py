"""The examples in the docstrings of the models run and show what they claim."""

import doctest
import importlib
import pkgutil

import pytest

import mgkit.models

MODULES = [module.name for module in pkgutil.walk_packages(mgkit.models.__path__, "mgkit.models.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


@pytest.mark.parametrize(
    "name",
    [
        "PrototypicalRefinement",
        "Objective",
        "CrossModalFusion",
        "two_pathway",
        "merge_branches",
        "fuse_probabilities",
        "confusion_sets",
        "rectify",
        "remap_classes",
    ],
)
def test_what_is_most_used_has_an_example(name):
    assert doctest.DocTestFinder(recurse=False).find(getattr(mgkit.models, name))[0].examples
