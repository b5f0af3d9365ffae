"""mgkit: an interactive kit for micro-gesture classification.

    import mgkit as mg
    clips = mg.load_clips("data/demo")
    run = mg.train(clips, mg.recipes.demo(), "runs/demo")
    mg.evaluate(run)
    mg.figures.confusion(run)

The public names are listed in `__init__.pyi`, with the module of each. A name is loaded when it is first used, so that
`import mgkit` stays quick.
"""

import ast
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

# Threads of GNU's OpenMP, which torch has on Linux, spin for 300,000 turns before they sleep while they wait for each
# other, and on busy cores keep those from working that they wait for (benchmarks/waiting.py). Torch reads it once.
if "torch" not in sys.modules and not os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}:
    os.environ["GOMP_SPINCOUNT"] = "1000"

_WHERE = {
    alias.name if alias.asname is None else alias.asname: (node.module, alias.name)
    for node in ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body
    if isinstance(node, ast.ImportFrom) and node.module
    for alias in node.names
}

__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'mgkit' has no attribute {name!r}")
    module, own = _WHERE[name]
    try:
        value = import_module(f"{module}.{own}")
    except ModuleNotFoundError as error:
        if error.name != f"{module}.{own}":
            raise
        value = getattr(import_module(module), own)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
