"""A command that takes a message on its standard input, with Postfix's environment and reading of exit codes.

At least once, as everywhere: a command that ran and whose result was lost runs again.
"""

import os
import re
import selectors
import signal
import subprocess
import time
from typing import IO, Final

from posthouse.delivery.protocol import Outcome

# sysexits.h: enhanced status and words as Postfix reports them.
_SYSEXITS: Final = {
    64: ("5.3.0", "command line usage error"),
    65: ("5.6.0", "data format error"),
    66: ("5.3.0", "cannot open input"),
    67: ("5.1.1", "user unknown"),
    68: ("5.1.2", "host name unknown"),
    69: ("5.3.0", "service unavailable"),
    70: ("5.3.0", "internal software error"),
    71: ("5.3.0", "system resource problem"),
    72: ("5.3.5", "critical OS file missing"),
    73: ("5.2.0", "can't create user output file"),
    74: ("5.3.0", "input/output error"),
    75: ("4.3.0", "temporary failure"),
    76: ("5.5.0", "remote error in protocol"),
    77: ("5.7.0", "permission denied"),
    78: ("5.3.5", "local configuration error"),
}
_NEEDS_SHELL: Final = re.compile(r"[|&;<>()$`\\\"'*?\[#~=%{}!\n]")
_BUILTINS: Final = frozenset(
    {"exec", "exit", "cd", "test", ":", "eval", "set", "umask", "ulimit", "trap", "if", "read"}
)
_STATUS: Final = re.compile(r"([45]\.[0-9]{1,3}\.[0-9]{1,3})[ \t]+(.+)", re.DOTALL)
_CHUNK: Final = 64 * 1024
KILL_AFTER_S: Final = 2.0
"""Between SIGTERM and SIGKILL."""


def arguments(command: str, shell: str) -> list[str]:
    """Without a shell where none is needed: one process less, and nothing to misread."""
    if shell:
        return [*shell.split(), "-c", command]
    words = command.split()
    if _NEEDS_SHELL.search(command) or words[0] in _BUILTINS:
        return ["/bin/sh", "-c", command]
    return words


def run(
    command: str,
    shell: str,
    directory: str,
    environment: dict[str, str],
    message: bytes,
    time_limit_s: float,
    output_limit: int,
) -> Outcome:
    try:
        process = subprocess.Popen(  # noqa: S603 - running the user's command is the purpose
            arguments(command, shell),
            cwd=directory if os.path.isdir(directory) else "/",
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return Outcome("4.3.5", f'cannot run command: "{command}": {error.strerror}')
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdout:
        output, is_late = _talk(process, process.stdin, process.stdout, message, time_limit_s, output_limit)
    said = "".join(one if one.isprintable() else " " for one in output.decode("utf-8", "replace")).strip()
    if is_late:
        return Outcome("5.3.0", f'Command time limit exceeded: "{command}"{_quote(said)}')
    return outcome(process.returncode, command, said)


def outcome(status: int, command: str, said: str) -> Outcome:
    if status == 0:
        return Outcome("2.0.0", f"delivered to command: {command}")
    if status < 0:
        return Outcome("5.3.0", f'Command died with signal {-status}: "{command}"{_quote(said)}')
    if status not in _SYSEXITS:
        return Outcome("5.3.0", f'Command died with status {status}: "{command}"{_quote(said)}')
    dsn, words = _SYSEXITS[status]
    if match := _STATUS.fullmatch(said):
        # The command may say more precisely what is wrong, as long as it does not contradict its exit code.
        return Outcome(dsn[0] + match[1][1:] if match[1][0] != dsn[0] else match[1], match[2])
    return Outcome(dsn, f"{words}{_quote(said)}")


def _quote(said: str) -> str:
    return f". Command output: {said}" if said else ""


def _talk(
    process: subprocess.Popen[bytes],
    to: IO[bytes],
    back: IO[bytes],
    message: bytes,
    time_limit_s: float,
    output_limit: int,
) -> tuple[bytes, bool]:
    """Feed and listen at once, so that neither side waits for the other; what the command does not want to read it
    does not have to."""
    deadline = time.monotonic() + time_limit_s
    output = b""
    view = memoryview(message)
    os.set_blocking(to.fileno(), False)
    os.set_blocking(back.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(back, selectors.EVENT_READ)
        selector.register(to, selectors.EVENT_WRITE)
        while selector.get_map():
            left = deadline - time.monotonic()
            ready = selector.select(max(0.0, left))
            if not ready and left <= 0:
                break
            for key, _ in ready:
                if key.fileobj is back:
                    piece = os.read(back.fileno(), _CHUNK)
                    output = (output + piece)[:output_limit]
                    if not piece:
                        selector.unregister(back)
                else:
                    view = _feed(to, view)
                    if not view:
                        selector.unregister(to)
                        _close(to)
    _close(to)
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        _kill(process)
        return output, True
    return output, False


def _feed(to: IO[bytes], view: memoryview) -> memoryview:
    try:
        return view[os.write(to.fileno(), view[:_CHUNK]) :]
    except BlockingIOError:
        return view
    except BrokenPipeError:
        return view[:0]  # it has read enough; its exit code counts


def _close(to: IO[bytes]) -> None:
    try:
        to.close()
    except OSError:
        pass


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The command and everything it started in its session."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass
        try:
            process.wait(KILL_AFTER_S)
            return
        except subprocess.TimeoutExpired:
            continue
