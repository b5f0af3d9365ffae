"""Parts are checked against the signature of their target, and survive being written down."""

from __future__ import annotations

import doctest
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mgkit.parts
import mgkit.settings
from mgkit.errors import MgkitError
from mgkit.parts import Part, load_target, part


def net(
    classes: int, inputs: Any, *, width: int = 32, blocks: tuple[int, ...] = (1, 2), generator: Any = None
) -> Any:
    return classes, width, blocks, generator


class Module:
    def __init__(self, rgb_channels: int, *, hidden: int, inner: Part | None = None) -> None:
        self.built = rgb_channels, hidden, inner


def loss(outputs: Any, labels: Any, **settings: float) -> Any:
    return settings


def test_a_part_is_what_differs_from_the_defaults() -> None:
    assert part(net, width=32) == part(net)
    assert part(net, width=16, blocks=[1, 2]) == part(net, width=16)
    assert part(net, blocks=[3]).settings == {"width": 32, "blocks": (3,)}
    assert part(net, width=np.int64(8)).settings["width"] == 8
    assert repr(part(net, width=8)) == "part(net, width=8)"
    assert part(net).with_(width=8) == part(net, width=8)


def test_what_mgkit_knows_is_passed_where_the_signature_has_it() -> None:
    assert part(net, width=8).build(classes=4, inputs=None, class_counts=[1], generator="g") == (
        4,
        8,
        (1, 2),
        "g",
    )
    inner = part(net)
    assert part(Module, hidden=3, inner=inner).build(rgb_channels=5, pose_channels=7).built == (5, 3, inner)
    assert part(loss, a=1.0).build(outputs=1, labels=2) == {"a": 1.0}
    assert [one.name for one in part(Module, hidden=3, inner=inner).nested()] == ["Module", "net"]


@pytest.mark.parametrize(
    ("target", "settings", "message"),
    [
        (net, {"widht": 8}, "net has no setting 'widht': did you mean width"),
        (net, {"colour": 8}, "net has no setting 'colour': there are width, blocks"),
        (net, {"classes": 8}, "classes is supplied by mgkit"),
        (net, {"width": "wide"}, "width is 'wide'; use a number"),
        (net, {"blocks": 3}, r"blocks is 3; use a list, like \[1, 2\]"),
        (net, {"width": object()}, "net: width is a object: use numbers, texts, lists or parts"),
        (net, {"width": print}, r"wrap it in mg.part"),
        (Module, {}, "Module needs hidden: give it to mg.part"),
        (Module, {"hidden": 1, "weight": -1.0}, "weight is -1.0"),
        (Module, {"hidden": 1, "name": "a b"}, "name is 'a b'"),
        (3, {}, "3 is not a function or class"),
        ("nothing", {}, "write package.module:name or file.py:name"),
        ("mgkit.nothing:x", {}, "cannot be imported"),
        ("mgkit.parts:nothing", {}, "has no 'nothing'"),
        ("no/such.py:x", {}, r"no/such.py cannot be read"),
    ],
)
def test_what_does_not_fit_is_refused_at_once(target: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(MgkitError, match=message):
        part(target, **settings)


def test_a_part_survives_json_and_pickle() -> None:
    made = part(Module, hidden=3, inner=part(net, width=4), weight=0.5, name="mine")
    assert Part.from_dict(json.loads(json.dumps(made.to_dict())), "here", load_target) == made
    assert pickle.loads(pickle.dumps(made)) == made
    with pytest.raises(MgkitError, match="here: 3 is not a part"):
        Part.from_dict(3, "here", load_target)


@pytest.mark.slow
def test_a_file_is_imported_once_and_travels_to_other_processes(tmp_path: Path) -> None:
    file = tmp_path / "my_models.py"
    file.write_text("COUNT = []\ndef my_net(classes, inputs, *, width=32):\n    return width\n")
    one, two = part(f"{file}:my_net"), part(f"{file}:my_net", width=8)
    assert one.target is two.target
    assert one.own
    assert one.path == "code/my_models.py:my_net"
    assert one.target.__module__ != "my_models"
    code = f"import pickle, sys; print(pickle.loads({pickle.dumps(two)!r}).build(classes=1, inputs=None))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "8"
    file.write_text("def my_net(classes, inputs):\n    raise SystemError\n")
    assert part(f"{file}:my_net").settings == {}
    file.write_text("import nowhere\n")
    with pytest.raises(MgkitError, match="importing .*my_models.py failed .ModuleNotFoundError"):
        part(f"{file}:my_net")


@pytest.mark.parametrize("module", [mgkit.parts, mgkit.settings])
def test_examples_of_docstrings(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.slow
def test_parts_need_no_torch() -> None:
    code = (
        "import sys, mgkit; mgkit.part; mgkit.recipes.Inputs; mgkit.Recipe; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
