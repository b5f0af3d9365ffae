// The confusion matrix on one canvas, with menus above and a list of confusions at the side.

import { adds, CanvasView } from "../shared/canvas.js";
import { between, brackets, choice, clipsOf, diamond, diamondKey, elideAll, element, lab, luminance, menu, mounted, number, OUTPUT_NAMES, percent, prepare, showNames, themeOf, wrap } from "../shared/common.js";

const LEAST_CELL = 11, BEST_HEIGHT = 760, WIDE = 720;
// Of a matrix that must fit into its column; and the number of selected cells that are framed in any case.
const TIGHT_CELL = [3, 16], FEW_MARKS = 8;

// A place is {t, p}: the labels of the true and the predicted class, null for a whole column or row.
class Matrix extends CanvasView {
    constructor(model, el) {
        super(model, el);
        this.start(["matrix", "selected", "order", "normalise", "output"]);
    }

    build(el) {
        const { model } = this, { groups } = model.get("classes");
        const outputs = model.get("outputs").map(key => [key, OUTPUT_NAMES[key]]);
        this.outputs = choice("output", outputs, this.keep("output"));
        this.scale = choice("scale", [["share", "%"], ["clips", "clips"]], key => this.keep("normalise")(key === "share"));
        const orders = [["groups", "group"], ["cluster", "similarity"], ["given", "as given"]].filter(([key]) => key !== "groups" || groups);
        this.orders = menu("sort classes by", orders, this.keep("order"));
        this.legend = element("div", { className: "mgk-legend" });
        this.list = element("ul", { className: "mgk-list" });
        this.heading = element("h4");
        this.frame(el, "confusion matrix", { bar: [...(outputs.length > 1 ? [this.outputs.node] : []), this.scale.node, this.orders.node],
            below: [this.legend], side: [this.heading, this.list] });
    }

    get title() {
        const names = this.model.get("names");
        return names.length > 1 ? `${names[0]} − ${names[1]}` : names[0];
    }

    // ---- content ----

    get orderName() {
        const name = this.model.get("order");
        return name === "groups" && !this.model.get("classes").groups ? "given" : name;
    }

    get order() { return this.model.get("matrix").orders[this.orderName]; }

    numbers() {
        const { counts, other } = this.model.get("matrix"), normalise = this.model.get("normalise");
        const support = counts.map(row => row.reduce((a, b) => a + b, 0));
        const taken = counts.map((_, p) => counts.reduce((sum, row) => sum + row[p], 0));
        const value = (t, p) => {
            const change = counts[t][p] - (other ? other[t][p] : 0);
            return normalise ? (support[t] ? change / support[t] : 0) : change;
        };
        let top = 0;
        for (let t = 0; t < counts.length; t++) for (let p = 0; p < counts.length; p++) top = Math.max(top, Math.abs(value(t, p)));
        if (normalise) top = other ? Math.min(1, Math.max(0.05, Math.ceil(top * 20) / 20)) : 1;
        return { counts, other, normalise, support, taken, value, top: top || 1 };
    }

    // The words of a place, for the tooltip and screen readers: lines of [text, bold?].
    words({ t, p }) {
        const { counts, other, support, taken } = this.now, { names } = this.model.get("classes"), runs = this.model.get("names");
        const both = (one, two, whole) => [
            [[`${runs[0]}: ${number(one)} (${percent(whole ? one / whole : null)})`]],
            [[`${runs[1]}: ${number(two)} (${percent(whole ? two / whole : null)})`]],
            [[`${one > two ? "+" : one < two ? "−" : "±"}${clipsOf(Math.abs(one - two))}`, true]],
        ];
        if (p === null) {
            if (!support[t]) return [[[names[t], true]], [[`no clips of this class in ${this.model.get("split")}`]]];
            const head = [["true "], [names[t], true], [` · ${clipsOf(support[t])}`]];
            if (other) return [head, [["recognised by"]], ...both(counts[t][t], other[t][t], support[t])];
            return [head, [[`${number(counts[t][t])} recognised (${percent(counts[t][t] / support[t])})`]]];
        }
        if (t === null) {
            const head = [["predicted "], [names[p], true]];
            if (other) return [head, [["clips predicted as this class"]], ...both(taken[p], other.reduce((sum, row) => sum + row[p], 0), 0).map(line => [[line[0][0].replace(" (–)", ""), line[0][1]]])];
            if (!taken[p]) return [head, [["never predicted"]]];
            return [head, [[`${clipsOf(taken[p])} predicted as this class, ${number(counts[p][p])} correctly (${percent(counts[p][p] / taken[p])})`]]];
        }
        const head = [[["true "], [names[t], true]], [["predicted "], [names[p], true]]];
        if (!support[t]) return [...head, [[`no clips of ${names[t]} in ${this.model.get("split")}`]]];
        if (other) return [...head, ...both(counts[t][p], other[t][p], support[t])];
        const lines = [...head, [[clipsOf(counts[t][p]), true], [` · ${percent(counts[t][p] / support[t])} of the ${number(support[t])} true clips`]]];
        if (counts[t][p]) lines.push([[`${percent(counts[t][p] / taken[p])} of the ${number(taken[p])} predicted as this class`]]);
        return lines;
    }

    // Everything but the canvas: pressed buttons, list, status.
    fill() {
        const { model } = this;
        this.now = this.numbers();
        this.outputs.press(model.get("output"));
        this.scale.press(model.get("normalise") ? "share" : "clips");
        this.orders.press(this.orderName);
        this.status.show(model.get("split"));
        const { counts, other, support } = this.now, { names } = model.get("classes"), { top } = model.get("matrix");
        const { cells } = model.get("selected"), held = new Map(cells.map(([t, p, n]) => [`${t} ${p}`, n]));
        const runs = model.get("names");
        this.heading.replaceChildren(other ? "Most changed" : "Most frequent confusions",
            element("small", { textContent: other ? `clips: ${runs[1]} → ${runs[0]}` : "clips, % of the class" }));
        const items = top.map(([t, p]) => {
            const change = counts[t][p] - (other?.[t][p] ?? 0);
            const figures = other ? [`${change > 0 ? "+" : "−"}${number(Math.abs(change))}`, `${number(other[t][p])} → ${number(counts[t][p])}`]
                : [number(counts[t][p]), percent(counts[t][p] / support[t])];
            const button = element("button", { type: "button", title: `true ${names[t]}, predicted ${names[p]}` },
                element("span", { textContent: names[t], dataset: { name: names[t] } }), element("span", { className: "mgk-number", textContent: figures[0] }),
                element("span", { className: "mgk-to", textContent: names[p], dataset: { name: names[p] } }), element("span", { className: "mgk-number mgk-second", textContent: figures[1] }));
            const alone = !other && cells.length === 1 && held.get(`${t} ${p}`) === counts[t][p];
            button.setAttribute("aria-pressed", String(alone));
            button.onclick = event => this.click({ t, p }, event);
            button.onmouseenter = button.onfocus = () => { this.hover = { t, p }; this.draw(); };
            button.onmouseleave = button.onblur = () => { this.hover = null; this.draw(); };
            return element("li", {}, button);
        });
        // The keyboard stays where it was in the rebuilt list.
        const at = [...this.list.querySelectorAll("button")].indexOf(document.activeElement);
        this.list.replaceChildren(...items);
        this.shorten();
        if (at >= 0) this.list.querySelectorAll("button")[at]?.focus();
        if (!top.length) this.list.append(element("li", { className: "mgk-note", textContent: other ? "The two runs confuse the same classes equally often." : "None: every clip is classified correctly." }));
    }

    shorten() { showNames(this.list.querySelectorAll("[data-name]"), this.model.get("classes").names, { before: "→ " }); }

    // ---- layout ----

    // The layout, in CSS pixels.
    measure(context) {
        const width = this.root.clientWidth || 640, wide = width >= WIDE;
        const { names, groups } = this.model.get("classes"), count = names.length, order = this.order;
        const grouped = groups && this.model.get("order") === "groups" && new Set(groups).size > 1 && new Set(groups).size < count;
        const room = wide ? width - 20 - Math.max(220, Math.min(300, 0.27 * width)) : width - 4;
        const family = this.theme.font, small = count > 30;
        const size = small ? 10.5 : 12;
        context.font = `600 ${size}px ${family}`; // bold, as the names are under the pointer: nothing moves then
        const measure = text => context.measureText(text).width;
        const left = Math.ceil(Math.min(Math.max(...names.map(measure), 52), Math.max(90, 0.3 * room), small ? 160 : 240)) + 10;
        const total = Math.ceil(Math.max(...this.now.support.map(n => measure(number(n))), measure("n"))) + 12;
        const right = grouped && room > 480 ? Math.ceil(Math.min(Math.max(...groups.map(measure)), 84)) + 14 : 0;
        const most = Math.max(LEAST_CELL, Math.min(count <= 3 ? 140 : count === 4 ? 88 : 46, Math.floor(BEST_HEIGHT / count)));
        const cell = Math.max(LEAST_CELL, Math.min(most, Math.floor((room - left - total - right) / count)));
        // In the column of an explorer the whole matrix is seen: where the names of the classes do not fit, those of the
        // groups stand at its side, and a tooltip names the cell.
        if (this.root.closest(".mgk-explorer") && left + cell * count + total > room) return this.tight(context, { width, wide, count, order, grouped, size, room });
        const short = elideAll(context, names, left - 10);
        const lines = names.map(name => wrap(context, name, cell - 6, 3));
        const flat = cell >= 40 && lines.every(Boolean);
        const tall = flat ? Math.max(...lines.map(line => line.length)) * (size + 2) : Math.min(Math.max(...names.map(measure)), small ? 130 : 150);
        const top = Math.ceil(Math.max(tall, 30)) + 10, upright = flat ? null : elideAll(context, names, top - 10);
        const place = new Map(order.map((label, i) => [label, i]));
        return { width, wide, count, order, place, grouped, size, left, total, right, cell, short, upright, lines: flat ? lines : null, top,
            canvasWidth: left + cell * count + total + right, canvasHeight: top + cell * count + 2 };
    }

    tight(context, { width, wide, count, order, grouped, size, room }) {
        const { groups } = this.model.get("classes");
        context.font = `${size}px ${this.theme.font}`;
        const texts = ["predicted →", ...(grouped ? groups : [])];
        const left = Math.ceil(Math.min(84, Math.max(...texts.map(text => context.measureText(text).width)))) + 10, total = 2, top = 34;
        const cell = Math.max(TIGHT_CELL[0], Math.min(TIGHT_CELL[1], Math.floor((room - left - total) / count)));
        const place = new Map(order.map((label, i) => [label, i]));
        return { width, wide, count, order, place, grouped, size, left, total, right: 0, cell, short: null, upright: null, lines: null, top,
            canvasWidth: left + cell * count + total, canvasHeight: top + cell * count + 2 };
    }

    at(x, y) {
        const { left, top, cell, count, order, total } = this.box;
        const column = Math.floor((x - left) / cell), row = Math.floor((y - top) / cell);
        const inside = i => i >= 0 && i < count;
        if (inside(row) && inside(column)) return { t: order[row], p: order[column] };
        if (inside(row) && (x < left || x < left + cell * count + total)) return { t: order[row], p: null };
        if (inside(column) && y < top && y >= 0) return { t: null, p: order[column] };
        return null;
    }

    middle({ t, p }) {
        const { left, top, cell, place } = this.box;
        return [p === null ? left - 20 : left + (place.get(p) + 0.5) * cell, t === null ? top - 14 : top + (place.get(t) + 0.5) * cell];
    }

    colour(value, rest = false) {
        const { top, other } = this.now, { dark } = this.theme;
        const share = (Math.min(1, Math.abs(value) / top)) ** this.model.get("power");
        if (rest) return dark ? between([9, 0, 0], [80, 0, 0], share) : between([100, 0, 0], [30, 0, 0], share);
        if (!other) return dark ? between([9, 0, 0], [93, -4, -16], share) : between([100, 0, 0], [20, 14, -44], share);
        const zero = dark ? [12, 0, 0] : [97, 0, 0];
        const more = dark ? [74, -10, -38] : [45, 0, -50], less = dark ? [74, 26, 56] : [45, 46, 54];
        return between(zero, value > 0 ? more : less, share);
    }

    // ---- drawing ----

    redraw() {
        if (!this.root.isConnected) return;
        this.theme = themeOf(this.root);
        const { canvas, theme } = this;
        const box = this.box = this.measure(canvas.getContext("2d"));
        this.root.classList.toggle("mgk-narrow", !box.wide);
        this.shorten();
        const context = prepare(canvas, box.canvasWidth, box.canvasHeight);
        context.fillStyle = theme.paper;
        context.fillRect(0, 0, box.canvasWidth, box.canvasHeight);
        Object.assign(canvas.dataset, { left: box.left, top: box.top, cell: box.cell }); // where the cells begin, and their size
        const shown = this.hover ?? (this.focused ? this.cursor : null);
        this.drawLabels(context, shown);
        this.drawCells(context);
        this.drawMarks(context, shown);
        this.drawLegend();
        const { names } = this.model.get("classes");
        canvas.setAttribute("aria-label", `Confusion matrix of ${names.length} classes. Arrow keys move, Enter selects the clips of a cell, Escape clears the selection.`);
    }

    drawCells(context) {
        const { left, top, cell, count, order, size, grouped, total, right } = this.box, { theme, now } = this;
        const gap = cell >= 16 ? 1 : 0.5, { font } = theme, others = this.model.get("others");
        const digits = cell > 60 ? 15 : Math.min(12, cell * 0.44);
        context.textAlign = "center";
        context.textBaseline = "middle";
        context.fillStyle = lab(theme.dark ? 17 : 92, 0, 0); // the grid
        context.fillRect(left, top, cell * count, cell * count);
        for (let i = 0; i < count; i++) {
            const y = top + i * cell;
            if (!now.support[order[i]]) {
                this.hatch(context, left, y, cell * count, cell);
                continue;
            }
            for (let j = 0; j < count; j++) {
                const value = now.value(order[i], order[j]), x = left + j * cell, colour = this.colour(value, order[i] === others || order[j] === others);
                context.fillStyle = colour;
                context.fillRect(x, y, cell - gap, cell - gap);
                if (!value || cell < 19) continue;
                const text = this.digits(value);
                context.font = `${digits}px ${font}`;
                if (context.measureText(text).width > cell - 4) continue;
                context.fillStyle = luminance(colour) > 0.5 ? "#111" : "#fff";
                context.fillText(text, x + cell / 2, y + cell / 2 + 0.5);
            }
        }
        if (grouped) {
            const { groups } = this.model.get("classes");
            context.fillStyle = theme.faint;
            for (let i = 1; i < count; i++) {
                if (groups[order[i]] === groups[order[i - 1]]) continue;
                context.fillRect(left, top + i * cell - gap, cell * count, 1);
                context.fillRect(left + i * cell - gap, top, 1, cell * count);
            }
            if (right) brackets(context, theme, { order, same: (a, b) => groups[a] === groups[b], name: label => groups[label], x: left + cell * count + total + 4, top, step: cell, size, width: right - 12 });
        }
        context.strokeStyle = theme.faint;
        context.lineWidth = 1;
        context.strokeRect(left - 0.5, top - 0.5, cell * count + 1, cell * count + 1);
    }

    digits(value) {
        const { normalise, other } = this.now, size = normalise ? Math.round(100 * Math.abs(value)) : Math.abs(value);
        if (normalise && size === 0) return other ? "" : "<1";
        return (other ? (value > 0 ? "+" : "−") : "") + number(size);
    }

    hatch(context, x, y, width, height) {
        context.save();
        context.beginPath();
        context.rect(x, y, width, height - 1);
        context.clip();
        context.fillStyle = this.theme.wash;
        context.fillRect(x, y, width, height);
        context.strokeStyle = this.theme.line;
        context.lineWidth = 1;
        context.beginPath();
        for (let at = x - height; at < x + width; at += 6) {
            context.moveTo(at, y + height);
            context.lineTo(at + height, y);
        }
        context.stroke();
        context.restore();
    }

    drawLabels(context, shown) {
        const { left, top, cell, count, order, short, upright, lines, size, total } = this.box, { theme, now } = this;
        const end = left + cell * count;
        const font = bold => { context.font = `${bold ? "600 " : ""}${size}px ${theme.font}`; };
        if (shown) { // a band from the cell to its labels
            context.fillStyle = theme.wash;
            const row = shown.t === null ? -1 : this.box.place.get(shown.t), column = shown.p === null ? -1 : this.box.place.get(shown.p);
            if (row >= 0) context.fillRect(0, top + row * cell, end + total, cell);
            if (column >= 0) context.fillRect(left + column * cell, 0, cell, top);
        }
        context.textBaseline = "middle";
        if (!short) this.drawGroups(context);
        else order.forEach((label, i) => {
            const bold = shown?.t === label;
            font(bold);
            context.textAlign = "right";
            context.fillStyle = now.support[label] && label !== this.model.get("others") ? theme.ink : theme.faint;
            context.fillText(short[label], left - 6, top + (i + 0.5) * cell + 0.5);
            font(false);
            context.fillStyle = now.support[label] ? theme.soft : theme.faint;
            context.fillText(number(now.support[label]), end + total - 4, top + (i + 0.5) * cell + 0.5);
        });
        if (short) order.forEach((label, i) => {
            font(shown?.p === label);
            context.fillStyle = (now.taken[label] || now.support[label]) && label !== this.model.get("others") ? theme.ink : theme.faint;
            const x = left + (i + 0.5) * cell;
            if (lines) {
                context.textAlign = "center";
                lines[label].forEach((line, k) => context.fillText(line, x, top - 8 - (lines[label].length - 1 - k) * (size + 2)));
                return;
            }
            context.save();
            context.translate(x, top - 6);
            context.rotate(-Math.PI / 2);
            context.textAlign = "left";
            context.fillText(upright[label], 0, 0.5);
            context.restore();
        });
        context.font = `italic ${size}px ${theme.font}`;
        context.fillStyle = theme.soft;
        context.textAlign = "right";
        context.fillText("predicted →", left - 6, top - 22);
        context.fillText("true ↓", left - 6, top - 8);
        if (short) context.fillText("n", end + total - 4, top - 8);
    }

    // The names of the groups in the place of those of the classes, each where it has the room.
    drawGroups(context) {
        const { left, top, cell, order, grouped, size } = this.box, { groups } = this.model.get("classes");
        if (!grouped) return;
        context.font = `${size}px ${this.theme.font}`;
        context.textAlign = "right";
        context.fillStyle = this.theme.ink;
        for (let i = 0, next; i < order.length; i = next) {
            next = i + 1;
            while (next < order.length && groups[order[next]] === groups[order[i]]) next++;
            if ((next - i) * cell >= size) context.fillText(elideAll(context, [groups[order[i]]], left - 10)[0], left - 6, top + ((i + next) / 2) * cell);
        }
    }

    // Whether the selected cells are framed: not where they are so many that the frames would hide the matrix.
    get framed() {
        const { cells } = this.model.get("selected"), { counts } = this.now;
        return cells.length <= Math.max(FEW_MARKS, 0.25 * counts.flat().filter(Boolean).length);
    }

    drawMarks(context, shown) {
        const { left, top, cell, place, count } = this.box, { theme, now } = this;
        const { cells, focus_cell: focus } = this.model.get("selected");
        const frame = (x, y, width, height, colour, thick) => {
            context.lineWidth = thick + 2;
            context.strokeStyle = theme.paper;
            context.strokeRect(x, y, width, height);
            context.lineWidth = thick;
            context.strokeStyle = colour;
            context.strokeRect(x, y, width, height);
        };
        for (const [t, p, held] of this.framed ? cells : []) {
            const x = left + place.get(p) * cell, y = top + place.get(t) * cell;
            if (held === now.counts[t][p]) {
                frame(x + 0.5, y + 0.5, cell - 2, cell - 2, theme.ink, cell >= 16 ? 2 : 1.5);
                continue;
            }
            const corner = Math.max(5, Math.min(9, cell * 0.36)); // some of the cell's clips are selected
            context.beginPath();
            context.moveTo(x, y);
            context.lineTo(x + corner, y);
            context.lineTo(x, y + corner);
            context.closePath();
            context.fillStyle = theme.ink;
            context.fill();
            context.lineWidth = 1;
            context.strokeStyle = theme.paper;
            context.stroke();
        }
        if (shown) {
            const row = shown.t === null ? null : place.get(shown.t), column = shown.p === null ? null : place.get(shown.p);
            if (row !== null && column !== null) frame(left + column * cell - 0.5, top + row * cell - 0.5, cell, cell, theme.accent, 2);
            else if (row !== null) frame(left - 0.5, top + row * cell - 0.5, cell * count, cell, theme.accent, 1.5);
            else frame(left + column * cell - 0.5, top - 0.5, cell, cell * count, theme.accent, 1.5);
        }
        if (focus) diamond(context, left + (place.get(focus[1]) + 0.5) * cell + (cell >= 30 ? cell * 0.3 : 0) - 0.5,
            top + (place.get(focus[0]) + 0.5) * cell - (cell >= 30 ? cell * 0.3 : 0) - 0.5, Math.max(3.5, Math.min(6, cell * 0.3)));
    }

    drawLegend() {
        const { now, theme } = this, { cells, focus_cell: focus } = this.model.get("selected"), power = this.model.get("power");
        const { normalise, other, top } = now, names = this.model.get("names");
        const unit = other ? (normalise ? "percentage points of the true class" : "clips") : normalise ? "% of the true class" : "clips";
        const place = share => (other ? 50 + 50 * Math.sign(share) * Math.abs(share) ** power : 100 * share ** power);
        const steps = Array.from({ length: 33 }, (_, i) => i / 32).map(u => {
            const signed = other ? 2 * u - 1 : u; // where on the bar, to the value that is drawn there
            return `${this.colour(Math.sign(signed) * Math.abs(signed) ** (1 / power) * top)} ${100 * u}%`;
        });
        const round = value => (normalise ? Math.round(100 * value) : Math.round(value));
        const ticks = other ? [-1, -0.25, 0, 0.25, 1] : normalise ? [0, 0.1, 0.25, 0.5, 1] : [0, 0.1, 0.25, 0.5, 1];
        const seen = new Set(), marks = [];
        for (const tick of [...ticks].sort((a, b) => Math.abs(b) - Math.abs(a))) {
            const text = round(tick * top);
            if (seen.has(text) || (tick && !text)) continue;
            seen.add(text);
            const exact = text / (normalise ? 100 : 1) / top;
            marks.push(element("span", { textContent: `${other && text > 0 ? "+" : text < 0 ? "−" : ""}${number(Math.abs(text))}`, style: { left: `${place(exact)}%` } }));
        }
        const bar = element("span", { className: "mgk-scale" }, element("i", { style: { background: `linear-gradient(to right, ${steps.join(", ")})` } }), element("div", {}, ...marks));
        const keys = [element("span", { className: "mgk-key", style: { gap: "18px", paddingRight: "10px" } }, unit, bar)];
        if (other) keys.push(element("span", { textContent: `blue: more in ${names[0]}, orange: more in ${names[1]}` }));
        const marked = this.framed ? cells : [];
        const framed = marked.some(([t, p, n]) => n === now.counts[t][p]), cornered = marked.some(([t, p, n]) => n < now.counts[t][p]);
        if (!this.framed) keys.push(element("span", { className: "mgk-unframed", textContent: `clips of ${number(cells.length)} cells selected` }));
        const swatch = style => element("span", { className: "mgk-swatch", style });
        if (framed) keys.push(element("span", { className: "mgk-key" }, swatch({ border: `2px solid ${theme.ink}` }), "all selected"));
        if (cornered) keys.push(element("span", { className: "mgk-key" }, swatch({ background: `linear-gradient(135deg, ${theme.ink} 40%, ${theme.wash} 42%)` }), "some selected"));
        if (focus) keys.push(diamondKey("clip in focus"));
        if (now.support.some(n => !n)) keys.push(element("span", { className: "mgk-key" }, swatch({ background: `repeating-linear-gradient(135deg, ${theme.line} 0 1px, transparent 1px 4px)`, border: `1px solid ${theme.line}` }), "no clips of this class"));
        this.legend.replaceChildren(...keys);
        this.legend.style.maxWidth = `${Math.max(this.box.canvasWidth, 300)}px`;
    }

    // ---- pointer and keys ----

    click(place, event) {
        this.cursor = place;
        this.model.send({ act: "pick", true: place.t, predicted: place.p, add: adds(event) });
    }

    key(event) {
        const { order, count, place } = this.box;
        const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -count], End: [0, count], PageUp: [-count, 0], PageDown: [count, 0] };
        if (event.key === "Escape") this.model.send({ act: "clear" });
        else if ((event.key === "Enter" || event.key === " ") && this.cursor) this.click(this.cursor, event);
        else if (event.key in steps) this.move(steps[event.key], order, count, place);
        else return;
        event.preventDefault();
        event.stopPropagation();
    }

    // One step; beyond the upper or left edge are the labels (-1).
    move([down, across], order, count, place) {
        const index = label => (label === null ? -1 : place.get(label));
        let row = 0, column = 0;
        if (this.cursor) {
            const limit = (value, least) => Math.max(least, Math.min(count - 1, value));
            row = index(this.cursor.t);
            column = index(this.cursor.p);
            row = limit(row + down, column < 0 ? 0 : -1);
            column = limit(column + across, row < 0 ? 0 : -1);
        }
        this.cursor = { t: row < 0 ? null : order[row], p: column < 0 ? null : order[column] };
        this.focused = true;
        this.hover = null;
        this.redraw();
        const words = this.words(this.cursor), [x, y] = this.middle(this.cursor);
        this.stage.scrollLeft = Math.max(0, Math.min(this.stage.scrollLeft, x - 40));
        if (x > this.stage.scrollLeft + this.stage.clientWidth - 40) this.stage.scrollLeft = x - this.stage.clientWidth + 40;
        this.announce(words, x, y);
    }
}

export default mounted(Matrix);
