// Shared by the widgets: small builders of elements, colours, drawing on a canvas, and what the page listens to.

// As in the paper figures (views/figures/style.py): Okabe & Ito for the outcomes, other hues for the outputs.
export const ROLE_COLOURS = { TP: "#0072B2", FN: "#E69F00", FP: "#D55E00" };
export const OUTPUT_COLOURS = { rgb: "#009E73", pose: "#CC79A7", fused: "#8A8A8A" };
export const OUTPUT_NAMES = { rgb: "RGB", pose: "Pose", fused: "Fused" };
// The clips of an outcome, after their number.
export const OUTCOME_TITLES = { TP: "of the class, recognised", FN: "of the class, missed", FP: "of another class, predicted as this one" };
export const FOCUS_COLOUR = "#E69F00";
export const number = value => value.toLocaleString("en");
export const percent = share => (share === null ? "–" : `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`);
export const clipsOf = count => `${number(count)} clip${count === 1 ? "" : "s"}`;

// An element with properties and children; text is always set as text, since class names may hold anything.
export function element(tag, properties = {}, ...children) {
    const { style, dataset, attributes, ...rest } = properties;
    const node = Object.assign(document.createElement(tag), rest);
    Object.assign(node.style, style);
    Object.assign(node.dataset, dataset);
    for (const [name, value] of Object.entries(attributes ?? {})) node.setAttribute(name, value);
    node.append(...children);
    return node;
}

// A group of buttons of which one is pressed; `set` is called with its key.
export function choice(label, options, set) {
    const buttons = options.map(([key, text]) =>
        element("button", { type: "button", textContent: text, onclick: () => set(key), dataset: { key } }));
    const node = element("span", { className: "mgk-choice", attributes: { role: "group", "aria-label": label } }, ...buttons);
    const press = key => buttons.forEach(one => one.setAttribute("aria-pressed", String(one.dataset.key === key)));
    return { node, press };
}

export function menu(label, options, set) {
    const select = element("select", { onchange: () => set(select.value) },
        ...options.map(([value, text]) => element("option", { value, textContent: text })));
    return { node: element("label", {}, label, select), press: value => { select.value = value; } };
}

// The theme's colours as values that a canvas understands.
export function themeOf(root) {
    const style = getComputedStyle(root);
    const probe = element("i", { style: { display: "none" } });
    root.append(probe);
    const resolve = name => {
        probe.style.color = `var(--mgk-${name})`;
        return getComputedStyle(probe).color;
    };
    const theme = Object.fromEntries(["paper", "ink", "soft", "faint", "line", "wash", "accent"].map(name => [name, resolve(name)]));
    probe.remove();
    const dark = luminance(theme.paper) < 0.5;
    return { ...theme, dark, font: style.fontFamily };
}

// Red, green and blue of any CSS colour, 0 to 255.
export function channels(colour) {
    if (!CHANNELS.has(colour)) {
        const context = element("canvas", { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        CHANNELS.set(colour, [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)]);
    }
    return CHANNELS.get(colour);
}
const CHANNELS = new Map();

export function luminance(colour) {
    const [r, g, b] = channels(colour);
    return (0.299 * r + 0.587 * g + 0.114 * b) / 255;
}

// Call `redraw` when the size, the theme or the pixel density changes; returns the function that stops this.
export function onAppearance(root, redraw) {
    let width = 0;
    const resize = new ResizeObserver(() => {
        if (root.clientWidth !== width) { width = root.clientWidth; redraw(); }
    });
    resize.observe(root);
    const observer = new MutationObserver(redraw);
    for (const node of [document.body, document.documentElement])
        observer.observe(node, { attributes: true, attributeFilter: ["class", "style", "theme", "data-jp-theme-name", "data-jp-theme-light", "data-vscode-theme-id"] });
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", redraw);
    let density = null;
    const watchDensity = () => {
        density?.removeEventListener("change", watchDensity);
        density = matchMedia(`(resolution: ${devicePixelRatio}dppx)`);
        density.addEventListener("change", watchDensity);
        redraw();
    };
    watchDensity();
    return () => {
        resize.disconnect();
        observer.disconnect();
        scheme.removeEventListener("change", redraw);
        density.removeEventListener("change", watchDensity);
    };
}

// Call `react` when one of the traits changes; returns the function that stops this.
export function onChanges(model, names, react) {
    for (const name of names) model.on(`change:${name}`, react);
    return () => names.forEach(name => model.off(`change:${name}`, react));
}

// A function that runs `draw` at most once per screen frame, however often it is called.
export function oncePerFrame(draw) {
    let waiting = 0;
    const ask = () => { waiting ||= requestAnimationFrame(() => { waiting = 0; draw(); }); };
    ask.cancel = () => cancelAnimationFrame(waiting);
    return ask;
}

// Give a canvas this size in CSS pixels, and a context in these units, sharp at any pixel density.
export function prepare(canvas, width, height) {
    const ratio = devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    return context;
}

// Texts cut to a width on a canvas, as in the figures (figures/style.py).
const within = (context, width) => text => context.measureText(text).width <= width;
export const elide = (context, text, width) => cut(text, within(context, width));
export const elideAll = (context, names, width) => cutAll(names, within(context, width));

// The text, cut at its end with an ellipsis as far as it must be to fit, between words if possible (as fit_text there).
function cut(text, fits) {
    if (fits(text)) return text;
    let low = 0, high = text.length;
    while (low < high) {
        const middle = (low + high + 1) >> 1;
        if (fits(text.slice(0, middle).trimEnd() + "…")) low = middle;
        else high = middle - 1;
    }
    if (!low) return "";
    let head = text.slice(0, low).trimEnd();
    const space = head.lastIndexOf(" ");
    if (space > 0.6 * head.length && text[low].trim()) head = head.slice(0, space);
    return head.replace(/[ ,(-]+$/, "") + "…";
}

// Names cut at their end; those that would become equal are cut where they do not differ (as fit_names there).
function cutAll(names, fits) {
    const short = names.map(name => cut(name, fits));
    const part = (places, before) => {
        for (const text of new Set(places.map(i => short[i]))) {
            const alike = places.filter(i => short[i] === text);
            if (alike.length === before || new Set(alike.map(i => names[i])).size < 2) continue;
            apart(alike.map(i => names[i]), fits).forEach((found, i) => { short[alike[i]] = found; });
            part(alike, alike.length); // some may still be equal, which have more in common
        }
    };
    part([...names.keys()], Infinity);
    return short;
}

// Names with a common beginning, cut such that what distinguishes them is kept.
function apart(names, fits) {
    const head = common(names), tail = common(names.map(name => [...name.slice(head)].reverse().join("")));
    return names.map(name => {
        const rest = name.slice(head), core = name.slice(head, name.length - tail);
        for (const [part, end] of core.trim() ? [[rest, ""], [core, tail ? "…" : ""]] : [[rest, ""]])
            for (let keep = head; keep > 0; keep--) {
                const text = (keep < head ? `${name.slice(0, keep).trimEnd()}…${part.trimStart()}` : name.slice(0, keep) + part).trimEnd() + end;
                if (fits(text)) return text;
            }
        return cut(`…${rest.trimStart()}`, fits);
    });
}

// Length of the common beginning of names.
function common(names) {
    const sorted = [...names].sort(), first = sorted[0], last = sorted[sorted.length - 1];
    let length = 0;
    while (length < first.length && first[length] === last[length]) length++;
    return length;
}

// Show in each element the name in its data-name, cut where the `names` do not differ if the narrowest of them has not
// the room: `lines` lines, which begin with `before`. The full names belong into a title.
export function showNames(nodes, names, { lines = 1, before = "" } = {}) {
    const all = [...nodes], boxes = all.map(node => (node.clientWidth ? node : node.parentElement)); // an inline one has no width
    if (!all.length) return;
    const style = getComputedStyle(boxes[0]), weight = Math.max(...all.map(node => Number(getComputedStyle(node).fontWeight)));
    const font = `${weight} ${style.fontSize} ${style.fontFamily}`;
    const width = Math.min(...boxes.map(box => box.clientWidth)) - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const key = [font, width, lines, before, ...names].join("\n");
    if (!SHORT.has(key) && width > 0) {
        if (SHORT.size > 30) SHORT.clear();
        const context = element("canvas").getContext("2d");
        context.font = font;
        const short = cutAll(names, text => linesOf(context, before + text, width) <= lines);
        SHORT.set(key, new Map(names.map((name, i) => [name, short[i]])));
    }
    for (const node of all) {
        const text = SHORT.get(key)?.get(node.dataset.name) ?? node.dataset.name;
        if (node.textContent !== text) node.textContent = text;
    }
}
const SHORT = new Map();

// How many lines of `width` the text takes, broken between words, and in words that are longer than a line.
function linesOf(context, text, width) {
    let lines = 1, line = "";
    for (const word of text.split(/(?<=[\s…])/)) {
        if (line && context.measureText((line + word).trimEnd()).width > width) { lines++; line = ""; }
        for (const sign of word) {
            if (line && context.measureText((line + sign).trimEnd()).width > width) { lines++; line = ""; }
            line += sign;
        }
    }
    return lines;
}

// The text in at most `lines` lines of `width`, broken between words; null if it does not fit.
export function wrap(context, text, width, lines) {
    const out = [];
    for (const word of text.split(/\s+/)) {
        const longer = out.length ? `${out.at(-1)} ${word}` : word;
        if (out.length && context.measureText(longer).width <= width) out[out.length - 1] = longer;
        else out.push(word);
        if (out.length > lines || context.measureText(out.at(-1)).width > width) return null;
    }
    return out;
}

// CIELAB (D65) to a CSS colour: equal steps look equal, unlike in RGB.
export function lab(lightness, a, b) {
    const y = (lightness + 16) / 116;
    const [fx, fy, fz] = [y + a / 500, y, y - b / 200].map(f => (f > 6 / 29 ? f ** 3 : 3 * (6 / 29) ** 2 * (f - 4 / 29)));
    const [x, , z] = [0.95047 * fx, fy, 1.08883 * fz];
    const linear = [3.2406 * x - 1.5372 * fy - 0.4986 * z, -0.9689 * x + 1.8758 * fy + 0.0415 * z, 0.0557 * x - 0.204 * fy + 1.057 * z];
    const bytes = linear.map(v => {
        const c = Math.min(1, Math.max(0, v));
        return Math.round(255 * (c <= 0.0031308 ? 12.92 * c : 1.055 * c ** (1 / 2.4) - 0.055));
    });
    return `rgb(${bytes.join(", ")})`;
}
export const between = (from, to, share) => lab(...from.map((value, i) => value + share * (to[i] - value)));

// Brackets with names next to consecutive rows that are the `same`.
export function brackets(context, theme, { order, same, name, x, top, step, size, width }) {
    context.font = `${size}px ${theme.font}`;
    context.textAlign = "left";
    context.textBaseline = "middle";
    for (let first = 0, last; first < order.length; first = last + 1) {
        last = first;
        while (last + 1 < order.length && same(order[last + 1], order[first])) last++;
        const height = (last - first + 1) * step, line = size + 2, text = name(order[first]);
        context.fillStyle = theme.faint;
        context.fillRect(x, top + first * step + 2, 1.5, height - 4);
        context.fillStyle = theme.soft;
        const lines = (height >= 2 * line ? wrap(context, text, width, 2) : null) ?? [elide(context, text, width)];
        lines.forEach((words, i) => context.fillText(words, x + 6, top + first * step + height / 2 + 0.5 + (i - (lines.length - 1) / 2) * line));
    }
}

// A small panel at the pointer that stays inside the root. Lines are lists of [text, bold?].
export function tooltip(root) {
    const node = element("div", { className: "mgk-tip", hidden: true });
    root.append(node);
    return {
        hide() { node.hidden = true; },
        show(x, y, lines) {
            node.replaceChildren(...lines.map(line =>
                element("p", {}, ...line.map(([text, bold]) => element(bold ? "b" : "span", { textContent: text })))));
            node.hidden = false;
            const left = x + 14 + node.offsetWidth > root.clientWidth ? x - 14 - node.offsetWidth : x + 14;
            node.style.left = `${Math.max(0, Math.min(left, root.clientWidth - node.offsetWidth))}px`;
            node.style.top = `${y + 16 + node.offsetHeight > root.clientHeight && y - 12 - node.offsetHeight > 0 ? y - 12 - node.offsetHeight : y + 16}px`;
        },
        text: () => (node.hidden ? "" : node.textContent),
    };
}

// A diamond: the clip in focus; hollow at its predicted class.
export function diamond(context, x, y, size, hollow = false) {
    context.beginPath();
    context.moveTo(x, y - size);
    context.lineTo(x + size, y);
    context.lineTo(x, y + size);
    context.lineTo(x - size, y);
    context.closePath();
    context.fillStyle = hollow ? "#fff" : FOCUS_COLOUR;
    context.fill();
    context.lineWidth = hollow ? 3 : 1;
    context.strokeStyle = "#000";
    context.stroke();
    if (!hollow) return;
    context.lineWidth = 1.5;
    context.strokeStyle = FOCUS_COLOUR;
    context.stroke();
}

export function diamondKey(text, fill = FOCUS_COLOUR) {
    const namespace = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(namespace, "svg"), path = document.createElementNS(namespace, "path");
    svg.setAttribute("width", 12);
    svg.setAttribute("height", 12);
    path.setAttribute("d", "M6 1 L11 6 L6 11 L1 6 Z");
    path.setAttribute("fill", fill);
    path.setAttribute("stroke", fill === FOCUS_COLOUR ? "#000" : FOCUS_COLOUR);
    path.setAttribute("stroke-width", fill === FOCUS_COLOUR ? 1 : 2);
    svg.append(path);
    return element("span", { className: "mgk-key" }, svg, text);
}

// The line with the current selection that every widget ends with.
export function statusLine(model) {
    const text = element("span"), clear = element("button", { type: "button", className: "mgk-small", textContent: "Clear", title: "Esc" });
    clear.onclick = () => model.send({ act: "clear" });
    const node = element("div", { className: "mgk-status", attributes: { role: "status" } }, text, clear);
    const show = split => {
        const { description, count, here, focus } = model.get("selected");
        const words = [];
        if (!count) words.push(description === "nothing selected" ? "Nothing selected. Click, or use the arrow keys and Enter" : `${description}: no clips`);
        else if (description === clipsOf(count) || (count === 1 && description.startsWith("clip "))) words.push(description);
        else words.push(description, clipsOf(count));
        if (here < count) words.push(here ? `${number(here)} of them in ${split}` : `none of them in ${split}`);
        if (focus !== null && focus !== undefined) words.push(`in focus: ${focus}`);
        text.textContent = words.join(" · ");
        text.title = text.textContent;
        clear.hidden = !count && description === "nothing selected";
    };
    return { node, show };
}

// Keys that work anywhere in the explorer a widget belongs to, or in the widget itself; `act` returns whether it used the
// key. With `first` it is asked before the part that has the keyboard.
export function scopedKeys(root, act, first = false) {
    const listen = event => {
        if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
        if (!(event.target instanceof Element) || event.target.closest("input:not([type=range]), textarea, select")) return;
        if (!(root.closest(".mgk-explorer") ?? root).contains(event.target)) return;
        if (!act(event)) return;
        event.preventDefault();
        event.stopPropagation();
    };
    document.addEventListener("keydown", listen, first);
    return () => document.removeEventListener("keydown", listen, first);
}

// The export of a widget's module: one view for each place it is shown in.
export const mounted = View => ({
    render({ model, el }) {
        const view = new View(model, el);
        return () => view.dispose();
    },
});
