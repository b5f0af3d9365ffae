// A page of thumbnails. They are requested a few at a time, so that the kernel answers other clicks in between.

import { clipsOf, element, mounted, number, onAppearance, onChanges, percent, scopedKeys, showNames } from "../shared/common.js";

const AT_ONCE = 4, KEPT = 240, KIND_WORDS = { right: "correct", wrong: "wrong", TP: "TP", FN: "FN", FP: "FP" };

class Pictures {
    constructor(model, el) {
        this.model = model;
        this.urls = new Map(); // clip id to {url, problem}, the least recently shown first
        this.wanted = [];
        this.asked = new Set();
        this.build(el);
        this.ends = [onChanges(model, ["selected", "output", "trouble"], () => this.fill()), onAppearance(this.root, () => this.shorten())];
        const receive = (content, buffers) => this.receive(content, buffers);
        model.on("msg:custom", receive);
        this.ends.push(() => model.off("msg:custom", receive), scopedKeys(this.root, event => this.scoped(event)));
        this.fill();
    }

    dispose() {
        this.ends.forEach(end => end());
        for (const { url } of this.urls.values()) if (url) URL.revokeObjectURL(url);
    }

    build(el) {
        const { model } = this;
        this.title = element("span", { className: "mgk-title", attributes: { role: "status" } });
        const turn = by => () => model.send({ act: "page", page: model.get("selected").page + by });
        this.back = element("button", { type: "button", className: "mgk-small", textContent: "‹", title: "Previous page (Page Up)", onclick: turn(-1) });
        this.on = element("button", { type: "button", className: "mgk-small", textContent: "›", title: "Next page (Page Down)", onclick: turn(1) });
        this.place = element("span");
        this.pager = element("span", { className: "mgk-pager" }, this.back, this.place, this.on);
        this.warn = element("p", { className: "mgk-warn", attributes: { role: "status" } });
        this.cards = element("div", { className: "mgk-cards", tabIndex: 0, attributes: { role: "listbox", "aria-label": "Clips" } });
        this.root = element("div", { className: "mgk mgk-gallery", attributes: { "data-lm-suppress-shortcuts": "true" } },
            element("div", { className: "mgk-bar" }, this.title, this.pager), this.warn, this.cards);
        this.cards.addEventListener("keydown", event => this.key(event));
        el.append(this.root);
    }

    fill() {
        const { items, page, pages, first, count, here, description, focus } = this.model.get("selected"), trouble = this.model.get("trouble");
        const range = here ? `${number(first + 1)}–${number(first + items.length)} of ${clipsOf(here)}` : "no clips";
        const outside = here < count ? ` · ${clipsOf(count - here)} of another split` : "";
        this.title.replaceChildren(description, element("small", { textContent: range + outside }));
        this.title.title = description;
        this.pager.hidden = pages < 2;
        this.place.textContent = `${page + 1} / ${pages}`;
        this.back.disabled = page === 0;
        this.on.disabled = page === pages - 1;
        this.warn.hidden = !trouble;
        this.warn.textContent = trouble;
        // Cards of clips that stay are kept: their pictures do not flicker.
        const old = new Map([...this.cards.children].map(card => [card.dataset.clip, card]));
        const cards = items.map(item => this.card(item, old.get(item.id), item.id === focus));
        if (!items.length) cards.push(this.emptiness(count, description));
        if (cards.length !== this.cards.childElementCount || cards.some((card, i) => card !== this.cards.children[i])) {
            const same = old.size && items.length && old.has(items[0].id) && this.cards.children[0]?.dataset.clip === items[0].id;
            this.cards.replaceChildren(...cards);
            if (!same) this.cards.scrollTop = 0;
        }
        this.shorten();
        const current = this.cards.querySelector("[aria-current=true]");
        if (current && focus !== this.lastFocus) this.reveal(current);
        this.lastFocus = focus;
        this.wanted = items.map(item => item.id).filter(id => !this.urls.has(id));
        if (!trouble) this.ask();
    }

    shorten() { showNames(this.cards.querySelectorAll("[data-name]"), this.model.get("classes").names, { lines: 2, before: "→ " }); }

    // Scroll the cards, and never the notebook, until the card is seen.
    reveal(card) {
        const top = card.offsetTop - this.cards.offsetTop, bottom = top + card.offsetHeight;
        if (top < this.cards.scrollTop) this.cards.scrollTop = top - 4;
        else if (bottom > this.cards.scrollTop + this.cards.clientHeight) this.cards.scrollTop = bottom - this.cards.clientHeight + 4;
    }

    emptiness(count, description) {
        const words = description === "nothing selected" ? ["Nothing is selected", "Click a cell, a bar or a point in a linked view."]
            : count ? ["None of these clips are in this split", description] : [`No clips: ${description}`, "Change or reset the filters."];
        return element("div", { className: "mgk-empty", style: { gridColumn: "1 / -1" } }, element("b", { textContent: words[0] }), element("span", { textContent: words[1] }));
    }

    card(item, card, current) {
        if (!card) {
            card = element("button", { type: "button", className: "mgk-card", tabIndex: -1, dataset: { clip: item.id }, attributes: { role: "option" },
                onclick: () => { this.model.send({ act: "focus", clip_id: item.id }); this.cards.focus({ preventScroll: true }); } },
                element("div", { className: "mgk-picture" }), element("span"), element("span"));
            this.paint(card);
        }
        const [picture, first, second] = card.children, sure = percent(item.sure);
        card.dataset.kind = item.kind;
        card.setAttribute("aria-current", String(current));
        card.setAttribute("aria-selected", String(current));
        const outcome = item.right ? "recognised" : `predicted as ${item.predicted}`;
        card.title = `${item.id}\n${item.true}, ${outcome} (${sure}, ${KIND_WORDS[item.kind]})${item.noted ? `\nnote: ${item.tags.join(", ") || "comment"}` : ""}`;
        card.setAttribute("aria-label", card.title.replaceAll("\n", ", "));
        const name = text => element("span", { textContent: text, dataset: { name: text } });
        first.replaceChildren(element("i", { className: "mgk-mark" }), name(item.true));
        second.replaceChildren(...(item.right ? ["recognised"] : ["→ ", name(item.predicted)]));
        picture.querySelectorAll(".mgk-badge").forEach(badge => badge.remove());
        picture.append(element("b", { className: "mgk-badge mgk-sure", textContent: sure }));
        if (item.noted) picture.append(element("b", { className: "mgk-badge mgk-noted", textContent: `✎ ${item.tags.length || ""}`.trim() }));
        return card;
    }

    paint(card) {
        const known = this.urls.get(card.dataset.clip), picture = card.firstElementChild;
        if (!known) return;
        picture.querySelector("img, p")?.remove();
        if (known.url) picture.prepend(element("img", { src: known.url, alt: "", draggable: false }));
        else picture.prepend(element("p", { textContent: "no picture", title: known.problem }));
    }

    ask() {
        if (this.asked.size) return;
        const next = this.wanted.filter(id => !this.urls.has(id)).slice(0, AT_ONCE);
        if (!next.length) return;
        this.asked = new Set(next);
        this.model.send({ act: "thumbs", ids: next });
    }

    receive(content, buffers) {
        if (!content?.thumbs) return;
        for (const { clip_id, problem, buffer } of content.thumbs) {
            this.asked.delete(clip_id);
            if (this.urls.has(clip_id)) continue;
            const data = buffer === null ? null : buffers[buffer];
            const bytes = data && (data.buffer ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data));
            this.urls.set(clip_id, { url: bytes && URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" })), problem });
            const card = [...this.cards.children].find(one => one.dataset.clip === clip_id);
            if (card) this.paint(card);
        }
        this.forget();
        this.ask();
    }

    forget() {
        const shown = new Set([...this.cards.children].map(card => card.dataset.clip));
        for (const [id, { url }] of this.urls) {
            if (this.urls.size <= KEPT) return;
            if (shown.has(id)) continue;
            if (url) URL.revokeObjectURL(url);
            this.urls.delete(id);
        }
    }

    // Keys of the thumbnails themselves ...
    key(event) {
        const across = getComputedStyle(this.cards).gridTemplateColumns.split(" ").length, { page, pages } = this.model.get("selected");
        const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across }[event.key];
        const turn = { PageDown: 1, PageUp: -1 }[event.key];
        if (by) this.model.send({ act: "step", by });
        else if (turn) { if (page + turn >= 0 && page + turn < pages) this.model.send({ act: "page", page: page + turn }); }
        else if (event.key === "Escape") this.model.send({ act: "clear" });
        else return;
        event.preventDefault();
        event.stopPropagation();
    }

    // ... and of everything around them.
    scoped(event) {
        const by = { n: 1, p: -1, e: 1, E: -1 }[event.key];
        if (by) this.model.send({ act: "step", by, wrong: event.key.toLowerCase() === "e" });
        return Boolean(by);
    }
}

export default mounted(Pictures);
