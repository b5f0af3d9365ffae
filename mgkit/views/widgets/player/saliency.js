// What a decision rests on, drawn on a clip: a veil over the picture, discs on the joints, bars along the time.

const VEIL = 0.62; // opacity of the veil where it is strongest
const FAINTEST = 0.02; // joints below this share of the strongest are left out
const STRIP = 38; // CSS pixels, height of the bars

/** The saliency of a clip if it is to be drawn and there is any. */
function saliencyOf(clip, look) {
  return look.saliency && clip.saliency && !clip.saliency.empty ? clip.saliency : null;
}

/** The parts of the picture that speak for the class, lighter = more, over the whole canvas. */
function drawVeil(pen, { frames, size, values }, k, width, height) {
  const small = new OffscreenCanvas(size, size);
  const image = new ImageData(size, size);
  values[nearest(frames, k)].forEach((value, i) => {
    image.data.set([...glow(value / 255), Math.round(VEIL * value)], 4 * i);
  });
  small.getContext("2d").putImageData(image, 0, 0);
  pen.imageSmoothingEnabled = true;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(small, 0, 0, width, height);
}

/** A disc on each seen joint: its area and its lightness grow with what the joint says for the class. */
function drawDiscs(pen, joints, { frames, values }, k, unit) {
  const now = values[nearest(frames, k)];
  const order = now.map((_, i) => i).sort((a, b) => now[a] - now[b]); // the strongest on top
  for (const i of order) {
    const value = now[i] / 255;
    if (!joints[i] || value < FAINTEST) continue;
    pen.fillStyle = `rgb(${glow(value).join(",")})`;
    pen.strokeStyle = RIM;
    pen.lineWidth = 0.8 * unit;
    pen.beginPath();
    pen.arc(joints[i].x, joints[i].y, 11 * Math.sqrt(value) * unit, 0, 2 * Math.PI);
    pen.fill();
    pen.stroke();
  }
}

/** The strip above the scrub bar: `show(clip, count, on)` fills or hides it. */
function saliencyStrip(style) {
  const canvas = h("canvas", { class: "mg-p-bars", role: "img", "aria-label": "What each sampled frame says for and against the class" });
  const words = h("div", { class: "mg-p-speaks" });
  const element = h("div", { class: "mg-p-saliency", hidden: true }, words, canvas);

  function show(clip, count, on) {
    element.hidden = !on || !clip?.saliency; // without a run there is nothing to say
    if (element.hidden) return;
    const found = saliencyOf(clip, { saliency: true });
    canvas.hidden = !found;
    if (!found) {
      words.replaceChildren(h("span", { role: "status" }, clip.saliency.empty));
      return;
    }
    const key = (name, word) => found[name] && h("span", {}, h("i", { style: `background:${style.outputs[name]}` }), word);
    words.replaceChildren(
      h("span", {}, "what speaks for ", h("b", {}, found.target)),
      ...[key("pose", "pose"), key("rgb", "RGB")].filter(Boolean),
      h("span", { class: "mg-p-glow", title: "Colour and size of a joint, and the veil over the picture: what they say for the class; the scale ends where 1 % of this clip exceeds it" },
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
        // RGB has few frames: its bars are wider and lie behind, with those of the pose in front.
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
