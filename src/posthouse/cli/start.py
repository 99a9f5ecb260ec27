"""NAME
    posthouse start - start the mail system
SYNOPSIS
    posthouse [-c DIR] start [--foreground]
DESCRIPTION
    Names every problem of the configuration, as check does; errors end it here. Then makes missing directories, and
    starts every process under its user. Returns when all of them are ready (with --foreground: at the end, for systemd
    with Type=notify). A second start is refused while the first one runs.

    As root, the program's own files must be readable by the service users; a copy below /root is refused.
DIAGNOSTICS
    Status 0 when everything answers, 1 if it could not start; the reason is printed and, once the log exists, logged.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final

from posthouse.cli import check, launch
from posthouse.cli.layout import make_places
from posthouse.config.configuration import Configuration
from posthouse.config.loading import load
from posthouse.config.parameters.master import RUN_DIRECTORY
from posthouse.runtime.pid_file import running_pid

_READY: Final = b"R"


def run(configuration_directory: str, words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="posthouse start", description="Start the mail system.")
    parser.add_argument("--foreground", action="store_true", help="stay, for systemd and containers")
    foreground: bool = parser.parse_args(words).foreground
    problems = check.problems(configuration_directory)
    for problem in problems:
        print(problem, file=sys.stderr)
    if any(one.severity == "error" for one in problems):
        print("posthouse: not started, because the configuration has errors", file=sys.stderr)
        return 1
    configuration = load(configuration_directory)
    identities = launch.service_identities(configuration)
    if (pid := running_pid(configuration.main[RUN_DIRECTORY])) is not None:
        print(f"posthouse: the Posthouse mail system is already running: PID: {pid}", file=sys.stderr)
        return 1
    make_places(configuration, identities)

    def reload() -> Configuration:
        return load(configuration_directory)

    if foreground:
        return launch.run_master(configuration, reload, identities)
    return _in_background(lambda on_ready: launch.run_master(configuration, reload, identities, on_ready=on_ready))


def _in_background(run_master: "launch.RunMaster") -> int:
    """The usual two forks; this process waits until the system answers or has failed, and shows what it says."""
    reading, writing = os.pipe()
    first = os.fork()
    if first:
        os.close(writing)
        os.waitpid(first, 0)
        with os.fdopen(reading, "rb") as pipe:
            return 0 if pipe.read(1) == _READY else 1
    os.setsid()
    if os.fork():
        os._exit(0)
    os.close(reading)
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)

    def on_ready() -> None:
        os.write(writing, _READY)
        os.close(writing)
        os.dup2(null, 2)

    status = 1
    try:
        status = run_master(on_ready)
    except BaseException:  # nobody above us would print it
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)
