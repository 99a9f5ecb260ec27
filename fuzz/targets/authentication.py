"""Lines of Dovecot's auth and master protocols and of Courier's, SQL query files with a name to bind, passwd-files, and
stored passwords."""

import asyncio

import apsw

from fuzz.target import Target
from posthouse.auth.databases.lookup import BadDatabase, Question
from posthouse.auth.databases.queries import compile_query, parse_connect, parse_query_file
from posthouse.auth.databases.simple import PasswdFileDatabase
from posthouse.auth.schemes import UnknownScheme, verify
from posthouse.protocol import courier_authdaemon as authdaemon
from posthouse.protocol import dovecot_auth as wire
from posthouse.protocol import dovecot_auth_client as server
from posthouse.protocol import dovecot_master as master

_CONNECTION = apsw.Connection(":memory:")
_CONNECTION.execute("CREATE TABLE t(u TEXT, p TEXT)")
_CONNECTION.execute("INSERT INTO t VALUES('victim', 'secret')")
_QUERY = compile_query("SELECT p FROM t WHERE u = '%u'", lambda _: "?")
_SLOW = ("argon2", "ARGON2", "PBKDF2", "SCRAM", "OTP", "-CRYPT", "{CRYPT", "$2", "$5$", "$6$", "$7$", "$y$", "$gy$")
"""Their cost stands in the hash; the limits for that have tests of their own."""


def check(data: bytes) -> None:
    if not data:
        return
    kind, octets = data[0] % 7, data[1:]
    text = octets.decode("utf-8", "surrogateescape")
    if kind == 0:
        _line(octets)
    elif kind == 1:
        _query_file(text)
    elif kind == 2:
        _passwd_file(octets)
    elif kind == 3:
        _stored(text)
    elif kind == 4:
        _master_lines(octets)
    elif kind == 5:
        _server_lines(octets)
    else:
        _authdaemon(octets)


def _line(octets: bytes) -> None:
    for one in octets.split(b"\n"):
        try:
            parsed = wire.parse(one)
        except wire.BadLine:
            continue
        if isinstance(parsed, wire.Auth):
            answer = wire.ok(parsed.number, parsed.mechanism + parsed.service)
            assert answer.count(b"\n") == 1
            assert answer.count(b"\t") == 2


def _master_lines(octets: bytes) -> None:
    for one in octets.split(b"\n"):
        try:
            parsed = master.parse(one)
        except wire.BadLine:
            continue
        match parsed:
            case master.LookUp(number, user, service, _):
                for answer in (master.user(number, user, {"home": service}), master.password(number, user, {})):
                    assert answer.count(b"\n") == 1
            case master.ListUsers():
                parsed.has("victim")
            case _:
                pass


def _server_lines(octets: bytes) -> None:
    for one in octets.split(b"\n"):
        try:
            said = server.parse(one)
        except wire.BadLine:
            continue
        assert not isinstance(said, server.Ok) or said.user, "whom would it let in?"


def _authdaemon(octets: bytes) -> None:
    """Whatever the pieces it comes in, the request is the same."""
    whole = _request(octets, len(octets) or 1)
    assert _request(octets, 3) == whole
    if isinstance(whole, authdaemon.Pre):
        answer = authdaemon.account({"ADDRESS": whole.user, "HOME": whole.service})
        assert answer.endswith(b".\n")
        assert answer.count(b"\n") == 1 + bool(whole.user) + bool(whole.service)


def _request(octets: bytes, step: int) -> object:
    parser = authdaemon.Parser()
    for at in range(0, len(octets), step):
        try:
            request = parser.receive_data(octets[at : at + step])
        except authdaemon.BadRequest:
            return "refused"
        if request is not None:
            return request
    return None


def _query_file(text: str) -> None:
    name, _, rest = text.partition("\n")
    found = _CONNECTION.execute(_QUERY.text, tuple(_QUERY.bound(Question(_utf8(name)).values()))).fetchall()
    assert not found or name == "victim"
    try:
        settings = parse_query_file(rest, "x")
        parse_connect(settings.get("connect", ""), "x")
        for value in settings.values():
            compile_query(value, lambda number: f"${number}").bound(Question(name).values())
    except BadDatabase:
        return


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _passwd_file(octets: bytes) -> None:
    name, _, content = octets.partition(b"\n")
    database = PasswdFileDatabase("/x", "x", lambda _: content, lambda _: 0)
    question = Question(name.decode("utf-8", "surrogateescape"))
    found = asyncio.run(database.password(question))
    assert found is None or any(line.startswith(name + b":") or line == name for line in content.split(b"\n"))
    asyncio.run(database.fields(question))


def _stored(text: str) -> None:
    if any(one in text for one in _SLOW):
        return
    stored, _, password = text.partition("\n")
    try:
        verify(stored, password.encode("utf-8", "surrogateescape"), "PLAIN", "user@example.test")
    except UnknownScheme:
        return


TARGET = Target(
    check,
    seeds=(
        b"\0VERSION\t1\t2\nCPID\t1\nAUTH\t1\tPLAIN\tservice=smtp\trip=192.0.2.1\tresp=AGEAYg==\nCONT\t1\tYQ==\nCANCEL\t1",
        b"\1victim\ndriver = mysql\nconnect = host=localhost user='a b'\npassword_query = SELECT p FROM t WHERE u = '%u'",
        b"\2bob\n# x\nbob:{PLAIN}a:1:2::/home/bob::userdb_mail=x allow_nets=192.0.2.0/24\n",
        b"\3{SSHA256.HEX}00ff\nsecret",
    ),
    words=(
        b"AUTH", b"CONT", b"CANCEL", b"VERSION", b"\t", b"\n", b"resp=", b"service=", b"'%u'", b"%n", b"%%", b"''", b"\\",
        b"--", b"/*", b"*/", b"{PLAIN}", b"{MD5}", b"{SMD5}", b"{CRAM-MD5}", b"{PLAIN-TRUNC}", b".HEX}", b".B64}", b":",
    ),
    separator=b"\n",
    max_octets=2000,
)  # fmt: skip
