"""NAME
    posthouse status - is the mail system running?
SYNOPSIS
    posthouse [-c DIR] status
DESCRIPTION
    Prints the pid of master and one line per process: name, pid, user, resident memory.
DIAGNOSTICS
    Status 0 if it is running, 1 if not.
"""

import pwd
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from posthouse.config.loading import load
from posthouse.config.parameters.master import RUN_DIRECTORY
from posthouse.runtime.pid_file import running_pid


def run(configuration_directory: str, words: Sequence[str]) -> int:
    if words:
        print(f"posthouse status: unexpected argument {words[0]!r}", file=sys.stderr)
        return 64
    pid = running_pid(load(configuration_directory).main[RUN_DIRECTORY])
    if pid is None:
        print("posthouse: the Posthouse mail system is not running")
        return 1
    print(f"posthouse: the Posthouse mail system is running: PID: {pid}")
    for name, child, user, kilobytes in processes(pid):
        print(f"  {name:<28} {child:>8}  {user:<12} {kilobytes / 1024:7.1f} MB")
    return 0


def processes(master: int) -> Iterator[tuple[str, int, str, int]]:
    """(title, pid, user, resident kB) of master's children, in the order they were started."""
    try:
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    except OSError:
        return
    for child in map(int, children):
        try:
            title = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
            status = Path(f"/proc/{child}/status").read_text()
        except OSError:
            continue  # it has just ended
        facts = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        uid = int(facts["Uid"].split()[1])
        kilobytes = int(facts.get("VmRSS", "0").split()[0])
        yield title.removeprefix("posthouse: "), child, _user(uid), kilobytes


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
