// A clip as it arrives (bytes), and its frames, key-points and heatmaps out of them.

const KEPT = 96; // decoded frames of a clip that are kept; others are decoded again when needed

/** A clip from its panel of `content` and the one buffer that it lies in. */
export function openClip(panel, bytes) {
  const { clip, offset } = panel;
  const [from, persons, frames, joints] = clip.pose || [0, 0, 0, 0];
  // A copy: key-points may lie at any byte, a Float32Array may not.
  const points = clip.pose
    ? new Float32Array(bytes.slice(offset + from, offset + from + persons * frames * joints * 12).buffer)
    : null;
  return { ...panel, ...clip, points, persons, joints, bytes, pictures: new Map(), maps: null, closed: false };
}

/** Releases every decoded picture and the bytes. */
export function closeClip(clip) {
  clip.closed = true;
  for (const picture of clip.pictures.values()) picture.then((bitmap) => bitmap?.close());
  clip.pictures.clear();
  clip.bytes = clip.points = clip.maps = null;
}

/** Frame k as an ImageBitmap, decoded once; null without video or where the browser cannot decode it. */
export function pictureAt(clip, k) {
  if (!clip.jpegs || clip.closed) return Promise.resolve(null);
  let picture = clip.pictures.get(k);
  if (picture) clip.pictures.delete(k); // and put in again below: the last is the most recent
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

/** Decodes the sheet of heatmaps once: `clip.maps` are its RGBA bytes with red, green, blue = left, middle, right. */
export async function openMaps(clip) {
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

/** Position in `times` of the sampled frame nearest to frame k, the first of equals. */
export function nearest(times, k) {
  let best = 0;
  times.forEach((time, i) => {
    if (Math.abs(time - k) < Math.abs(times[best] - k)) best = i;
  });
  return best;
}

/** The joints of one person in canvas pixels, each {x, y, score} or null = not seen. */
export function jointsAt(clip, person, k, scaleX, scaleY) {
  const frames = clip.pose[2];
  return Array.from({ length: clip.joints }, (_, joint) => {
    const at = 3 * ((person * frames + k) * clip.joints + joint);
    const [x, y, score] = clip.points.subarray(at, at + 3);
    if (!Number.isFinite(x) || !Number.isFinite(y)) return null;
    return { x: x * scaleX, y: y * scaleY, score: Number.isFinite(score) ? Math.min(1, Math.max(0, score)) : 0 };
  });
}
