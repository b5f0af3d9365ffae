// The legend at the side of the map, and the words of a clip or a star under the pointer.

import { clipsOf, element, menu, number, OUTCOME_TITLES, prepare, ROLE_COLOURS } from "../shared/common.js";
import { KIND_SHAPES, marker, ramp } from "./marks.js";

// A small picture of a marker for the legend.
function markerKey(draw) {
    const canvas = element("canvas", { className: "mgk-marker", attributes: { "aria-hidden": "true" } });
    draw(prepare(canvas, 14, 14));
    return canvas;
}

export function groupKeys(view) {
    const { model } = view, classes = view.colour === "class", trait = classes ? "chosen" : "chosen_subjects";
    const names = classes ? model.get("classes").names : view.subjects.names, of = classes ? view.labels : view.subjects.of, chosen = model.get(trait);
    const counts = new Array(names.length).fill(0);
    for (const group of of) counts[group]++;
    const full = chosen.length >= view.palette.length, rest = names.map((_, k) => k).filter(k => !chosen.includes(k));
    const rows = [...chosen, ...rest].map(k => {
        const at = chosen.indexOf(k), on = at >= 0, what = on ? "show in grey" : full ? `at most ${view.palette.length} colours: show another one in grey first` : "show in colour";
        const swatch = element("button", { type: "button", title: what, disabled: !on && full, dataset: { colour: names[k] }, attributes: { "aria-pressed": String(on), "aria-label": `colour ${names[k]}` },
            onclick: () => { model.set(trait, on ? chosen.filter(other => other !== k) : [...chosen, k]); model.save_changes(); } },
            element("i", { style: on ? { background: view.palette[at], borderColor: view.palette[at] } : {} }));
        const name = element("button", { type: "button", title: names[k], disabled: !counts[k], dataset: { group: names[k] },
            onclick: event => view.send({ act: classes ? "class" : "subject", label: k }, event) }, element("span", { textContent: names[k], dataset: { name: names[k] } }), element("small", { textContent: number(counts[k]) }));
        return element("li", {}, swatch, name);
    });
    return [element("h4", {}, classes ? "Classes" : "Subjects", element("small", { textContent: rest.length ? `${chosen.length} of ${names.length} coloured, others grey` : "" })),
        element("ul", { className: "mgk-groups" }, ...rows)];
}

export function kindKeys(view) {
    const { model, theme } = view, { names } = model.get("classes"), counts = { TP: 0, FN: 0, FP: 0, TN: 0 };
    for (let row = 0; row < view.map.count; row++) counts[view.kind(row)]++;
    const pick = menu("of", names.map(name => [name, name]), value => { model.set("highlight", value); model.save_changes(); });
    pick.press(model.get("highlight"));
    const keys = Object.keys(KIND_SHAPES).map(kind => element("button", { type: "button", className: "mgk-small", disabled: !counts[kind], title: `clips ${OUTCOME_TITLES[kind]}`, dataset: { kind },
        onclick: event => view.send({ act: "class", label: view.highlighted, kind }, event) }, markerKey(context => marker(context, KIND_SHAPES[kind], 7, 7, 4.6, ROLE_COLOURS[kind])), counts[kind] ? `${kind} ${number(counts[kind])}` : `no ${kind} for this class`));
    return [element("h4", {}, "TP, FN and FP"), pick.node, element("div", { className: "mgk-kinds" }, ...keys,
        element("span", { className: "mgk-key mgk-note", style: { padding: "0 9px", gap: "7px" } }, markerKey(context => marker(context, "circle", 7, 7, 4.6, theme.faint)), `other clips ${number(counts.TN)}`))];
}

export function scaleKeys(view) {
    const [low, high] = view.range(), confidence = view.colour === "confidence";
    const stops = Array.from({ length: 9 }, (_, i) => ramp(i / 8)).join(", ");
    const ticks = [0, 0.5, 1].map(share => element("span", { textContent: (low + share * (high - low)).toFixed(high > 1 || confidence ? 1 : 2), style: { left: `${100 * share}%` } }));
    const scale = element("div", { className: "mgk-scale", style: { margin: "2px 12px 8px" } }, element("i", { style: { background: `linear-gradient(to right, ${stops})` } }), element("div", {}, ...ticks));
    let lost = 0;
    if (!confidence) for (const value of view.map.own) lost += Number.isNaN(value);
    return [element("h4", {}, confidence ? "Confidence" : "Distance to own prototype"), scale,
        element("p", { className: "mgk-note", textContent: confidence ? "probability of the predicted class" : "cosine distance to the prototype of the true class" }),
        ...(lost ? [element("p", { className: "mgk-note", textContent: `grey: ${clipsOf(lost)} of classes without a prototype` })] : [])];
}

export function starKeys(view) {
    const { seen, epochs } = view.map, { names } = view.model.get("classes"), never = names.filter((_, k) => !seen[k]);
    if (!epochs.length) return [element("p", { className: "mgk-note", textContent: "This run has no prototypes." })];
    const key = element("p", { className: "mgk-key" }, markerKey(context => view.drawStar(context, 7, 7, 6.2, view.theme.paper)), "class prototype");
    const begin = element("p", { className: "mgk-key" }, markerKey(context => view.drawBeginning(context, 7, 7, 4, view.theme.ink)), `its place after epoch ${epochs[0]}`);
    return [key, ...(view.model.get("paths") && epochs.length > 1 ? [begin] : []), ...(never.length ? [element("p", { className: "mgk-never", textContent: `No prototype yet: ${never.join(", ")}` })] : [])];
}

export function clipWords(view, row) {
    const { map, model } = view, { names } = model.get("classes"), label = view.labels[row], predicted = map.predicted[row], lines = [[[model.get("clips").ids[row], true]], [[names[label]]]];
    const sure = map.confidence[row].toFixed(2), own = map.own[row];
    lines.push(predicted === label ? [[`recognised, p = ${sure}`]] : [["predicted as "], [names[predicted], true], [`, p = ${sure}`]]);
    if (!Number.isNaN(own)) lines.push([[`distance to own prototype ${own.toFixed(2)}`]]);
    if (view.subjects) lines.push([[`subject ${view.subjects.names[view.subjects.of[row]]}`]]);
    return lines;
}

export function starWords(view, k) {
    const { names } = view.model.get("classes"), { epochs } = view.map;
    let count = 0;
    for (const label of view.labels) count += label === k;
    return [[[`Prototype of ${names[k]}`, true]], [[`after epoch ${epochs[view.stop]}; ${clipsOf(count)} of this class in ${view.model.get("split")}`]]];
}
