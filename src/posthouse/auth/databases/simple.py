"""The drivers without a server: static, and passwd-file (Dovecot's /etc/dovecot/users)."""

import re
from collections.abc import Callable, Mapping
from typing import Final

from posthouse.auth.databases.lookup import BadDatabase, DatabaseError, PassFound, Question
from posthouse.core.variables import LOGIN_VARIABLES, BadTemplate, Template

_WORD: Final = re.compile(r"(\w+)=(\S*)")
MAXIMAL_FILE_OCTETS: Final = 64 * 1024 * 1024


def parse_fields(text: str, where: str) -> dict[str, Template]:
    """ "name=value name=value" with %variables, as in args of static, default_fields and override_fields."""
    found: dict[str, Template] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        try:
            found[name] = Template.parse(value if equals else "yes", LOGIN_VARIABLES)
        except BadTemplate as error:
            raise BadDatabase(f"{where}: {error}") from error
    return found


def fill(fields: Mapping[str, Template], question: Question) -> dict[str, str]:
    if not fields:
        return {}
    values = question.values()
    return {name: template.fill(values) for name, template in fields.items()}


class StaticDatabase:
    """Everybody exists, with these fields."""

    name = "static"
    is_immediate = True
    default_scheme = "CRYPT"

    def __init__(self, args: str, where: str) -> None:
        self._fields = parse_fields(args, where)

    async def password(self, question: Question) -> PassFound | None:
        fields = fill(self._fields, question)
        return PassFound(fields.pop("password", ""), fields)

    async def fields(self, question: Question) -> Mapping[str, str] | None:
        fields = fill(self._fields, question)
        fields.pop("allow_all_users", None)
        return fields

    def close(self) -> None:
        pass


class PasswdFileDatabase:
    """user:password:uid:gid:gecos:home:shell:extra fields. `read` gives the octets and raises OSError; `stamp` tells
    versions apart. The file is read again when it is another one."""

    name = "passwd-file"
    is_immediate = True

    def __init__(self, args: str, where: str, read: Callable[[str], bytes], stamp: Callable[[str], object]) -> None:
        scheme, form, path = "CRYPT", "%u", ""
        for word in args.split():
            match = _WORD.fullmatch(word)
            if match is None or word.startswith("/"):
                path = word
            elif match[1] == "scheme":
                scheme = match[2]
            elif match[1] == "username_format":
                form = match[2]
            else:
                raise BadDatabase(f"{where}: passwd-file: {match[1]} is not known (known: scheme, username_format)")
        if not path.startswith("/"):
            raise BadDatabase(f"{where}: passwd-file: args must end with the path of the file")
        self.path = path
        self.default_scheme = scheme.upper()
        try:
            self._path = Template.parse(path, LOGIN_VARIABLES)
            self._form = Template.parse(form, LOGIN_VARIABLES)
        except BadTemplate as error:
            raise BadDatabase(f"{where}: {error}") from error
        self._read = read
        self._stamp = stamp
        self._files: dict[str, tuple[object, dict[str, list[str]]]] = {}

    async def password(self, question: Question) -> PassFound | None:
        line = self._find(question)
        return None if line is None else PassFound(line[1], _extra(line))

    async def fields(self, question: Question) -> Mapping[str, str] | None:
        line = self._find(question)
        if line is None:
            return None
        named = {name: value for name, value in (("uid", line[2]), ("gid", line[3]), ("home", line[5])) if value}
        # In a user database the extra fields carry the mark that in a password database says whose they are.
        return {**named, **{name.removeprefix("userdb_"): value for name, value in _extra(line).items()}}

    async def users(self) -> list[str]:
        if self._path.variables:
            raise DatabaseError(f"passwd-file {self.path}: with variables in its path it cannot list users")
        return list(self._lines(self.path))

    def close(self) -> None:
        self._files.clear()

    def _find(self, question: Question) -> list[str] | None:
        values = question.values()
        path = self._path.fill(values)
        return self._lines(path).get(self._form.fill(values))

    def _lines(self, path: str) -> dict[str, list[str]]:
        try:
            stamp = self._stamp(path)
            known = self._files.get(path)
            if known is None or known[0] != stamp:
                known = self._files[path] = (stamp, _parse(self._read(path)))
        except OSError as error:
            raise DatabaseError(f"passwd-file {path}: {error.strerror or error}") from error
        return known[1]


def _parse(octets: bytes) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    # Not splitlines: it would let a form feed or U+2028 in a field begin another user's line.
    for line in octets[:MAXIMAL_FILE_OCTETS].decode("utf-8", "surrogateescape").split("\n"):
        if not line or line.startswith(("#", ":")):
            continue
        parts = line.split(":", 7)
        found.setdefault(parts[0], parts + [""] * (8 - len(parts)))
    return found


def _extra(line: list[str]) -> dict[str, str]:
    return {
        name: value if equals else "yes" for name, equals, value in (word.partition("=") for word in line[7].split())
    }
