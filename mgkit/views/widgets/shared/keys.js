// Keys that work anywhere in the explorer a part belongs to, or in the part alone; `act` says whether it took the key.
function scopedKeys(root, act) {
    const listen = event => {
        if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
        if (!(event.target instanceof Element) || event.target.closest("input:not([type=range]), textarea, select")) return;
        if (!(root.closest(".mgk-explorer") ?? root).contains(event.target)) return;
        if (!act(event)) return;
        event.preventDefault();
        event.stopPropagation();
    };
    document.addEventListener("keydown", listen);
    return () => document.removeEventListener("keydown", listen);
}
