// Shapes and colours of the points and stars.

import { element } from "../shared/common.js";

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

// A marker as a picture of its own in device pixels: stamping thousands of them is quick.
export function stamp(shape, radius, colour) {
    const reach = Math.ceil(1.3 * radius), size = 2 * reach + 1, canvas = element("canvas", { width: size, height: size });
    marker(canvas.getContext("2d"), shape, reach + 0.5, reach + 0.5, radius, colour);
    return { canvas, reach };
}

export function starPath(context, x, y, size) {
    context.beginPath();
    for (let i = 0; i < 10; i++) {
        const angle = (i * Math.PI) / 5 - Math.PI / 2, radius = i % 2 ? 0.42 * size : size;
        context.lineTo(x + radius * Math.cos(angle), y + radius * Math.sin(angle));
    }
    context.closePath();
}
