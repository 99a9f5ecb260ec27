"""What a server costs: CPU seconds and memory of a process and everything below it, from /proc."""

import os
import re
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def _stats() -> dict[int, list[str]]:
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            found[int(entry)] = text[text.rindex(")") + 2 :].split()
    return found


def tree(root: int) -> list[int]:
    """`root` and all its descendants."""
    stats = _stats()
    children: dict[int, list[int]] = {}
    for pid, fields in stats.items():
        children.setdefault(int(fields[1]), []).append(pid)
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        if pid in stats:
            found.append(pid)
            todo += children.get(pid, [])
    return found


def cpu_seconds(root: int) -> float:
    """User and system time of the tree, including children that have ended and were waited for."""
    stats = _stats()
    return sum(sum(int(stats[pid][field]) for field in (11, 12, 13, 14)) for pid in tree(root) if pid in stats) / _TICKS


def memory_mb(root: int) -> dict[str, float]:
    """Resident, proportional and private memory of the tree in MB."""
    total = {"rss": 0.0, "pss": 0.0, "private": 0.0}
    for pid in tree(root):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        for key, pattern in (("rss", "Rss"), ("pss", "Pss"), ("private", "Private_(?:Clean|Dirty)")):
            total[key] += sum(int(kb) for kb in re.findall(rf"^{pattern}:\s+(\d+)", text, re.MULTILINE)) / 1024
    return total


def pss_kb(root: int) -> float:
    return memory_mb(root)["pss"] * 1024


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
