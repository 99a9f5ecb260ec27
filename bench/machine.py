"""What the figures were measured on."""

import os
import platform
import re
import subprocess
from pathlib import Path


def describe(directory: Path) -> dict[str, str]:
    """`directory` is where the servers keep their data."""
    cpu = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return {
        "processor": f"{cpu.group(1) if cpu else platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{int(memory.group(1)) >> 20} GB" if memory else "",
        "file system": _output("stat", "-f", "-c", "%T", str(directory)),
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "Postfix": _package("postfix"),
        "Dovecot": _package("dovecot-core"),
    }


def product_version(source: Path) -> str:
    return _output("git", "-C", str(source), "describe", "--always", "--dirty", "--exclude=*")


def _package(name: str) -> str:
    return _output("dpkg-query", "-W", "-f=${Version}", name)


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
