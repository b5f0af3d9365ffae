// The note of the clip in focus. Each change goes to Python with the id of its clip.

import { clipsOf, element, menu, mounted, onChanges, scopedKeys } from "../shared/common.js";

const TYPING = 700; // milliseconds after the last keystroke until the comment is saved

class Review {
    constructor(model, el) {
        this.model = model;
        this.clip = undefined;
        this.before = ""; // the comment before it was edited
        this.build(el);
        this.ends = [onChanges(model, ["selected"], () => this.fill()), scopedKeys(this.root, event => this.key(event))];
        this.fill();
    }

    dispose() {
        this.keep();
        this.ends.forEach(end => end());
    }

    build(el) {
        const { model } = this;
        this.title = element("span", { className: "mgk-title" });
        this.saved = element("span", { className: "mgk-saved", attributes: { role: "status" } });
        this.tags = new Map(model.get("tags").map((tag, i) => [tag,
            element("button", { type: "button", dataset: { tag }, title: `Key ${i + 1}`, onclick: () => this.toggle(tag) }, element("kbd", { textContent: i + 1 }), tag)]));
        this.right = menu("correct class", [["", "unknown"], ...model.get("classes").names.map(name => [name, name])],
            label => this.send({ label }));
        this.text = element("textarea", { rows: 1, maxLength: 10000, placeholder: "comment (t)", attributes: { "aria-label": "Comment" },
            oninput: () => { clearTimeout(this.timer); this.timer = setTimeout(() => this.keep(), TYPING); this.showState(); },
            onblur: () => this.keep(),
            onkeydown: event => {
                if (event.key !== "Escape" && !(event.key === "Enter" && !event.shiftKey)) return;
                event.preventDefault();
                event.stopPropagation();
                this.keep();
                this.root.focus({ preventScroll: true });
            } });
        this.trouble = element("span");
        this.again = element("button", { type: "button", className: "mgk-small", textContent: "Try again", onclick: () => model.send({ act: "save" }) });
        this.warn = element("div", { className: "mgk-warn", attributes: { role: "alert" } }, this.trouble, this.again);
        this.root = element("div", { className: "mgk mgk-review", tabIndex: -1, style: { outline: "none" }, attributes: { role: "group", "aria-label": "Review note", "data-lm-suppress-shortcuts": "true" } },
            element("div", { className: "mgk-bar" }, this.title, this.saved),
            element("div", { className: "mgk-tags" }, ...this.tags.values()),
            element("div", { className: "mgk-fields" }, this.right.node, this.text), this.warn);
        el.append(this.root);
    }

    fill() {
        const { clip, note, trouble, true: truth } = this.model.get("selected");
        if (clip !== this.clip) {
            this.keep(); // of the previous clip
            this.clip = clip;
            this.before = this.text.value = note.text;
        } else if (this.text.value === this.before || this.text.value.trim() === note.text) {
            // Nothing is being typed: show the saved comment, which another view may have changed.
            if (this.text.value.trim() !== note.text) this.text.value = note.text;
            this.before = note.text;
        }
        this.title.replaceChildren("Review", element("small", { textContent: clip === null ? "no clip" : clip }));
        this.title.title = clip ?? "";
        for (const [tag, button] of this.tags) {
            button.setAttribute("aria-pressed", String(note.tags.includes(tag)));
            button.disabled = clip === null;
        }
        const wrong = note.tags.includes("label wrong");
        this.right.node.hidden = !wrong;
        const select = this.right.node.querySelector("select");
        for (const option of select.options) option.disabled = option.value === truth;
        this.right.press(note.label);
        this.text.disabled = clip === null;
        this.warn.hidden = !trouble;
        this.trouble.textContent = trouble;
        this.again.hidden = !this.model.get("selected").unsaved;
        this.showState();
    }

    showState() {
        const { clip, note, saved, noted } = this.model.get("selected");
        const typing = clip !== null && this.text.value.trim() !== note.text;
        const has = note.tags.length || note.text || note.label;
        this.saved.dataset.state = !saved ? "unsaved" : typing ? "typing" : has ? "saved" : "none";
        const when = note.updated ? new Date(note.updated).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) : "";
        this.saved.textContent = !saved ? "not saved" : typing ? "…" : has ? `saved ${when}`.trim() : noted ? `${clipsOf(noted)} with notes` : "no notes yet";
        this.saved.title = noted ? `${clipsOf(noted)} with notes in review.csv` : "Notes are saved in review.csv in the run folder";
    }

    send(change) {
        if (this.clip !== null && this.clip !== undefined) this.model.send({ act: "note", clip_id: this.clip, ...change });
    }

    toggle(tag) {
        this.send({ tag, on: this.tags.get(tag).getAttribute("aria-pressed") !== "true" });
        this.root.focus({ preventScroll: true }); // the keyboard belongs to the form again
    }

    // Save the comment if it has changed.
    keep() {
        clearTimeout(this.timer);
        const text = this.text.value.trim(), before = this.before;
        if (text === before.trim()) return;
        this.before = text;
        this.send({ text, before });
    }

    key(event) {
        const tag = this.model.get("tags")[Number(event.key) - 1];
        if (this.clip === null) return false;
        if (tag && event.key.length === 1) this.toggle(tag);
        else if (event.key === "t") this.text.focus();
        else return false;
        return true;
    }
}

export default mounted(Review);
