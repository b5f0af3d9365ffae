// Bars of recall, precision or F1 per class and output on one canvas, with the class chosen last at the side.

import { adds, CanvasView } from "../shared/canvas.js";
import { brackets, choice, clipsOf, diamond, diamondKey, elideAll, element, menu, mounted, number, OUTCOME_TITLES, OUTPUT_COLOURS, OUTPUT_NAMES, percent, prepare, ROLE_COLOURS, showNames, themeOf } from "../shared/common.js";

const BARS_WIDE = 720, LOWEST = 5, METRIC_NAMES = { recall: "Recall", precision: "Precision", f1: "F1" };

// A place is {label, output}; that of the keyboard is also the class at the side.
class Bars extends CanvasView {
    constructor(model, el) {
        super(model, el);
        this.start(["values", "selected", "order", "metric"]);
    }

    build(el) {
        const { groups } = this.model.get("classes");
        this.metrics = choice("metric", Object.entries(METRIC_NAMES), this.keep("metric"));
        const orders = [["value", "value"], ["support", "number of clips"], ["groups", "group"], ["given", "as given"]];
        this.orders = menu("sort classes by", orders.filter(([key]) => key !== "groups" || groups), this.keep("order"));
        this.legend = element("div", { className: "mgk-legend", style: { margin: "0 0 6px" } });
        this.panel = element("div");
        this.list = element("div");
        this.frame(el, "bar chart", { bar: [this.metrics.node, this.orders.node], above: [this.legend], side: [this.panel, this.list] });
    }

    // ---- content ----

    get order() { return this.model.get("orders")[this.model.get("metric")][this.model.get("order")]; }

    get support() {
        const { tp, fn } = this.model.get("values")[this.model.get("best")];
        return tp.map((right, k) => right + fn[k]);
    }

    of(label, output) {
        const table = this.model.get("values")[output];
        return Object.fromEntries(Object.entries(table).map(([name, column]) => [name, column[label]]));
    }

    interval(row, metric) {
        const low = row[`${metric}_low`], high = row[`${metric}_high`];
        return low === null || low === undefined ? "" : `[${Math.round(100 * low)}, ${Math.round(100 * high)}]`;
    }

    words({ label, output }) {
        const { names } = this.model.get("classes"), metric = this.model.get("metric"), row = this.of(label, output);
        const support = row.tp + row.fn, taken = row.tp + row.fp, head = [[names[label], true], [this.model.get("outputs").length > 1 ? ` · ${OUTPUT_NAMES[output]}` : ""]];
        if (!support && metric !== "precision") return [head, [[`no clips of this class in ${this.model.get("split")}`]]];
        if (metric === "precision" && !taken) return [head, [["never predicted"]]];
        const value = [[`${METRIC_NAMES[metric]} ${percent(row[metric])} `, true], [this.interval(row, metric)]];
        if (metric === "recall") return [head, value, [[`${number(row.tp)} of its ${clipsOf(support)} recognised`]]];
        if (metric === "precision") return [head, value, [[`${number(row.tp)} of ${clipsOf(taken)} predicted as this class are correct`]]];
        return [head, value, [[`TP ${number(row.tp)} · FN ${number(row.fn)} · FP ${number(row.fp)}`]]];
    }

    fill() {
        const { model } = this, metric = model.get("metric");
        this.metrics.press(metric);
        this.orders.press(model.get("order"));
        this.status.show(model.get("split"));
        this.fillPanel(metric);
        const best = model.get("best"), { names } = model.get("classes"), support = this.support;
        const lowest = [...model.get("orders")[metric].value].filter(k => support[k] && k !== model.get("others")).reverse().slice(0, LOWEST);
        const title = element("h4", {}, `Lowest ${metric === "f1" ? "F1" : metric}`, element("small", { textContent: model.get("outputs").length > 1 ? OUTPUT_NAMES[best] : "" }));
        const at = [...this.list.querySelectorAll("button")].indexOf(document.activeElement);
        this.list.replaceChildren(title, element("ul", { className: "mgk-list" }, ...lowest.map(label => {
            const button = element("button", { type: "button", title: names[label] }, element("span", { textContent: names[label], dataset: { name: names[label] } }),
                element("span", { className: "mgk-number", textContent: percent(this.of(label, best)[metric]) }));
            button.setAttribute("aria-pressed", String(this.cursor?.label === label));
            button.onclick = event => this.click({ label, output: best }, event);
            return element("li", {}, button);
        })));
        this.shorten();
        if (at >= 0) this.list.querySelectorAll("button")[at]?.focus();
    }

    shorten() { showNames(this.list.querySelectorAll("[data-name]"), this.model.get("classes").names); }

    // The class chosen last: its numbers, and buttons for its TP, FN and FP.
    fillPanel(metric) {
        const { model } = this, { names, groups } = model.get("classes"), label = this.cursor?.label;
        if (label === undefined) {
            this.panel.replaceChildren(element("p", { className: "mgk-note", style: { margin: "0 0 12px" }, textContent: "Click a bar to select the clips behind it. Its TP, FN and FP then appear here." }));
            return;
        }
        const support = this.support[label], focused = [...this.panel.querySelectorAll("button")].indexOf(document.activeElement);
        const cell = (row, name) => element("td", {}, percent(row[name]), " ", element("small", { textContent: this.interval(row, name) }));
        const table = element("table", { className: "mgk-table" },
            element("tr", {}, ...["", "recall", "precision", "F1"].map(text => element("th", { textContent: text }))),
            ...model.get("outputs").map(output => {
                const row = this.of(label, output);
                return element("tr", {}, element("th", { textContent: OUTPUT_NAMES[output] }), cell(row, "recall"), cell(row, "precision"), element("td", { textContent: percent(row.f1) }));
            }));
        const roles = element("table", { className: "mgk-table" }, ...model.get("outputs").map(output => {
            const row = this.of(label, output);
            return element("tr", {}, element("th", { textContent: OUTPUT_NAMES[output] }), ...["TP", "FN", "FP"].map(kind => {
                const count = row[kind.toLowerCase()];
                const button = element("button", { type: "button", className: "mgk-small", title: `${clipsOf(count)} ${OUTCOME_TITLES[kind]}`, disabled: !count, dataset: { kind, output },
                    onclick: event => this.click({ label, output }, event, kind) },
                    element("span", { className: "mgk-dot", style: { background: ROLE_COLOURS[kind] } }), `${kind} ${number(count)}`);
                return element("td", {}, button);
            }));
        }));
        const about = [groups?.[label], support ? clipsOf(support) : "no clips"].filter(Boolean).join(" · ");
        this.panel.replaceChildren(element("h4", { style: { overflowWrap: "anywhere" } }, names[label], element("small", { textContent: about })), table, roles);
        if (focused >= 0) this.panel.querySelectorAll("button")[focused]?.focus();
    }

    // ---- layout ----

    measure(context) {
        const { names, groups } = this.model.get("classes"), outputs = this.model.get("outputs"), order = this.order, count = order.length;
        const width = this.root.clientWidth || 640, wide = width >= BARS_WIDE, room = wide ? width - 20 - Math.max(290, Math.min(340, 0.3 * width)) : width - 4;
        const grouped = groups && this.model.get("order") === "groups" && new Set(groups).size > 1 && new Set(groups).size < count;
        const size = count > 32 ? 11 : 12;
        context.font = `600 ${size}px ${this.theme.font}`; // bold, as the names are under the pointer: nothing moves then
        const measure = text => context.measureText(text).width, support = this.support;
        const names_ = Math.ceil(Math.min(Math.max(...names.map(measure)), Math.max(80, 0.34 * room), 220));
        const total = Math.ceil(Math.max(...support.map(n => measure(number(n))), measure("n"))) + 14;
        const left = 8 + names_ + total + 8, right = grouped && room > 480 ? Math.ceil(Math.min(Math.max(...groups.map(measure)), 84)) + 24 : 22;
        const few = count <= 12, some = count <= 32;
        const thick = outputs.length > 1 ? (few ? 9 : some ? 6 : 4) : few ? 14 : some ? 11 : 9;
        const pad = few ? 10 : some ? 5 : 4, row = Math.max(outputs.length * thick + pad, size + 3), top = 20;
        const plot = Math.max(160, Math.min(room, 900) - left - right);
        return { width, wide, order, count, outputs, grouped, size, names: names_, total, left, right, thick, row, top, plot, support,
            short: elideAll(context, names, names_), place: new Map(order.map((label, i) => [label, i])),
            canvasWidth: left + plot + right, canvasHeight: top + row * count + 20 };
    }

    at(x, y) {
        const { top, row, count, order, outputs, thick } = this.box, i = Math.floor((y - top) / row);
        if (i < 0 || i >= count) return null;
        const within = (y - top - i * row - this.margin()) / thick;
        const output = x < this.box.left ? this.model.get("best") : outputs[Math.max(0, Math.min(outputs.length - 1, Math.floor(within)))];
        return { label: order[i], output };
    }

    // Space above the bars of a class: whole pixels, so that bars are sharp.
    margin() { return Math.floor((this.box.row - this.box.outputs.length * this.box.thick) / 2); }

    barTop(label, output) {
        const { top, row, outputs, thick, place } = this.box;
        return top + place.get(label) * row + this.margin() + outputs.indexOf(output) * thick;
    }

    // ---- drawing ----

    redraw() {
        if (!this.root.isConnected) return;
        this.theme = themeOf(this.root);
        const { canvas, theme } = this, box = this.box = this.measure(canvas.getContext("2d"));
        this.root.classList.toggle("mgk-narrow", !box.wide);
        this.shorten();
        const context = prepare(canvas, box.canvasWidth, box.canvasHeight);
        context.fillStyle = theme.paper;
        context.fillRect(0, 0, box.canvasWidth, box.canvasHeight);
        Object.assign(canvas.dataset, { left: box.left, top: box.top, row: box.row, plot: box.plot }); // for tests
        const shown = this.hover ?? (this.focused ? this.cursor : null);
        this.drawAxes(context, shown);
        this.drawBars(context);
        this.drawMarks(context, shown);
        this.drawLegend();
        canvas.setAttribute("aria-label", `${METRIC_NAMES[this.model.get("metric")]} of ${box.count} classes. Arrow keys move, Enter selects the clips behind a bar, T, N and P its TP, FN and FP, Escape clears the selection.`);
    }

    drawAxes(context, shown) {
        const { left, plot, top, row, count, order, size, total, names, short, support, canvasWidth, grouped, right } = this.box, { theme } = this;
        if (shown) {
            context.fillStyle = theme.wash;
            context.fillRect(0, top + this.box.place.get(shown.label) * row, canvasWidth, row);
        }
        context.font = `11px ${theme.font}`;
        context.textAlign = "center";
        context.textBaseline = "middle";
        for (const tick of [0, 25, 50, 75, 100]) {
            const x = Math.round(left + (tick / 100) * plot) + 0.5;
            context.strokeStyle = tick ? theme.line : theme.faint;
            context.lineWidth = 1;
            context.beginPath();
            context.moveTo(x, top);
            context.lineTo(x, top + row * count);
            context.stroke();
            context.fillStyle = theme.soft;
            context.fillText(tick === 100 ? "100 %" : tick, x, 9);
            if (row * count > 300) context.fillText(tick === 100 ? "100 %" : tick, x, top + row * count + 11);
        }
        context.font = `italic ${size}px ${theme.font}`;
        context.textAlign = "right";
        context.fillText("n", 8 + names + total - 4, 9);
        order.forEach((label, i) => {
            const y = top + (i + 0.5) * row + 0.5;
            context.font = `${shown?.label === label ? "600 " : ""}${size}px ${theme.font}`;
            context.fillStyle = support[label] ? theme.ink : theme.faint;
            context.fillText(short[label], 8 + names, y);
            context.font = `${size}px ${theme.font}`;
            context.fillStyle = support[label] ? theme.soft : theme.faint;
            context.fillText(number(support[label]), 8 + names + total - 4, y);
        });
        if (!grouped || right < 26) return;
        const { groups } = this.model.get("classes");
        // Classes without clips come last, whatever their group: they are bracketed apart.
        const same = (a, b) => groups[a] === groups[b] && !support[a] === !support[b];
        brackets(context, theme, { order, same, name: label => groups[label], x: left + plot + 14, top, step: row, size, width: right - 22 });
    }

    drawBars(context) {
        const { left, plot, order, outputs, thick, row, support, top, size } = this.box, { theme } = this, metric = this.model.get("metric");
        for (const label of order) {
            let empty = true;
            for (const output of outputs) {
                const values = this.of(label, output), value = values[metric], y = this.barTop(label, output);
                if (value === null) continue;
                empty = false;
                context.fillStyle = label === this.model.get("others") ? theme.faint : OUTPUT_COLOURS[output];
                context.fillRect(left, y + 0.5, Math.max(1.5, value * plot), thick - 1);
                const low = values[`${metric}_low`], high = values[`${metric}_high`];
                if (low === null || low === undefined) continue;
                const middle = Math.floor(y + thick / 2) + 0.5, ends = Math.min(2.5, thick / 2 - 1);
                context.strokeStyle = theme.ink;
                context.lineWidth = 1;
                context.beginPath();
                context.moveTo(left + low * plot, middle);
                context.lineTo(left + high * plot, middle);
                for (const end of [low, high]) {
                    context.moveTo(left + end * plot, middle - ends);
                    context.lineTo(left + end * plot, middle + ends);
                }
                context.stroke();
            }
            if (!empty) continue;
            context.font = `italic ${size - 1}px ${theme.font}`;
            context.textAlign = "left";
            context.textBaseline = "middle";
            context.fillStyle = theme.soft;
            const why = support[label] ? "never predicted" : metric === "precision" ? "no clips, never predicted" : `no clips in ${this.model.get("split")}`;
            context.fillText(why, left + 6, top + (this.box.place.get(label) + 0.5) * row + 0.5);
        }
    }

    drawMarks(context, shown) {
        const { left, plot, order, outputs, thick, row, support, top, place } = this.box, { theme } = this;
        const { held, focus_true: truth, focus_predicted: predicted } = this.model.get("selected");
        for (const label of order) {
            if (!held[label]) continue;
            const y = top + place.get(label) * row + 1, whole = row - 2, part = Math.max(2, (held[label] / support[label]) * whole);
            context.fillStyle = theme.line;
            context.fillRect(0, y, 4, whole);
            context.fillStyle = theme.ink;
            context.fillRect(0, y + whole - part, 4, part);
        }
        if (shown && (this.focused || this.hover)) {
            const y = this.barTop(shown.label, shown.output);
            context.strokeStyle = theme.accent;
            context.lineWidth = 1.5;
            context.strokeRect(left - 0.5, y - 0.5, plot + 1, thick + 1);
        }
        if (truth === null) return;
        for (const output of outputs)
            if (predicted[output] !== truth) diamond(context, left + 1, this.barTop(predicted[output], output) + thick / 2, Math.max(3, Math.min(5, thick / 2 + 0.5)), true);
        diamond(context, left + 1, top + (place.get(truth) + 0.5) * row, Math.min(6, row / 2));
    }

    drawLegend() {
        const { outputs } = this.box, { theme } = this, { held, focus_true: truth, focus_predicted: predicted } = this.model.get("selected");
        const keys = outputs.length > 1 ? outputs.map(output => element("span", { className: "mgk-key" },
            element("span", { className: "mgk-swatch", style: { background: OUTPUT_COLOURS[output] } }), OUTPUT_NAMES[output])) : [];
        if (this.model.get("metric") !== "f1") keys.push(element("span", { className: "mgk-key", title: "These intervals assume independent clips; clips of one person are not, so true intervals are wider." },
            element("span", { style: { width: "14px", height: "7px", background: `linear-gradient(${theme.ink}, ${theme.ink}) center / 100% 1px no-repeat`, borderInline: `1px solid ${theme.ink}` } }), "95 % Wilson interval"));
        if (held.some(Boolean)) keys.push(element("span", { className: "mgk-key" },
            element("span", { style: { width: "4px", height: "12px", background: `linear-gradient(${theme.line} 40%, ${theme.ink} 40%)` } }), "share selected"));
        if (truth !== null) keys.push(diamondKey("clip in focus"));
        if (truth !== null && outputs.some(output => predicted[output] !== truth)) keys.push(diamondKey("its predicted class", "#fff"));
        this.legend.replaceChildren(...keys);
        this.legend.style.maxWidth = `${Math.max(this.box.canvasWidth, 300)}px`; // the side keeps its place
    }

    // ---- pointer and keys ----

    click(place, event, kind = null) {
        this.cursor = place;
        this.model.send({ act: "pick", label: place.label, output: place.output, kind, add: adds(event) });
        this.fill();
        this.draw();
    }

    key(event) {
        const { order, outputs, place } = this.box, kinds = { t: "TP", n: "FN", p: "FP" }, kind = kinds[event.key.toLowerCase()];
        const flat = order.length * outputs.length, step = { ArrowDown: 1, ArrowUp: -1, PageDown: outputs.length, PageUp: -outputs.length, Home: -flat, End: flat }[event.key];
        if (event.key === "Escape") this.model.send({ act: "clear" });
        else if ((event.key === "Enter" || event.key === " ") && this.cursor) this.click(this.cursor, event);
        else if (kind && this.cursor && !event.ctrlKey && !event.metaKey && !event.altKey) this.click(this.cursor, event, kind);
        else if (step) {
            const at = this.cursor ? place.get(this.cursor.label) * outputs.length + outputs.indexOf(this.cursor.output) + step : 0;
            const next = Math.max(0, Math.min(flat - 1, at));
            this.moveTo({ label: order[Math.floor(next / outputs.length)], output: outputs[next % outputs.length] });
        } else return;
        event.preventDefault();
        event.stopPropagation();
    }

    moveTo(place) {
        this.cursor = place;
        this.focused = true;
        this.hover = null;
        this.fill();
        this.redraw();
        this.announce(this.words(place), this.box.left + 40, this.barTop(place.label, place.output));
    }
}

export default mounted(Bars);
