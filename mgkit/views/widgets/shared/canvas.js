import { element, onAppearance, onChanges, oncePerFrame, statusLine, tooltip } from "./common.js";

// True if a click adds to the selection.
export const adds = event => event.shiftKey || event.ctrlKey || event.metaKey;

// A widget on one canvas, with menus above, a panel at the side and the selection below. Subclasses have `build`, `fill`
// (everything but the canvas), `redraw`, `at` (the place under a point), `words` (of a place), `click` and `key`.
export class CanvasView {
    constructor(model, el) {
        this.model = model;
        this.hover = null; // the place under the pointer
        this.cursor = null; // the place of the keyboard
        this.build(el);
        this.draw = oncePerFrame(() => this.redraw());
        this.ends = [() => this.draw.cancel()];
    }

    start(traits) {
        this.ends.push(onAppearance(this.root, this.draw), onChanges(this.model, traits, () => { this.fill(); this.draw(); }));
        this.fill();
        this.redraw();
    }

    dispose() { this.ends.forEach(end => end()); }

    frame(el, kind, { bar, above = [], below = [], side = [], className = "mgk" }) {
        this.canvas = element("canvas", { tabIndex: 0, attributes: { role: "application", "aria-roledescription": kind } });
        this.aloud = element("div", { className: "mgk-aloud", attributes: { "aria-live": "polite" } });
        this.stage = element("div", { className: "mgk-stage" }, this.canvas);
        this.side = element("div", { className: "mgk-side" }, ...side);
        this.status = statusLine(this.model);
        const title = element("span", { className: "mgk-title", textContent: this.title }, element("small", { textContent: [this.model.get("split"), this.model.get("note")].filter(Boolean).join(", ") }));
        this.root = element("div", { className, attributes: { "data-lm-suppress-shortcuts": "true" } },
            element("div", { className: "mgk-bar" }, title, ...bar),
            element("div", { className: "mgk-main" }, element("div", { style: { minWidth: 0, maxWidth: "100%" } }, ...above, this.stage, ...below), this.side),
            this.status.node, this.aloud);
        this.tip = tooltip(this.root);
        el.append(this.root);
        this.canvas.addEventListener("keydown", event => this.key(event));
        this.listen(this.canvas);
    }

    get title() { return this.model.get("name"); }

    // A function that sets a trait.
    keep(name) { return value => { this.model.set(name, value); this.model.save_changes(); }; }

    listen(canvas) {
        canvas.addEventListener("pointermove", event => this.point(event));
        canvas.addEventListener("pointerleave", () => { this.hover = null; this.tip.hide(); this.draw(); });
        canvas.addEventListener("click", event => {
            const place = this.at(event.offsetX, event.offsetY);
            if (place) this.click(place, event);
        });
        canvas.addEventListener("focus", () => { this.focused = canvas.matches(":focus-visible"); this.draw(); });
        canvas.addEventListener("blur", () => { this.focused = false; this.tip.hide(); this.draw(); });
    }

    point(event) {
        const place = this.at(event.offsetX, event.offsetY);
        this.canvas.style.cursor = place ? "pointer" : "default";
        if (JSON.stringify(place) !== JSON.stringify(this.hover)) { this.hover = place; this.draw(); }
        if (!place) return this.tip.hide();
        const corner = this.root.getBoundingClientRect();
        this.tip.show(event.clientX - corner.left, event.clientY - corner.top, this.words(place));
    }

    // The words of a place that the keyboard reached, as a tooltip at (x, y) of the canvas and for screen readers.
    announce(words, x, y) {
        this.aloud.textContent = words.map(line => line.map(([text]) => text).join("")).join(", ");
        const root = this.root.getBoundingClientRect(), canvas = this.canvas.getBoundingClientRect();
        this.tip.show(canvas.left - root.left + x, canvas.top - root.top + y, words);
    }
}
