// The clip player: frames with their skeletons, played in step, with the predictions of the run.

import { onAppearance, showNames } from "../shared/common.js";
import { closeClip, nearest, openClip, openMaps, pictureAt } from "./clip.js";
import { drawFrame, drawMap } from "./draw.js";
import { saliencyStrip } from "./strip.js";
import { bars, captionOf, evidenceOf, h, icon, seconds } from "./words.js";

const SPEEDS = [0.125, 0.25, 0.5, 1, 1.5, 2, 4];
const UNKNOWN_RATE = 25; // frames per second of a clip without a frame rate
const TALLEST = 340; // CSS pixels of a picture
const LEAST = 150; // two clips that would be smaller are stacked ...
const LESS = 230; // ... and at most this tall

function render({ model, el }) {
  const style = model.get("look");
  let content = null;
  let clips = [];
  let figures = [];
  let k = 0;
  let clock = null; // {at: position in frames, time: of the last tick} while it plays
  let painting = false;
  let telling = false;
  let wanted = false;
  let gone = false;
  let pointer = false; // whether the last input was a pointer

  const set = (name, value) => {
    model.set(name, value);
    model.save_changes();
  };
  const look = () => Object.fromEntries(["skeleton", "limbs", "confidence", "frames", "heatmap", "saliency"].map((name) => [name, model.get(name)]));
  const count = () => (clips.length ? clips[0].panel_frames : 0);
  const rate = () => clips[0]?.fps || UNKNOWN_RATE;

  // --- parts of the page

  const button = (name, title, act, stroke) => h("button", { type: "button", class: "mg-p-button", title, "aria-label": title, onclick: act }, icon(name, stroke));
  const toggles = [];
  const toggle = (trait, label, title, usable = () => true) => {
    const element = h("button", { type: "button", class: "mg-p-toggle", title, onclick: () => set(trait, !model.get(trait)) }, label);
    toggles.push(() => {
      element.setAttribute("aria-pressed", String(Boolean(model.get(trait))));
      element.disabled = !usable();
    });
    return element;
  };
  const choice = (trait, label, options, usable = () => true) => {
    const buttons = options.map(([value, word, title]) => h("button", { type: "button", title, onclick: () => set(trait, value) }, word));
    toggles.push(() => buttons.forEach((element, i) => {
      element.setAttribute("aria-pressed", String(model.get(trait) === options[i][0]));
      element.disabled = !usable();
    }));
    return h("span", { class: "mg-p-choice", role: "group", "aria-label": label, "data-trait": trait }, h("span", { class: "mg-p-label" }, label), ...buttons);
  };
  const hidden = (when, element) => {
    toggles.push(() => (element.hidden = when()));
    return element;
  };
  const select = (trait, label, options) => {
    const element = h("select", { class: "mg-p-select", "aria-label": label, onchange: () => {
      set(trait, options()[element.selectedIndex][0]);
      if (pointer) root.focus({ preventScroll: true });
    } });
    toggles.push(() => {
      const list = options();
      element.replaceChildren(...list.map(([, word]) => h("option", {}, word)));
      element.selectedIndex = list.findIndex(([value]) => value === model.get(trait));
    });
    return element;
  };
  const beside = () => {
    const known = content?.neighbours || [["", "no second clip"]];
    const value = model.get("compare");
    return known.some(([key]) => key === value) ? known : [...known, [value, `clip ${value}`]];
  };

  const head = h("div", { class: "mg-p-words" });
  const place = h("span", { class: "mg-p-place" });
  const nav = h("nav", { class: "mg-p-nav" },
    button("previous", "Previous clip (p)", () => go(-1), true), place, button("next", "Next clip (n)", () => go(1), true));
  const note = h("div", { class: "mg-p-note", role: "status" });
  const stage = h("div", { class: "mg-p-stage" });
  const ticks = h("div", { class: "mg-p-ticks" });
  const played = h("div", { class: "mg-p-played" });
  const headMark = h("div", { class: "mg-p-head-mark" });
  const strip = saliencyStrip(style);
  const scrub = h("div", { class: "mg-p-scrub", role: "slider", tabindex: "0", "aria-label": "Frame", "aria-valuemin": "0" },
    ticks, h("div", { class: "mg-p-rail" }, played), headMark);
  const playButton = button("play", "Play (space)", () => set("playing", !model.get("playing")));
  playButton.classList.add("mg-p-play");
  const loopButton = toggle("loop", icon("loop"), "Loop");
  loopButton.classList.add("mg-p-icon");
  const readout = h("span", { class: "mg-p-readout" });
  const legend = h("span", { class: "mg-p-legend" });
  const transport = h("div", { class: "mg-p-transport" },
    h("span", { class: "mg-p-buttons" },
      button("first", "First frame (home)", () => jump(0)), button("back", "One frame back (left; ten with Shift)", () => jump(k - 1)),
      playButton,
      button("forward", "One frame forward (right; ten with Shift)", () => jump(k + 1)), button("last", "Last frame (end)", () => jump(Infinity)),
      loopButton, select("speed", "Speed", () => SPEEDS.concat(SPEEDS.includes(model.get("speed")) ? [] : [model.get("speed")]).map((s) => [s, s < 1 && 1 / s === Math.round(1 / s) ? `1/${1 / s} ×` : `${s} ×`]))),
    readout, legend);
  const posed = () => clips.some((clip) => clip.pose);
  const looks = h("div", { class: "mg-p-looks" },
    h("span", { class: "mg-p-group" },
      toggle("skeleton", "Skeleton", "Draw the key-points", posed), toggle("limbs", "Limbs", "Draw the limbs", posed),
      toggle("confidence", "Confidence", "Size and opacity by the score of each joint", posed),
      hidden(() => !content?.can_explain, toggle("saliency", "Saliency", "Evidence for the decision over time, on the joints and on the picture"))),
    h("span", { class: "mg-p-sides" }, ...["left", "right", "middle"].map((side) => h("span", {}, h("i", { style: `background:${style.sides[side]}` }), side))),
    choice("frames", "Video", [["show", "show"], ["dim", "dim"], ["hide", "hide"]], () => clips.some((clip) => clip.jpegs)),
    hidden(() => !content?.can_stream, choice("pictures", "Pictures", [["clip", "clip", "As filmed"], ["network", "network", "As the RGB network is fed them"]])),
    hidden(() => !content?.can_map, choice("heatmap", "Heatmap", [["off", "off"], ["max", "all", "Maximum over the joints"], ["sides", "by side", "Left, right and middle joints in different colours"]], posed)),
    hidden(() => beside().length < 2, h("span", { class: "mg-p-group mg-p-beside" },
      h("span", { class: "mg-p-label" }, "Compare with"), select("compare", "Second clip", beside),
      hidden(() => clips.length < 2, choice("in_step", "sync by", [["time", "time", "Both start and end together"], ["frame", "frame", "Frame by frame"]])))));
  const evidence = h("div", { class: "mg-p-evidence" });
  const empty = h("div", { class: "mg-p-empty" },
    h("b", {}, "Nothing is selected"), h("span", {}, "Click a cell, a bar or a point in a linked view, or call show(clip_id)."));
  const body = h("div", { class: "mg-p-body" }, stage, strip.element, scrub, transport, looks, evidence);
  // JupyterLab's shortcuts would cut cells and leave the cell while someone steps through frames.
  const root = h("div", { class: "mgk mg-player", tabindex: "0", role: "group", "aria-label": "Clip player", "data-lm-suppress-shortcuts": "true" },
    h("div", { class: "mg-p-top" }, head, nav), note, empty, body);
  el.append(root);

  // --- from content to clips

  function load() {
    const before = content?.clip_id;
    content = model.get("content");
    clips.forEach(closeClip);
    const data = content.bytes;
    const bytes = data ? new Uint8Array(data.buffer ?? data, data.byteOffset ?? 0, data.byteLength) : new Uint8Array();
    clips = content.panels.map((panel) => {
      const clip = openClip(panel, bytes);
      clip.panel_frames = panel.clip.frames;
      return clip;
    });
    // Another clip starts at its first frame, whatever frame of the previous one Python still has.
    const start = before === undefined ? model.get("frame") : before === content.clip_id ? k : 0;
    k = Math.min(start, Math.max(0, count() - 1));
    if (clock) clock.at = k;
    root.classList.remove("mg-p-waiting");
    build();
    layout();
  }

  function build() {
    const first = content.panels[0];
    const any = clips.length > 0;
    body.hidden = !any;
    empty.hidden = any || Boolean(content.note);
    head.replaceChildren(...(any ? [captionOf(first, false), evidenceOf(first)] : []));
    nav.hidden = content.count < 2;
    place.replaceChildren(h("b", {}, `${(content.position ?? 0) + 1} / ${content.count}`), h("span", { title: content.description }, content.description));
    const problems = clips.flatMap((clip) => clip.problems);
    if (content.note) problems.push(content.note);
    note.replaceChildren(...problems.map((text) => h("p", {}, text)));
    note.hidden = !problems.length;
    stage.replaceChildren();
    figures = clips.map((clip, i) => {
      const picture = h("canvas", { class: "mg-p-canvas", role: "img", "aria-label": `Clip ${clip.clip_id}` });
      const map = clip.heat && h("canvas", { class: "mg-p-canvas mg-p-map", role: "img", "aria-label": "Pose heatmap" });
      const below = h("figcaption");
      const mapBelow = h("figcaption");
      const row = h("div", { class: "mg-p-pictures" }, h("figure", {}, picture, below), map && h("figure", {}, map, mapBelow));
      stage.append(h("section", { class: "mg-p-clip", "data-clip": clip.clip_id },
        clips.length > 1 && h("h3", { title: i > 0 && clip.relation }, i ? clip.relation : "this clip"), row,
        i > 0 && h("div", { class: "mg-p-second" }, captionOf(clip, true), evidenceOf(clip))));
      return { picture, map, below, mapBelow };
    });
    marks();
    const verdict = first?.verdict;
    evidence.replaceChildren(...(verdict?.outputs ?? []).map((output) => bars(output, verdict.distances.find(({ key }) => key === output.key))));
    evidence.hidden = !verdict;
    refresh();
  }

  function marks() {
    ticks.replaceChildren();
    legend.replaceChildren();
    for (const key of ["rgb", "pose"]) {
      const times = clips[0]?.sampled[key];
      if (!times) continue;
      for (const time of new Set(times)) {
        ticks.append(h("i", { class: `mg-p-tick mg-p-tick-${key}`, "data-frame": time, style: `left:${(100 * time) / count()}%;width:${100 / count()}%;background:${style.outputs[key]}` }));
      }
      const name = { rgb: "RGB", pose: "pose" }[key];
      legend.append(h("span", { title: `What the ${name} pathway reads of the clip` }, h("i", { style: `background:${style.outputs[key]}` }), `${times.length} ${times.length === 1 ? "frame" : "frames"} seen by ${name}`));
    }
    const [number, of] = content.view || [0, 1];
    if (legend.childNodes.length && of > 1) legend.append(h("span", {}, `test view ${number + 1} of ${of}`));
    scrub.classList.toggle("mg-p-bare", !ticks.childNodes.length);
    scrub.setAttribute("aria-valuemax", String(Math.max(0, count() - 1)));
  }

  /** The state of every control. */
  function refresh() {
    toggles.forEach((update) => update());
    const playing = model.get("playing");
    playButton.replaceChildren(icon(playing ? "pause" : "play"));
    playButton.title = playing ? "Pause (space)" : "Play (space)";
    playButton.setAttribute("aria-label", playButton.title);
  }

  // --- size

  function layout() {
    if (gone || !clips.length) return;
    const gap = 12; // as in the style sheet
    const room = stage.clientWidth;
    if (!room) return;
    strip.show(clips[0], count(), model.get("saliency"));
    const names = [...evidence.querySelectorAll("[data-name]")];
    showNames(names, [...new Set(names.map((node) => node.dataset.name))], { before: "→ " }); // as wide as the mark of a class
    const share = (clip) => (clip.width / clip.height) * (clip.heat ? 2 : 1);
    const pictures = (list) => list.reduce((sum, clip) => sum + (clip.heat ? 2 : 1), 0);
    const height = (list) => (room - gap * (pictures(list) - 1) - gap * (list.length - 1)) / list.reduce((sum, clip) => sum + share(clip), 0);
    const stacked = clips.length > 1 && height(clips) < LEAST;
    stage.classList.toggle("mg-p-stacked", stacked);
    const tallest = Number(getComputedStyle(root).getPropertyValue("--mg-tallest")) || TALLEST; // less, where space is shared
    const each = Math.min(stacked ? LESS : tallest, ...(stacked ? clips.map((clip) => height([clip])) : [height(clips)]));
    const ratio = window.devicePixelRatio || 1;
    clips.forEach((clip, i) => {
      for (const canvas of [figures[i].picture, figures[i].map]) {
        if (!canvas) continue;
        const [width, tall] = [Math.max(1, Math.floor((each * clip.width) / clip.height)), Math.max(1, Math.floor(each))];
        canvas.style.width = `${width}px`;
        canvas.style.height = `${tall}px`;
        canvas.parentElement.style.width = `${width}px`;
        canvas.width = Math.round(width * ratio);
        canvas.height = Math.round(tall * ratio);
      }
    });
    paint();
  }

  // --- drawing

  const second = (clip) => {
    if (model.get("in_step") === "frame") return Math.min(k, clip.panel_frames - 1);
    return count() > 1 ? Math.round((k / (count() - 1)) * (clip.panel_frames - 1)) : 0;
  };

  /** Draws frame k of every clip once its pictures are decoded: never a skeleton over another frame. */
  async function paint() {
    wanted = true;
    if (painting) return;
    painting = true;
    while (wanted && !gone && clips.length) {
      wanted = false;
      const now = clips;
      const numbers = now.map((clip, i) => (i ? second(clip) : k));
      const pictures = await Promise.all(now.map((clip, i) => pictureAt(clip, numbers[i])));
      await Promise.all(now.map(openMaps)); // both skip a clip that was closed in the meantime
      if (now !== clips || gone) {
        wanted = true;
        continue;
      }
      now.forEach((clip, i) => draw(clip, figures[i], numbers[i], pictures[i]));
      words(numbers[0]);
      now.forEach((clip, i) => [1, 2, 3].forEach((ahead) => numbers[i] + ahead < clip.panel_frames && pictureAt(clip, numbers[i] + ahead)));
      root.dataset.clip = now[0].clip_id;
      root.dataset.frame = String(numbers[0]);
      telling = true; // our own change: k may have moved on by now, and must stay there
      if (!model.get("playing") && model.get("frame") !== numbers[0]) set("frame", numbers[0]);
      telling = false;
    }
    painting = false;
  }

  function draw(clip, figure, number, picture) {
    drawFrame(figure.picture, clip, number, picture, look(), style);
    figure.picture.dataset.frame = String(number);
    const { rgb, pose } = clip.sampled;
    const lost = clip.jpegs && !picture ? "this frame cannot be decoded" : "";
    const what = !clip.jpegs ? "no video" : !clip.pose ? "no pose" : model.get("frames") === "hide" ? "video hidden" : "";
    const by = (key, name, times) => times?.includes(number) && h("span", {}, h("i", { style: `background:${style.outputs[key]}` }), `seen by ${name}, ${times.indexOf(number) + 1} of ${times.length}`);
    // Heatmaps have a caption of their own.
    const seen = [by("rgb", "RGB", rgb), !figure.map && by("pose", "pose", pose)];
    figure.below.replaceChildren(h("span", {}, `frame ${number}`), ...[lost || what].filter(Boolean).map((text) => h("span", {}, text)), ...seen.filter(Boolean));
    if (!figure.map || !clip.maps) return;
    const at = nearest(pose, number);
    drawMap(figure.map, clip, at, model.get("heatmap"), style);
    figure.map.dataset.frame = String(pose[at]);
    const kind = clip.heat.kind === "limb" ? "limb heatmap" : "heatmap";
    figure.mapBelow.replaceChildren(h("span", {}, h("i", { style: `background:${style.outputs.pose}` }), `${kind} ${at + 1} of ${pose.length} (frame ${pose[at]})`),
      h("span", { title: "pixels of the network's input" }, `${clip.heat.width} × ${clip.heat.height}`));
  }

  function words(number) {
    const clip = clips[0];
    const last = count() - 1;
    const cell = (children, title) => h("span", { title }, ...children);
    readout.replaceChildren(
      cell([h("b", {}, String(number).padStart(String(last).length, "\u2007")), ` / ${last}`], "frame, counted from 0"),
      cell([clip.fps ? h("b", {}, seconds(number / clip.fps)) : "frame rate unknown", clip.fps ? ` / ${seconds(last / clip.fps)}` : ""], clip.fps ? "time from the first frame" : `played at ${UNKNOWN_RATE} frames per second`));
    headMark.style.left = `${(100 * number) / count()}%`;
    headMark.style.width = `${100 / count()}%`;
    played.style.width = `${(100 * number) / count()}%`;
    scrub.setAttribute("aria-valuenow", String(number));
    scrub.setAttribute("aria-valuetext", `frame ${number} of 0 to ${last}`);
  }

  // --- time

  function tick(time) {
    if (gone || !clock) return;
    // A page in the background gets no ticks: it resumes where it was instead of jumping.
    const passed = Math.min(time - clock.time, 250) / 1000;
    clock.time = time;
    clock.at += Math.max(0, passed) * rate() * model.get("speed");
    if (clock.at >= count()) {
      if (model.get("loop")) clock.at %= count();
      else {
        k = count() - 1;
        set("playing", false);
        return;
      }
    }
    const next = Math.floor(clock.at);
    if (next !== k) {
      k = next;
      paint();
    }
    requestAnimationFrame(tick);
  }

  function playOrPause() {
    refresh();
    if (model.get("playing") && count() > 1) {
      if (clock) return;
      if (k >= count() - 1) k = 0;
      clock = { at: k, time: performance.now() };
      requestAnimationFrame(tick);
    } else {
      clock = null;
      paint(); // reports to Python where it stopped
    }
  }

  function jump(frame) {
    if (!clips.length) return;
    k = Math.min(Math.max(0, frame), count() - 1);
    if (model.get("playing")) set("playing", false);
    else paint();
  }

  function go(by) {
    if (!content || content.count < 2) return;
    root.classList.add("mg-p-waiting");
    model.send({ act: "step", by });
  }

  // --- keys and pointer

  function key(event) {
    pointer = false;
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
    if (event.target.tagName === "BUTTON" && [" ", "Enter"].includes(event.key)) return; // presses that button
    const far = event.shiftKey ? 10 : 1;
    const faster = (by) => {
      const at = SPEEDS.reduce((best, s, i) => (Math.abs(s - model.get("speed")) < Math.abs(SPEEDS[best] - model.get("speed")) ? i : best), 0);
      set("speed", SPEEDS[Math.min(Math.max(0, at + by), SPEEDS.length - 1)]);
    };
    const act = {
      " ": () => set("playing", !model.get("playing")),
      ArrowLeft: () => jump(k - far), ArrowRight: () => jump(k + far), Home: () => jump(0), End: () => jump(Infinity),
      ArrowUp: () => faster(1), ArrowDown: () => faster(-1),
      n: () => go(1), p: () => go(-1),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }

  function drag(event) {
    if (event.type === "pointerdown") {
      scrub.setPointerCapture(event.pointerId);
      scrub.focus({ preventScroll: true });
    } else if (!scrub.hasPointerCapture(event.pointerId)) return;
    const box = scrub.getBoundingClientRect();
    jump(Math.floor(((event.clientX - box.left) / box.width) * count()));
  }

  root.addEventListener("keydown", key);
  root.addEventListener("pointerdown", () => (pointer = true));
  root.addEventListener("click", (event) => {
    // After a click the keyboard belongs to the player again, not to the clicked button.
    if (pointer && event.target.closest("button")) root.focus({ preventScroll: true });
  });
  scrub.addEventListener("pointerdown", drag);
  scrub.addEventListener("pointermove", drag);

  const listeners = {
    "change:content": load,
    "change:playing": playOrPause,
    "change:frame": () => {
      if (model.get("frame") === k || clock || telling) return;
      k = Math.min(Math.max(0, model.get("frame")), Math.max(0, count() - 1));
      paint();
    },
  };
  for (const name of ["skeleton", "limbs", "confidence", "frames", "pictures", "heatmap", "saliency", "in_step", "speed", "loop", "compare"]) {
    listeners[`change:${name}`] = () => {
      refresh();
      if (name === "saliency") strip.show(clips[0], count(), model.get(name));
      paint();
    };
  }
  for (const [name, listener] of Object.entries(listeners)) model.on(name, listener);

  load();
  const stopWatching = onAppearance(root, layout);
  playOrPause();

  return () => {
    gone = true;
    clock = null;
    stopWatching();
    for (const [name, listener] of Object.entries(listeners)) model.off(name, listener);
    clips.forEach(closeClip);
    clips = [];
  };
}

export default { render };
