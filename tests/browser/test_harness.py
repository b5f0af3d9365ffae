"""The harness itself: both ways between page and Python, and that it can fail."""

from __future__ import annotations

import anywidget
import traitlets
from playwright.sync_api import Page

from mgkit.views.widgets.shared.bundle import FOLDER
from tests.browser.bare import BarePage


class Echo(anywidget.AnyWidget):
    _esm = """export default { render({model, el}) {
        const canvas = Object.assign(document.createElement("canvas"), {width: 30, height: 10});
        canvas.getContext("2d").fillStyle = "#0072b2";
        canvas.getContext("2d").fillRect(0, 0, 20, 10);
        el.append(canvas, document.createElement("p"));
        canvas.onclick = event => model.send({at: event.offsetX});
        const put = () => { el.querySelector("p").textContent = `${model.get("word")} ${model.get("raw").byteLength}` };
        model.on("change:word", put);
        model.on("msg:custom", (content, buffers) => {
            model.set("word", content.word + new Uint8Array(buffers[0].buffer)[0]);
            model.save_changes();
        });
        put();
    } }"""
    _css = "p { color: rgb(1, 2, 3) }"
    word = traitlets.Unicode("hello").tag(sync=True)
    raw = traitlets.Bytes(b"abc").tag(sync=True)

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[object] = []
        self.on_msg(self._answer)

    def _answer(self, _: object, content: object, buffers: object) -> None:
        self.heard.append(content)
        self.send({"word": "heard "}, [b"\x07"])


def test_a_bare_page_joins_javascript_and_python(page: Page) -> None:
    widget = Echo()
    bare = BarePage(page, widget)
    assert page.inner_text("p") == "hello 3"
    assert page.evaluate("getComputedStyle(document.querySelector('p')).color") == "rgb(1, 2, 3)"
    assert bare.colours() == {"#0072b2": 200}
    page.click("canvas", position={"x": 12, "y": 5})
    page.wait_for_function("document.querySelector('p').textContent === 'heard 7 3'")
    assert widget.heard == [{"at": 12}]
    assert widget.word == "heard 7", "the page's change reached Python"
    widget.word = "from Python"
    assert page.inner_text("p") == "heard 7 3"
    bare.push()
    assert page.inner_text("p") == "from Python 3"
    assert bare.errors == []


def test_a_bare_page_tells_of_errors_in_the_page(page: Page) -> None:
    bare = BarePage(page, Echo())
    page.evaluate("() => { setTimeout(() => { throw new Error('boom') }) }")
    page.wait_for_timeout(50)
    bare.settle()
    assert any("boom" in error for error in bare.errors)


def test_scripts_are_modules_that_a_browser_reads_as_they_are(page: Page) -> None:
    """Without the bundle: each file names all that it imports."""
    page.route("http://widgets/**", lambda route: route.fulfill(
        body="" if route.request.url.endswith("/") else (FOLDER / route.request.url.removeprefix("http://widgets/")).read_text(),
        content_type="text/html" if route.request.url.endswith("/") else "text/javascript",
    ))  # fmt: skip
    page.goto("http://widgets/")
    scripts = [path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.js")]
    kinds = page.evaluate(
        """names => Promise.all(names.map(async name => {
            const module = await import(`http://widgets/${name}`);
            return [name, typeof module.default?.render];
        }))""",
        scripts,
    )
    shown = {name for name, kind in kinds if kind == "function"}
    assert len(shown) == 11
    assert {name for name, kind in kinds if kind == "undefined"} == set(scripts) - shown
