// The words and icons of the player: the caption of a clip, its predictions, and a builder of elements.

const ICONS = {
  first: "M4 3h2v10H4zM13 3v10L6.5 8z",
  back: "M11 3v10L4.5 8zM11.6 3h1.6v10h-1.6z",
  play: "M4 2.5v11l9.5-5.5z",
  pause: "M4 3h3v10H4zM9 3h3v10H9z",
  forward: "M5 3v10l6.500-5zM2.8 3h1.600v10H2.8z",
  last: "M10 3h2v10h-2zM3 3v10l6.5-5z",
  loop: "M11 1.500 14 4l-3 2.500V4.800H5a2 2 0 0 0-2 2V8H1.500V6.800A3.500 3.500 0 0 1 5 3.300h6zM5 14.500 2 12l3-2.500v1.700h6a2 2 0 0 0 2-2V8h1.500v1.200a3.500 3.500 0 0 1-3.500 3.500H5z",
  previous: "M10.500 2.500 5 8l5.500 5.500",
  next: "M5.500 2.500 11 8l-5.500 5.500",
};

/** An element with attributes (on... = listener, true = present) and children; null and false children are skipped. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function icon(name, stroke = false) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  if (stroke) path.setAttribute("class", "mg-p-stroke");
  svg.append(path);
  return svg;
}

/** A mark for correct (blue disc) or wrong (vermilion square), different in shape, colour and label. */
function mark(correct) {
  const word = correct ? "correct" : "wrong";
  return h("span", { class: `mg-p-mark mg-p-${word}`, role: "img", "aria-label": word, title: word });
}

export const seconds = (s) => `${s.toFixed(2)} s`;

// --- predictions of the run ------------------------------------------------------------------------------------------

export function bars(output, distance) {
  const rows = output.rows.map((row) => {
    const kind = row.true ? "true" : row.predicted ? "predicted" : "other";
    const gap = row.rank > output.rows.length;
    return h("li", { class: `mg-p-row mg-p-row-${kind}${gap ? " mg-p-gap" : ""}`, title: `${row.name}: ${(100 * row.probability).toFixed(1)} %, rank ${row.rank}${row.true ? ", the true class" : ""}` },
      h("span", { class: "mg-p-rank" }, String(row.rank)),
      h("span", { class: "mg-p-name", "data-name": row.name }, row.name),
      h("span", { class: "mg-p-track" }, h("span", { class: "mg-p-fill", style: `width:${(100 * row.probability).toFixed(2)}%` })),
      h("span", { class: "mg-p-percent" }, row.percent));
  });
  return h("section", { class: "mg-p-output", "data-output": output.key },
    h("h4", {}, mark(output.correct), output.name), h("ol", {}, ...rows), distance && distances(distance));
}

function distances({ own, other }) {
  const known = own !== null && other !== null;
  const verdict = !known ? "" : own <= other ? "closer to its own class" : "closer to another class";
  const value = (d) => (d === null ? "none yet" : d.toFixed(2));
  return h("p", { class: "mg-p-distance", title: "Cosine distance of the embedding to the prototype of the true class, and to the nearest other one" },
    "prototype distance: own ", h("b", {}, value(own)), ", nearest other ", h("b", {}, value(other)),
    known && h("span", {}, " · ", mark(own <= other), verdict));
}

export function evidenceOf(panel) {
  const { caption, verdict } = panel;
  const line = h("p", { class: "mg-p-verdict" },
    caption.label && h("span", {}, `${caption.label} `, h("b", {}, caption.true)));
  if (verdict) line.append(h("span", {}, mark(verdict.correct), `${verdict.output} predicts `, h("b", {}, verdict.predicted)));
  return line;
}

export function captionOf(panel, short) {
  const { caption } = panel;
  const part = (word, value, title) => value && h("span", { title }, h("i", {}, word), value);
  return h("p", { class: "mg-p-caption" },
    h("span", { class: "mg-p-id", title: "clip ID" }, caption.clip_id),
    part("subject ", caption.subject), part("split ", caption.split), !short && part("from ", caption.source),
    part("frames ", `${caption.start}–${caption.end - 1}`, `frames ${caption.start} to ${caption.end - 1} of the source, counted from 0`));
}
