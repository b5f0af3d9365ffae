"""The first cell of a notebook: the place it runs in, widgets, and the device."""

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
    """Name the place: "Jupyter" (Lab, Notebook), "VS Code", "Colab", "IPython in a terminal" or "plain Python".

    A kernel cannot ask the page that shows it, so VS Code and Colab are recognised by what they leave in the kernel;
    any other kernel counts as Jupyter's.
    """
    shell = _shell()
    if shell is None:
        return PLAIN
    if "google.colab" in sys.modules:
        return COLAB
    if not has_kernel():
        return IPYTHON
    if "__vsc_ipynb_file__" in getattr(shell, "user_ns", {}) or "VSCODE_PID" in os.environ:
        return VSCODE
    return JUPYTER


def has_kernel() -> bool:
    """Whether a Jupyter kernel runs this code."""
    return hasattr(_shell(), "kernel")


def set_up_notebook() -> str:
    """Enable widgets where that takes a call (Colab), and report the device that the notebook will compute on.

    It works without a GPU; `mg.doctor()` checks everything else.

    Returns:
        One line: mgkit's version, the place, and the device.
    """
    from mgkit import __version__
    from mgkit.training.machine import device_line

    where = place()
    if where == COLAB:
        enable_colab_widgets()
    return f"mgkit {__version__} in {where}, {device_line()}"


def enable_colab_widgets() -> None:
    """Let Colab show widgets other than its own; it asks for this once per session."""
    from google.colab import output  # type: ignore[import-not-found]  # exists on Colab only

    output.enable_custom_widget_manager()


def _shell() -> Any:
    """IPython's shell, None in plain Python; that its package is loaded is not enough."""
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
