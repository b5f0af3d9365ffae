"""Cores and memory of a process in a container, as the kernel's files tell them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from mgkit import parallel
from mgkit.parallel import cores, memory_left

GIB = 2**30


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """/sys/fs/cgroup, empty, on a machine of 64 cores with 100 GiB free."""
    root = tmp_path / "cgroup"
    root.mkdir()
    monkeypatch.setattr(parallel, "CGROUPS", root)
    monkeypatch.setattr(parallel, "OWN_CGROUPS", tmp_path / "self")
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda self: list(range(64)), raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=100 * GIB))
    return root


def write(kernel: Path, own: str, **files: str) -> None:
    """The files, "a__b" as a/b, and the groups of this process."""
    kernel.with_name("self").write_text(own)
    for name, text in files.items():
        path = kernel / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_affinity_of_a_process_outside_any_container(
    kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (cores(), memory_left()) == (64, 100 * GIB)  # no /proc/self/cgroup, as on macOS
    write(kernel, "0::/user.slice/session-1.scope\n", user_DOT_slice__cpu_DOT_max="max 100000\n")
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda self: [3, 5])
    assert cores() == 2
    monkeypatch.delattr(psutil.Process, "cpu_affinity")
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    assert cores() == 7


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("6400000 50000", 64),
        ("max 100000", 64),
        ("", 64),
        ("nonsense", 64),
    ],
)
def test_quotas_of_version_2(kernel: Path, quota: str, expected: int) -> None:
    write(kernel, "0::/\n", cpu_DOT_max=f"{quota}\n")
    assert cores() == expected


def test_the_smallest_quota_around_a_process_counts(kernel: Path) -> None:
    own = "0::/kubepods.slice/pod1/container1\n"
    write(
        kernel, own, kubepods_DOT_slice__cpu_DOT_max="1600000 100000\n",
        kubepods_DOT_slice__pod1__cpu_DOT_max="300000 100000\n",
        kubepods_DOT_slice__pod1__container1__cpu_DOT_max="max 100000\n",
        kubepods_DOT_slice__pod2__cpu_DOT_max="100000 100000\n",
    )  # fmt: skip
    assert cores() == 3


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_quotas_of_version_1(kernel: Path, mount: str) -> None:
    own = "4:memory:/\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n0::/\n"
    write(kernel, own, **{f"{mount}__cpu_DOT_cfs_period_us": "100000\n"})
    assert cores() == 64
    write(kernel, own, **{f"{mount}__cpu_DOT_cfs_quota_us": "-1\n"})
    assert cores() == 64
    # Inside the container its own group is mounted at the top; on the host it lies under its path.
    write(kernel, own, **{f"{mount}__cpu_DOT_cfs_quota_us": "400000\n"})
    assert cores() == 4
    inner = f"{mount}__docker__abc__cpu_DOT_cfs"
    write(kernel, own, **{f"{inner}_period_us": "100000\n", f"{inner}_quota_us": "200000\n"})
    assert cores() == 2


def test_a_path_that_leads_out_of_the_container(kernel: Path) -> None:
    write(kernel, "0::/../../other\n", cpu_DOT_max="100000 100000\n")
    assert cores() == 1


def test_memory_of_both_versions(kernel: Path) -> None:
    own = "0::/box\n"
    write(kernel, own, box__memory_DOT_max=f"{8 * GIB}\n", box__memory_DOT_current=f"{6 * GIB}\n")
    assert memory_left() == 2 * GIB
    write(kernel, own, box__memory_DOT_stat=f"anon 5\ninactive_file {3 * GIB}\n")
    assert memory_left() == 5 * GIB  # of which 3 hold files that can be read again
    write(kernel, own, box__memory_DOT_max="max\n")
    assert memory_left() == 100 * GIB
    write(
        kernel, "7:memory:/box\n", memory__memory_DOT_limit_in_bytes=f"{2**63 - 4096}\n",
        memory__memory_DOT_usage_in_bytes=f"{GIB}\n", memory__box__memory_DOT_limit_in_bytes=f"{4 * GIB}\n",
        memory__box__memory_DOT_usage_in_bytes=f"{5 * GIB}\n",
    )  # fmt: skip
    assert memory_left() == 0
