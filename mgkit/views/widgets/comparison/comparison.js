// Two runs: the 2x2 table, bars of fixed and broken clips per class, and the clips whose confidence changed most.

import { choice, clipsOf, element, mounted, number, onAppearance, onChanges, OUTPUT_NAMES, showNames, statusLine } from "../shared/common.js";

const COMPARISON_WIDE = 720, FATE_WORDS = { right: "right in both", fixed: "fixed", broken: "broken", wrong: "wrong in both" };
const FATE_INDEX = { right: 0, fixed: 1, broken: 2, wrong: 3 };

class Comparison {
    constructor(model, el) {
        this.model = model;
        this.listing = null; // "fixed" or "broken"; null until one is chosen
        this.build(el);
        const narrow = () => { this.root.classList.toggle("mgk-narrow", this.root.clientWidth < COMPARISON_WIDE); this.shorten(); };
        this.ends = [onAppearance(this.root, narrow), onChanges(model, ["found", "output"], () => this.fill()), onChanges(model, ["selected"], () => this.mark())];
        this.fill();
        narrow();
    }

    dispose() { this.ends.forEach(end => end()); }

    build(el) {
        const { model } = this, words = name => name.split(" to ").map(one => OUTPUT_NAMES[one] ?? "best of each").join(" → ");
        this.between = element("span");
        const title = element("span", { className: "mgk-title" }, this.between, element("small", { textContent: model.get("split") }));
        const outputs = model.get("outputs").map(name => [name, words(name)]);
        this.outputs = choice("output", outputs, name => { model.set("output", name); model.save_changes(); });
        this.words = element("p", { className: "mgk-words", attributes: { "aria-live": "polite" } });
        this.four = element("div", { className: "mgk-four" });
        this.bars = element("div", { className: "mgk-bars" });
        this.lists = choice("clips", [["fixed", "Fixed"], ["broken", "Broken"]], fate => { this.listing = fate; this.fillClips(); this.shorten(); });
        this.clips = element("div", { className: "mgk-clips" });
        this.side = element("div", { className: "mgk-side" }, this.four, element("h4", {}, "Clips by change in confidence"), this.lists.node, this.clips);
        this.status = statusLine(model);
        this.root = element("div", { className: "mgk mgk-cmp", attributes: { "data-lm-suppress-shortcuts": "true" } },
            element("div", { className: "mgk-bar" }, title, ...(outputs.length > 1 ? [this.outputs.node] : [])),
            this.words, element("div", { className: "mgk-main" }, this.bars, this.side), this.status.node);
        this.root.addEventListener("keydown", event => this.key(event));
        el.append(this.root);
    }

    pick(fate, label, event) { this.model.send({ act: "pick", fate, label, add: event.shiftKey }); }

    // ---- content ----

    fill() {
        const { model } = this, { words } = model.get("found");
        this.outputs.press(model.get("output"));
        this.between.textContent = model.get("names").join(" → ");
        this.words.textContent = words;
        this.fillFour();
        this.fillBars();
        this.fillClips();
        this.shorten();
    }

    shorten() {
        const { names } = this.model.get("classes");
        for (const part of [this.bars, this.clips]) showNames(part.querySelectorAll("[data-name]"), names);
    }

    fillFour() {
        const { totals } = this.model.get("found"), [one, other] = this.model.get("names");
        const cell = fate => element("button", { type: "button", disabled: !totals[fate], dataset: { fate, place: fate },
            title: `Select the clips that are ${FATE_WORDS[fate]}`, onclick: event => this.pick(fate, null, event) },
            element("b", { textContent: number(totals[fate]) }), FATE_WORDS[fate]);
        const head = text => element("span", { className: "mgk-head", textContent: text, title: text }), side = text => element("span", { textContent: text, title: text });
        this.four.replaceChildren(element("span"), head(`${other} right`), head(`${other} wrong`),
            side(`${one} right`), cell("right"), cell("broken"), side(`${one} wrong`), cell("fixed"), cell("wrong"));
    }

    fillBars() {
        const { order, counts } = this.model.get("found"), { names } = this.model.get("classes");
        if (!order.length) {
            this.bars.replaceChildren(element("p", { className: "mgk-note", textContent: "No clips were fixed or broken." }));
            return;
        }
        const most = Math.max(...order.map(k => Math.max(counts[k][1], counts[k][2])));
        const half = (label, fate) => {
            const count = counts[label][FATE_INDEX[fate]], words = `${clipsOf(count)} of ${names[label]} ${FATE_WORDS[fate]}`;
            return element("button", { type: "button", className: "mgk-half", disabled: !count, title: words, dataset: { fate, label, place: `${label} ${fate}` },
                attributes: { "aria-label": words }, onclick: event => this.pick(fate, label, event) },
                element("i", { style: { width: `calc((100% - 34px) * ${count / most})` } }), count ? number(count) : "");
        };
        const rows = order.map(label => element("div", { className: "mgk-row" }, element("span", { textContent: names[label], title: names[label], dataset: { name: names[label] } }), half(label, "broken"), half(label, "fixed")));
        const same = names.length - order.length;
        const rest = same ? [element("p", { className: "mgk-note", textContent: `${same} ${same === 1 ? "class" : "classes"} unchanged` })] : [];
        this.bars.replaceChildren(element("div", { className: "mgk-row mgk-head" }, element("span"), element("span", { textContent: "← broken", className: "mgk-down" }), element("span", { textContent: "fixed →", className: "mgk-up" })), ...rows, ...rest);
    }

    fillClips() {
        const { listed, totals } = this.model.get("found"), { names } = this.model.get("classes");
        const fate = this.listing ?? (totals.fixed ? "fixed" : "broken"), clips = listed[fate];
        this.lists.press(fate);
        if (!clips.length) this.clips.replaceChildren(element("p", { className: "mgk-note", textContent: `No clips were ${fate}.` }));
        else {
            const items = clips.map(clip => element("li", {}, element("button", { type: "button", dataset: { clip: clip.clip_id }, onclick: () => this.model.send({ act: "look", clip_id: clip.clip_id, fate }) },
                element("span", { textContent: names[clip.true], title: names[clip.true], dataset: { name: names[clip.true] } }),
                element("span", { className: `mgk-number ${clip.change < 0 ? "mgk-down" : "mgk-up"}`, textContent: `${clip.change < 0 ? "−" : "+"}${Math.abs(100 * clip.change).toFixed(0)}` }),
                element("small", { textContent: `${names[clip.before]} → ${names[clip.after]} · ${clip.clip_id}`, title: `${names[clip.before]} → ${names[clip.after]} · ${clip.clip_id}` }))));
            const more = totals[fate] - clips.length;
            this.clips.replaceChildren(element("ul", { className: "mgk-list" }, ...items), ...(more > 0 ? [element("p", { className: "mgk-note", textContent: `and ${clipsOf(more)} with smaller changes` })] : []));
        }
        this.mark();
    }

    mark() {
        const { held, focus } = this.model.get("selected");
        const sums = Object.keys(FATE_INDEX).map((_, i) => held.reduce((sum, row) => sum + row[i], 0));
        for (const button of this.four.querySelectorAll("button")) button.classList.toggle("mgk-held", sums[FATE_INDEX[button.dataset.fate]] > 0);
        for (const button of this.bars.querySelectorAll("button")) button.classList.toggle("mgk-held", held[button.dataset.label][FATE_INDEX[button.dataset.fate]] > 0);
        for (const button of this.clips.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.clip === focus));
        this.status.show(this.model.get("split"));
    }

    // ---- keys ----

    key(event) {
        if (event.key === "Escape") { this.model.send({ act: "clear" }); event.preventDefault(); return; }
        const step = { ArrowDown: 1, ArrowUp: -1 }[event.key], at = document.activeElement;
        const within = [this.bars, this.clips].find(part => part.contains(at));
        if (within === this.bars && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
            const twin = at.parentNode.querySelector(`[data-fate=${event.key === "ArrowLeft" ? "broken" : "fixed"}]:enabled`);
            twin?.focus();
            event.preventDefault();
        }
        if (!step || !within) return;
        const buttons = [...within.querySelectorAll("button:enabled")];
        const side = buttons.filter(button => button.dataset.fate === at.dataset.fate);
        side[side.indexOf(at) + step]?.focus();
        event.preventDefault();
    }
}

export default mounted(Comparison);
