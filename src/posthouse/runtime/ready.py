"""systemd's readiness protocol (sd_notify(3)): what Type=notify wants to hear, and nothing else of systemd."""

import os
import socket
import time


def notify(*lines: str) -> None:
    """Send state such as "READY=1"; silent when nobody asked (no NOTIFY_SOCKET) or nobody listens."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto("\n".join(lines).encode(), address)
        except OSError:
            return


def notify_reloading() -> None:
    # Type=notify-reload wants the time with it, so that a later READY=1 is known to belong to this reload.
    notify("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
