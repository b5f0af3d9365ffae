// Clips as they arrive (bytes to pictures), and how a frame with its skeleton is drawn on a canvas.

const KEPT = 96; // decoded frames of a clip that are kept; the rest is decoded again when it is needed

/** A clip from its panel of `content` and the one buffer that it lies in. */
function openClip(panel, bytes) {
  const { clip, offset } = panel;
  const [from, persons, frames, joints] = clip.pose || [0, 0, 0, 0];
  // A copy: key-points may lie at any byte, a Float32Array may not.
  const points = clip.pose
    ? new Float32Array(bytes.slice(offset + from, offset + from + persons * frames * joints * 12).buffer)
    : null;
  return { ...panel, ...clip, points, persons, joints, bytes, pictures: new Map(), maps: null, closed: false };
}

/** Lets go of every decoded picture and of the bytes. */
function closeClip(clip) {
  clip.closed = true;
  for (const picture of clip.pictures.values()) picture.then((bitmap) => bitmap?.close());
  clip.pictures.clear();
  clip.bytes = clip.points = clip.maps = null;
}

/** Frame k as an ImageBitmap, decoded once; null without video or where the browser cannot decode it. */
function pictureAt(clip, k) {
  if (!clip.jpegs || clip.closed) return Promise.resolve(null);
  let picture = clip.pictures.get(k);
  if (picture) clip.pictures.delete(k); // and put in again below: the last is the newest
  else {
    const bytes = clip.bytes.subarray(clip.offset + clip.jpegs[k], clip.offset + clip.jpegs[k + 1]);
    const blob = new Blob([bytes], { type: "image/jpeg" });
    picture = createImageBitmap(blob, { colorSpaceConversion: "none" }).catch(() => null);
  }
  clip.pictures.set(k, picture);
  while (clip.pictures.size > KEPT) {
    const [oldest, dropped] = clip.pictures.entries().next().value;
    clip.pictures.delete(oldest);
    dropped.then((bitmap) => bitmap?.close());
  }
  return picture;
}

/** Decodes the sheet of heatmaps once: `clip.maps` is its RGBA bytes, red, green, blue = left, middle, right. */
async function openMaps(clip) {
  if (!clip.heat || clip.maps || clip.closed) return;
  const { offset, bytes, width, height, count } = clip.heat;
  const blob = new Blob([clip.bytes.subarray(offset, offset + bytes)], { type: "image/png" });
  const sheet = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const canvas = new OffscreenCanvas(width, height * count);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(sheet, 0, 0);
  sheet.close();
  if (!clip.closed) clip.maps = pen.getImageData(0, 0, width, height * count).data;
}

/** Position in `times` of the sampled frame nearest to frame k, the first of them where some are equally near. */
function nearest(times, k) {
  let best = 0;
  times.forEach((time, i) => {
    if (Math.abs(time - k) < Math.abs(times[best] - k)) best = i;
  });
  return best;
}

/** One frame and its skeleton. Pixel i of the clip covers [i, i + 1): joints and picture share one scale. */
function drawFrame(canvas, clip, k, picture, look, style) {
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

/** The joints of one person in canvas pixels, each {x, y, score} or null = not seen. */
function jointsAt(clip, person, k, scaleX, scaleY) {
  const frames = clip.pose[2];
  return Array.from({ length: clip.joints }, (_, joint) => {
    const at = 3 * ((person * frames + k) * clip.joints + joint);
    const [x, y, score] = clip.points.subarray(at, at + 3);
    if (!Number.isFinite(x) || !Number.isFinite(y)) return null;
    return { x: x * scaleX, y: y * scaleY, score: Number.isFinite(score) ? Math.min(1, Math.max(0, score)) : 0 };
  });
}

function drawPerson(pen, joints, look, style, unit) {
  const opacity = (score) => (look.confidence ? 0.12 + 0.88 * score : 1);
  const limbs = style.edges
    .map(([a, b], i) => ({ a: joints[a], b: joints[b], side: style.edge_sides[i] }))
    .filter(({ a, b }) => look.limbs && a && b);
  pen.lineCap = "round";
  // All rims first: a dark one sets the lines off from light and dark pictures alike, and never covers a line.
  for (const rim of [true, false]) {
    for (const { a, b, side } of limbs) {
      pen.globalAlpha = opacity(Math.min(a.score, b.score));
      pen.strokeStyle = rim ? style.rim : style.sides[side];
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
    pen.strokeStyle = style.rim;
    pen.lineWidth = 0.8 * unit;
    pen.beginPath();
    pen.arc(joint.x, joint.y, (look.confidence ? 1.2 + 2.4 * joint.score : 2.4) * unit, 0, 2 * Math.PI);
    pen.fill();
    pen.stroke();
  });
  pen.globalAlpha = 1;
}

/** The heatmap of the sampled frame `number`, each of its pixels as a block. */
function drawMap(canvas, clip, number, mode, style) {
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

const GLOW = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];

/** Black over violet and orange to pale yellow, lighter all the way. */
function glow(value) {
  const at = Math.min(value, 1) * (GLOW.length - 1);
  const low = Math.min(Math.floor(at), GLOW.length - 2);
  return GLOW[low].map((tone, c) => Math.round(tone + (at - low) * (GLOW[low + 1][c] - tone)));
}
