// Points at a place or in a lasso.

// Points sorted into the cells of a grid, to find the nearest one quickly.
export class Grid {
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

    // The row nearest to a place, within `radius`, or -1. Of equals it is the later one, which is on top.
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
export function insideLoop(points, loop) {
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
