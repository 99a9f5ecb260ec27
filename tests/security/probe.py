"""Runs in the place of a real process, in its jail, started by the same code, and tries what an intruder would.

`python -m tests.security.probe DIR SETTING...` starts a sandbox whose processes are probes: control does its work as
well (it has to log), and of local, which has no jail, a child probes that has become a user. Each tries everything and
logs one line `probe NAME {"attempt": "outcome"}`; an outcome is "done" or the name of an errno.
"""

import codecs
import contextlib
import ctypes
import dataclasses
import encodings.aliases
import errno
import functools
import json
import os
import pwd
import socket
import sys
import threading
import zoneinfo
from collections.abc import Callable
from pathlib import Path

from posthouse.cli import launch, sandbox
from posthouse.core.logline import Level, Message
from posthouse.delivery import recipient
from posthouse.delivery.forker import Forker
from posthouse.delivery.protocol import Spawn
from posthouse.runtime.process import Context, ProcessMain, socket_path
from posthouse.services.control import ControlProcess
from posthouse.services.table import PROCESSES

_LIBC = ctypes.CDLL(None, use_errno=True)


_MOUNT = tuple(ctypes.create_string_buffer(one) for one in (b"none", b"/mnt", b"tmpfs"))
_ADDRESSES_OF_A_MOUNT = tuple(ctypes.addressof(one) for one in _MOUNT)


def _system_call(number: int, *arguments: int) -> None:
    if _LIBC.syscall(ctypes.c_long(number), *(ctypes.c_long(one) for one in arguments)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _read_memory(pid: int) -> None:
    """process_vm_readv of eight octets; the address is ours, and the same in every process forked from one image."""
    here = ctypes.create_string_buffer(8)
    parts = (ctypes.c_size_t * 4)(ctypes.addressof(here), 8, ctypes.addressof(_LIBC.syscall), 8)
    _system_call(310, pid, ctypes.addressof(parts), 1, ctypes.addressof(parts) + 16, 1, 0)


def _fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _bind() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()


def _thread() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()


def _datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", ("127.0.0.1", 9))


def _signal_others(mine: set[int]) -> None:
    """Any process near us that is not ours; refused by all is EPERM."""
    for pid in range(max(2, os.getppid() - 20), os.getppid() + 40):
        if pid not in mine:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, 0)
                return
    raise PermissionError(errno.EPERM, "nobody could be signalled")


def _link(path: str) -> None:
    name = f"/tmp/probe-link-{os.getpid()}"
    os.link(path, name)
    os.unlink(name)


def _connect_unix(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)


def attempts(targets: dict[str, str]) -> dict[str, Callable[[], object]]:
    """What is tried everywhere, by name. An attempt raises, or it went well."""
    code = Path(launch.__file__).parent
    x86 = os.uname().machine == "x86_64"
    found: dict[str, Callable[[], object]] = {
        f"open {name}": (lambda path=path: open(path, "rb").close()) for name, path in targets.items()
    }
    found |= {f"append to {name}": (lambda path=path: open(path, "ab").close()) for name, path in targets.items()}
    found |= {
        "list root": lambda: os.listdir("/"),
        "read /proc/1": lambda: open("/proc/1/status", "rb").close(),
        "read own memory map": lambda: open("/proc/self/maps", "rb").close(),
        "read master's environment": lambda: open(f"/proc/{os.getppid()}/environ", "rb").close(),
        "write /tmp": lambda: open("/tmp/probe-was-here", "wb").close(),
        "write code": lambda: open(code / "probe-was-here", "wb").close(),
        "link the account database": lambda: _link(targets["account database"]),
        "exec": lambda: os.execv("/bin/false", ["/bin/false"]),
        "fork": _fork,
        "setuid 0": lambda: os.setuid(0),
        "setgroups": lambda: os.setgroups([0]),
        "chroot": lambda: os.chroot("/"),
        "signal master": lambda: os.kill(os.getppid(), 0),
        "signal others": lambda: _signal_others({os.getpid(), os.getppid()}),
        "priority of master": lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), -5),
        "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
        "packet": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
        "bind tcp": _bind,
        "connect tcp": lambda: socket.create_connection(("127.0.0.1", int(os.environ["PROBE_PORT"])), 5).close(),
        "abstract socket": lambda: _connect_unix("\0" + os.environ["PROBE_ABSTRACT"]),
        "thread": _thread,
        "datagram": _datagram,
        "read code": lambda: open(launch.__file__, "rb").close(),
    }
    run = os.environ["PROBE_RUN"]
    for spec in PROCESSES:
        for link in spec.links:
            path = socket_path(run, link.endpoint, spec.name)
            found[f"socket {link.endpoint.server}/{link.endpoint.name} of {spec.name}"] = functools.partial(
                _connect_unix, path
            )
    if x86:
        found |= {
            "ptrace master": lambda: _system_call(101, 16, os.getppid(), 0, 0),
            "process_vm_readv": lambda: _read_memory(os.getppid()),
            "mount": lambda: _system_call(165, *_ADDRESSES_OF_A_MOUNT, 0, 0),
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


def outcomes_of(tried: dict[str, Callable[[], object]]) -> dict[str, object]:
    outcomes: dict[str, object] = {}
    for name, attempt in tried.items():
        try:
            attempt()
            outcomes[name] = "done"
        except OSError as error:
            outcomes[name] = errno.errorcode.get(error.errno or 0, str(error))
        except Exception as error:
            outcomes[name] = repr(error)
    outcomes["uid"] = os.getuid()
    return outcomes


def use_libraries(context: Context) -> list[str]:
    """What strangers' mail makes libraries load: every codec, record type and some time zones. Returns what had to be
    read from files; what cannot be read raises."""
    import dns.rdata
    import dns.rdataclass
    import dns.rdatatype

    before = set(sys.modules)
    for codec in sorted(set(encodings.aliases.aliases.values()) - {"mbcs", "oem"} | {"idna", "punycode", "utf_7"}):
        codecs.lookup(codec)
    for codec in ("gb18030", "iso2022_jp", "koi8-r", "big5", "idna", "punycode", "utf-7", "cp1252", "shift_jis"):
        "a".encode(codec)
    "bücher.example".encode("idna")
    for zone in (
        "Asia/Shanghai",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "UTC",
        "Africa/Casablanca",
    ):
        zoneinfo.ZoneInfo(zone)
    for kind in dns.rdatatype.RdataType:
        dns.rdata.get_rdata_class(dns.rdataclass.IN, kind)
    for kind_name, value in (
        ("MX", "10 mx.example."),
        ("TLSA", "3 1 1 " + "00" * 32),
        ("TXT", '"x"'),
        ("A", "192.0.2.1"),
    ):
        dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.from_text(kind_name), value)
    try:
        raise ValueError("for the traceback module")
    except ValueError as error:
        context.report("this error is the test's own", error)
    return sorted(set(sys.modules) - before)


def report(context: Context, outcomes: dict[str, object]) -> None:
    outcomes["imported"] = use_libraries(context)
    context.emit(Message(Level.INFO, "probe", f"probe {context.process} {json.dumps(outcomes)}"))


class Probe(ProcessMain):
    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._targets: dict[str, str] = json.loads(os.environ["PROBE_TARGETS"])

    async def start(self) -> None:
        report(self.context, outcomes_of(attempts(self._targets)))


class ControlProbe(ControlProcess):
    """Logs, and tries everything besides."""

    async def start(self) -> None:
        await super().start()
        report(self.context, outcomes_of(attempts(json.loads(os.environ["PROBE_TARGETS"]))))


def _probe_as_recipient(sock: socket.socket) -> None:
    """In the place of the child's questions and answers: the parent sends what to try, and gets what came out."""
    targets = json.loads(sock.recv(1 << 16))
    tried = attempts(targets)
    for name in ("exec", "clone without thread", "unshare"):
        # A user may do these, and nothing could be tried afterwards.
        tried.pop(name, None)
    sock.send(json.dumps(outcomes_of(tried)).encode())


class LocalProbe(ProcessMain):
    def before_jail(self) -> None:
        recipient.serve = _probe_as_recipient
        self._forker = Forker()

    async def start(self) -> None:
        user = pwd.getpwnam(os.environ["PROBE_RECIPIENT"]) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        groups = tuple(os.getgrouplist(user.pw_name, user.pw_gid))
        with self._forker.spawn(Spawn(user.pw_name, user.pw_uid, user.pw_gid, groups, False)) as child:
            child.setblocking(True)
            child.settimeout(10)
            child.send(os.environ["PROBE_TARGETS"].encode())
            outcomes = json.loads(child.recv(1 << 16))
        self.context.emit(Message(Level.INFO, "probe", f"probe local {json.dumps(outcomes)}"))


PROBES = {"control": "ControlProbe", "local": "LocalProbe"}


def main() -> int:
    directory = Path(sys.argv[1])
    probed = tuple(
        dataclasses.replace(spec, main=f"tests.security.probe:{PROBES.get(spec.name, 'Probe')}") for spec in PROCESSES
    )
    launch.PROCESSES = probed
    settings = dict(one.split("=", 1) for one in sys.argv[2:])
    return sandbox.run_system(
        directory, users=[("alice", "wonderland")], overrides=settings, on_facts=sandbox._print_json
    )


if __name__ == "__main__":
    sys.exit(main())
