// How a frame is drawn on a canvas: picture, skeleton, heatmap, and the saliency over them.

import { jointsAt, nearest } from "./clip.js";

const VEIL = 0.62; // opacity of the saliency over the picture where it is strongest
const FAINTEST = 0.02; // joints below this share of the strongest get no disc
const RIM = "#1A1A1A"; // around joints, limbs and discs

/** One frame and its skeleton. Pixel i of the clip covers [i, i + 1): joints and picture share one scale. */
export function drawFrame(canvas, clip, k, picture, look, style) {
  const pen = canvas.getContext("2d");
  const { width, height } = canvas;
  pen.globalAlpha = 1;
  pen.fillStyle = style.ground;
  pen.fillRect(0, 0, width, height);
  if (picture && look.frames !== "hide") {
    pen.globalAlpha = look.frames === "dim" ? 0.3 : 1;
    pen.imageSmoothingEnabled = true;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(picture, 0, 0, width, height);
    pen.globalAlpha = 1;
  }
  const lit = saliencyOf(clip, look);
  if (lit?.rgb) drawVeil(pen, lit.rgb, k, width, height);
  if (!clip.points) return;
  const ratio = width / canvas.clientWidth || 1;
  const unit = ratio * Math.min(1.5, Math.max(0.6, canvas.clientWidth / 300));
  for (let person = 0; person < clip.persons; person++) {
    const joints = jointsAt(clip, person, k, width / clip.width, height / clip.height);
    if (look.skeleton) drawPerson(pen, joints, look, style, unit);
    if (lit?.pose) drawDiscs(pen, joints, lit.pose, k, unit);
  }
}

function drawPerson(pen, joints, look, style, unit) {
  const opacity = (score) => (look.confidence ? 0.12 + 0.88 * score : 1);
  const limbs = style.edges
    .map(([a, b], i) => ({ a: joints[a], b: joints[b], side: style.edge_sides[i] }))
    .filter(({ a, b }) => look.limbs && a && b);
  pen.lineCap = "round";
  // All dark rims first: they set the lines off from light and dark pictures, and never cover a line.
  for (const rim of [true, false]) {
    for (const { a, b, side } of limbs) {
      pen.globalAlpha = opacity(Math.min(a.score, b.score));
      pen.strokeStyle = rim ? RIM : style.sides[side];
      pen.lineWidth = (rim ? 3.6 : 1.8) * unit;
      pen.beginPath();
      pen.moveTo(a.x, a.y);
      pen.lineTo(b.x, b.y);
      pen.stroke();
    }
  }
  joints.forEach((joint, i) => {
    if (!joint) return;
    pen.globalAlpha = opacity(joint.score);
    pen.fillStyle = style.sides[style.joint_sides[i]];
    pen.strokeStyle = RIM;
    pen.lineWidth = 0.8 * unit;
    pen.beginPath();
    pen.arc(joint.x, joint.y, (look.confidence ? 1.2 + 2.4 * joint.score : 2.4) * unit, 0, 2 * Math.PI);
    pen.fill();
    pen.stroke();
  });
  pen.globalAlpha = 1;
}

/** The heatmap of the sampled frame `number`, each of its pixels as a block. */
export function drawMap(canvas, clip, number, mode, style) {
  const { width, height } = clip.heat;
  const small = new OffscreenCanvas(width, height);
  const image = new ImageData(width, height);
  const from = clip.maps.subarray(4 * width * height * number, 4 * width * height * (number + 1));
  const colours = ["left", "middle", "right"].map((side) => channels(style.sides[side]));
  for (let i = 0; i < from.length; i += 4) {
    const tone =
      mode === "sides"
        ? [0, 1, 2].map((c) => Math.max(...colours.map((colour, group) => (from[i + group] * colour[c]) / 255)))
        : glow(Math.max(from[i], from[i + 1], from[i + 2]) / 255);
    image.data.set([...tone, 255], i);
  }
  small.getContext("2d").putImageData(image, 0, 0);
  const pen = canvas.getContext("2d");
  pen.imageSmoothingEnabled = false;
  pen.drawImage(small, 0, 0, canvas.width, canvas.height);
}

function channels(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

export const GLOW = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];

/** Black over violet and orange to pale yellow, lighter all the way. */
function glow(value) {
  const at = Math.min(value, 1) * (GLOW.length - 1);
  const low = Math.min(Math.floor(at), GLOW.length - 2);
  return GLOW[low].map((tone, c) => Math.round(tone + (at - low) * (GLOW[low + 1][c] - tone)));
}

/** The saliency of a clip if it is switched on and available. */
export function saliencyOf(clip, look) {
  return look.saliency && clip.saliency && !clip.saliency.empty ? clip.saliency : null;
}

/** The evidence of the picture's parts for the class, brighter = more, over the whole canvas. */
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

/** A disc on each seen joint; area and lightness grow with its evidence for the class. */
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
