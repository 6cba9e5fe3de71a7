"""Figures in, text and JSON values out: percentiles, the machine, the table."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = ("numpy", "av", "onnxruntime", "flask", "gunicorn", "tensorflow-cpu", "keras",
            "moviepy", "librosa")  # fmt: skip


def percentiles(ms: Sequence[float], prefix: str = "") -> dict[str, float]:
    """The median and the 95th percentile, in milliseconds.

    Example:
        >>> percentiles([3.0, 1.0, 2.0])
        {'p50_ms': 2.0, 'p95_ms': 2.9}
    """
    p50, p95 = np.percentile(ms, [50, 95])
    return {f"{prefix}p50_ms": round(float(p50), 3), f"{prefix}p95_ms": round(float(p95), 3)}


def machine() -> dict[str, Any]:
    """What the figures hold for; nothing that names the machine itself."""
    versions = {}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "cpu": _cpu_model(),
        "cores": _cores(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": versions,
    }


def table(result: Mapping[str, Any]) -> str:
    """The result as text: a block a gallery, a line a part, then the clients at once."""
    made_on = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in made_on["versions"].items())
    lines = [f"{made_on['cpu']}, {made_on['cores']} cores, Python {made_on['python']}", versions]
    for speakers, figures in result["galleries"].items():
        lines += ["", *_gallery_lines(int(speakers), figures)]
    for name, load in result.items():
        if name.startswith("clients_"):
            lines += ["", *_load_lines(load, result["server"])]
    return "\n".join(lines)


def _gallery_lines(speakers: int, figures: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{speakers:,} registered speakers, one client: {figures['requests']} requests of ours, "
        f"{figures['baseline_requests']} of the baseline",
        f"{'ms':16}{'p50':>9}{'p95':>9}{'baseline p50':>15}{'p95':>9}{'ratio':>9}",
    ]
    whole = [
        {name: figures[prefix + name] for name in ("p50_ms", "p95_ms")}
        for prefix in ("", "baseline_")
    ]
    rows = {"whole request": (whole[0], whole[1])}
    for part, ours in figures["parts_ms"].items():
        rows[f"  {part}"] = (ours, figures["baseline_parts_ms"].get(part))
    for name, (ours, theirs) in rows.items():
        line = f"{name:16}{ours['p50_ms']:9.2f}{ours['p95_ms']:9.2f}"
        if theirs:
            line += f"{theirs['p50_ms']:15.2f}{theirs['p95_ms']:9.2f}"
        lines.append(line)
    lines[2] += f"{figures['ratio']:8.1f}x"
    return lines


def _load_lines(load: Mapping[str, Any], server: Mapping[str, Any]) -> list[str]:
    rows = (("ours", ""), ("baseline", "baseline_"))
    return [
        f"{load['clients']} clients at once, {load['speakers']:,} registered speakers; ours with "
        f"{server['processes']} processes of {server['threads']} threads",
        f"{'server':16}{'requests/s':>12}{'p50 ms':>10}{'p95 ms':>10}",
        *(
            f"{name:16}{load[f'{prefix}requests_per_s']:12.1f}{load[f'{prefix}p50_ms']:10.1f}"
            f"{load[f'{prefix}p95_ms']:10.1f}"
            for name, prefix in rows
        ),
    ]


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
