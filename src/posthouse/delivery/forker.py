"""Makes the children of local delivery: a small process, forked before any thread, loop or message exists.

So a child begins with nothing of other people's mail in its memory. As root it becomes the recipient for good before it
reads its first question; without root it can only be the user who started the system.
"""

import ctypes
import os
import signal
import socket
import sys
import traceback
from typing import Final, NoReturn

import msgspec
import setproctitle

from posthouse.delivery import recipient
from posthouse.delivery.protocol import Spawn, encoder, spawns
from posthouse.runtime.privileges import drop_capabilities, forbid_new_privileges

_FIRST_OWN: Final = 3
_MAX_DESCRIPTOR: Final = 1 << 16
_PR_SET_PDEATHSIG: Final = 1
_SPAWN_OCTETS: Final = 8192


class Forker:
    """The parent's side. `start` forks; `spawn` gives the socket of a new child (blocking for the time of a send)."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            _live(theirs)
        theirs.close()
        self._sock = ours

    def spawn(self, who: Spawn) -> socket.socket:
        """Raises OSError if the forker is gone."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            socket.send_fds(self._sock, [encoder.encode(who)], [theirs.fileno()])
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        return ours

    def fileno(self) -> int:
        """Readable once the forker is gone: it never says anything."""
        return self._sock.fileno()

    def close(self) -> None:
        """The forker ends when it reads the end; children end when their own sockets are closed."""
        self._sock.close()


def _live(sock: socket.socket) -> NoReturn:
    """In the forker: never returns into the code it was forked from."""
    status = 1
    try:
        sock = _keep_only(sock)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps children
        setproctitle.setproctitle("posthouse: local (makes deliverers)")
        while True:
            packet, descriptors, _, _ = socket.recv_fds(sock, _SPAWN_OCTETS, 1)
            if not packet:
                break
            _fork_child(packet, descriptors, sock)
            for descriptor in descriptors:
                os.close(descriptor)
        status = 0
    except BaseException:  # the last edge of the process
        traceback.print_exc()
    finally:
        os._exit(status)


def _fork_child(packet: bytes, descriptors: list[int], sock: socket.socket) -> None:
    try:
        if os.fork():
            return
    except OSError:
        return  # the child's end is closed now: the parent of the delivery sees that and tries later
    try:
        sock.close()
        who = spawns.decode(packet)
        child = socket.socket(fileno=descriptors[0])
        become(who)
        recipient.serve(child)
    except (OSError, msgspec.MsgspecError, IndexError) as error:
        print(f"posthouse: local: {error}", file=sys.stderr)
    except BaseException:  # the last edge of the process
        traceback.print_exc()
    finally:
        os._exit(0)


def become(who: Spawn) -> None:
    """The recipient, for good. Raises PermissionError if that cannot be."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if os.geteuid() == 0:
        os.setgroups(list(who.groups))
        os.setresgid(who.gid, who.gid, who.gid)
        os.setresuid(who.uid, who.uid, who.uid)
        drop_capabilities()  # root's own mail is delivered with uid 0 and nothing more
    if os.getresuid() != (who.uid,) * 3:
        raise PermissionError(f"cannot become {who.user} (uid {who.uid}) without root")
    if not who.may_gain_privileges:
        forbid_new_privileges()
    # The parent's end would also be seen as the end of the socket, but not in the middle of a lock's wait.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL if not who.may_gain_privileges else 0, 0, 0, 0)
    setproctitle.setproctitle(f"posthouse: local (as {who.user})")
    os.chdir("/")


def _keep_only(sock: socket.socket) -> socket.socket:
    """Descriptors of the process we came from (the control channel, sockets) are none of ours."""
    number = sock.detach()
    if number != _FIRST_OWN:
        os.dup2(number, _FIRST_OWN, inheritable=False)
    os.closerange(_FIRST_OWN + 1, _MAX_DESCRIPTOR)
    return socket.socket(fileno=_FIRST_OWN)
