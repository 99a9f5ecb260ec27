"""The words of the process table (`services.table`): what is said there about each process."""

import enum
from dataclasses import dataclass

from posthouse.runtime.schema import Endpoint


class Workers(enum.Enum):
    ONE = "one"
    PER_CORE = "per core"


class Jail(enum.Enum):
    """What Landlock leaves of the file system (code, zoneinfo and CA files are always readable)."""

    NETWORK_ONLY = "no files"
    SPOOL = "the spool"
    MAPS = "lookup tables, read only"
    STORE = "the mail store"
    CREDENTIALS = "the account database"
    LOGS = "logs and small state"
    RECIPIENT = "not jailed: becomes the recipient"


class Replacement(enum.Enum):
    """What reload does: stateless processes are replaced and drained, owners of state stay and change in place."""

    REPLACED = "replaced"
    IN_PLACE = "in place"


@dataclass(frozen=True, slots=True)
class Link:
    """This process may start a conversation on `endpoint`."""

    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """`main` is "module:class" of the ProcessMain; `user` the main.cf parameter that names the system user it runs
    as; `services` the Postfix and Dovecot services it provides; `listens` which Listener.service kinds it gets;
    `connects` whether it may open TCP connections."""

    name: str
    main: str
    user: str
    workers: Workers
    jail: Jail
    on_reload: Replacement
    services: tuple[str, ...]
    listens: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    keeps_root: bool = False
    connects: bool = False
