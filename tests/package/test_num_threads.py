"""How many threads a call uses when it is not told: what decides, and what is said about it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import regard
from regard import _core

LIMITS = ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT")

PROGRAM = """
import json, os, sys
if "affinity" in sys.argv:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
import numpy as np
import regard
x = np.ones((8, 600, 64), np.float32)
threads = regard.show_config("dicts")["threads"]
threads["explained"] = regard.explain(x, x, x).threads
threads["told"] = regard.explain(x, x, x, num_threads=4).threads
with regard.set_num_threads(3):
    threads["after set"] = regard.get_num_threads()
print(json.dumps(threads))
"""


def fresh(*arguments: str, **variables: str) -> dict[str, object]:
    """What a new process finds, with these environment variables."""
    environment = {name: x for name, x in os.environ.items() if name not in LIMITS}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=environment | variables, check=True, stdout=subprocess.PIPE, timeout=60,
    )  # fmt: skip
    found: dict[str, object] = json.loads(run.stdout)
    return found


def test_omp_num_threads():
    found = fresh(OMP_NUM_THREADS="3")
    assert found["number"] == found["openmp"] == found["explained"] == 3
    assert found["reason"] == "OMP_NUM_THREADS"
    assert found["told"] == 4


def test_omp_thread_limit():
    found = fresh(OMP_NUM_THREADS="5", OMP_THREAD_LIMIT="2")
    assert found["number"] == found["explained"] == found["told"] == found["after set"] == 2
    assert found["thread_limit"] == 2
    assert found["reason"] == "OMP_THREAD_LIMIT"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity():
    found = fresh("affinity")
    assert found["number"] == found["processors"] == 1
    assert found["told"] == 4
    assert found["after set"] == 3


def test_set_num_threads():
    before = regard.get_num_threads()
    with regard.set_num_threads(3):
        assert regard.get_num_threads() == 3
        x = np.ones((8, 600, 64), np.float32)
        assert regard.explain(x, x, x).threads == 3
        assert regard.explain(x, x, x, num_threads=2).threads == 2
        assert regard.show_config("dicts")["threads"]["reason"] == "set_num_threads"
        with regard.set_num_threads(None):
            assert regard.get_num_threads() == before
        assert regard.get_num_threads() == 3
    assert regard.get_num_threads() == before
    regard.set_num_threads(np.int64(2))
    assert regard.get_num_threads() == 2
    regard.set_num_threads(None)
    assert regard.get_num_threads() == before
    with regard.set_num_threads(2**70):
        assert regard.get_num_threads() >= 1000


@pytest.mark.parametrize("wrong", [0, -1, -(2**70)])
def test_numbers_below_one(wrong):
    with pytest.raises(ValueError, match=r"set_num_threads: num_threads is -?\d+\.\n  Give"):
        regard.set_num_threads(wrong)


@pytest.mark.parametrize("wrong", [1.0, "2", True, [1]])
def test_what_is_no_number(wrong):
    with pytest.raises(TypeError, match=r"set_num_threads: num_threads is .*\n  Give"):
        regard.set_num_threads(wrong)


def test_threadpoolctl_limits_hold():
    control = pytest.importorskip("threadpoolctl")
    with control.threadpool_limits(limits=1, user_api="openmp"):
        assert regard.get_num_threads() == 1
        x = np.ones((8, 600, 64), np.float32)
        assert regard.explain(x, x, x).threads == 1
        if regard.show_config("dicts")["threads"]["processors"] > 1:
            assert "threadpoolctl" in regard.show_config("dicts")["threads"]["reason"]
    assert regard.get_num_threads() == regard.show_config("dicts")["threads"]["number"]


def files(root: Path, **contents: str) -> str:
    """A root with files; "__" stands for "/", and "_" in names stays."""
    for name, text in contents.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


GROUPS = "proc__self__cgroup"
V2, V1 = "sys__fs__cgroup", "sys__fs__cgroup__cpu"

CGROUPS: dict[str, tuple[float | None, dict[str, str]]] = {
    "nothing": (None, {}),
    "no controller": (None, {GROUPS: "0::/\n"}),
    "v2": (1.5, {GROUPS: "0::/\n", f"{V2}__cpu.max": "150000 100000\n"}),
    "v2 max": (None, {GROUPS: "0::/a\n", f"{V2}__a__cpu.max": "max 100000\n"}),
    "v2 group": (0.25, {GROUPS: "0::/a/b\n", f"{V2}__a__b__cpu.max": "25000 100000\n"}),
    "v2 group around it": (
        2.0,
        {
            GROUPS: "0::/a/b\n",
            f"{V2}__a__b__cpu.max": "300000 100000\n",
            f"{V2}__a__cpu.max": "100000 50000\n",
        },
    ),
    "v2 path of the host": (
        3.0, {GROUPS: "0::/docker/0f\n", f"{V2}__cpu.max": "300000 100000\n"},
    ),
    "v1": (
        4.0,
        {
            GROUPS: "9:name=systemd:/\n3:cpuset:/\n1:cpu,cpuacct:/a\n0::/\n",
            f"{V1}__a__cpu.cfs_quota_us": "400000\n",
            f"{V1}__a__cpu.cfs_period_us": "100000\n",
        },
    ),
    "v1 of both controllers": (
        2.5,
        {
            GROUPS: "1:cpu,cpuacct:/\n",
            "sys__fs__cgroup__cpu,cpuacct__cpu.cfs_quota_us": "250000\n",
            "sys__fs__cgroup__cpu,cpuacct__cpu.cfs_period_us": "100000\n",
        },
    ),
    "v1 without quota": (
        None,
        {
            GROUPS: "1:cpu:/\n",
            f"{V1}__cpu.cfs_quota_us": "-1\n",
            f"{V1}__cpu.cfs_period_us": "100000\n",
        },
    ),
    "v1 of another controller": (
        None,
        {
            GROUPS: "3:cpuset:/\n2:cpuacct:/\n",
            f"{V1}__cpu.cfs_quota_us": "100000\n",
            f"{V1}__cpu.cfs_period_us": "100000\n",
        },
    ),
    "broken": (
        None,
        {GROUPS: "\n::\nx\n0:\n0::a\n1:cpu:/\n0::/\n", f"{V2}__cpu.max": "\n"},
    ),
    "no period": (None, {GROUPS: "0::/\n", f"{V2}__cpu.max": "100000 0\n"}),
}  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
@pytest.mark.parametrize("case", CGROUPS)
def test_quota(tmp_path, case):
    expected, contents = CGROUPS[case]
    assert _core.cgroup_quota(files(tmp_path, **contents)) == expected


@pytest.mark.skipif(not shutil.which("unshare"), reason="no unshare here")
def test_the_quota_of_this_process(tmp_path):
    """What stands where the kernel's files are, in a name space of mounts of its own."""
    root = Path(files(tmp_path, **{GROUPS: "0::/\n", f"{V2}__cpu.max": "100000 100000\n"}))
    mounts = [
        f"mount --bind {root}/sys/fs/cgroup /sys/fs/cgroup",
        f"mount --bind {root}/proc/self/cgroup /proc/$$/cgroup",
    ]
    start = [
        "unshare", "--mount", "sh", "-c",
        " && ".join([*mounts, 'exec "$@"']), "sh", sys.executable, "-c", PROGRAM,
    ]  # fmt: skip
    environment = {name: x for name, x in os.environ.items() if name not in LIMITS}
    for variables, number in ({}, 1), ({"OMP_NUM_THREADS": "2"}, 2):
        run = subprocess.run(
            start, env=environment | variables, stdout=subprocess.PIPE, timeout=60, text=True
        )
        if run.returncode:
            pytest.skip("no right to mount here")
        found = json.loads(run.stdout)
        assert found["cgroup_quota"] == 1.0
        assert found["number"] == number
        if not variables and found["openmp"] > 1:
            assert found["reason"] == "cgroup quota of 1 CPUs"


def test_the_table_says_why(capsys):
    with regard.set_num_threads(2):
        regard.show_config()
    assert "threads         2 (set_num_threads)\n" in capsys.readouterr().out
