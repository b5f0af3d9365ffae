// The filters of the error explorer. The bar shows the state that Python holds and sends every action to it.

import { choice, clipsOf, element, menu, mounted, number, onChanges, OUTPUT_NAMES, scopedKeys } from "../shared/common.js";

const KEYS = [
    ["n p", "next, previous clip"], ["e E", "next, previous error"], ["1 2 3 4", "tag: label wrong, ambiguous, occluded, bad pose"], ["t", "write a comment"],
    ["← → ↑ ↓", "move in the pictures; step frames in the player"], ["Page ↓ ↑", "next, previous page"], ["space", "play (in the player)"],
    ["Esc", "close this list; clear the selection"], ["?", "show or hide this list"],
];
const OUTCOME_WORDS = { all: "All", wrong: "Wrong", correct: "Correct", TP: "TP", FN: "FN", FP: "FP" };
// Of all classes, and of one.
const TITLES = {
    all: ["All clips", "TP, FN and FP of the class"], wrong: ["Misclassified clips", "FN and FP of the class"], correct: ["Correctly classified clips"],
    TP: ["", "Clips of the class, recognised"], FN: ["", "Clips of the class, missed"], FP: ["", "Clips of another class, predicted as this one"],
};

class Bar {
    constructor(model, el) {
        this.model = model;
        this.build(el);
        const help = acts => event => {
            if (!acts(event.key)) return false;
            this.toggleHelp();
            return true;
        };
        this.ends = [onChanges(model, ["filters", "state"], () => this.fill()), scopedKeys(this.root, help(key => key === "?")),
            scopedKeys(this.root, help(key => key === "Escape" && !this.help.hidden), true)];
        this.fill();
    }

    dispose() { this.ends.forEach(end => end()); }

    ask(name, value) { this.model.send({ act: "filter", name, value }); }

    // The pressed button disappears or is disabled: the keyboard stays with the bar.
    send(act) {
        this.model.send({ act });
        this.root.focus({ preventScroll: true });
    }

    build(el) {
        const { title, split, names, outputs, subjects, tags, both } = this.model.get("options");
        this.outcomes = element("span");
        this.label = menu("", [["", "any class"], ...names.map((name, i) => [String(i), name])], value => this.ask("label", value === "" ? null : Number(value)));
        this.label.node.querySelector("select").setAttribute("aria-label", "Class");
        this.label.node.classList.add("mgk-class");
        this.output = choice("output", outputs.map(key => [key, OUTPUT_NAMES[key]]), value => this.ask("output", value));
        this.subject = menu("subject", [["", "any"], ...subjects.map(name => [name, name])], value => this.ask("subject", value));
        this.notes = menu("notes", [["any", "any"], ["untagged", "without notes"], ["tagged", "with notes"], ...tags.map(tag => [tag, tag])], value => this.ask("notes", value));
        this.sort = menu("sort by", [["sure", "most confident"], ["unsure", "least confident"], ["id", "clip ID"]], value => this.ask("sort", value));
        this.pathways = menu("", [["any", "RGB and pose"], ["disagree", "RGB ≠ pose"], ["rgb right", "RGB right, pose wrong"], ["pose right", "pose right, RGB wrong"]], value => this.ask("pathways", value));
        this.pathways.node.querySelector("select").setAttribute("aria-label", "Pathways");
        this.pathways.node.title = "What the pathways predict";
        this.pathways.node.classList.add("mgk-pathways");
        this.chip = element("span", { className: "mgk-chip" });
        this.count = element("span", { className: "mgk-count", attributes: { role: "status" } });
        this.reset = element("button", { type: "button", className: "mgk-small", textContent: "Reset", title: "All wrong clips, no filters", onclick: () => this.send("reset") });
        this.helpButton = element("button", { type: "button", className: "mgk-small", title: "Keys (?)", onclick: () => this.toggleHelp() }, element("kbd", { textContent: "?" }), "keys");
        this.help = element("dl", { className: "mgk-keys", hidden: true }, ...KEYS.map(([keys, words]) =>
            element("div", {}, element("dt", {}, ...keys.split(" ").map(key => element("kbd", { textContent: key }))), element("dd", { textContent: words }))));
        const head = element("span", { className: "mgk-title", textContent: title }, element("small", { textContent: split }));
        const hint = [["n", "p", " clip"], ["e", " error"], ["1", "–", "4", " tag"], ["t", " comment"]].flatMap(words =>
            [...words.map(word => (word.length === 1 && word !== "–" ? element("kbd", { textContent: word }) : word)), "\u2002"]);
        this.root = element("div", { className: "mgk mgk-filters", tabIndex: -1, style: { outline: "none" }, attributes: { role: "search", "aria-label": "Filters", "data-lm-suppress-shortcuts": "true" } },
            element("div", { className: "mgk-bar" }, this.outcomes, this.label.node, ...(outputs.length > 1 ? [this.output.node] : []), this.range(),
                ...(both ? [this.pathways.node] : []), ...(subjects.length > 1 ? [this.subject.node] : []), this.notes.node),
            element("div", { className: "mgk-bar mgk-second-bar" }, head, this.chip, this.count, this.sort.node, this.reset, element("span", { className: "mgk-hint" }, ...hint), this.helpButton),
            this.help);
        el.append(this.root);
    }

    // Two handles on one rail: the minimum and maximum probability of the predicted class.
    range() {
        const handle = (name, words) => element("input", { type: "range", min: 0, max: 100, step: 1, attributes: { "aria-label": words },
            oninput: () => this.slide(name), onchange: () => this.ask(name, Number(this[name].value) / 100) });
        this.low = handle("low", "Minimum confidence in percent");
        this.high = handle("high", "Maximum confidence in percent");
        this.rail = element("i");
        this.read = element("output");
        return element("span", { className: "mgk-range", title: "Probability of the predicted class" }, "confidence",
            element("span", { className: "mgk-rail" }, this.rail, this.low, this.high), this.read);
    }

    slide(name) {
        let low = Number(this.low.value), high = Number(this.high.value);
        if (low > high) {
            if (name === "low") this.high.value = high = low;
            else this.low.value = low = high;
        }
        this.rail.style.left = `${low}%`;
        this.rail.style.right = `${100 - high}%`;
        this.read.textContent = `${low}–${high} %`;
    }

    fill() {
        const { outcome, label, output, subject, low, high, pathways, notes, sort } = this.model.get("filters");
        const { picked, count, of, narrows } = this.model.get("state"), one = label !== null;
        const keys = one ? ["all", "TP", "FN", "FP", "wrong"] : ["all", "wrong", "correct"];
        const held = this.outcomes.contains(document.activeElement);
        const buttons = choice("outcome", keys.map(key => [key, OUTCOME_WORDS[key]]), value => this.ask("outcome", value));
        buttons.press(picked ? null : outcome);
        buttons.node.querySelectorAll("button").forEach(button => { button.title = TITLES[button.dataset.key][Number(one)]; });
        this.outcomes.replaceChildren(buttons.node);
        if (held) this.outcomes.querySelector("[aria-pressed=true]")?.focus();
        this.label.press(label === null ? "" : String(label));
        this.label.node.title = this.model.get("options").names[label] ?? "";
        this.output.press(output);
        this.subject.press(subject);
        this.notes.press(notes);
        this.sort.press(sort);
        this.pathways.press(pathways);
        this.low.value = Math.round(100 * low);
        this.high.value = Math.round(100 * high);
        this.slide("low");
        this.chip.hidden = !picked;
        if (picked) this.chip.replaceChildren(element("span", { textContent: picked, title: picked }), element("button", { type: "button", textContent: "×", title: "Back to the filters", attributes: { "aria-label": "Drop" }, onclick: () => this.send("unpick") }));
        this.count.textContent = count === of ? clipsOf(count) : `${number(count)} of ${clipsOf(of)} pass the filters`;
        this.reset.disabled = !picked && !narrows && outcome === "wrong" && label === null;
    }

    toggleHelp() {
        this.help.hidden = !this.help.hidden;
        this.helpButton.setAttribute("aria-pressed", String(!this.help.hidden));
    }
}

export default mounted(Bar);
