"""Which process a pid means: a number alone proves nothing, since it is given to another process later."""

from __future__ import annotations

import subprocess
from pathlib import Path

# Held so that Python neither warns of a child that outlives its handle nor leaves it unreaped once it has ended.
_CHILDREN: list[subprocess.Popen[bytes]] = []


def keep_child(process: subprocess.Popen[bytes]) -> None:
    """Hold the handle of a process that is to outlive whoever started it, until `process_start` sees its end."""
    _CHILDREN.append(process)


def process_start(pid: int) -> str | None:
    """When a process of this machine began, as a text to compare; None if there is none, or only its corpse."""
    for child in _CHILDREN:
        if child.pid == pid and child.poll() is not None:
            _CHILDREN.remove(child)
            return None
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").is_file():
        try:
            # After the name, which may hold anything: state, ..., and the 20th of them is the start in clock ticks.
            words = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if words[0] in "ZX" else f"{_boot()} {words[19]}"
    told = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    kind, _, began = told.stdout.strip().partition(" ")
    return None if not began or kind.startswith("Z") else began.strip()


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
