"""Databases named by a URL: mysql://user:password@host/database, postgresql://…, sqlite:///path.

A socket is no host of a URL and stands behind it: mysql://user@/database?host=/run/mysqld/mysqld.sock. A password need
not stand in it: password_file=/path names a file whose first line it is.
"""

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from posthouse.auth.databases.lookup import BadDatabase
from posthouse.auth.databases.queries import parse_connect

SCHEMES: Final = {
    "mysql": "mysql",
    "mariadb": "mysql",
    "postgresql": "pgsql",
    "postgres": "pgsql",
    "sqlite": "sqlite",
}
_OPTIONS: Final = ("host", "sslmode", "ssl_ca")


def is_url(text: str) -> bool:
    return text.partition("://")[0] in SCHEMES


def settings_of_url(url: str, password: str = "", read: Callable[[str], str] | None = None) -> dict[str, str]:
    """driver and connect, as in one of Dovecot's query files. `password` counts if the URL has none; `read` gives the
    text of a password_file. Raises BadDatabase."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadDatabase(f"not a URL: {error}") from error
    kind = SCHEMES.get(parts.scheme)
    if kind is None:
        raise BadDatabase(f"{parts.scheme}: is not known (known: {', '.join(SCHEMES)})")
    path = unquote(parts.path)
    if kind == "sqlite":
        return {"driver": kind, "connect": path}
    words = {
        "host": unquote(parts.hostname or ""),
        "port": str(port or ""),
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or "") or password,
        "dbname": path.removeprefix("/"),
    }
    for word in parts.query.split("&"):
        name, equals, value = word.partition("=")
        if equals and name in _OPTIONS:
            words[name] = unquote(value)
        elif equals and name == "password_file" and read is not None:
            words["password"] = _first_line(unquote(value), read)
        elif word:
            raise BadDatabase(f"{name} is not known in a URL (known: {', '.join((*_OPTIONS, 'password_file'))})")
    return {"driver": kind, "connect": " ".join(f"{name}={_quoted(value)}" for name, value in words.items() if value)}


def _first_line(path: str, read: Callable[[str], str]) -> str:
    try:
        return read(path).partition("\n")[0].removesuffix("\r")
    except (OSError, ValueError) as error:
        raise BadDatabase(f"password_file={path}: {error}") from error


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def is_elsewhere(settings: Mapping[str, str]) -> bool:
    """Is it reached by TCP? For MySQL "localhost" is the socket, for PostgreSQL it is the network."""
    if settings.get("driver") == "sqlite":
        return False
    local = ("localhost",) if settings.get("driver") == "mysql" else ()
    found = parse_connect(settings.get("connect", ""), "")
    hosts = [*found.get("host", []), *found.get("hostaddr", [])]
    return any(not host.startswith("/") and host not in local for host in hosts)
