"""The faults of `corrupt`: each is done, within the tree, and is the same for the same seed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.data.corrupt import KINDS, Fault, corrupt


def small_tree(root: Path) -> Path:
    for key in ("0001", "0002"):
        folder = root / "train" / key
        folder.mkdir(parents=True)
        (folder / f"{key}_label.csv").write_text(
            "".join(f"{c + int(key)},{9 * c},{9 * c + 5}\n" for c in range(12))
        )
        (folder / f"{key}.mp4").write_bytes(bytes(range(256)) * 20 + key.encode())
    (root / "list.txt").write_text("a.mp4 1\nb.mp4 2\n")
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_fault_changes_the_tree_and_nothing_else(kind: str, tmp_path: Path) -> None:
    bystander = tmp_path / "precious.csv"
    bystander.write_text("1,2,3\n")
    for seed in range(6):
        root = small_tree(tmp_path / str(seed))
        before = contents(root)
        fault = corrupt(root, seed, kind)
        assert fault.kind == kind
        assert contents(root) != before
        assert root.is_dir()
        shutil.rmtree(root)
    assert contents(tmp_path) == {"precious.csv": b"1,2,3\n"}


def test_the_same_seed_does_the_same(tmp_path: Path) -> None:
    def once(name: str, seed: int) -> tuple[Fault, dict[str, bytes]]:
        root = small_tree(tmp_path / name)
        fault = corrupt(root, seed)
        made = contents(root)
        shutil.rmtree(root)
        return fault, made

    for seed in range(10):
        assert once("a", seed) == once("a", seed)


def test_a_hundred_seeds_do_all_kinds_of_things(tmp_path: Path) -> None:
    seen = set()
    for seed in range(100):
        root = small_tree(tmp_path / str(seed))
        seen.add(corrupt(root, seed).kind)
    assert seen == set(KINDS)


def test_nothing_to_spoil(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file"):
        corrupt(tmp_path, 0)
