// Many points as pixels: small masks written straight into an image that the canvas takes over in one go. 100,000 points
// stay smooth without WebGL, of which a page has only a few contexts, and every pixel is what was asked for.

// Inside or not, for a shape of about the area of the unit disc.
const SPLATS = {
    circle: (x, y) => x * x + y * y <= 1,
    triangle: (x, y) => y <= 0.72 && y >= -1.24 + 1.732 * Math.abs(x),
    square: (x, y) => Math.abs(x) <= 0.89 && Math.abs(y) <= 0.89,
};

// How much of each pixel around (0, 0) a shape of this radius covers, in 256ths: {dx, dy, cover, reach}.
function splat(shape, radius) {
    const inside = SPLATS[shape], reach = Math.ceil(1.3 * radius), dx = [], dy = [], cover = [];
    for (let y = -reach; y <= reach; y++)
        for (let x = -reach; x <= reach; x++) {
            let hits = 0;
            for (let i = 0; i < 16; i++) hits += inside((x + ((i & 3) - 1.5) / 4) / radius, (y + ((i >> 2) - 1.5) / 4) / radius);
            if (hits) { dx.push(x); dy.push(y); cover.push(16 * hits); }
        }
    return { dx: Int16Array.from(dx), dy: Int16Array.from(dy), cover: Int16Array.from(cover), reach };
}

// Any CSS colour as a pixel of an image.
function pixelOf(colour) {
    const context = element("canvas", { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
    return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

class Splats {
    constructor(width, height, paper) {
        this.image = new ImageData(width, height);
        this.pixels = new Uint32Array(this.image.data.buffer).fill(paper);
    }

    // Points `rows` at (x[row], y[row]); the colour of a row is tints[tint[row]], or tints[0] without `tint`.
    draw(mask, rows, x, y, tints, tint, opacity) {
        const { pixels } = this, { width, height } = this.image, { dx, dy, reach } = mask, many = dx.length;
        const cover = mask.cover.map(value => Math.round(value * opacity)), offset = Int32Array.from(dx, (value, i) => value + dy[i] * width);
        for (let r = 0; r < rows.length; r++) {
            const row = rows[r], px = Math.round(x[row]), py = Math.round(y[row]);
            if (px < -reach || py < -reach || px >= width + reach || py >= height + reach) continue;
            const edge = px < reach || py < reach || px >= width - reach || py >= height - reach, base = px + py * width;
            const colour = tints[tint ? tint[row] : 0], red = colour & 255, green = (colour >> 8) & 255, blue = (colour >> 16) & 255;
            for (let i = 0; i < many; i++) {
                if (edge && (px + dx[i] < 0 || px + dx[i] >= width || py + dy[i] < 0 || py + dy[i] >= height)) continue;
                const at = base + offset[i], share = cover[i];
                if (share >= 256) { pixels[at] = colour; continue; }
                const under = pixels[at], r0 = under & 255, g0 = (under >> 8) & 255, b0 = (under >> 16) & 255;
                pixels[at] = (255 << 24) | ((b0 + (((blue - b0) * share) >> 8)) << 16) | ((g0 + (((green - g0) * share) >> 8)) << 8) | (r0 + (((red - r0) * share) >> 8));
            }
        }
    }
}

// Points sorted into the cells of a grid, to find the nearest one without looking at all.
class Grid {
    constructor(points, box) {
        const count = points.length / 2, side = this.side = Math.max(1, Math.ceil(Math.sqrt(count / 2)));
        this.points = points;
        this.box = box;
        this.step = Math.max(box.right - box.left, box.bottom - box.top, 1e-9) / side;
        const cells = new Int32Array(count), starts = this.starts = new Int32Array(side * side + 1);
        for (let i = 0; i < count; i++) {
            cells[i] = this.cell(points[2 * i], box.left) + side * this.cell(points[2 * i + 1], box.top);
            starts[cells[i] + 1]++;
        }
        for (let i = 0; i < side * side; i++) starts[i + 1] += starts[i];
        const next = starts.slice();
        this.rows = new Int32Array(count);
        for (let i = 0; i < count; i++) this.rows[next[cells[i]]++] = i;
    }

    cell(value, from) { return Math.max(0, Math.min(this.side - 1, Math.floor((value - from) / this.step))); }

    // The row nearest to a place, no farther than `radius`; -1 where there is none. Of equals the later one, which is on top.
    nearest(x, y, radius) {
        const { points, box, side, starts, rows } = this;
        let best = -1, least = radius * radius;
        for (let j = this.cell(y - radius, box.top); j <= this.cell(y + radius, box.top); j++)
            for (let i = this.cell(x - radius, box.left); i <= this.cell(x + radius, box.left); i++)
                for (let at = starts[i + side * j]; at < starts[i + side * j + 1]; at++) {
                    const row = rows[at], away = (points[2 * row] - x) ** 2 + (points[2 * row + 1] - y) ** 2;
                    if (away <= least) { least = away; best = row; }
                }
        return best;
    }
}

// The rows of points inside a loop of [x, y] pairs (even-odd).
function insideLoop(points, loop) {
    const xs = Float64Array.from(loop, place => place[0]), ys = Float64Array.from(loop, place => place[1]), corners = loop.length;
    const left = Math.min(...xs), right = Math.max(...xs), top = Math.min(...ys), bottom = Math.max(...ys), rows = [];
    for (let row = 0; row < points.length / 2; row++) {
        const x = points[2 * row], y = points[2 * row + 1];
        if (x < left || x > right || y < top || y > bottom) continue;
        let inside = false;
        for (let i = 0, j = corners - 1; i < corners; j = i++)
            if (ys[i] > y !== ys[j] > y && x < ((xs[j] - xs[i]) * (y - ys[i])) / (ys[j] - ys[i]) + xs[i]) inside = !inside;
        if (inside) rows.push(row);
    }
    return rows;
}
