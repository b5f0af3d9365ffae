"""Write requirements.lock: what this environment holds of everything pyproject.toml asks for.

`make lock` runs it in .venv. The lock is `name==version` lines and nothing else, sorted, closed under "requires",
with an environment marker only where a package exists for one platform. A package that pyproject.toml asks for on
another platform only (decord2) cannot be read off this environment: its pin is kept from the present lock, so change
that one line by hand.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
LINUX_X86_64 = 'sys_platform == "linux" and platform_machine == "x86_64"'
ONLY_LINUX_X86_64 = re.compile(r"^(nvidia-|cuda-|triton$)")


def asked_for() -> list[Requirement]:
    """Every requirement in pyproject.toml, those of the `dev` extra included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["dev"]
    return [Requirement(line) for line in lines]


def pins_in(lock: Path) -> dict[str, str]:
    """Canonical name -> version of each line of a lock."""
    lines = lock.read_text(encoding="utf-8").splitlines() if lock.exists() else []
    pins = (line.partition(";")[0].strip().partition("==") for line in lines)
    return {canonicalize_name(name): version for name, _, version in pins}


def closure(wanted: list[Requirement]) -> dict[str, str]:
    """Name -> version, as installed here, of `wanted` and of all they require on this platform."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    todo = [(req, "") for req in wanted]
    while todo:
        req, extra = todo.pop()
        if req.marker is not None and not req.marker.evaluate({"extra": extra}):
            continue
        dist = importlib.metadata.distribution(req.name)
        if not req.specifier.contains(dist.version, prereleases=True):
            sys.exit(f"{dist.name} {dist.version} is installed, but {req} is asked for: install that first")
        found[dist.name] = dist.version
        for wanted_extra in ("", *sorted(req.extras)):
            if (dist.name, wanted_extra) not in seen:
                seen.add((dist.name, wanted_extra))
                todo += [(Requirement(line), wanted_extra) for line in dist.requires or []]
    return found


def lock_lines() -> list[str]:
    """The lines of the lock for this environment."""
    wanted = asked_for()
    markers = {canonicalize_name(req.name): str(req.marker) for req in wanted if req.marker is not None}
    pins = closure(wanted)
    here = {canonicalize_name(name) for name in pins}
    before = pins_in(LOCK)
    for req in wanted:
        name = canonicalize_name(req.name)
        if name in here:
            continue
        if name not in before:
            sys.exit(f"{req.name} is not for this platform: add its line to {LOCK.name} by hand, once")
        pins[req.name] = before[name]

    def line(name: str, version: str) -> str:
        marker = markers.get(canonicalize_name(name))
        if marker is None and ONLY_LINUX_X86_64.match(canonicalize_name(name)):
            marker = LINUX_X86_64
        return f"{name}=={version}" + (f" ; {marker}" if marker else "")

    return [line(name, pins[name]) for name in sorted(pins, key=canonicalize_name)]


def main() -> None:
    lines = lock_lines()
    before = pins_in(LOCK)
    LOCK.write_text("\n".join(lines) + "\n", encoding="utf-8")
    after = pins_in(LOCK)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            print(f"  {name}: {before.get(name, 'new')} -> {after.get(name, 'gone')}")
    print(f"{LOCK.name}: {len(lines)} packages")


if __name__ == "__main__":
    main()
