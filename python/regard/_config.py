"""What this installation is and what it runs on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any, Literal, overload

from regard import _core


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _caches() -> dict[str, str]:
    """Sizes of the first CPU's caches as the kernel reports them, e.g. ``{"L1d": "48K"}``."""
    sizes: dict[str, str] = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = (
                (index / name).read_text(encoding="utf-8").strip()
                for name in ("level", "type", "size")
            )
        except OSError:
            continue
        if kind != "Instruction":
            sizes[f"L{level}{'d' if kind == 'Data' else ''}"] = size
    return sizes


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _config() -> dict[str, Any]:
    build = _core.build()
    return {
        "version": build["version"],
        "compiler": build["compiler"],
        "isas": {
            "compiled": list(_core.compiled_isas()),
            "supported": list(_core.available_isas()),
            "active": _core.active_isa(),
        },
        "openmp": {
            "runtime": build["openmp"],
            "version": build["openmp_version"],
            "threads": _core.default_threads(),
        },
        "threads": {**_core.thread_choice()},
        "cpu": {"model": _cpu_model(), "cores": _usable_cpus(), "caches": _caches()},
    }


@overload
def show_config(mode: Literal["stdout"] = ...) -> None: ...
@overload
def show_config(mode: Literal["dicts"]) -> dict[str, Any]: ...


def show_config(mode: Literal["stdout", "dicts"] = "stdout") -> dict[str, Any] | None:
    """Show the version, instruction sets, compiler, OpenMP and CPU of this installation.

    Parameters
    ----------
    mode : {"stdout", "dicts"}, default "stdout"
        Print a table, or return nested dictionaries, as `numpy.show_config` does.

    Returns
    -------
    dict or None
        With "dicts": ``version``, ``compiler``, ``isas``, ``openmp``, ``threads`` and ``cpu``.
        Of the threads that a call uses when it is not told: their ``number``, the ``reason`` for
        it, and what was found: ``set`` by `set_num_threads`, OpenMP's own number ``openmp``,
        ``thread_limit`` (``OMP_THREAD_LIMIT``), ``cgroup_quota`` in CPUs, and ``processors`` that
        this process may run on; None where there is none.

    Raises
    ------
    ValueError
        The mode is neither.

    Examples
    --------
    >>> import regard
    >>> sorted(regard.show_config(mode="dicts"))
    ['compiler', 'cpu', 'isas', 'openmp', 'threads', 'version']
    """
    config = _config()
    if mode == "dicts":
        return config
    if mode != "stdout":
        raise ValueError(f"show_config: mode is {mode!r}.\n  Give 'stdout' or 'dicts'.")
    isas, openmp, cpu = config["isas"], config["openmp"], config["cpu"]
    threads = config["threads"]
    rows = {
        "regard": config["version"],
        "compiler": config["compiler"],
        "ISAs compiled": ", ".join(isas["compiled"]),
        "ISAs supported": ", ".join(isas["supported"]),
        "ISA active": isas["active"],
        "OpenMP": f"{openmp['runtime']} ({openmp['version']})" if openmp["runtime"] else "none",
        "threads": f"{threads['number']} ({threads['reason']})",
        "CPU": cpu["model"],
        "cores": cpu["cores"],
        "caches": ", ".join(f"{name} {size}" for name, size in cpu["caches"].items()),
    }
    for name, value in rows.items():
        print(f"{name:<15} {value}")
    return None
