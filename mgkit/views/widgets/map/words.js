// What is told beside the map and under the pointer; methods of the view in prototype_map.js.

// A small picture of a marker for the legend.
function markerKey(draw) {
    const canvas = element("canvas", { className: "mgk-marker", attributes: { "aria-hidden": "true" } });
    draw(prepare(canvas, 14, 14));
    return canvas;
}

const MAP_WORDS = {
    groupKeys() {
        const { model } = this, classes = this.colour === "class", trait = classes ? "chosen" : "chosen_subjects";
        const names = classes ? model.get("classes").names : this.subjects.names, of = classes ? this.labels : this.subjects.of, chosen = model.get(trait);
        const counts = new Array(names.length).fill(0);
        for (const group of of) counts[group]++;
        const full = chosen.length >= this.palette.length, rest = names.map((_, k) => k).filter(k => !chosen.includes(k));
        const rows = [...chosen, ...rest].map(k => {
            const at = chosen.indexOf(k), on = at >= 0, what = on ? "make grey" : full ? `at most ${this.palette.length} can be told apart: make another one grey first` : "colour";
            const swatch = element("button", { type: "button", title: what, disabled: !on && full, dataset: { colour: names[k] }, attributes: { "aria-pressed": String(on), "aria-label": `colour ${names[k]}` },
                onclick: () => { model.set(trait, on ? chosen.filter(other => other !== k) : [...chosen, k]); model.save_changes(); } },
                element("i", { style: on ? { background: this.palette[at], borderColor: this.palette[at] } : {} }));
            const name = element("button", { type: "button", title: names[k], disabled: !counts[k], dataset: { group: names[k] },
                onclick: event => this.send({ act: classes ? "class" : "subject", label: k }, event) }, element("span", { textContent: names[k] }), element("small", { textContent: number(counts[k]) }));
            return element("li", {}, swatch, name);
        });
        return [element("h4", {}, classes ? "Classes" : "Subjects", element("small", { textContent: rest.length ? `${chosen.length} of ${names.length} coloured, others grey` : "" })),
            element("ul", { className: "mgk-groups" }, ...rows)];
    },

    kindKeys() {
        const { model, theme } = this, { names } = model.get("classes"), counts = { TP: 0, FN: 0, FP: 0, TN: 0 };
        for (let row = 0; row < this.map.count; row++) counts[this.kind(row)]++;
        const pick = menu("of", names.map(name => [name, name]), value => { model.set("highlight", value); model.save_changes(); });
        pick.press(model.get("highlight"));
        const keys = Object.keys(KIND_SHAPES).map(kind => element("button", { type: "button", className: "mgk-small", disabled: !counts[kind], title: KIND_WORDS[kind], dataset: { kind },
            onclick: event => this.send({ act: "class", label: this.highlighted, kind }, event) }, markerKey(context => this.marker(context, KIND_SHAPES[kind], ROLE_COLOURS[kind])), counts[kind] ? `${kind} ${number(counts[kind])}` : `no ${kind} for this class`));
        return [element("h4", {}, "TP, FN and FP"), pick.node, element("div", { className: "mgk-kinds" }, ...keys,
            element("span", { className: "mgk-key mgk-note", style: { padding: "0 9px", gap: "7px" } }, markerKey(context => this.marker(context, "circle", theme.faint)), `other clips ${number(counts.TN)}`))];
    },

    scaleKeys() {
        const [low, high] = this.range(), confidence = this.colour === "confidence";
        const stops = Array.from({ length: 9 }, (_, i) => ramp(i / 8)).join(", ");
        const ticks = [0, 0.5, 1].map(share => element("span", { textContent: (low + share * (high - low)).toFixed(high > 1 || confidence ? 1 : 2), style: { left: `${100 * share}%` } }));
        const scale = element("div", { className: "mgk-scale", style: { margin: "2px 12px 8px" } }, element("i", { style: { background: `linear-gradient(to right, ${stops})` } }), element("div", {}, ...ticks));
        let lost = 0;
        if (!confidence) for (const value of this.map.own) lost += Number.isNaN(value);
        return [element("h4", {}, confidence ? "Confidence" : "Distance to own prototype"), scale,
            element("p", { className: "mgk-note", textContent: confidence ? "probability of the predicted class" : "cosine distance to the prototype of the true class" }),
            ...(lost ? [element("p", { className: "mgk-note", textContent: `grey: ${clipsOf(lost)} of classes without prototype` })] : [])];
    },

    starKeys() {
        const { seen, epochs } = this.map, { names } = this.model.get("classes"), never = names.filter((_, k) => !seen[k]);
        if (!epochs.length) return [element("p", { className: "mgk-note", textContent: "This run has no prototypes." })];
        const key = element("p", { className: "mgk-key" }, markerKey(context => this.drawStar(context, 7, 7, 6.2, this.theme.paper)), "prototype of a class");
        return [key, ...(never.length ? [element("p", { className: "mgk-never", textContent: `No prototype yet: ${never.join(", ")}` })] : [])];
    },

    marker(context, shape, colour) {
        context.fillStyle = colour;
        context.beginPath();
        if (shape === "circle") context.arc(7, 7, 4.6, 0, 2 * Math.PI);
        else if (shape === "square") context.rect(3, 3, 8, 8);
        else for (const place of [[7, 1.5], [12.2, 10.5], [1.8, 10.5]]) context.lineTo(...place);
        context.fill();
    },

    words(row) {
        const { map, model } = this, { names } = model.get("classes"), true_ = this.labels[row], said = map.predicted[row], lines = [[[model.get("clips").ids[row], true]], [[names[true_]]]];
        const sure = map.confidence[row].toFixed(2), own = map.own[row];
        lines.push([[said === true_ ? `recognised, p = ${sure}` : "taken for "], ...(said === true_ ? [] : [[names[said], true], [`, p = ${sure}`]])]);
        if (!Number.isNaN(own)) lines.push([[`distance to own prototype ${own.toFixed(2)}`]]);
        if (this.subjects) lines.push([[`subject ${this.subjects.names[this.subjects.of[row]]}`]]);
        return lines;
    },

    starWords(k) {
        const { names } = this.model.get("classes"), { epochs } = this.map;
        let count = 0;
        for (const label of this.labels) count += label === k;
        return [[[`Prototype of ${names[k]}`, true]], [[`after epoch ${epochs[this.stop]}; ${clipsOf(count)} of the class in ${this.model.get("split")}`]]];
    },
};
