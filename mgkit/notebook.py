"""Where this Python runs, and what the first cell of a notebook does about it."""

from __future__ import annotations

import os
import sys
from typing import Any

JUPYTER, VSCODE, COLAB, IPYTHON, PLAIN = (
    "Jupyter",
    "VS Code",
    "Colab",
    "IPython in a terminal",
    "plain Python",
)
WITH_WIDGETS = (JUPYTER, VSCODE, COLAB)


def place() -> str:
    """Where this code runs: "Jupyter" (Lab, Notebook), "VS Code", "Colab", "IPython in a terminal" or "plain Python".

    A kernel cannot ask the page that shows it; the programs are told apart by what they leave in the kernel. A kernel
    that neither says so of is one of Jupyter.
    """
    shell = _shell()
    if shell is None:
        return PLAIN
    if "google.colab" in sys.modules:
        return COLAB
    if not hasattr(shell, "kernel"):
        return IPYTHON
    if "__vsc_ipynb_file__" in getattr(shell, "user_ns", {}) or "VSCODE_PID" in os.environ:
        return VSCODE
    return JUPYTER


def set_up_notebook() -> str:
    """Make widgets work where they need a word (Colab), and say on what device the notebook will compute.

    Without a GPU the notebook goes on. What stands in the way of anything is told by `mg.doctor()`.

    Returns:
        One line: mgkit's version, where it runs, and the device.
    """
    from mgkit import __version__
    from mgkit.training.machine import device_line

    where = place()
    if where == COLAB:
        enable_colab_widgets()
    return f"mgkit {__version__} in {where}, {device_line()}"


def enable_colab_widgets() -> None:
    """Let Colab show widgets that are not its own; it asks for this once a session."""
    from google.colab import output  # type: ignore[import-not-found]  # exists on Colab only

    output.enable_custom_widget_manager()


def _shell() -> Any:
    """IPython's shell, None in plain Python. That its package is loaded says nothing."""
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
