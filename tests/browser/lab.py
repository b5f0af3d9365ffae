"""JupyterLab in a real browser, for the few things that only show there: the way from a click to the kernel and back.

    notebook = Notebook(lab, page, ["import mgkit as mg", "mg.widgets.ConfusionMatrix(run)"])
    notebook.run_all()
    notebook.page.locator("canvas").click()
    notebook.until("len(selection) == 3")

Facts are read from the kernel by a second client, never from the page, so a test proves that an event reached Python.
Nothing asserts how long something takes, and waiting is done by the page, whose event loop goes on meanwhile.
"""

from __future__ import annotations

import ast
import json
import os
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import nbformat
from jupyter_client import BlockingKernelClient
from playwright.sync_api import ConsoleMessage, Error, Locator, Page

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0  # seconds until a wait is given up: only a failing test ever waits that long
# Nothing but the notebook: no news, no autosave, every cell in the page also when it is out of sight.
SETTINGS: dict[str, dict[str, Any]] = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
}
FOLDERS = {
    "JUPYTER_RUNTIME_DIR": "runtime", "JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data",
    "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "IPYTHONDIR": "ipython",
}  # fmt: skip
# Without the parsers of web addresses, see tests/conftest.py: to build them is half of what the server takes to start.
SERVER = "import sys; sys.modules['rfc3987_syntax'] = None; from jupyterlab.labapp import main; main()"
TOKEN = "t"  # the server listens on this machine only, as long as the tests run


class Lab:
    """A JupyterLab server on a free port with folders of its own: nothing of the user's is read or written.

    Args:
        root: an empty folder; notebooks lie in `root/notebooks`.

    Raises:
        RuntimeError: the server does not start; the end of its log is in the message.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.notebooks = root, root / "notebooks"
        self.kernel: str | None = None  # an idle one that remembers nothing, for the next notebook
        self.notebooks.mkdir(parents=True)
        for name, values in SETTINGS.items():
            path = root / "settings" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
        environment |= {name: str(root / folder) for name, folder in FOLDERS.items()}
        environment["PYTHONPATH"] = str(ROOT)  # kernels import this checkout
        options = {
            "ServerApp.ip": "127.0.0.1", "ServerApp.port": self.port, "ServerApp.port_retries": 0,
            "ServerApp.root_dir": self.notebooks, "ServerApp.allow_root": True, "ServerApp.open_browser": False,
            "IdentityProvider.token": TOKEN, "LabApp.expose_app_in_browser": True,
        }  # fmt: skip
        with (root / "lab.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", SERVER, *(f"--{key}={value}" for key, value in options.items())],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise RuntimeError(f"JupyterLab does not start:\n{(root / 'lab.log').read_text()[-2000:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url("api/status"), timeout=5):
                return True
        except OSError:
            return False

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}?token={TOKEN}"

    def connection_file(self, kernel: str) -> Path:
        return self.root / FOLDERS["JUPYTER_RUNTIME_DIR"] / f"kernel-{kernel}.json"

    def close(self) -> None:
        """End the server, and with it its kernels."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


# In the page: the notebook that is shown, its kernel, and the cells that raised.
_NOTEBOOK = "window.jupyterapp?.shell.currentWidget"
_KERNEL = f"{_NOTEBOOK}?.sessionContext?.session?.kernel"
_READY = f"() => {_KERNEL}?.connectionStatus === 'connected' && {_KERNEL}.status === 'idle'"
_ERRORS = f"""() => {{
    const errors = [];
    for (const [i, cell] of Array.from({_NOTEBOOK}.content.model.cells).entries())
        for (let j = 0; j < (cell.outputs?.length ?? 0); j++) {{
            const output = cell.outputs.get(j).toJSON();
            if (output.output_type === "error") errors.push(`cell ${{i}}: ${{output.ename}}: ${{output.evalue}}`);
        }}
    return errors;
}}"""
_RAN = f"""() => ({_ERRORS})().length > 0 || ({_READY})() && Array.from({_NOTEBOOK}.content.model.cells).every(
    cell => cell.type !== "code" || cell.executionCount)"""

# A kernel that is gone cannot be ended, and what was edited is not asked about.
_CLOSE = f"""async keep => {{
    const notebook = {_NOTEBOOK};
    if (!keep) await notebook.sessionContext.shutdown().catch(() => null);
    notebook.dispose();
}}"""
_FORGET = """
    import ipywidgets
    ipywidgets.Widget.close_all()
    get_ipython().run_line_magic("reset", "-f")
"""


class Notebook:
    """A notebook of code cells, open in the browser. Its kernel begins without variables and widgets.

    To load JupyterLab, to start a kernel and to import mgkit is most of what a notebook costs. So the page may be one
    in which JupyterLab is open, and the kernel is that of the notebook before.

    Args:
        lab: the server.
        page: a page of the browser.
        cells: source of the code cells; each is dedented.
        name: of the file.
    """

    def __init__(self, lab: Lab, page: Page, cells: Sequence[str], name: str = "test.ipynb") -> None:
        self.lab, self.page, self.console = lab, page, list[str]()
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(textwrap.dedent(cell).strip()) for cell in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        )
        nbformat.write(notebook, lab.notebooks / name)
        page.set_default_timeout(1000 * PATIENCE)
        self._name = name
        page.on("console", self._hear)
        page.on("pageerror", self._hear_error)
        if page.evaluate("() => !window.jupyterapp"):
            page.goto(f"{lab.url(f'doc/tree/{name}')}&reset", wait_until="domcontentloaded")
        else:
            given = {"path": name, **({"kernel": {"id": lab.kernel}} if lab.kernel else {})}
            page.evaluate("given => { window.jupyterapp.commands.execute('docmanager:open', given) }", given)
        self._opened()
        self.keep = True  # the kernel, for the next notebook
        self.kernel, lab.kernel = page.evaluate(f"{_KERNEL}.id"), None
        self._client = BlockingKernelClient(connection_file=str(lab.connection_file(self.kernel)))
        self._client.load_connection_file()
        self._client.start_channels()
        self._client.wait_for_ready(PATIENCE)

    def __enter__(self) -> Notebook:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.keep &= error is None
        self.close()

    def _hear(self, message: ConsoleMessage) -> None:
        self.console.append(f"{message.type}: {message.text[:300]}")

    def _hear_error(self, error: Error) -> None:
        self.console.append(f"page error: {str(error)[:300]}")

    def _opened(self) -> None:
        self.page.wait_for_function(f"name => {_NOTEBOOK}?.context?.path === name", arg=self._name)
        self.page.evaluate("() => window.jupyterapp.restored.then(() => null)")
        self.page.wait_for_function(_READY)

    def run_all(self) -> None:
        """Run every cell and wait until all have; a cell that raises fails the test with its error."""
        self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")
        self.page.wait_for_function(_RAN)
        errors = self.page.evaluate(_ERRORS)
        assert not errors, "; ".join(errors)

    def reload(self) -> None:
        """Save, and load the page anew as a person does; the kernel goes on."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save').then(() => null)")
        self.page.reload(wait_until="domcontentloaded")
        self._opened()

    def theme(self, name: str) -> None:
        """Change to "JupyterLab Dark" or "JupyterLab Light"."""
        self.page.evaluate(
            "t => window.jupyterapp.commands.execute('apputils:change-theme', {theme: t})", name
        )
        self.page.wait_for_function("t => document.body.dataset.jpThemeName === t", arg=name)

    def execute(self, code: str) -> None:
        """Run code in the kernel, beside the notebook."""
        reply = self._client.execute(textwrap.dedent(code), reply=True, timeout=PATIENCE)["content"]
        assert reply["status"] == "ok", reply.get("traceback") or reply

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the kernel; it must be plain JSON (tuples come back as lists)."""
        wrapped = f"__import__('json').dumps({expression})"
        for _ in range(20):  # a request that stood behind a failing cell is thrown away: ask again
            reply = self._client.execute(
                "", user_expressions={"value": wrapped}, reply=True, timeout=PATIENCE
            )
            result = reply["content"].get("user_expressions", {}).get("value")
            if result is not None:
                break
            self.page.wait_for_timeout(100)
        assert result is not None, f"the kernel does not evaluate {expression}: {reply['content']}"
        assert result["status"] == "ok", f"{expression}: {result['ename']}: {result['evalue']}"
        return json.loads(ast.literal_eval(result["data"]["text/plain"]))

    def until(self, expression: str, seconds: float = PATIENCE) -> Any:
        """Ask the kernel until the expression is true; returns its value."""
        deadline = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            console = "; ".join(self.console[-5:]) or "silent"
            assert time.monotonic() < deadline, (
                f"{expression} is still {value!r} (the page's console: {console})"
            )
            self.page.wait_for_timeout(50)
        return value

    def cell(self, number: int) -> Locator:
        return self.page.locator(".jp-Cell").nth(number)

    def close(self) -> None:
        """Close the notebook unsaved; JupyterLab stays open in the page."""
        if self.keep:
            self.execute(_FORGET)
            self.lab.kernel = self.kernel
        self._client.stop_channels()
        self.page.remove_listener("console", self._hear)
        self.page.remove_listener("pageerror", self._hear_error)
        if not self.page.is_closed():
            self.page.evaluate(_CLOSE, self.keep)
