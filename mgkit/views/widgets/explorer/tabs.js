// The tabs over the explorer's views.

import { element, onChanges } from "../shared/common.js";

function render({ model, el }) {
    const choose = key => { model.set("chosen", key); model.save_changes(); };
    const tabs = new Map(model.get("tabs").map(([key, name]) => [key, element("button", { type: "button", textContent: name, dataset: { key }, attributes: { role: "tab" }, onclick: () => choose(key) })]));
    const root = element("div", { className: "mgk mgk-tabs", attributes: { role: "tablist", "aria-label": "Views", "data-lm-suppress-shortcuts": "true" } }, ...tabs.values());
    root.addEventListener("keydown", event => {
        const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key], keys = [...tabs.keys()];
        if (!by) return;
        const next = keys[(keys.indexOf(model.get("chosen")) + by + keys.length) % keys.length];
        choose(next);
        tabs.get(next).focus();
        event.preventDefault();
        event.stopPropagation();
    });
    const fill = () => model.get("tabs").forEach(([key, name]) => {
        const tab = tabs.get(key);
        tab.textContent = name;
        tab.setAttribute("aria-selected", String(key === model.get("chosen")));
        tab.tabIndex = key === model.get("chosen") ? 0 : -1;
    });
    el.append(root);
    fill();
    return onChanges(model, ["chosen", "tabs"], fill);
}

export default { render };
