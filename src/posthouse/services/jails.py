"""What Landlock leaves of the file system to each row of the process table."""

import os
import ssl
import sys
import sysconfig
from pathlib import Path
from typing import Final

import posthouse
from posthouse.auth.databases.configured import files as database_files
from posthouse.auth.databases.configured import query_files, uses_network
from posthouse.auth.opening import directory_of, is_on_another_host
from posthouse.config.configuration import Configuration
from posthouse.config.foreign_auth_place import foreign_auth_place
from posthouse.config.parameters.auth import DIRECTORY_DATABASE, MAIL_HOME, MAIL_LOCATION
from posthouse.config.parameters.general import QUEUE_DIRECTORY, VIRTUAL_MAILBOX_BASE
from posthouse.config.parameters.master import MAIL_STORE_DIRECTORIES
from posthouse.runtime.landlock import Rules
from posthouse.runtime.spec import Jail, ProcessSpec
from posthouse.tables.support import table_files

_SYSTEM_READABLE: Final = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
    "/etc/localtime",
    "/etc/ssl/certs",
    "/usr/share/ca-certificates",
    "/etc/ssl/openssl.cnf",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/dev/null",
    "/dev/urandom",
)
"""What libraries open on their own: shared objects, time zones, CA certificates, the resolver's settings."""


def rules(spec: ProcessSpec, configuration: Configuration) -> Rules:
    """What Landlock leaves of the file system to this process."""
    read = [*code_directories(), *_SYSTEM_READABLE, *_ca_paths()]
    write: list[str] = ["/dev/null"]
    main = configuration.main
    connects = spec.connects
    match spec.jail:
        case Jail.SPOOL:
            write.append(main[QUEUE_DIRECTORY])
        case Jail.MAPS:
            read += _map_directories(configuration)
        case Jail.STORE:
            write += store_directories(configuration)
        case Jail.CREDENTIALS:
            write += [one for one in (directory_of(main[DIRECTORY_DATABASE]),) if one]
            read += database_files(configuration.dovecot.values)
            connects = connects or uses_network(configuration.dovecot.values)
            connects = connects or foreign_auth_place(configuration).startswith("inet:")
            connects = connects or is_on_another_host(main[DIRECTORY_DATABASE])
        case Jail.NETWORK_ONLY | Jail.LOGS | Jail.RECIPIENT:
            pass
    return Rules(tuple(dict.fromkeys(read)), tuple(dict.fromkeys(write)), connects)


def opened_by_master(spec: ProcessSpec, configuration: Configuration) -> list[str]:
    """Files that a process reads again at a reload, when it has given up the rights to open them."""
    return query_files(configuration.dovecot.values) if spec.jail is Jail.CREDENTIALS else []


def code_directories() -> list[str]:
    """Where the interpreter, its library, the installed packages and we ourselves are read from."""
    found = [str(Path(posthouse.__file__).parent)]
    found += [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    found += [one for one in sys.path if one.endswith(("-packages", ".zip")) or "lib-dynload" in one]
    return [one for one in dict.fromkeys(found) if os.path.exists(one)]


def store_directories(configuration: Configuration) -> list[str]:
    """The fixed front parts of every place where mailboxes may be."""
    found = list(configuration.main[MAIL_STORE_DIRECTORIES])
    if base := configuration.main[VIRTUAL_MAILBOX_BASE]:
        found.append(base)
    home = _fixed_part(configuration.dovecot.raw_text(MAIL_HOME.name))
    location = configuration.dovecot.raw_text(MAIL_LOCATION.name).partition(":")[2].partition(":")[0]
    for one in (home, "" if location.startswith("~") else _fixed_part(location)):
        if one:
            found.append(one)
    return list(dict.fromkeys(found))


def _fixed_part(path: str) -> str:
    """The directory in front of the first variable: /var/vmail of /var/vmail/%d/%n."""
    if not path.startswith("/"):
        return ""
    if "%" in path:
        path = os.path.dirname(path[: path.index("%")] + "x")
    return "" if path == "/" else path


def _map_directories(configuration: Configuration) -> list[str]:
    """Directories rather than files: a rebuilt table is a new file under the old name."""
    found = [configuration.directory, "/etc/passwd", "/etc/group", "/etc/nsswitch.conf"]
    found += [os.path.dirname(one) for one in table_files(configuration.main)]
    return found


def _ca_paths() -> list[str]:
    known = ssl.get_default_verify_paths()
    return [one for one in (known.cafile, known.capath) if one]
