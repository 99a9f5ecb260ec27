"""fdatasync without a thread: the kernel's own workers do it, and an event descriptor says when (io_submit(2)).

A thread of ours would have to be woken, and it competes with the event loop for the interpreter at every step; that
costs more than the flush on a disk that is quick. This is the old asynchronous interface, of which flushing is the part
that really is asynchronous for files; io_uring is forbidden in our jails.
"""

import asyncio
import ctypes
import errno
import os
import platform
import struct
from collections.abc import Callable
from typing import Final, Self

IN_FLIGHT: Final = 16
"""Flushes under way at most."""
# Numbers of io_setup, io_destroy, io_submit, io_getevents.
_CALLS: Final = {"x86_64": (206, 207, 209, 208), "aarch64": (0, 1, 2, 4)}
# struct iocb: data, key and rw_flags, lio_opcode, reqprio, fildes, buf, nbytes, offset, reserved2, flags, resfd.
_IOCB: Final = struct.Struct("=QQHhIQQqQII")
_FDSYNC: Final = 3
_RESFD: Final = 1
# struct io_event: data, obj, res, res2.
_EVENT: Final = struct.Struct("=QQqq")

Done = Callable[[OSError | None], None]


class KernelFlush:
    """One context and one event descriptor, used by one event loop."""

    def __init__(self, numbers: tuple[int, int, int, int], loop: asyncio.AbstractEventLoop) -> None:
        """Raises OSError if the kernel has no such interface, or not for us."""
        # The calls return at once: letting go of the interpreter for them would cost more than they do.
        self._call = ctypes.PyDLL(None, use_errno=True).syscall
        self._call.restype = ctypes.c_long
        setup, destroy, submit, get = (ctypes.c_long(one) for one in numbers)
        self._destroy, self._submit, self._get = destroy, submit, get
        self._context = ctypes.c_ulong(0)
        if self._call(setup, ctypes.c_uint(IN_FLIGHT), ctypes.byref(self._context)) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self._loop = loop
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._request = ctypes.create_string_buffer(_IOCB.size)
        self._requests = (ctypes.c_void_p * 1)(ctypes.addressof(self._request))
        self._events = ctypes.create_string_buffer(_EVENT.size * IN_FLIGHT)
        self._waiting: dict[int, Done] = {}
        self._number = 0
        loop.add_reader(self._descriptor, self._ready)

    @classmethod
    def open(cls, loop: asyncio.AbstractEventLoop) -> Self | None:
        """None where there is no such thing."""
        numbers = _CALLS.get(platform.machine())
        if numbers is None or ctypes.sizeof(ctypes.c_void_p) != 8:
            return None
        try:
            return cls(numbers, loop)
        except OSError:
            return None

    def flush(self, descriptor: int, done: Done) -> bool:
        """`done` is called in the loop, later. False: it was not begun (too many are, or the file system cannot);
        somebody else has to flush."""
        if len(self._waiting) >= IN_FLIGHT:
            return False
        self._number += 1
        _IOCB.pack_into(self._request, 0, self._number, 0, _FDSYNC, 0, descriptor, 0, 0, 0, 0, _RESFD, self._descriptor)
        if self._call(self._submit, self._context, ctypes.c_long(1), self._requests) != 1:
            return False
        self._waiting[self._number] = done
        return True

    def _ready(self) -> None:
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return
        found = self._call(self._get, self._context, ctypes.c_long(0), ctypes.c_long(IN_FLIGHT), self._events, None)
        for at in range(max(0, found)):
            number, _, result, _ = _EVENT.unpack_from(self._events, at * _EVENT.size)
            done = self._waiting.pop(number)
            done(None if result == 0 else OSError(-result if result < 0 else errno.EIO, os.strerror(-result)))

    def close(self) -> None:
        """Waits for what is under way; nobody is called any more."""
        self._loop.remove_reader(self._descriptor)
        self._call(self._destroy, self._context)
        os.close(self._descriptor)
        self._waiting.clear()
