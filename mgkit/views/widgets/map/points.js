// Points at a place or in a lasso.

// The row of the point nearest to a place, within `radius`, or -1. Of equals it is the later one, which is on top.
export function nearest(points, x, y, radius) {
    let best = -1, least = radius * radius;
    for (let row = 0; row < points.length / 2; row++) {
        const away = (points[2 * row] - x) ** 2 + (points[2 * row + 1] - y) ** 2;
        if (away <= least) { least = away; best = row; }
    }
    return best;
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
