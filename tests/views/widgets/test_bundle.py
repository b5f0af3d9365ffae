"""Scripts put together from their modules, and the sentence of a static preview."""

from __future__ import annotations

from pathlib import Path

import pytest

from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.views.widgets import ConfusionMatrix
from mgkit.views.widgets.shared.base import static_preview
from mgkit.views.widgets.shared.bundle import FOLDER, script


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        (root / f"{name}.js").write_text(text)
    return root


def test_a_file_that_two_others_import_is_there_once_and_first(tmp_path: Path) -> None:
    write(
        tmp_path,
        base='export const one = 1;\nconst hidden = "base";\nexport function two() { return hidden; }\n',
        part='import { one } from "./base.js";\nconst hidden = "part";\nexport class Part {}\n',
        main='import { one, two as second } from "./base.js";\nimport { Part } from "./part.js";\nexport default 1;\n',
    )
    text = script("main.js", tmp_path)
    assert text.count('"base"') == 1
    assert text.index('"base"') < text.index('"part"') < text.index("export default 1")
    assert "const { one, two: second } = module0;" in text
    assert "return { one, two };" in text
    assert "return { Part };" in text
    assert "import" not in text


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"main": 'import { b } from "./b.js";\n', "b": 'import { c } from "./main.js";\n'}, "imports itself"),
        ({"main": 'import { x } from "./b.js";\n', "b": "export const y = 1;\n"}, "imports x, which"),
        ({"main": 'import b from "./b.js";\n', "b": ""}, "cannot bundle 'import b from"),
        ({"main": 'import * as b from "./b.js";\n', "b": ""}, "cannot bundle"),
        ({"main": "export let x = 1;\n"}, "cannot bundle 'export let x"),
        ({"main": 'import { b } from "./b.js";\n', "b": "export const b = 1;\nexport default b;\n"}, "cannot bundle"),
    ],
)  # fmt: skip
def test_what_cannot_be_bundled_is_refused(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        script("main.js", write(tmp_path, **files))


def test_every_script_belongs_to_a_widget() -> None:
    """No module is left over: each is imported, or is the script of a widget."""
    texts = {path: path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.js")}
    for path, text in texts.items():
        imported = any(f'/{path.name}"' in other for other in texts.values())
        assert imported != ("export default" in text), path


def test_the_preview_names_the_widget_and_what_to_do(run: Run) -> None:
    data = ConfusionMatrix(run)._repr_mimebundle_()[0]
    assert (
        "<p><em>Static preview of ConfusionMatrix. Run the cell in JupyterLab, VS Code or Colab for the interactive "
        "widget.</em></p><img width="
    ) in data["text/html"]
    assert static_preview("Gallery", None, "nothing <selected>").startswith(
        "<p><em>No static preview of Gallery (nothing &lt;selected&gt;). Run the cell"
    )


def test_a_widget_without_a_figure_says_why(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MgkitError("no clips to draw")

    widget = ConfusionMatrix(run)
    monkeypatch.setattr(type(widget), "to_figure", refuse)
    assert (
        "No static preview of ConfusionMatrix (no clips to draw)."
        in widget._repr_mimebundle_()[0]["text/html"]
    )
