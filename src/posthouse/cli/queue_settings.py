"""The few parameters that the queue's commands need, read fast: programs call sendmail for every message.

`config.loading.load` reads everything and checks everything, which takes three times as long as sending a message.
"""

import os
import socket
from pathlib import Path

from posthouse.config import maincf
from posthouse.config.configuration import Problem
from posthouse.config.parameter import MAIN, Settings
from posthouse.config.parameters import general as _general
from posthouse.config.parameters import master as _master
from posthouse.config.parameters import queue as _queue

__all__ = ["DEFAULT_DIRECTORY", "read_settings"]

_DECLARED = (_general, _master, _queue)
"""Importing these modules fills the registry with the parameters these commands may ask for."""
DEFAULT_DIRECTORY = "/etc/posthouse"


def read_settings(directory: str = "") -> Settings:
    """main.cf of `directory` (or MAIL_CONFIG, or the fixed place); an unreadable file means all defaults, as a command
    of an ordinary user must work without reading what is not for him."""
    directory = directory or os.environ.get("MAIL_CONFIG") or DEFAULT_DIRECTORY
    problems: list[Problem] = []
    try:
        text = maincf.decode(Path(directory, "main.cf").read_bytes())
    except OSError:
        text = ""
    parsed = maincf.latest(maincf.parse(text, f"{directory}/main.cf", problems), problems)
    settings = Settings(MAIN, {one.name: one.value for one in parsed.values()}, {"config_directory": directory})
    name = socket.gethostname() or "localhost"
    if "." not in name:
        name = f"{name}.{settings.values.get('mydomain') or 'localdomain'}"
    settings.extra_defaults["myhostname"] = name
    settings.extra_defaults["mydomain"] = name.partition(".")[2] or "localdomain"
    return settings
