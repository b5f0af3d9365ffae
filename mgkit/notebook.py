"""The first cell of a notebook (the place it runs in, widgets, the device), and cells that not all data allow."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

from mgkit.errors import MgkitError

P = ParamSpec("P")
T = TypeVar("T")

JUPYTER, VSCODE, COLAB, IPYTHON, PLAIN = (
    "Jupyter",
    "VS Code",
    "Colab",
    "IPython in a terminal",
    "plain Python",
)
# The settings of this notebook, which `set_up_notebook` writes and nothing else.
_SETTINGS = {"blur_faces": False}


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


def ask(question: str) -> bool | None:
    """Ask whoever sits at the notebook or terminal; None where nobody can be asked, as in a script or a queue."""
    if not has_kernel() and not (sys.stdin is not None and sys.stdin.isatty()):
        return None
    try:
        answer = input(f"{question} [y/n] ")
    except (EOFError, NotImplementedError):  # a notebook that is run by a program
        return None
    return answer.strip().lower() in ("y", "yes")


def set_up_notebook(*, blur_faces: bool = False) -> str:
    """Enable widgets where that takes a call (Colab), and report the device that the notebook will compute on.

    It works without a GPU; `mg.doctor()` checks everything else.

    Args:
        blur_faces: blur heads in every picture of a clip that this notebook shows or saves from here on: players,
            galleries, film strips, contact sheets, saved clips. Each of them takes `blur_faces` too, which comes first.
            What was shown before stays in the notebook: run its cells again. See docs/faces.md.

    Returns:
        One line: mgkit's version, the place, the device, and whether faces are blurred.
    """
    from mgkit import __version__
    from mgkit.training.machine import device_line

    where = place()
    if where == COLAB:
        enable_colab_widgets()
    _SETTINGS["blur_faces"] = blur_faces
    return f"mgkit {__version__} in {where}, {device_line()}{', faces blurred' if blur_faces else ''}"


def blurs_faces(given: bool | None) -> bool:
    """Whether to blur faces: what was asked for, or for None the setting of the notebook."""
    return _SETTINGS["blur_faces"] if given is None else given


def enable_colab_widgets() -> None:
    """Let Colab show widgets other than its own; it asks for this once per session."""
    from google.colab import output  # type: ignore[import-not-found]  # exists on Colab only

    output.enable_custom_widget_manager()


class Reason:
    """The sentence that is shown in place of a result, see `if_possible`.

    It is false and empty, and whatever a later cell takes from it is the same sentence.
    """

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence

    def __repr__(self) -> str:
        return self._sentence

    def __bool__(self) -> bool:
        return False

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __getattr__(self, name: str) -> Reason:
        if name.startswith("_"):  # what Python, IPython and pandas ask any object for
            raise AttributeError(name)
        return self

    def __getitem__(self, key: object) -> Reason:
        return self

    def __call__(self, *args: object, **kwargs: object) -> Reason:
        return self


def if_possible(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | Any:
    """The result of a call or, where the clips or the run do not have what it needs, the sentence that says so.

    The notebooks run to their end on any data with it: clips without poses, a run of one pathway, imported scores.

    >>> def joints(run):
    ...     raise MgkitError("runs/rgb has no pose pathway.")
    >>> found = if_possible(joints, "runs/rgb")
    >>> found.head(3)
    runs/rgb has no pose pathway.

    Args:
        call: what to call. Only its `MgkitError` is a reason; any other error is raised.
        args, kwargs: its arguments. Where one of them is a reason already, that is returned.

    Returns:
        The result, or a `Reason`.
    """
    for value in (*args, *kwargs.values()):
        if isinstance(value, Reason):
            return value
    try:
        return call(*args, **kwargs)
    except MgkitError as error:
        return Reason(str(error))


def _shell() -> Any:
    """IPython's shell, None in plain Python; that its package is loaded is not enough."""
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
