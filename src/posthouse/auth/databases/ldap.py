"""Dovecot's `driver = ldap`: directories that are searched, and directories that compare the password (auth_bind).

Questions run in threads, each with connections of its own that are opened when they are first needed and again when
they were lost. Binding as a user happens on another connection than searching, so that nobody ever searches with
somebody else's rights. Referrals to other servers are not followed.
"""

import asyncio
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import msgspec

from posthouse.auth.databases.lookup import BadDatabase, DatabaseError, PassFound, Question
from posthouse.auth.databases.queries import parse_query_file
from posthouse.core.variables import LOGIN_VARIABLES, BadTemplate, Template
from posthouse.protocol import ldap as wire

T = TypeVar("T")
CONNECT_TIMEOUT_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 10.0
"""For the whole answer, however slowly it comes. A client waits for both; SMTP and IMAP clients do so for a minute."""
MAXIMAL_ENTRIES: Final = 10
"""We ask for two; a server that sends more is not what it should be."""
PAGE_ENTRIES: Final = 500
"""Of a list of users: OpenLDAP gives no more than that at a time."""
MAXIMAL_USERS: Final = 1_000_000
"""That are listed; their names fill 100 MB."""
READ_OCTETS: Final = 65536
WORKS: Final = frozenset(
    (
        "hosts", "uris", "dn", "dnpass", "tls", "tls_ca_cert_file", "tls_require_cert", "tls_cipher_suite",
        "ldap_version", "base", "deref", "scope", "user_attrs", "user_filter", "pass_attrs", "pass_filter",
        "auth_bind", "auth_bind_userdn", "default_pass_scheme", "iterate_attrs", "iterate_filter",
    )
)  # fmt: skip
WITHOUT_EFFECT: Final = frozenset(("blocking", "debug_level"))
"""Questions are asked in threads anyway; there is no library with debug levels."""
UNSUPPORTED: Final = {
    "sasl_bind": "yes",
    "sasl_mech": "",
    "sasl_realm": "",
    "sasl_authz_id": "",
    "tls_ca_cert_dir": "",
    "tls_cert_file": "",
    "tls_key_file": "",
    "ldaprc_path": "",
}
"""Settings and the value that asks for them ("": any)."""
DEFAULTS: Final = {
    "tls": "no",
    "tls_require_cert": "demand",
    "ldap_version": "3",
    "deref": "never",
    "scope": "subtree",
    "user_attrs": "homeDirectory=home,uidNumber=uid,gidNumber=gid",
    "user_filter": "(&(objectClass=posixAccount)(uid=%u))",
    "pass_attrs": "uid=user,userPassword=password",
    "pass_filter": "(&(objectClass=posixAccount)(uid=%u))",
    "iterate_attrs": "uid=user",
    "iterate_filter": "(objectClass=posixAccount)",
    "auth_bind": "no",
    "default_pass_scheme": "CRYPT",
}
_OF_ENTRY: Final = re.compile(r"\{(ldap|ldap_multi):([^{}]*)\}|\{ldap_dn\}|%\$")
_ATTRIBUTE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.;_-]*")


# ── settings ──


class _Piece(msgspec.Struct, frozen=True):
    """A value of the entry that stands in a template: the first of `attribute`, or all with `separator` between. An
    empty attribute is the entry's name."""

    attribute: str
    default: str = ""
    separator: str | None = None

    def of(self, entry: wire.Entry) -> str:
        if not self.attribute:
            return entry.dn
        values = entry.values.get(self.attribute.lower(), ())
        if not values:
            return self.default
        return values[0] if self.separator is None else self.separator.join(values)


class FieldRule(msgspec.Struct, frozen=True):
    """How one field is made of an entry. With `needs` it is there only if that attribute is."""

    field: str
    template: Template
    pieces: Mapping[str, _Piece]
    needs: str = ""

    def attributes(self) -> list[str]:
        return [one.attribute for one in self.pieces.values() if one.attribute]

    def fill(self, entry: wire.Entry, values: Mapping[str, str]) -> str | None:
        if self.needs and not entry.values.get(self.needs.lower()):
            return None
        return self.template.fill({**values, **{name: one.of(entry) for name, one in self.pieces.items()}})


def parse_attributes(text: str) -> tuple[FieldRule, ...]:
    """user_attrs and pass_attrs: attribute=field, attribute=field=template with %$, =field=template with %{ldap:…}.
    Raises BadDatabase."""
    found: list[FieldRule] = []
    for one in text.split(","):
        word = one.strip()
        if not word:
            continue
        attribute, equals, rest = word.partition("=")
        attribute = attribute.strip()
        if attribute.startswith(("@", "!")) or rest.startswith(("@", "!")):
            raise BadDatabase(f"{word}: entries that are named by other entries (@, !) are not supported")
        if attribute and not _ATTRIBUTE_NAME.fullmatch(attribute):
            raise BadDatabase(f"{word}: {attribute!r} is not the name of an attribute")
        field, has_template, template = rest.partition("=")
        if attribute and not has_template:
            template = "%$"
        field = field.strip() if equals else attribute
        if not field:
            continue
        found.append(_rule(word, attribute, field, template))
    return tuple(found)


def _rule(word: str, attribute: str, field: str, text: str) -> FieldRule:
    pieces: dict[str, _Piece] = {}

    def name(match: re.Match[str]) -> str:
        key = f"ldap_{len(pieces)}"
        if match[0] == "%$":
            if not attribute:
                raise BadDatabase(f"{word}: %$ needs an attribute in front of the field")
            pieces[key] = _Piece(attribute)
            return f"%{{{key}}}"
        if match[1] is None:
            pieces[key] = _Piece("")
        else:
            wanted, _, rest = match[2].partition(":")
            if not _ATTRIBUTE_NAME.fullmatch(wanted):
                raise BadDatabase(f"{word}: {wanted!r} is not the name of an attribute")
            if match[1] == "ldap":
                pieces[key] = _Piece(wanted, rest)
            else:
                separator, _, default = rest.partition(":")
                pieces[key] = _Piece(wanted, default, separator or " ")
        return f"{{{key}}}"

    replaced = _OF_ENTRY.sub(name, text)
    try:
        template = Template.parse(replaced, {**LOGIN_VARIABLES, **{key: key for key in pieces}})
    except BadTemplate as error:
        raise BadDatabase(f"{word}: {error}") from error
    return FieldRule(field, template, pieces, attribute)


class DnTemplate:
    """A distinguished name with %variables. Values are escaped after their modifiers, so that neither a value nor a
    part of it can end where it stands; %Dd is the one that makes components, of each part of the domain."""

    def __init__(self, text: str) -> None:
        try:
            self._template = Template.parse(text, LOGIN_VARIABLES)
        except BadTemplate as error:
            raise BadDatabase(str(error)) from error
        self.has_variables = bool(self._template.variables)

    def fill(self, values: Mapping[str, str]) -> str:
        out = [self._template.literals[0]]
        for number, variable in enumerate(self._template.variables, 1):
            value = values.get(variable.name, "")
            if "D" in variable.modifiers:
                plain = msgspec.structs.replace(variable, modifiers=variable.modifiers.replace("D", ""))
                out.append(",dc=".join(wire.escaped_in_dn(part) for part in plain.of(value).split(".")))
            else:
                out.append(wire.escaped_in_dn(variable.of(value)))
            out.append(self._template.literals[number])
        return "".join(out)


class _Filter:
    def __init__(self, text: str) -> None:
        try:
            self._filter = wire.parse_filter(text)
            self._templates = {one: Template.parse(one, LOGIN_VARIABLES) for one in self._filter.templates()}
        except (wire.BadFilter, BadTemplate) as error:
            raise BadDatabase(str(error)) from error

    def encoded(self, values: Mapping[str, str]) -> bytes:
        return self._filter.encoded(lambda text: self._templates[text].fill(values))

    def bound(self, values: Mapping[str, str]) -> list[str]:
        return [one.fill(values) for one in self._templates.values()]


class LdapSettings:
    """One file, read and understood. `read` gives the text of the CA file. Raises BadDatabase."""

    def __init__(self, path: str, text: str, read: Callable[[str], str]) -> None:
        given = parse_ldap_file(text, path)
        settings = {**DEFAULTS, **given}
        self.path = path
        for name, bad in UNSUPPORTED.items():
            if name in given and (not bad or _is_yes(given[name])):
                raise BadDatabase(f"{path}: {name} is not supported; see docs/authentication.md for what is")
        if settings["ldap_version"] != "3":
            raise BadDatabase(f"{path}: ldap_version = {settings['ldap_version']}: only 3 is supported")
        self.addresses = addresses(settings, path)
        if not self.addresses:
            raise BadDatabase(f"{path}: uris or hosts must name a server")
        self.dn, self.dnpass = settings.get("dn", ""), settings.get("dnpass", "")
        if self.dn and not self.dnpass:
            # RFC 4513 s5.1.2: the server would take it for an anonymous bind and say that it was right.
            raise BadDatabase(f"{path}: dn is set, so dnpass must be, too")
        self.starts_tls = _is_yes(settings["tls"])
        self.scope = _one_of(wire.SCOPES, settings["scope"], path, "scope")
        self.deref = _one_of(wire.DEREFS, settings["deref"], path, "deref")
        self.binds = _is_yes(settings["auth_bind"])
        self.default_scheme = settings["default_pass_scheme"].upper()
        self.base = self._compiled(settings, "base", DnTemplate) if "base" in settings else None
        self.bind_dn = self._compiled(settings, "auth_bind_userdn", DnTemplate) if "auth_bind_userdn" in given else None
        self.pass_filter = self._compiled(settings, "pass_filter", _Filter)
        self.user_filter = self._compiled(settings, "user_filter", _Filter)
        self.pass_rules = self._compiled(settings, "pass_attrs", parse_attributes)
        self.user_rules = self._compiled(settings, "user_attrs", parse_attributes)
        self.iterate_filter = self._compiled(settings, "iterate_filter", _Filter)
        self.iterate_rules = self._compiled(settings, "iterate_attrs", parse_attributes)
        self.tls = self._tls(settings, read)

    def _compiled(self, settings: Mapping[str, str], name: str, make: Callable[[str], T]) -> T:
        try:
            return make(settings[name])
        except BadDatabase as error:
            raise BadDatabase(f"{self.path}: {name}: {error}") from error

    def _tls(self, settings: Mapping[str, str], read: Callable[[str], str]) -> ssl.SSLContext | None:
        """Made before the jail closes: it reads the system's certificates."""
        if not self.starts_tls and not any(one.scheme == "ldaps" for one in self.addresses):
            return None
        wanted = settings["tls_require_cert"].lower()
        if wanted not in ("never", "allow", "try", "hard", "demand"):
            raise BadDatabase(f"{self.path}: tls_require_cert = {wanted}: known are never, allow, try, hard, demand")
        ca = settings.get("tls_ca_cert_file", "")
        try:
            authorities = read(ca) if ca else None
            if authorities is not None and "BEGIN CERTIFICATE" not in authorities:
                # An empty one would stand for those of the system.
                raise ValueError(f"{ca} has no certificate in it")
            context = ssl.create_default_context(cadata=authorities)
            if ciphers := settings.get("tls_cipher_suite"):
                context.set_ciphers(ciphers)
        except (OSError, ValueError) as error:
            raise BadDatabase(f"{self.path}: tls_ca_cert_file or tls_cipher_suite: {error}") from error
        if wanted in ("never", "allow"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def parse_ldap_file(text: str, path: str) -> dict[str, str]:
    """Raises BadDatabase."""
    return parse_query_file(text, path, WORKS | WITHOUT_EFFECT | UNSUPPORTED.keys())


def addresses(settings: Mapping[str, str], path: str) -> list[wire.Address]:
    """Raises BadDatabase."""
    try:
        return wire.parse_addresses(settings.get("uris", "").split(), settings.get("hosts", "").split())
    except ValueError as error:
        raise BadDatabase(f"{path}: {error}") from error


def _is_yes(value: str) -> bool:
    return value.lower() in ("yes", "y", "1", "true")


def _one_of(known: Mapping[str, int], value: str, path: str, name: str) -> int:
    if value not in known:
        raise BadDatabase(f"{path}: {name} = {value}: known are {', '.join(known)}")
    return known[value]


# ── a connection ──


class _Lost(Exception):
    """The server cannot be asked, or what it says makes no sense."""


class Connection:
    """Blocks; for one thread. Raises _Lost."""

    def __init__(self, address: wire.Address, settings: LdapSettings) -> None:
        self.address = address
        self._number = 0
        self._answers = wire.Answers()
        try:
            self._sock = self._connect(address)
        except OSError as error:
            raise _Lost(f"{address}: {error.strerror or error}") from error
        try:
            self._secure(settings)
        except BaseException:
            self._sock.close()
            raise

    @staticmethod
    def _connect(address: wire.Address) -> socket.socket:
        if not address.path:
            return socket.create_connection((address.host, address.port), CONNECT_TIMEOUT_S)
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(CONNECT_TIMEOUT_S)
            sock.connect(address.path)
        except BaseException:
            sock.close()
            raise
        return sock

    def _secure(self, settings: LdapSettings) -> None:
        if self.address.path or settings.tls is None:
            return
        if self.address.scheme == "ldap":
            if not settings.starts_tls:
                return
            (result,) = self._ask(wire.start_tls)
            if not isinstance(result, wire.Result) or result.code != wire.SUCCESS:
                raise _Lost(f"{self.address}: StartTLS: {result}")
            if not self._answers.is_empty:
                # RFC 4511 s4.14.1: what came in clear text behind the answer is nobody's word.
                raise _Lost(f"{self.address}: the server spoke on in clear text after StartTLS")
        self._sock.settimeout(CONNECT_TIMEOUT_S)
        try:
            self._sock = settings.tls.wrap_socket(self._sock, server_hostname=self.address.host)
        except (OSError, ValueError) as error:
            raise _Lost(f"{self.address}: TLS: {error}") from error

    def bind(self, dn: str, password: bytes) -> wire.Result:
        (result,) = self._ask(lambda number: wire.bind(number, dn, password))
        assert isinstance(result, wire.Result)
        return result

    def search(self, what: wire.Search) -> tuple[list[wire.Entry], wire.Result]:
        *entries, result = self._ask(lambda number: wire.search(number, what))
        assert isinstance(result, wire.Result)
        return [one for one in entries if isinstance(one, wire.Entry)], result

    def page(self, what: wire.Search, cookie: bytes) -> tuple[list[wire.Entry], wire.Result]:
        """Of a list that may be long."""
        request = (PAGE_ENTRIES, cookie)
        *entries, result = self._ask(lambda number: wire.search(number, what, request), 2 * PAGE_ENTRIES)
        assert isinstance(result, wire.Result)
        return [one for one in entries if isinstance(one, wire.Entry)], result

    def _ask(self, request: Callable[[int], bytes], limit: int = MAXIMAL_ENTRIES) -> list[wire.Answer]:
        """Up to the result, which is the last one."""
        self._number += 1
        until_s = time.monotonic() + ANSWER_TIMEOUT_S
        found: list[wire.Answer] = []
        try:
            self._sock.settimeout(ANSWER_TIMEOUT_S)
            self._sock.sendall(request(self._number))
            while not found or not isinstance(found[-1], wire.Result):
                answer = self._answers.next()
                if answer is None:
                    left_s = until_s - time.monotonic()
                    if left_s <= 0:
                        raise TimeoutError(f"no answer within {ANSWER_TIMEOUT_S:g} seconds")
                    self._sock.settimeout(left_s)
                    data = self._sock.recv(READ_OCTETS)
                    if not data:
                        raise ConnectionResetError("the server closed the connection")
                    self._answers.feed(data)
                elif answer.number == self._number:
                    found.append(answer)
                    if len(found) > limit:
                        raise wire.BadMessage("more answers than were asked for")
                elif answer.number == 0:
                    # RFC 4511 s4.4.1: notice of disconnection.
                    raise ConnectionResetError(f"the server ends the connection: {answer}")
                else:
                    raise wire.BadMessage("an answer to a question that was not asked")
        except (OSError, wire.BadMessage) as error:
            raise _Lost(f"{self.address}: {getattr(error, 'strerror', None) or error}") from error
        return found

    def close(self) -> None:
        try:
            self._sock.settimeout(0.1)
            self._sock.sendall(wire.unbind(self._number + 1))
        except OSError:
            pass  # it was lost
        self._sock.close()


class Server:
    """The threads and connections of one file, shared by its passdb and userdb blocks."""

    def __init__(self, settings: LdapSettings, *, threads: int) -> None:
        self.settings = settings
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="ldap")
        self._local = threading.local()
        self._lock = threading.Lock()
        self._open: set[Connection] = set()
        self._first = 0
        """The address that answered last; a dead one in front of it costs its time only once."""

    async def search(
        self, matching: _Filter, rules: Sequence[FieldRule], question: Question, what: str
    ) -> wire.Entry | None:
        """Raises DatabaseError."""
        values, settings = question.values(), self.settings
        base = settings.base.fill(values) if settings.base is not None else ""
        request = wire.Search(base, settings.scope, settings.deref, matching.encoded(values), _attributes(rules))
        entries, result = await self._run(lambda: self._searched(request))
        where = f"{settings.path}: {what}"
        if result.code == wire.NO_SUCH_OBJECT and settings.base is not None and settings.base.has_variables:
            return None
        if len(entries) > 1 or result.code == 4:
            raise DatabaseError(f"{where} returned multiple matches for {question.user}")
        if result.code == wire.REFERRAL:
            raise DatabaseError(f"{where}: the server refers to another one, and that is not followed")
        if result.code != wire.SUCCESS:
            raise DatabaseError(f"{where}: search in {base or '(no base)'}: {result}")
        return entries[0] if entries else None

    async def entries(self, matching: _Filter, rules: Sequence[FieldRule], what: str) -> list[wire.Entry]:
        """All that match, wherever they are below the base. Raises DatabaseError."""
        settings, values = self.settings, Question("").values()
        where = f"{settings.path}: {what}"
        if settings.base is not None and settings.base.has_variables:
            raise DatabaseError(f"{where}: users below a base with variables cannot be listed")
        base = settings.base.fill(values) if settings.base is not None else ""
        request = wire.Search(
            base, settings.scope, settings.deref, matching.encoded(values), _attributes(rules), 0, int(ANSWER_TIMEOUT_S)
        )
        found, result = await self._run(lambda: self._with("search", lambda connection: _listed(connection, request)))
        if result.code != wire.SUCCESS:
            raise DatabaseError(f"{where}: search in {base or '(no base)'}: {result}")
        if len(found) >= MAXIMAL_USERS:
            raise DatabaseError(f"{where}: more than {MAXIMAL_USERS} entries")
        return found

    async def bind(self, dn: str, password: bytes) -> wire.Result:
        """As a user. Raises DatabaseError."""
        if not dn or not password:
            # RFC 4513 s5.1.2: servers say "success" to it, and it means nothing.
            raise DatabaseError("a bind without a name or a password was asked for")
        return await self._run(lambda: self._with("user", lambda connection: connection.bind(dn, password)))

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            opened, self._open = self._open, set()
        for one in opened:
            one.close()

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except _Lost as error:
            raise DatabaseError(f"{self.settings.path}: {error}") from error

    # ── in a thread ──

    def _searched(self, request: wire.Search) -> tuple[list[wire.Entry], wire.Result]:
        return self._with("search", lambda connection: connection.search(request))

    def _with(self, kind: str, work: Callable[[Connection], T]) -> T:
        connection: Connection | None = getattr(self._local, kind, None)
        if connection is not None:
            try:
                return work(connection)
            except _Lost:
                self._forget(kind, connection)
        connection = self._connected(kind)
        try:
            return work(connection)
        except BaseException:
            self._forget(kind, connection)
            raise

    def _connected(self, kind: str) -> Connection:
        failure: _Lost | None = None
        count = len(self.settings.addresses)
        for step in range(count):
            number = (self._first + step) % count
            try:
                connection = self._opened(self.settings.addresses[number], kind)
            except _Lost as error:
                failure = failure or error
                continue
            self._first = number
            with self._lock:
                self._open.add(connection)
            setattr(self._local, kind, connection)
            return connection
        assert failure is not None
        raise failure

    def _opened(self, address: wire.Address, kind: str) -> Connection:
        connection = Connection(address, self.settings)
        if kind != "search" or not self.settings.dn:
            return connection
        try:
            result = connection.bind(self.settings.dn, self.settings.dnpass.encode())
            if result.code != wire.SUCCESS:
                raise _Lost(f"{address}: binding as dn = {self.settings.dn}: {result}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _forget(self, kind: str, connection: Connection) -> None:
        setattr(self._local, kind, None)
        with self._lock:
            self._open.discard(connection)
        connection.close()


def _attributes(rules: Sequence[FieldRule]) -> tuple[str, ...]:
    """What the rules need, each once."""
    return tuple({name.lower(): name for rule in rules for name in (*rule.attributes(), rule.needs) if name}.values())


def _listed(connection: Connection, request: wire.Search) -> tuple[list[wire.Entry], wire.Result]:
    found: list[wire.Entry] = []
    cookie = b""
    while True:
        entries, result = connection.page(request, cookie)
        found += entries
        cookie = result.cookie
        if not cookie or result.code != wire.SUCCESS or len(found) >= MAXIMAL_USERS:
            return found, result


# ── databases ──


def fields_of(rules: Sequence[FieldRule], entry: wire.Entry, question: Question) -> dict[str, str]:
    values = question.values()
    filled = ((rule.field, rule.fill(entry, values)) for rule in rules)
    return {name: value for name, value in filled if value is not None}


class LdapPasswords:
    """The directory gives the hash (auth_bind = no)."""

    name = "ldap"

    def __init__(self, server: Server) -> None:
        self._server = server
        self.default_scheme = server.settings.default_scheme

    async def password(self, question: Question) -> PassFound | None:
        settings = self._server.settings
        entry = await self._server.search(settings.pass_filter, settings.pass_rules, question, "pass_filter")
        if entry is None:
            return None
        fields = fields_of(settings.pass_rules, entry, question)
        return PassFound(fields.pop("password", ""), fields)

    def password_cache_key(self, question: Question) -> Sequence[str]:
        return _cache_key(self._server.settings, self._server.settings.pass_filter, question)

    def close(self) -> None:
        self._server.close()


class LdapBinds:
    """The directory compares (auth_bind = yes)."""

    name = "ldap"

    def __init__(self, server: Server) -> None:
        self._server = server
        self.default_scheme = server.settings.default_scheme

    async def check(self, question: Question, password: bytes) -> PassFound | None:
        settings = self._server.settings
        fields: dict[str, str] = {}
        if settings.bind_dn is not None:
            dn = settings.bind_dn.fill(question.values())
        else:
            entry = await self._server.search(settings.pass_filter, settings.pass_rules, question, "pass_filter")
            if entry is None:
                return None
            dn, fields = entry.dn, fields_of(settings.pass_rules, entry, question)
            fields.pop("password", None)
        if not password:
            return PassFound("", fields, is_right=False, reason="the password is empty")
        result = await self._server.bind(dn, password)
        if result.code == wire.SUCCESS:
            return PassFound("", fields, is_right=True)
        if result.code == wire.NO_SUCH_OBJECT:
            return None
        if result.code in (wire.INVALID_CREDENTIALS, wire.INAPPROPRIATE_AUTHENTICATION):
            return PassFound("", fields, is_right=False, reason="invalid credentials")
        raise DatabaseError(f"{settings.path}: binding as {dn}: {result}")

    def check_cache_key(self, question: Question) -> Sequence[str]:
        if self._server.settings.bind_dn is not None:
            return (self._server.settings.bind_dn.fill(question.values()),)
        return _cache_key(self._server.settings, self._server.settings.pass_filter, question)

    def close(self) -> None:
        self._server.close()


class LdapSearchedBinds(LdapBinds):
    """Users are searched before they are bound, so it can be asked who exists (a master's users, deny = yes)."""

    async def password(self, question: Question) -> PassFound | None:
        """The entry, without a password: that stays in the directory."""
        settings = self._server.settings
        entry = await self._server.search(settings.pass_filter, settings.pass_rules, question, "pass_filter")
        if entry is None:
            return None
        fields = fields_of(settings.pass_rules, entry, question)
        fields.pop("password", None)
        return PassFound("", fields)


class LdapUsers:
    name = "ldap"

    def __init__(self, server: Server) -> None:
        self._server = server

    async def fields(self, question: Question) -> Mapping[str, str] | None:
        settings = self._server.settings
        entry = await self._server.search(settings.user_filter, settings.user_rules, question, "user_filter")
        return None if entry is None else fields_of(settings.user_rules, entry, question)

    async def users(self) -> list[str]:
        """Their field user, as Dovecot's iterate_attrs have it."""
        settings = self._server.settings
        entries = await self._server.entries(settings.iterate_filter, settings.iterate_rules, "iterate_filter")
        question = Question("")
        return [name for one in entries if (name := fields_of(settings.iterate_rules, one, question).get("user"))]

    def user_cache_key(self, question: Question) -> Sequence[str]:
        return _cache_key(self._server.settings, self._server.settings.user_filter, question)

    def close(self) -> None:
        self._server.close()


def _cache_key(settings: LdapSettings, matching: _Filter, question: Question) -> Sequence[str]:
    values = question.values()
    return (settings.base.fill(values) if settings.base is not None else "", *matching.bound(values))


def passwords(server: Server) -> LdapPasswords | LdapBinds:
    if not server.settings.binds:
        return LdapPasswords(server)
    return LdapSearchedBinds(server) if server.settings.bind_dn is None else LdapBinds(server)
