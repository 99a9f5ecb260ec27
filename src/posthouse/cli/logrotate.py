"""NAME
    posthouse logrotate - begin new log files, compress the old ones
SYNOPSIS
    posthouse [-c DIR] logrotate
DESCRIPTION
    Renames maillog_file and the file of errors beside it to NAME.SUFFIX (maillog_file_rotate_suffix, a time format),
    lets the running system open new ones, and runs maillog_file_compressor on the old ones. What "postfix logrotate"
    does; logrotate(8) with no more than "rotate" and "compress" does the same, the system notices by itself.
DIAGNOSTICS
    Status 0, or 1 if the log does not go to a file or cannot be renamed.
"""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from posthouse.config.loading import load
from posthouse.config.parameters.master import (
    MAILLOG_FILE_COMPRESSOR,
    MAILLOG_FILE_ROTATE_SUFFIX,
    RUN_DIRECTORY,
)
from posthouse.runtime import log_files
from posthouse.runtime.pid_file import running_pid

_NEW_FILE_S: Final = 10.0


def run(configuration_directory: str, words: Sequence[str]) -> int:
    if words:
        print(f"posthouse logrotate: unexpected argument {words[0]!r}", file=sys.stderr)
        return 64
    configuration = load(configuration_directory)
    settings = configuration.main
    try:
        paths = [Path(one) for one in log_files.routes(configuration).files if one != log_files.STANDARD_OUTPUT]
    except log_files.LogFileError as error:
        print(f"posthouse logrotate: {error}", file=sys.stderr)
        return 1
    if not paths:
        print("posthouse logrotate: the log does not go to a file (maillog_file)", file=sys.stderr)
        return 1
    suffix = time.strftime(settings[MAILLOG_FILE_ROTATE_SUFFIX])
    old = []
    for path in paths:
        target = path.with_name(f"{path.name}.{suffix}")
        if target.exists():
            print(f"posthouse logrotate: {target} exists", file=sys.stderr)
            return 1
        try:
            path.rename(target)
        except FileNotFoundError:
            continue
        except OSError as error:
            print(f"posthouse logrotate: cannot rename {path}: {error.strerror}", file=sys.stderr)
            return 1
        old.append(target)
    pid = running_pid(settings[RUN_DIRECTORY])
    if pid is not None:
        os.kill(pid, signal.SIGUSR1)
        # The last lines may go to the old files until the new ones exist; only then nobody writes there any more.
        give_up = time.monotonic() + _NEW_FILE_S
        while not all(path.exists() for path in paths) and time.monotonic() < give_up:
            time.sleep(0.02)
    compressor = shlex.split(settings[MAILLOG_FILE_COMPRESSOR])
    status = 0
    for target in old:
        # The administrator's own command from main.cf.
        if compressor and subprocess.run([*compressor, str(target)], check=False).returncode:  # noqa: S603
            status = 1
    return status
