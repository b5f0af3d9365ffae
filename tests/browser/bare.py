"""A widget's own JavaScript in a bare page, joined to the real Python object: no Jupyter, and about a second a test.

    bare = BarePage(page, ConfusionMatrix(run, selection=selection))
    bare.page.locator("canvas").click(position={"x": 40, "y": 40})
    assert selection.description == "..."
    selection.clear()
    bare.push()  # what Python changed by itself goes to the page when the test says so

The page's model does what Jupyter's does: `get`, `set`, `save_changes`, `send`, `on`, `off`. A change or a message
goes to the Python widget as if from a kernel, and what it changes or sends in answer comes back with the reply.
"""

from __future__ import annotations

import base64
from typing import Any

import ipywidgets
from playwright.sync_api import Page

# The variables of JupyterLab's two themes that widgets may use.
THEMES = {
    "light": {
        "layout-color0": "#fff", "layout-color1": "#fff", "layout-color2": "#eee", "layout-color3": "#bdbdbd",
        "ui-font-color0": "rgba(0,0,0,1)", "ui-font-color1": "rgba(0,0,0,.87)", "ui-font-color2": "rgba(0,0,0,.54)",
        "ui-font-color3": "rgba(0,0,0,.38)", "content-font-color1": "rgba(0,0,0,.87)", "border-color0": "#bdbdbd",
        "border-color1": "#bdbdbd", "border-color2": "#e0e0e0", "border-color3": "#eee", "brand-color1": "#1976d2",
        "error-color1": "#d32f2f", "warn-color1": "#f57c00",
    },
    "dark": {
        "layout-color0": "#111", "layout-color1": "#212121", "layout-color2": "#424242", "layout-color3": "#616161",
        "ui-font-color0": "rgba(255,255,255,1)", "ui-font-color1": "rgba(255,255,255,.87)",
        "ui-font-color2": "rgba(255,255,255,.54)", "ui-font-color3": "rgba(255,255,255,.38)",
        "content-font-color1": "rgba(255,255,255,1)", "border-color0": "#616161", "border-color1": "#616161",
        "border-color2": "#424242", "border-color3": "#212121", "brand-color1": "#2196f3",
        "error-color1": "#ef5350", "warn-color1": "#ffb74d",
    },
}  # fmt: skip
FONTS = {"ui-font-family": "system-ui, sans-serif", "ui-font-size1": "13px", "content-font-size1": "14px"}

_PAGE = """<!doctype html><meta charset="utf-8"><title>widget</title>
<style id="theme"></style>
<style>body { margin: 0; padding: 10px; background: var(--jp-layout-color0); color: var(--jp-content-font-color1);
font: 13px system-ui, sans-serif }</style><div id="place"></div>"""
_MODEL = """async ({state, esm, css}) => {
    const unpack = value => {
        if (value === null || typeof value !== "object") return value;
        if (Array.isArray(value)) return value.map(unpack);
        if ("__bytes__" in value)
            return new DataView(Uint8Array.from(atob(value.__bytes__), c => c.charCodeAt(0)).buffer);
        return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, unpack(inner)]));
    };
    const listeners = new Map(), values = unpack(state), changed = new Set();
    const emit = (event, ...details) => [...(listeners.get(event) ?? [])].forEach(listener => listener(...details));
    const assign = (name, value) => {
        if (JSON.stringify(values[name]) === JSON.stringify(value) && !(value instanceof DataView)) return false;
        values[name] = value;
        return true;
    };
    const take = ({changes, messages}) => {
        const names = Object.keys(changes).filter(name => assign(name, unpack(changes[name])));
        names.forEach(name => emit(`change:${name}`, model, values[name]));
        if (names.length) emit("change", model);
        messages.forEach(({content, buffers}) => emit("msg:custom", content, unpack(buffers)));
    };
    const model = window.model = {
        take,
        sent: [], saved: [],  // for tests to look at
        get: name => values[name],
        set(name, value) {
            if (!assign(name, value)) return;
            changed.add(name);
            emit(`change:${name}`, model, value);
            emit("change", model);
        },
        save_changes() {
            const patch = Object.fromEntries([...changed].map(name => [name, values[name]]));
            changed.clear();
            model.saved.push(patch);
            window.python({patch}).then(take);
        },
        send(content) { model.sent.push(content); window.python({content}).then(take); },
        on(event, listener) { listeners.set(event, [...(listeners.get(event) ?? []), listener]); },
        off(event, listener) {
            if (event === undefined || event === null) listeners.clear();
            else listeners.set(event, (listeners.get(event) ?? []).filter(one => listener && one !== listener));
        },
    };
    const style = document.createElement("style");
    style.textContent = css;
    document.head.append(style);
    const module = await import(URL.createObjectURL(new Blob([esm], {type: "text/javascript"})));
    const widget = typeof module.default === "function" ? await module.default() : module.default;
    await widget.initialize?.({model});
    window.views = [];
    window.show = async () => {  // called again, it shows a second view of the same model
        const el = document.createElement("div");
        document.querySelector("#place").append(el);
        const remove = await widget.render({model, el});
        window.views.push({el, remove: () => { remove?.(); el.remove(); }});
    };
    await window.show();
}"""


class BarePage:
    """A widget in a page of its own.

    Args:
        page: a fresh page.
        widget: an anywidget.
        theme: "light" or "dark".

    Attributes:
        errors: what the page threw or wrote to its console as an error; a test should see that it is empty.
    """

    def __init__(self, page: Page, widget: ipywidgets.Widget, theme: str = "light") -> None:
        self.page, self.widget, self.errors = page, widget, list[str]()
        self._outbox: list[dict[str, Any]] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "console", lambda message: self.errors.append(message.text) if message.type == "error" else None
        )
        page.set_content(_PAGE)
        self.theme(theme)
        page.expose_function("python", self._from_page)
        # The widget has no kernel to send to: its messages are kept for the page.
        widget.send = lambda content, buffers=None: self._outbox.append(
            {"content": content, "buffers": [_pack(buffer) for buffer in buffers or []]}
        )
        self._known = self._state()
        page.evaluate(_MODEL, {"state": self._known, "esm": str(widget._esm), "css": str(widget._css)})
        self.settle()

    def _state(self) -> dict[str, Any]:
        state = self.widget.get_state()
        return {
            name: _pack(value)
            for name, value in state.items()
            if not name.startswith("_") and name not in ("layout", "tabbable", "tooltip")
        }

    def _answer(self) -> dict[str, Any]:
        state = self._state()
        changes = {name: value for name, value in state.items() if self._known.get(name) != value}
        messages, self._outbox, self._known = self._outbox, [], state
        return {"changes": changes, "messages": messages}

    def _from_page(self, event: dict[str, Any]) -> dict[str, Any]:
        if "patch" in event:
            self._known |= event["patch"]  # the page has them already
            self.widget.set_state(event["patch"])
        else:
            self.widget._handle_custom_msg(event["content"], [])
        return self._answer()

    def push(self) -> None:
        """Tell the page what Python changed or sent since."""
        self.page.evaluate("answer => window.model.take(answer)", self._answer())
        self.settle()

    def settle(self) -> None:
        """Wait until the page has drawn what it was told."""
        self.page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def theme(self, name: str) -> None:
        """Change to the "light" or the "dark" theme, as JupyterLab does: variables, and a mark on the body."""
        values = "; ".join(f"--jp-{key}: {value}" for key, value in (THEMES[name] | FONTS).items())
        self.page.evaluate(
            """([css, light]) => {
                document.querySelector("#theme").textContent = css;
                document.body.dataset.jpThemeLight = light;
            }""",
            [f":root {{ {values} }}", str(name == "light").lower()],
        )
        self.settle()

    def colours(self, selector: str = "canvas") -> dict[str, int]:
        """The pixels of a canvas by colour, e.g. {"#ffffff": 5120}: what was really drawn."""
        return self.page.evaluate(
            """selector => {
                const canvas = document.querySelector(selector);
                const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
                const counts = {};
                for (let i = 0; i < pixels.length; i += 4) {
                    if (!pixels[i + 3]) continue;
                    const hex = [0, 1, 2].map(k => pixels[i + k].toString(16).padStart(2, "0")).join("");
                    counts["#" + hex] = (counts["#" + hex] ?? 0) + 1;
                }
                return counts;
            }""",
            selector,
        )


def _pack(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return {"__bytes__": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: _pack(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_pack(inner) for inner in value]
    return value
