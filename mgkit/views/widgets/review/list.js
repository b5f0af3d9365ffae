// The clips with a note, the latest first. A click asks Python to show the clip.

import { clipsOf, element, mounted, number, onChanges } from "../shared/common.js";

class Noted {
    constructor(model, el) {
        this.model = model;
        this.build(el);
        const receive = content => this.receive(content);
        model.on("msg:custom", receive);
        this.ends = [onChanges(model, ["listed", "selected"], () => this.fill()), () => model.off("msg:custom", receive)];
        this.fill();
    }

    dispose() { this.ends.forEach(end => end()); }

    build(el) {
        this.title = element("span", { className: "mgk-title", attributes: { role: "status" } });
        this.take = element("button", { type: "button", className: "mgk-small", textContent: "Download CSV", title: "All notes of this run as a CSV file",
            onclick: () => this.model.send({ act: "csv" }) });
        this.list = element("ol", { className: "mgk-list mgk-noted-list" });
        this.file = element("p", { className: "mgk-note" });
        this.root = element("div", { className: "mgk mgk-review-list", attributes: { "data-lm-suppress-shortcuts": "true" } },
            element("div", { className: "mgk-bar" }, this.title, this.take), this.list, this.file);
        el.append(this.root);
    }

    fill() {
        const { rows, count, tags, file, trouble } = this.model.get("listed"), { focus } = this.model.get("selected");
        const kinds = tags.map(([tag, many]) => `${tag} ${number(many)}`).join(" · ");
        this.title.replaceChildren(`${clipsOf(count)} with notes`, element("small", { textContent: kinds }));
        this.take.disabled = !count;
        this.list.replaceChildren(...rows.map(row => this.row(row, row.id === focus)));
        if (trouble) this.file.textContent = trouble;
        else if (!count) this.file.textContent = "No notes yet. Choose a clip and press a tag or its key: the note is saved at once and listed here.";
        else this.file.textContent = `${rows.length < count ? `Showing the latest ${number(rows.length)}. All are saved` : "Saved"} in ${file}`;
    }

    row({ id, split, tags, label, text, here, true: truth, predicted }, current) {
        const words = [here ? `${truth}${predicted === truth ? ", recognised" : ` → ${predicted}`}` : `in split ${split}`];
        const button = element("button", { type: "button", disabled: !here, dataset: { clip: id }, attributes: { "aria-pressed": String(current) },
            title: here ? "Select the clips with notes and show this one" : "Open the explorer on that split to see it",
            onclick: () => this.model.send({ act: "show", clip_id: id }) },
            element("b", { textContent: id }), element("span", { className: "mgk-noted-tags", textContent: tags.join(", ") || "comment" }),
            element("span", { className: "mgk-noted-words", textContent: words.join(" · ") }),
            element("span", { className: "mgk-noted-tags", textContent: label && `should be: ${label}` }));
        if (text) button.append(element("em", { textContent: text }));
        return element("li", {}, button);
    }

    // The page makes the file: the notebook server may run on another machine.
    receive(content) {
        if (typeof content?.csv !== "string") return;
        const url = URL.createObjectURL(new Blob([content.csv], { type: "text/csv;charset=utf-8" }));
        const link = element("a", { href: url, download: content.name });
        this.root.append(link);
        link.click();
        link.remove();
        setTimeout(() => URL.revokeObjectURL(url), 10000);
    }
}

export default mounted(Noted);
