// Clips as points and prototypes as stars on one canvas, with a legend at the side.

import { adds, CanvasView } from "../shared/canvas.js";
import { channels, choice, clipsOf, diamond, elideAll, element, menu, mounted, onAppearance, onChanges, OUTPUT_NAMES, prepare, ROLE_COLOURS, showNames, themeOf } from "../shared/common.js";
import { clipWords, groupKeys, kindKeys, scaleKeys, starKeys, starWords } from "./legend.js";
import { blend, DARK_PALETTE, KIND_SHAPES, ramp, stamp, starPath } from "./marks.js";
import { insideLoop, nearest } from "./points.js";

const MAP_WIDE = 700, REACH = 9, EDGE = 22, STEPS = 64;
const COLOUR_NAMES = { class: "class", kind: "TP, FN, FP", subject: "subject", confidence: "confidence", distance: "distance to prototype" };

const floats = view => new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
const integers = view => new Int32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));

class PrototypeMapView extends CanvasView {
    constructor(model, el) {
        super(model, el);
        this.view = { zoom: 1, x: 0, y: 0 }; // of the fitted map, in pixels
        this.hover = -1; // the row under the pointer
        this.star = -1; // or the class whose star is
        this.cursor = -1; // the row of the keyboard
        this.mode = "lasso";
        this.image = null; // the points alone, kept while only what is drawn over them changes
        this.fresh = () => { this.image = this.cut = null; this.draw(); };
        this.ends.push(onAppearance(this.root, this.fresh),
            onChanges(model, ["drawn"], () => { this.read(); this.fill(); this.fresh(); }),
            onChanges(model, ["subjects"], () => { this.readSubjects(); this.fill(); this.fresh(); }),
            onChanges(model, ["selected", "colour", "highlight", "chosen", "chosen_subjects", "height", "width", "trouble"], () => { this.fill(); this.fresh(); }),
            onChanges(model, ["epoch", "paths", "names", "pathway"], () => { this.fill(); this.draw(); }));
        this.labels = integers(model.get("clips").labels);
        this.readSubjects();
        this.read();
        this.fill();
        this.redraw();
        this.fill(); // the theme, which the legend's colours depend on, is known now
    }

    build(el) {
        const { model } = this, keep = name => this.keep(name);
        this.pathways = choice("pathway", model.get("pathways").map(name => [name, OUTPUT_NAMES[name]]), keep("pathway"));
        this.pathways.node.hidden = model.get("pathways").length < 2;
        this.colours = menu("colour by", model.get("colours").map(name => [name, COLOUR_NAMES[name]]), keep("colour"));
        const check = (name, text) => {
            const box = element("input", { type: "checkbox", onchange: () => keep(name)(box.checked) });
            return { node: element("label", {}, box, text), box };
        };
        this.names = check("names", "class names");
        this.paths = check("paths", "paths");
        this.slider = element("input", { type: "range", min: 0, step: 1, attributes: { "aria-label": "epoch of the prototypes" },
            oninput: () => { const { epochs } = this.map, at = Number(this.slider.value); keep("epoch")(at === epochs.length - 1 ? null : epochs[at]); } });
        this.epoch = element("span");
        this.time = element("label", {}, "epoch", this.slider, this.epoch);
        this.modes = choice("dragging", [["lasso", "Lasso"], ["pan", "Pan"]], mode => { this.mode = mode; this.fill(); });
        const tool = (text, label, act) => element("button", { type: "button", className: "mgk-small", textContent: text, title: label, onclick: act, attributes: { "aria-label": label } });
        const tools = element("span", { className: "mgk-tools" }, tool("+", "Zoom in (+)", () => this.zoom(1.5)), tool("−", "Zoom out (-)", () => this.zoom(1 / 1.5)), tool("Fit", "Fit the whole map (0)", () => this.fit()));
        this.frame(el, "map of clips", { className: "mgk mgk-map",
            bar: [this.pathways.node, this.colours.node, this.time, this.paths.node, this.names.node, this.modes.node, tools] });
        this.stage.style.overflow = "hidden";
    }

    listen(canvas) {
        canvas.addEventListener("pointerdown", event => this.press(event));
        canvas.addEventListener("pointermove", event => this.move(event));
        canvas.addEventListener("pointerup", event => this.release(event));
        canvas.addEventListener("pointercancel", () => { this.drag = null; this.draw(); });
        canvas.addEventListener("pointerleave", () => { if (!this.drag) { this.hover = this.star = -1; this.tip.hide(); this.draw(); } });
        canvas.addEventListener("dblclick", () => this.fit());
        canvas.addEventListener("wheel", event => {
            if (!event.ctrlKey && !event.metaKey && document.activeElement !== canvas) return; // the page scrolls
            event.preventDefault();
            this.zoom(Math.exp(-0.0015 * event.deltaY), event.offsetX, event.offsetY);
        }, { passive: false });
        canvas.addEventListener("blur", () => { this.cursor = -1; this.tip.hide(); this.draw(); });
    }

    // ---- content ----

    read() {
        const drawn = this.model.get("drawn"), points = floats(drawn.points), paths = floats(drawn.paths), count = points.length / 2;
        const box = { left: Infinity, right: -Infinity, top: Infinity, bottom: -Infinity };
        for (const array of [points, paths])
            for (let i = 0; i < array.length; i += 2) {
                if (Number.isNaN(array[i])) continue;
                box.left = Math.min(box.left, array[i]);
                box.right = Math.max(box.right, array[i]);
                box.top = Math.min(box.top, array[i + 1]);
                box.bottom = Math.max(box.bottom, array[i + 1]);
            }
        this.map = { ...drawn, points, paths, count, box, predicted: integers(drawn.predicted), confidence: floats(drawn.confidence), own: floats(drawn.own) };
        // Points are drawn in a shuffled order: otherwise the last class would cover the others.
        this.order = Int32Array.from({ length: count }, (_, i) => i);
        let state = 1;
        for (let i = count - 1; i > 0; i--) {
            state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
            const j = state % (i + 1);
            [this.order[i], this.order[j]] = [this.order[j], this.order[i]];
        }
        this.view = { zoom: 1, x: 0, y: 0 };
        this.hover = this.star = this.cursor = -1;
    }

    readSubjects() {
        const subjects = this.model.get("subjects");
        this.subjects = subjects.of ? { names: subjects.names, of: integers(subjects.of) } : null;
    }

    get palette() { return this.theme?.dark ? DARK_PALETTE : this.model.get("palette"); }
    get highlighted() { return this.model.get("classes").names.indexOf(this.model.get("highlight")); }
    get colour() {
        const colour = this.model.get("colour");
        return colour === "subject" && !this.subjects ? "class" : colour; // until the kernel has sent them
    }

    kind(row) {
        const k = this.highlighted, own = this.labels[row] === k, predicted = this.map.predicted[row] === k;
        return own ? (predicted ? "TP" : "FN") : predicted ? "FP" : "TN";
    }

    mask() {
        const { mask, here } = this.model.get("selected");
        return here ? Uint8Array.from(atob(mask), c => c.charCodeAt(0)) : null;
    }

    // The range of the continuous colours: [low, high].
    range() {
        if (this.colour === "confidence") return [0, 1];
        let high = 0;
        for (const value of this.map.own) if (value > high) high = value;
        return [0, Math.max(0.1, Math.ceil(10 * high) / 10)];
    }

    // The points in the order they are drawn: {rows, shape, colours, tint (the colour of each row), grey, halo}.
    layers() {
        const { order, theme, colour, labels, map } = this, grey = [theme.faint];
        const take = wanted => order.filter(wanted);
        if (colour === "kind") {
            const kinds = Array.from({ length: map.count }, (_, row) => this.kind(row));
            return [{ rows: take(row => kinds[row] === "TN"), shape: "circle", colours: grey, grey: true },
                ...Object.entries(KIND_SHAPES).map(([kind, shape]) => ({ rows: take(row => kinds[row] === kind), shape, colours: [ROLE_COLOURS[kind]], halo: true }))];
        }
        if (colour === "confidence" || colour === "distance") {
            const values = colour === "confidence" ? map.confidence : map.own, [low, high] = this.range();
            const tint = Uint8Array.from(values, value => Math.round(((STEPS - 1) * (value - low)) / (high - low)));
            return [{ rows: take(row => Number.isNaN(values[row])), shape: "circle", colours: grey, grey: true },
                { rows: take(row => !Number.isNaN(values[row])), shape: "circle", colours: Array.from({ length: STEPS }, (_, i) => ramp(i / (STEPS - 1))), tint }];
        }
        const groups = colour === "class" ? labels : this.subjects.of, chosen = this.model.get(colour === "class" ? "chosen" : "chosen_subjects");
        const place = new Map(chosen.map((group, i) => [group, i])), tint = Uint8Array.from(groups, group => place.get(group) ?? 255);
        return [{ rows: take(row => tint[row] === 255), shape: "circle", colours: grey, grey: true },
            { rows: take(row => tint[row] !== 255), shape: "circle", colours: this.palette, tint }];
    }

    // ---- the side ----

    fill() {
        const { model, map } = this, { epochs } = map;
        this.pathways.press(model.get("pathway"));
        this.colours.press(model.get("colour"));
        this.modes.press(this.mode);
        this.names.box.checked = model.get("names");
        this.paths.box.checked = model.get("paths");
        for (const node of [this.time, this.paths.node]) node.hidden = epochs.length < 2;
        this.names.node.hidden = !epochs.length;
        this.slider.max = epochs.length - 1;
        this.slider.value = this.stop;
        this.epoch.textContent = epochs.length ? `${epochs[this.stop]} of ${epochs.at(-1)}` : "";
        this.status.show(model.get("split"));
        if (!this.theme) return;
        const list = this.side.querySelector(".mgk-groups"), scrolled = list?.scrollTop ?? 0, buttons = "button, select";
        const focused = [...this.side.querySelectorAll(buttons)].indexOf(document.activeElement);
        const parts = (this.colour === "kind" ? kindKeys : this.colour === "class" || this.colour === "subject" ? groupKeys : scaleKeys)(this);
        const trouble = model.get("trouble");
        this.side.replaceChildren(...(trouble ? [element("p", { textContent: trouble, attributes: { role: "alert" } })] : []), ...parts, ...starKeys(this),
            element("p", { className: "mgk-note", textContent: map.method === "UMAP" ? `UMAP: neighbouring clips are similar; ${map.note}.` : map.note }));
        this.shorten();
        if (list && this.side.querySelector(".mgk-groups")) this.side.querySelector(".mgk-groups").scrollTop = scrolled;
        if (focused >= 0) this.side.querySelectorAll(buttons)[focused]?.focus({ preventScroll: true });
    }

    shorten() {
        showNames(this.side.querySelectorAll("[data-name]"), this.colour === "subject" ? this.subjects.names : this.model.get("classes").names);
    }

    // ---- drawing ----

    get stop() {
        const { epochs } = this.map, epoch = this.model.get("epoch"), at = epochs.indexOf(epoch);
        return epoch === null || epoch === undefined || at < 0 ? epochs.length - 1 : at;
    }

    place() {
        const { box } = this.map, { width, height, view } = this;
        const across = Math.max(box.right - box.left, 1e-6), up = Math.max(box.bottom - box.top, 1e-6);
        const scale = Math.min((width - 2 * EDGE) / across, (height - 2 * EDGE) / up) * view.zoom;
        return { scale, x: width / 2 + view.x - (scale * (box.left + box.right)) / 2, y: height / 2 + view.y + (scale * (box.top + box.bottom)) / 2 };
    }

    // From the map to the canvas, where y runs down, and back.
    to(x, y) { return [this.at.x + this.at.scale * x, this.at.y - this.at.scale * y]; }
    from(x, y) { return [(x - this.at.x) / this.at.scale, (this.at.y - y) / this.at.scale]; }

    get radius() {
        const { count } = this.map, base = count <= 300 ? 3.6 : count <= 3000 ? 2.6 : 1.9;
        return Math.min(5, base * Math.sqrt(this.view.zoom));
    }

    redraw() {
        if (!this.root.isConnected) return;
        const { model } = this, dark = this.theme?.dark;
        if (!this.image) this.theme = themeOf(this.root);
        if (dark !== this.theme.dark) this.fill(); // also when it is first known, as in a cell that had no size before
        const room = this.root.clientWidth || 640, wide = room >= MAP_WIDE;
        this.root.classList.toggle("mgk-narrow", !wide);
        this.shorten();
        const width = Math.max(160, Math.min(model.get("width") ?? Infinity, wide ? room - 24 - Math.max(220, Math.min(300, 0.26 * room)) : room - 4)), height = model.get("height");
        if (width !== this.width || height !== this.height) { this.width = width; this.height = height; this.image = null; }
        this.at = this.place();
        Object.assign(this.canvas.dataset, this.at);
        this.image ??= this.raster();
        // Setting the size of a canvas clears it and costs a frame: only if it changed.
        const { image, canvas } = this, same = canvas.width === image.width && canvas.height === image.height;
        const context = same ? canvas.getContext("2d") : prepare(canvas, width, height);
        context.putImageData(image, 0, 0);
        this.overlay(context);
        const count = clipsOf(this.map.count);
        this.canvas.setAttribute("aria-label", `Map of ${count} of ${model.get("split")}. Arrow keys go from point to point, Enter selects, plus and minus zoom.`);
    }

    // The points alone, as an image in device pixels.
    raster() {
        const { theme, map, at } = this, { points, count } = map, mask = this.mask(), ratio = devicePixelRatio || 1, radius = this.radius * ratio;
        const image = new ImageData(Math.round(this.width * ratio), Math.round(this.height * ratio)), [red, green, blue] = channels(theme.paper);
        new Uint32Array(image.data.buffer).fill((255 << 24) | (blue << 16) | (green << 8) | red);
        const x = new Float32Array(count), y = new Float32Array(count);
        for (let row = 0; row < count; row++) {
            x[row] = ratio * (at.x + at.scale * points[2 * row]);
            y[row] = ratio * (at.y - at.scale * points[2 * row + 1]);
        }
        const draw = (layer, size, opacity) => blend(image, stamp(layer.shape, size), layer, x, y, opacity);

        const chosen = row => (mask[row >> 3] >> (row & 7)) & 1, layers = (this.cut ??= this.layers()), opaque = count <= 1000 ? 1 : 0.8;
        const size = layer => (layer.grey ? 0.85 : layer.halo ? Math.max(1.35, (2.6 * ratio) / radius) : 1) * radius;
        for (const layer of layers) {
            const rows = mask ? layer.rows.filter(row => !chosen(row)) : layer.rows;
            if (layer.halo && !mask) draw({ ...layer, colours: [theme.paper] }, size(layer) + ratio, 1);
            draw({ ...layer, rows }, size(layer), (layer.grey ? 0.6 : layer.halo ? 1 : opaque) * (mask ? 0.3 : 1));
        }
        if (!mask) return image;
        const ringed = this.model.get("selected").here <= 400;
        for (const layer of layers) {
            const rows = layer.rows.filter(chosen), grown = Math.max(size(layer), 2.2 * ratio) + 0.4 * ratio;
            if (ringed) draw({ ...layer, rows, colours: [theme.ink] }, grown + 1.2 * ratio, 1);
            draw({ ...layer, rows }, grown, 1);
        }
        return image;
    }

    starColour(k) {
        const at = this.colour === "class" ? this.model.get("chosen").indexOf(k) : -1;
        return at >= 0 ? this.palette[at] : null;
    }

    drawStar(context, x, y, size, fill) {
        const { theme } = this;
        starPath(context, x, y, size);
        context.lineJoin = "round";
        context.lineWidth = 3;
        context.strokeStyle = theme.paper;
        context.stroke();
        context.fillStyle = fill;
        context.fill();
        context.lineWidth = 1;
        context.strokeStyle = theme.ink;
        context.stroke();
    }

    // The prototypes that are there at the epoch shown, the important ones last: [class, x, y, size].
    stars() {
        const { paths, epochs, seen } = this.map, at = this.stop, count = seen.length, out = [];
        if (!epochs.length) return out;
        for (let k = 0; k < count; k++) {
            const i = 2 * (at * count + k);
            if (Number.isNaN(paths[i])) continue;
            const bold = this.colour === "class" ? this.starColour(k) !== null : this.colour === "kind" ? k === this.highlighted : true;
            out.push([k, ...this.to(paths[i], paths[i + 1]), bold ? 8.5 : 6, bold]);
        }
        return out.sort((a, b) => a[4] - b[4]);
    }

    overlay(context) {
        const { theme, model, width, height } = this, { names } = model.get("classes"), stars = this.stars();
        if (model.get("paths")) this.drawPaths(context);
        for (const [k, x, y, size] of stars) this.drawStar(context, x, y, this.star === k ? size + 2 : size, this.starColour(k) ?? theme.paper);
        if (model.get("names")) this.drawNames(context, stars, names);
        const ring = (row, colour, radius) => {
            const [x, y] = this.to(this.map.points[2 * row], this.map.points[2 * row + 1]);
            context.beginPath();
            context.arc(x, y, radius, 0, 2 * Math.PI);
            context.lineWidth = 2;
            context.strokeStyle = colour;
            context.stroke();
            return [x, y];
        };
        if (this.hover >= 0) ring(this.hover, theme.ink, this.radius + 3);
        if (this.cursor >= 0) ring(this.cursor, theme.accent, this.radius + 4.5);
        const { focus_row: focus } = model.get("selected");
        if (focus !== null && focus !== undefined) {
            const [x, y] = this.to(this.map.points[2 * focus], this.map.points[2 * focus + 1]);
            diamond(context, x, y, 7);
        }
        if (this.drag?.loop?.length > 1) {
            context.beginPath();
            for (const [x, y] of this.drag.loop) context.lineTo(x, y);
            context.closePath();
            context.fillStyle = theme.accent;
            context.globalAlpha = 0.12;
            context.fill();
            context.globalAlpha = 1;
            context.lineWidth = 1.5;
            context.strokeStyle = theme.accent;
            context.stroke();
        }
        if (model.get("pathway") !== this.map.pathway) {
            context.fillStyle = theme.paper;
            context.globalAlpha = 0.75;
            context.fillRect(0, 0, width, height);
            context.globalAlpha = 1;
            context.fillStyle = theme.ink;
            context.font = `13px ${theme.font}`;
            context.textAlign = "center";
            context.fillText(`Opening the ${OUTPUT_NAMES[model.get("pathway")]} map. The first time this takes up to a minute.`, width / 2, height / 2, width - 20);
            context.textAlign = "left";
        }
    }

    drawPaths(context) {
        const { map, theme } = this, { paths, epochs, seen } = map, count = seen.length;
        context.lineJoin = context.lineCap = "round";
        for (let k = 0; k < count; k++) {
            const track = [];
            for (let e = 0; e < epochs.length; e++) {
                const i = 2 * (e * count + k);
                if (!Number.isNaN(paths[i])) track.push(this.to(paths[i], paths[i + 1]));
            }
            if (track.length < 2) continue;
            const bold = this.star === k || this.starColour(k) !== null || (this.colour === "kind" && k === this.highlighted) || this.colour === "confidence" || this.colour === "distance" || this.colour === "subject";
            for (const [colour, line] of [[theme.paper, bold ? 4.5 : 3], [this.starColour(k) ?? (bold ? theme.ink : theme.soft), bold ? 2 : 1]]) {
                context.beginPath();
                for (const [x, y] of track) context.lineTo(x, y);
                context.lineWidth = line;
                context.strokeStyle = colour;
                context.stroke();
            }
            context.fillStyle = this.starColour(k) ?? theme.soft;
            for (const [x, y] of track) {
                context.beginPath();
                context.arc(x, y, bold ? 2.6 : 1.6, 0, 2 * Math.PI);
                context.fill();
            }
            this.drawBeginning(context, ...track[0], bold ? 4 : 2.8, this.starColour(k) ?? (bold ? theme.ink : theme.soft));
        }
    }

    // A ring where the path of a prototype begins; it ends at the star.
    drawBeginning(context, x, y, radius, colour) {
        context.beginPath();
        context.arc(x, y, radius, 0, 2 * Math.PI);
        context.fillStyle = this.theme.paper;
        context.fill();
        context.lineWidth = 1.5;
        context.strokeStyle = colour;
        context.stroke();
    }

    // Names next to their stars, the coloured ones first, each only where it covers nothing.
    drawNames(context, stars, names) {
        const { theme } = this, fonts = [false, true].map(bold => `${bold ? "600 " : ""}11px ${theme.font}`);
        context.font = fonts[1];
        const short = elideAll(context, names, 150), taken = stars.map(([, x, y, size]) => [x - size, y - size, x + size, y + size]);
        for (const [k, x, y, size, bold] of [...stars].reverse()) {
            context.font = fonts[Number(bold)];
            const text = short[k], wide = context.measureText(text).width;
            const spots = [[x + size + 3, y + 4], [x - size - 3 - wide, y + 4], [x - wide / 2, y - size - 4], [x - wide / 2, y + size + 11]];
            const spot = spots.find(([left, base]) => left >= 2 && left + wide <= this.width - 2 && base > 10 && base < this.height - 3
                && taken.every(([x0, y0, x1, y1]) => left > x1 || left + wide < x0 || base - 9 > y1 || base + 2 < y0));
            if (!spot) continue;
            taken.push([spot[0] - 2, spot[1] - 10, spot[0] + wide + 2, spot[1] + 3]);
            context.lineJoin = "round";
            context.lineWidth = 3.5;
            context.strokeStyle = theme.paper;
            context.strokeText(text, ...spot);
            context.fillStyle = theme.ink;
            context.fillText(text, ...spot);
        }
    }

    // ---- pointer and keys ----

    send(content, event) { this.model.send({ ...content, add: adds(event) }); }

    under(x, y) {
        const star = [...this.stars()].reverse().find(([, sx, sy, size]) => Math.hypot(sx - x, sy - y) <= size);
        if (star) return { star: star[0], row: -1 };
        return { star: -1, row: nearest(this.map.points, ...this.from(x, y), Math.max(REACH, this.radius + 2) / this.at.scale) };
    }

    press(event) {
        if (event.button > 1) return;
        this.canvas.setPointerCapture(event.pointerId);
        const pans = this.mode === "pan" || event.button === 1, start = [event.offsetX, event.offsetY];
        if (event.button === 1) event.preventDefault();
        this.drag = { start, pans, moved: false, loop: pans ? null : [start], view: { ...this.view } };
    }

    move(event) {
        const { offsetX: x, offsetY: y } = event, { drag } = this;
        if (!drag) return this.point(x, y, event);
        const away = Math.hypot(x - drag.start[0], y - drag.start[1]);
        if (!drag.moved && away < 4) return;
        drag.moved = true;
        this.hover = this.star = -1;
        this.tip.hide();
        if (drag.pans) {
            this.view = { ...this.view, x: drag.view.x + x - drag.start[0], y: drag.view.y + y - drag.start[1] };
            return this.turned();
        }
        const [lastX, lastY] = drag.loop.at(-1);
        if (Math.hypot(x - lastX, y - lastY) >= 3) drag.loop.push([x, y]);
        this.draw();
    }

    point(x, y, event) {
        const { star, row } = this.under(x, y);
        this.canvas.style.cursor = star >= 0 || row >= 0 ? "pointer" : this.mode === "pan" ? "grab" : "crosshair";
        if (star === this.star && row === this.hover && star + row === -2) return;
        if (star !== this.star || row !== this.hover) { this.star = star; this.hover = row; this.draw(); }
        if (star < 0 && row < 0) return this.tip.hide();
        const corner = this.root.getBoundingClientRect();
        this.tip.show(event.clientX - corner.left, event.clientY - corner.top, star >= 0 ? starWords(this, star) : clipWords(this, row));
    }

    release(event) {
        const { drag } = this;
        this.drag = null;
        if (!drag) return;
        if (!drag.moved) {
            const { star, row } = this.under(event.offsetX, event.offsetY);
            if (star >= 0) this.send({ act: "class", label: star }, event);
            else if (row >= 0) this.send({ act: "click", row }, event);
        } else if (drag.loop?.length > 2) {
            const rows = insideLoop(this.map.points, drag.loop.map(place => this.from(...place)));
            this.send({ act: "lasso", rows }, event);
            this.aloud.textContent = `${clipsOf(rows.length)} in the lasso`;
        }
        this.draw();
    }

    turned() { this.image = null; this.draw(); }

    zoom(factor, x = this.width / 2, y = this.height / 2) {
        const before = this.from(x, y);
        this.view.zoom = Math.max(1, Math.min(60, this.view.zoom * factor));
        this.at = this.place();
        const [nowX, nowY] = this.to(...before);
        this.view.x += x - nowX;
        this.view.y += y - nowY;
        if (this.view.zoom === 1) this.view.x = this.view.y = 0;
        this.turned();
    }

    fit() {
        this.view = { zoom: 1, x: 0, y: 0 };
        this.turned();
    }

    key(event) {
        const turn = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
        if (event.key === "Escape") this.model.send({ act: "clear" });
        else if ((event.key === "Enter" || event.key === " ") && this.cursor >= 0) this.send({ act: "click", row: this.cursor }, event);
        else if (event.ctrlKey || event.metaKey || event.altKey) return;
        else if (event.key === "+" || event.key === "=") this.zoom(1.5);
        else if (event.key === "-") this.zoom(1 / 1.5);
        else if (event.key === "0") this.fit();
        else if (turn) this.step(turn);
        else return;
        event.preventDefault();
        event.stopPropagation();
    }

    // To the nearest point in a direction; first to the clip in focus, or to the one nearest to the middle.
    step([dx, dy]) {
        const { points, count } = this.map, { focus_row: focus } = this.model.get("selected");
        let best = this.cursor, least = Infinity;
        const [x, y] = this.cursor < 0 ? this.from(this.width / 2, this.height / 2) : [points[2 * this.cursor], points[2 * this.cursor + 1]];
        for (let row = 0; row < count; row++) {
            if (row === this.cursor) continue;
            const right = points[2 * row] - x, up = points[2 * row + 1] - y, along = right * dx + up * dy, aside = Math.abs(right * dy) + Math.abs(up * dx);
            if (this.cursor >= 0 && (along <= 0 || aside > along)) continue;
            const away = this.cursor < 0 ? right * right + up * up : along + 2 * aside;
            if (away < least) { least = away; best = row; }
        }
        this.cursor = this.cursor < 0 && typeof focus === "number" ? focus : best;
        if (this.cursor < 0) return;
        let place = this.to(points[2 * this.cursor], points[2 * this.cursor + 1]);
        if (place[0] < 0 || place[1] < 0 || place[0] > this.width || place[1] > this.height) {
            this.view.x += this.width / 2 - place[0];
            this.view.y += this.height / 2 - place[1];
            this.turned();
            place = [this.width / 2, this.height / 2];
        }
        this.announce(clipWords(this, this.cursor), ...place);
        this.draw();
    }
}

export default mounted(PrototypeMapView);
