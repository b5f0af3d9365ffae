// State, stages, curves, numbers and log of a training, all from the trait `shown`.

import { element, number, onAppearance, onChanges, oncePerFrame, OUTPUT_COLOURS, OUTPUT_NAMES, percent, ROLE_COLOURS } from "../shared/common.js";

const STATE_WORDS = {
    none: "Not started yet", running: "Running", stopping: "Stopping", finished: "Finished", waiting: "Waiting",
    interrupted: "Stopped", failed: "Failed", killed: "Stopped without an error message",
};
const STATE_COLOURS = { running: "#009E73", finished: "#0072B2", failed: "#D55E00", killed: "#D55E00" };
const HEARD = 1500; // milliseconds in which a kernel that is not busy answers a button
const PART_NAMES = { rgb: "RGB branch", pose: "Pose branch", joint: "Joint" };
const OTHER_TERMS = ["#56B4E9", "#999933", "#882255", "#8C6D31"];
const clock = seconds => {
    const whole = Math.round(seconds), pad = value => String(value).padStart(2, "0");
    return whole < 3600 ? `${Math.floor(whole / 60)}:${pad(whole % 60)}` : `${Math.floor(whole / 3600)}:${pad(Math.floor(whole / 60) % 60)}:${pad(whole % 60)}`;
};
const short = value => (value === 0 ? "0" : Math.abs(value) < 0.001 ? value.toExponential(0) : String(Number(value.toPrecision(3))));

const alike = (one, other) => Boolean(one && other) && one.length === other.length && one.every((value, i) => value === other[i]);

/** About `count` round values from 0 to `most`: steps of 1, 2 or 5 times a power of ten; of whole numbers at least 1. */
function roundTicks(most, count, whole = false) {
    const size = 10 ** Math.floor(Math.log10(most / count));
    const step = Math.max(whole ? 1 : 0, size * ([1, 2, 5, 10].find(factor => factor * size >= most / count) ?? 10));
    return Array.from({ length: Math.floor(most / step * (1 + 1e-9)) + 1 }, (_, i) => Number((i * step).toPrecision(6)));
}

// The lines of a panel: name in the history, text, colour, dashed?
function linesOf(part, panel) {
    const names = [...new Set([...Object.keys(part.curves), ...Object.keys(part.live)])], lines = [];
    if (panel === "loss") {
        let other = 0;
        for (const name of names.filter(name => /^loss(_|$)/.test(name))) {
            const words = name.split("_").slice(1), pathway = words.find(word => word in OUTPUT_NAMES);
            const term = words.filter(word => word !== pathway).map(word => ({ ce: "CE", pr: "prototypes" })[word] ?? word).join(" ");
            lines.push({
                name, text: words.length ? [OUTPUT_NAMES[pathway], term].filter(Boolean).join(" ") : "total",
                colour: !words.length ? "var(--mgk-ink)" : pathway && ["CE", "prototypes"].includes(term) ? OUTPUT_COLOURS[pathway] : OTHER_TERMS[other++ % 4],
                dashed: Boolean(pathway) && term === "prototypes",
            });
        }
    } else if (panel === "accuracy") {
        for (const output of ["rgb", "pose", "fused"])
            for (const split of ["val", "train"])
                if (names.includes(`${split}_top1_${output}`))
                    lines.push({ name: `${split}_top1_${output}`, text: `${OUTPUT_NAMES[output]} ${split}`, colour: OUTPUT_COLOURS[output], dashed: split === "train" });
        for (const pathway of ["rgb", "pose"])
            if (names.includes(`val_nearest_${pathway}`))
                lines.push({ name: `val_nearest_${pathway}`, text: `${OUTPUT_NAMES[pathway]} nearest prototype, val`, colour: OUTPUT_COLOURS[pathway], dotted: true });
    } else if (panel === "rate") {
        if (names.includes("learning_rate")) lines.push({ name: "learning_rate", text: "", colour: "var(--mgk-ink)", dashed: false });
    } else
        for (const role of ["TP", "FN", "FP"])
            for (const pathway of ["rgb", "pose"]) {
                const name = `${role.toLowerCase()}_${pathway}`;
                if (!names.includes(name)) continue;
                // Each clip missed by one class is a false positive of another: equal curves are drawn once.
                const twin = role === "FN" && alike(part.curves[name], part.curves[`fp_${pathway}`]);
                if (role === "FP" && alike(part.curves[name], part.curves[`fn_${pathway}`])) continue;
                lines.push({ name, text: `${twin ? "FN = FP" : role} ${OUTPUT_NAMES[pathway]}`, colour: ROLE_COLOURS[role], dashed: pathway === "pose" && names.includes("tp_rgb") });
            }
    return lines;
}

function svg(tag, attributes, ...children) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
}

function stroke(line, points) {
    return svg("polyline", {
        points: points.map(point => point.join(",")).join(" "), fill: "none", "stroke-width": line.dashed ? 1.2 : 1.7,
        "stroke-dasharray": line.dotted ? "1 3" : line.dashed ? "4 3" : "none", "stroke-linejoin": "round", style: `stroke: ${line.colour}`, "data-line": line.name,
    });
}

// Draw a panel.
function drawPanel(panel, part, width) {
    const lines = linesOf(part, panel.key), height = 150, left = 42, right = 8, top = 8, bottom = 20;
    const at = part.live.epoch ? part.live.epoch - 1 + (part.live.steps ? part.live.step / part.live.steps : 0) : null;
    // Counts grow over an epoch: an unfinished one would look like a drop.
    const now = panel.key === "counts" ? null : at;
    const series = lines.map(line => {
        const values = part.curves[line.name] ?? [];
        const points = values.flatMap((value, i) => (value === null ? [] : [[part.epochs_done[i], value]]));
        const last = now !== null && Number.isFinite(part.live[line.name]) ? [Math.max(now, points.at(-1)?.[0] ?? 0), part.live[line.name]] : null;
        return { line, points, last };
    });
    const all = series.flatMap(one => [...one.points, ...(one.last ? [one.last] : [])]);
    panel.svg.replaceChildren();
    panel.legend.replaceChildren();
    panel.node.hidden = !lines.length;
    if (!all.length) return;
    const last = Math.max(1, Math.min(part.epochs || 1, Math.ceil(1.25 * Math.max(at ?? 0, ...all.map(point => point[0])))));
    const most = panel.key === "accuracy" ? 1 : 1.06 * Math.max(...all.map(point => point[1])) || 1;
    const x = epoch => left + (width - left - right) * Math.min(1, epoch / last), y = value => top + (height - top - bottom) * (1 - Math.max(0, value) / most);
    for (const value of panel.key === "accuracy" ? [0, 0.5, 1] : roundTicks(most, 5))
        panel.svg.append(
            svg("line", { x1: left, x2: width - right, y1: y(value), y2: y(value), style: "stroke: var(--mgk-line)" }),
            svg("text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" }, panel.key === "accuracy" ? `${100 * value}%` : short(value)));
    // The last tick has the unit, and some space before it.
    const epochs = roundTicks(last, 5, true).filter(epoch => x(last) - x(epoch) > 62);
    for (const epoch of [...epochs, last])
        panel.svg.append(svg("text", { x: x(epoch), y: height - 5, "text-anchor": epoch === last ? "end" : "middle" }, epoch === last ? `epoch ${last}` : String(epoch)));
    for (const { line, points, last: tip } of series) {
        const placed = points.map(([epoch, value]) => [x(epoch).toFixed(1), y(value).toFixed(1)]);
        if (placed.length) panel.svg.append(stroke(line, placed));
        if (placed.length === 1) panel.svg.append(svg("circle", { cx: placed[0][0], cy: placed[0][1], r: 2.5, style: `fill: ${line.colour}` }));
        if (tip) panel.svg.append(svg("circle", { cx: x(tip[0]), cy: y(tip[1]), r: 3, "stroke-width": 1.5, "data-now": line.name, style: `stroke: ${line.colour}; fill: var(--mgk-paper)` }));
        if (line.text) panel.legend.append(element("span", { className: "mgk-key" },
            svg("svg", { width: 16, height: 8 }, stroke({ ...line, name: "key" }, [[0, 4], [16, 4]])), line.text));
    }
}

function render({ model, el }) {
    const root = element("div", { className: "mgk mgk-monitor" });
    const title = element("span", { className: "mgk-title" }), state = element("span", { className: "mgk-state", attributes: { role: "status" } });
    const stop = element("button", { type: "button", className: "mgk-small mgk-stop", textContent: "Stop" });
    const resume = element("button", { type: "button", className: "mgk-small mgk-resume", textContent: "Resume" });
    const no = element("button", { type: "button", className: "mgk-small", textContent: "No", hidden: true });
    const message = element("p", { className: "mgk-warn", hidden: true, attributes: { role: "alert" } });
    const steps = element("div", { className: "mgk-steps" }), bar = element("i"), done = element("div", { className: "mgk-done" }, bar);
    const numbers = element("div", { className: "mgk-numbers" }), log = element("pre", { tabIndex: 0 });
    const more = element("details", {}, element("summary", { textContent: "Log" }), log);
    const panels = [["loss", "Training loss"], ["accuracy", "Accuracy"], ["counts", "Training clips"], ["rate", "Learning rate"]].map(([key, text]) => {
        const panel = { key, svg: svg("svg", { role: "img", "aria-label": text }), legend: element("div", { className: "mgk-legend" }) };
        panel.node = element("div", { dataset: { panel: key } }, element("h4", { textContent: text }), panel.svg, panel.legend);
        return panel;
    });
    root.append(element("div", { className: "mgk-bar" }, title, state, stop, resume, no), message, steps, done, numbers,
        element("div", { className: "mgk-panels" }, ...panels.map(panel => panel.node)), more);
    el.append(root);

    // A button asks first: one press arms it, a second one acts; "No", Escape or ten seconds disarm it.
    let armed = null, timer = 0, picked = null;
    // A kernel that is busy with a cell may hear of a button only when the cell has ended: say so, and what works now.
    let unheard = null, patience = 0;
    const send = act => {
        model.send({ act });
        clearTimeout(patience);
        patience = setTimeout(() => { unheard = act; draw(); }, HEARD);
    };
    const hear = () => { clearTimeout(patience); unheard = null; draw(); };
    const disarm = () => { armed = null; clearTimeout(timer); draw(); };
    const press = act => {
        if (armed === act) { send(act); disarm(); return; }
        armed = act;
        clearTimeout(timer);
        timer = setTimeout(disarm, 10000);
        draw();
    };
    stop.onclick = () => press("stop");
    resume.onclick = () => press("resume");
    no.onclick = disarm;
    root.onkeydown = event => { if (event.key === "Escape" && armed) { event.stopPropagation(); disarm(); } };

    function draw() {
        const shown = model.get("shown"), problem = model.get("problem");
        title.textContent = shown.name;
        state.replaceChildren(element("i", { className: "mgk-dot", style: { background: STATE_COLOURS[shown.state] ?? "var(--mgk-faint)" } }), STATE_WORDS[shown.state] ?? shown.state);
        state.title = shown.message;
        if (armed && !shown[armed === "stop" ? "can_stop" : "can_resume"]) armed = null;
        stop.hidden = !shown.can_stop || armed === "resume";
        resume.hidden = !shown.can_resume || armed === "stop";
        stop.textContent = armed === "stop" ? "Stop after this step?" : "Stop";
        resume.textContent = armed === "resume" ? "Resume training?" : "Resume";
        no.hidden = !armed;
        const bad = ["failed", "killed", "interrupted", "none"].includes(shown.state) || shown.state === "stopping" || (shown.state === "running" && !shown.can_stop);
        const untrained = shown.state === "finished" && !shown.parts.length; // imported from scores: there is only the message
        const busy = unheard === "stop" ? `The kernel is busy: it stops the training when the cell that is running has ended. To stop it now, interrupt the kernel (■), or run in a terminal: ${shown.stop}`
            : unheard ? "The kernel is busy: the training resumes when the cell that is running has ended." : "";
        message.textContent = [busy, problem, bad || untrained ? shown.message : ""].filter(Boolean).join(" · ");
        if (!shown.parts.length && !message.textContent) message.textContent = "Curves appear here once training has started in this folder.";
        message.hidden = !message.textContent;

        const part = shown.parts.find(one => one.name === picked) ?? shown.parts.find(one => one.current);
        if (steps.children.length !== shown.parts.length)
            steps.replaceChildren(...shown.parts.map(one => element("button", { type: "button", dataset: { part: one.name }, onclick: () => {
                picked = model.get("shown").parts.find(other => other.name === one.name)?.current ? null : one.name;
                draw();
            } })));
        shown.parts.forEach((one, i) => {
            const button = steps.children[i];
            button.replaceChildren(`${one.state === "finished" ? "✓ " : one.current ? "● " : "○ "}${shown.parts.length > 1 ? PART_NAMES[one.name] ?? one.name : "Training"}`,
                element("small", { textContent: `${one.epoch} of ${one.epochs}` }));
            button.setAttribute("aria-pressed", String(one === part));
            button.title = STATE_WORDS[one.state] ?? one.state;
        });
        log.textContent = shown.log.join("\n");
        more.hidden = !shown.log.length;
        done.hidden = numbers.hidden = !part;
        if (!part) { panels.forEach(panel => { panel.node.hidden = true; }); return; }

        const live = part.live, at = part.epoch + (live.steps ? live.step / live.steps : 0);
        bar.style.width = `${100 * Math.min(1, at / Math.max(1, part.epochs))}%`;
        const running = ["running", "stopping"].includes(shown.state) && Number.isFinite(live.clips);
        const latest = name => part.curves[name]?.at(-1);
        const facts = [["epoch", `${Math.min(part.epochs, live.epoch ?? part.epoch)} of ${part.epochs}`]];
        if (running) facts.push(["clips", `${number(live.clips)} of ${number(live.of)}`]);
        const speed = running ? live.clips_per_second : latest("clips_per_second");
        if (Number.isFinite(speed)) facts.push(["clips/s", short(speed)]);
        if (running && Number.isFinite(live.seconds_left)) facts.push(["left in this stage", clock(live.seconds_left)]);
        const loss = running ? live.loss : latest("loss");
        if (Number.isFinite(loss)) facts.push(["loss", loss.toFixed(3)]);
        for (const output of ["rgb", "pose", "fused"]) {
            const value = latest(`val_top1_${output}`);
            if (Number.isFinite(value)) facts.push([`${OUTPUT_NAMES[output]} val`, percent(value)]);
        }
        numbers.replaceChildren(...facts.map(([word, value]) => element("div", {}, element("span", { textContent: word }), value)));
        for (const panel of panels) drawPanel(panel, part, panel.svg.clientWidth || 300);
        // A panel that was hidden had no width.
        for (const panel of panels) if (!panel.node.hidden && Math.abs((panel.svg.clientWidth || 300) - (panel.drawn ?? 0)) > 1) {
            panel.drawn = panel.svg.clientWidth || 300;
            drawPanel(panel, part, panel.drawn);
        }
    }
    const ask = oncePerFrame(draw);
    const ends = [onChanges(model, ["shown", "problem"], ask), onChanges(model, ["heard"], hear), onAppearance(root, ask)];
    draw();
    return () => { ends.forEach(end => end()); ask.cancel(); clearTimeout(timer); clearTimeout(patience); };
}

export default { render };
