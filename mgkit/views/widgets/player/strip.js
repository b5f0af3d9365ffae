// The strip above the scrub bar: the evidence of each sampled frame for the class.

import { GLOW, saliencyOf } from "./draw.js";
import { h } from "./words.js";

const STRIP = 38; // CSS pixels, height of the bars

/** `show(clip, count, on)` fills or hides the strip. */
export function saliencyStrip(style) {
  const canvas = h("canvas", { class: "mg-p-bars", role: "img", "aria-label": "Evidence of each sampled frame for and against the class" });
  const words = h("div", { class: "mg-p-evidence-for" });
  const element = h("div", { class: "mg-p-saliency", hidden: true }, words, canvas);

  function show(clip, count, on) {
    element.hidden = !on || !clip?.saliency; // without a run there is none
    if (element.hidden) return;
    const found = saliencyOf(clip, { saliency: true });
    canvas.hidden = !found;
    if (!found) {
      words.replaceChildren(h("span", { role: "status" }, clip.saliency.empty));
      return;
    }
    const key = (name, word) => found[name] && h("span", {}, h("i", { style: `background:${style.outputs[name]}` }), word);
    words.replaceChildren(
      h("span", {}, "evidence for ", h("b", {}, found.target)),
      ...[key("pose", "pose"), key("rgb", "RGB")].filter(Boolean),
      h("span", { class: "mg-p-glow", title: "Colour and size of a joint, and brightness over the picture: evidence for the class. The scale ends where 1 % of this clip exceeds it." },
        "none", h("i", { style: `background:linear-gradient(90deg, ${GLOW.map((tone) => `rgb(${tone.join(",")})`).join(",")})` }), "most"));
    draw(found, count);
  }

  function draw(found, count) {
    const ratio = window.devicePixelRatio || 1;
    const width = element.clientWidth;
    canvas.width = Math.max(1, Math.round(width * ratio));
    canvas.height = Math.round(STRIP * ratio);
    canvas.style.height = `${STRIP}px`;
    const pen = canvas.getContext("2d");
    const parts = ["rgb", "pose"].filter((name) => found[name]);
    const sums = parts.flatMap((name) => found[name].time);
    const most = Math.max(0, ...sums);
    const least = Math.min(0, ...sums);
    const y = (value) => ((most - value) / (most - least || 1)) * (canvas.height - 2) + 1;
    for (const name of parts) {
      const { frames, time } = found[name];
      const wide = canvas.width / count;
      frames.forEach((frame, i) => {
        // RGB has few frames: its bars are wider and behind those of the pose.
        const share = name === "rgb" ? Math.max(1, 0.6 * (count / frames.length)) : 0.8;
        pen.globalAlpha = name === "rgb" ? 0.55 : 1;
        pen.fillStyle = style.outputs[name];
        const top = Math.min(y(time[i]), y(0));
        pen.fillRect((frame + 0.5 - share / 2) * wide, top, Math.max(1, share * wide), Math.abs(y(time[i]) - y(0)));
      });
    }
    pen.globalAlpha = 1;
    pen.fillStyle = "#888";
    pen.fillRect(0, Math.round(y(0) - ratio / 2), canvas.width, Math.max(1, Math.round(ratio)));
  }

  return { element, show };
}
