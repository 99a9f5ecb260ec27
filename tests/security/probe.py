"""Runs in the place of a real process, in its jail, started by the same code, and tries what an intruder would.

`python -m tests.security.probe DIR SETTING...` starts a sandbox whose processes are probes (all but control, which has
to log, and local, which has no jail). Each tries everything and logs one line `probe NAME {"attempt": "outcome"}`; an
outcome is "done" or the name of an errno.
"""

import ctypes
import dataclasses
import errno
import json
import os
import socket
import sys
import threading
import zoneinfo
from collections.abc import Callable
from pathlib import Path

from posthouse.cli import launch, sandbox
from posthouse.core.logline import Level, Message
from posthouse.runtime.process import Context, ProcessMain
from posthouse.services.table import PROCESSES

_LIBC = ctypes.CDLL(None, use_errno=True)


def _system_call(number: int, *arguments: int) -> None:
    if _LIBC.syscall(ctypes.c_long(number), *(ctypes.c_long(one) for one in arguments)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _bind() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()


def _thread() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()


class Probe(ProcessMain):
    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._targets: dict[str, str] = json.loads(os.environ["PROBE_TARGETS"])

    async def start(self) -> None:
        outcomes: dict[str, object] = {}
        for name, attempt in self._attempts().items():
            try:
                attempt()
                outcomes[name] = "done"
            except OSError as error:
                outcomes[name] = errno.errorcode.get(error.errno or 0, str(error))
            except Exception as error:
                outcomes[name] = repr(error)
        before = set(sys.modules)
        self._use_libraries()
        outcomes["imported"] = sorted(set(sys.modules) - before)
        outcomes["uid"] = os.getuid()
        self.context.emit(Message(Level.INFO, "probe", f"probe {self.context.process} {json.dumps(outcomes)}"))

    def _attempts(self) -> dict[str, Callable[[], object]]:
        code = Path(launch.__file__).parent
        x86 = os.uname().machine == "x86_64"
        found: dict[str, Callable[[], object]] = {
            f"open {name}": (lambda path=path: open(path, "rb").close()) for name, path in self._targets.items()
        }
        found |= {
            "list root": lambda: os.listdir("/"),
            "read /proc/1": lambda: open("/proc/1/status", "rb").close(),
            "read own memory map": lambda: open("/proc/self/maps", "rb").close(),
            "write /tmp": lambda: open("/tmp/probe-was-here", "wb").close(),
            "write code": lambda: open(code / "probe-was-here", "wb").close(),
            "exec": lambda: os.execv("/bin/false", ["/bin/false"]),
            "fork": _fork,
            "setuid 0": lambda: os.setuid(0),
            "setgroups": lambda: os.setgroups([0]),
            "chroot": lambda: os.chroot("/"),
            "signal master": lambda: os.kill(os.getppid(), 0),
            "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
            "packet": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
            "bind tcp": _bind,
            "connect tcp": lambda: socket.create_connection(("127.0.0.1", int(os.environ["PROBE_PORT"])), 5).close(),
            "thread": _thread,
            "datagram": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
            "read code": lambda: open(launch.__file__, "rb").close(),
        }
        if x86:
            found |= {
                "ptrace master": lambda: _system_call(101, 16, os.getppid(), 0, 0),
                "process_vm_readv": lambda: _system_call(310, os.getppid(), 0, 0, 0, 0, 0),
                "mount": lambda: _system_call(165, 0, 0, 0, 0, 0),
                "unshare": lambda: _system_call(272, 0x10000000),
                "bpf": lambda: _system_call(321, 0, 0, 0),
                "io_uring": lambda: _system_call(425, 1, 0),
                "userfaultfd": lambda: _system_call(323, 0),
                "keyctl": lambda: _system_call(250, 0, 0, 0, 0, 0),
                "perf_event_open": lambda: _system_call(298, 0, 0, 0, 0, 0),
                "init_module": lambda: _system_call(175, 0, 0, 0),
                "clone without thread": lambda: _system_call(56, 17, 0, 0, 0, 0),
                "x32 getpid": lambda: _system_call(0x40000000 + 39),
                "personality": lambda: _system_call(135, 0x40000),
                "open_by_handle_at": lambda: _system_call(304, 0, 0, 0),
            }
        return found

    def _use_libraries(self) -> None:
        """What strangers' mail makes libraries load."""
        for codec in ("gb18030", "iso2022_jp", "koi8-r", "big5", "idna", "punycode", "utf-7", "cp1252", "shift_jis"):
            "a".encode(codec)
        "bücher.example".encode("idna")
        zoneinfo.ZoneInfo("Asia/Shanghai")
        import dns.rdata
        import dns.rdataclass
        import dns.rdatatype

        for kind, value in (
            ("MX", "10 mx.example."),
            ("TLSA", "3 1 1 " + "00" * 32),
            ("TXT", '"x"'),
            ("A", "192.0.2.1"),
        ):
            dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.from_text(kind), value)
        try:
            raise ValueError("for the traceback module")
        except ValueError as error:
            self.context.report("this error is the test's own", error)


def main() -> int:
    directory = Path(sys.argv[1])
    probed = tuple(
        spec if spec.name in ("control", "local") else dataclasses.replace(spec, main="tests.security.probe:Probe")
        for spec in PROCESSES
    )
    launch.PROCESSES = probed
    settings = dict(one.split("=", 1) for one in sys.argv[2:])
    return sandbox.run_system(
        directory, users=[("alice", "wonderland")], overrides=settings, on_facts=sandbox._print_json
    )


if __name__ == "__main__":
    sys.exit(main())
