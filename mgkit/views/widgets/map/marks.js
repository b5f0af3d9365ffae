// Shapes and colours of the points and stars.

import { channels, element } from "../shared/common.js";

export const KIND_SHAPES = { TP: "circle", FN: "triangle", FP: "square" };
// The palette of the figures on a dark ground: same order and hues, each light enough to be seen.
export const DARK_PALETTE = ["#9A90F0", "#88CCEE", "#3FB56A", "#DDCC77", "#E8828F", "#D070C4", "#44AA99", "#AFAF3C", "#B0447E", "#FFFFFF"];
// Viridis (van der Walt & Smith, 2015) without its ends, which are lost on a dark and a light ground.
const RAMP = ["#463480", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#d2e21b"];

export function ramp(share) {
    const at = Math.max(0, Math.min(1, share)) * (RAMP.length - 1), i = Math.min(RAMP.length - 2, Math.floor(at));
    const [from, to] = [RAMP[i], RAMP[i + 1]].map(hex => [1, 3, 5].map(k => parseInt(hex.slice(k, k + 2), 16)));
    return `rgb(${from.map((value, k) => Math.round(value + (at - i) * (to[k] - value))).join(", ")})`;
}

// A filled marker; all shapes have about the area of the circle.
export function marker(context, shape, x, y, radius, colour) {
    context.fillStyle = colour;
    context.beginPath();
    if (shape === "circle") context.arc(x, y, radius, 0, 2 * Math.PI);
    else if (shape === "square") context.rect(x - 0.89 * radius, y - 0.89 * radius, 1.78 * radius, 1.78 * radius);
    else for (const [dx, dy] of [[0, -1.24], [1.13, 0.72], [-1.13, 0.72]]) context.lineTo(x + dx * radius, y + dy * radius);
    context.fill();
}

// The pixels that a marker covers around (0, 0), and how much of each, in 256ths.
export function stamp(shape, radius) {
    const reach = Math.ceil(1.3 * radius), size = 2 * reach + 1;
    const context = element("canvas", { width: size, height: size }).getContext("2d", { willReadFrequently: true });
    marker(context, shape, reach + 0.5, reach + 0.5, radius, "#000");
    const cover = context.getImageData(0, 0, size, size).data.filter((_, i) => i % 4 === 3), inside = [...cover.keys()].filter(i => cover[i]);
    return { reach, dx: inside.map(i => (i % size) - reach), dy: inside.map(i => Math.floor(i / size) - reach), cover: inside.map(i => (cover[i] * 256) / 255) };
}

// Blend a stamp at (x[row], y[row]) of an image, for each of the rows, in colours[tint[row]] or the one colour there is.
// Without a GPU this is 30 times as fast as drawing 20,000 markers on a canvas.
export function blend(image, { reach, dx, dy, cover }, { rows, colours, tint }, x, y, opacity) {
    const { width, height } = image, pixels = new Uint32Array(image.data.buffer), tones = colours.map(channels), single = tones.length === 1;
    const shares = Int32Array.from(cover, value => Math.round(value * opacity)), offset = Int32Array.from(dx, (value, i) => value + dy[i] * width);
    for (let r = 0; r < rows.length; r++) {
        const row = rows[r], px = Math.round(x[row]), py = Math.round(y[row]), base = px + py * width;
        if (px < -reach || py < -reach || px >= width + reach || py >= height + reach) continue;
        const edge = px < reach || py < reach || px >= width - reach || py >= height - reach;
        const tone = tones[single ? 0 : tint[row]], red = tone[0], green = tone[1], blue = tone[2];
        for (let i = 0; i < shares.length; i++) {
            if (edge && (px + dx[i] < 0 || px + dx[i] >= width || py + dy[i] < 0 || py + dy[i] >= height)) continue;
            const at = base + offset[i], share = shares[i], under = pixels[at], r0 = under & 255, g0 = (under >> 8) & 255, b0 = (under >> 16) & 255;
            pixels[at] = (255 << 24) | ((b0 + (((blue - b0) * share) >> 8)) << 16) | ((g0 + (((green - g0) * share) >> 8)) << 8) | (r0 + (((red - r0) * share) >> 8));
        }
    }
}

export function starPath(context, x, y, size) {
    context.beginPath();
    for (let i = 0; i < 10; i++) {
        const angle = (i * Math.PI) / 5 - Math.PI / 2, radius = i % 2 ? 0.42 * size : size;
        context.lineTo(x + radius * Math.cos(angle), y + radius * Math.sin(angle));
    }
    context.closePath();
}
