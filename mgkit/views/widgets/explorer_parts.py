"""The parts that only the error explorer has: the bar of filters, the tabs over its views, boxes and sentences."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import anywidget
import ipywidgets
import traitlets

from mgkit.views.widgets.base import source


class FilterBar(anywidget.AnyWidget):
    """Filters as menus and buttons; what a person does with them goes to `act`, and nothing is decided here.

    Args:
        act: called with what the page sends: {"act": "filter", "name", "value"}, {"act": "unpick"} or {"act": "reset"}.
        options: "title", "split", "names" (of classes), "outputs", "subjects", "tags", "both" (whether RGB and pose can
            disagree).
    """

    _esm = source("common.js", "keys.js", "explorer_bar.js")
    _css = source("widgets.css", "explorer.css")
    options = traitlets.Dict().tag(sync=True)
    filters = traitlets.Dict().tag(sync=True)  # as `Filters`
    # "picked": what was clicked in a view, or null; "count" clips shown of "of"; "narrows": filters are set.
    state = traitlets.Dict().tag(sync=True)

    def __init__(self, act: Callable[[dict[str, Any]], None], **state: Any) -> None:
        self._act = act
        super().__init__(**state)
        self.on_msg(self._heard)

    def _heard(self, _: object, content: Any, __: object) -> None:
        if isinstance(content, dict) and isinstance(content.get("act"), str):
            self._act(content)


class ViewTabs(anywidget.AnyWidget):
    """Tabs; the chosen one is in `chosen`."""

    _esm = source("common.js", "view_tabs.js")
    _css = source("widgets.css", "explorer.css")
    tabs: traitlets.List[Any] = traitlets.List().tag(sync=True)  # [key, name]
    chosen = traitlets.Unicode().tag(sync=True)


def box(name: str, *children: ipywidgets.Widget) -> ipywidgets.Box:
    """A box of the class `name`."""
    made = ipywidgets.Box(list(children))
    made.add_class(name)
    return made


def why(text: str) -> ipywidgets.HTML:
    """A sentence in the place of a part that cannot be shown."""
    words = ipywidgets.HTML(html.escape(text))
    words.add_class("mgk-x-why")
    return words
