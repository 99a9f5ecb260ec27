"""What LDAP and token servers answer, filters and attribute templates with a name to fill in, signed tokens, and the
files of settings."""

import asyncio
import base64
import json

from fuzz.target import Target
from posthouse.auth.databases.ldap import DnTemplate, LdapSettings, fields_of, parse_attributes
from posthouse.auth.databases.lookup import BadDatabase, DatabaseError, Question
from posthouse.auth.databases.oauth2 import Oauth2Database
from posthouse.auth.databases.signed_tokens import KeyDirectory, Refused, Terms, claims
from posthouse.core.variables import LOGIN_VARIABLES, BadTemplate, Template
from posthouse.protocol import ldap

_ENTRY = ldap.Entry(1, "uid=x", {"mail": ("a@example.org", "b"), "uid": ("x",)})


def check(data: bytes) -> None:
    if not data:
        return
    kind, octets = data[0] % 7, data[1:]
    text = octets.decode("utf-8", "surrogateescape")
    if kind == 0:
        _answers(octets)
    elif kind == 1:
        _filter(text)
    elif kind == 2:
        _file(text)
    elif kind == 3:
        _name(text)
    elif kind == 4:
        _token(text)
    elif kind == 5:
        header, _, body = octets.partition(b"\n")
        _token(".".join((_base64(header), _base64(body), "AAAA")))
    else:
        _oauth2_file(text)


def _base64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _token(text: str) -> None:
    """Nobody here has the key, so none is good; and no path leaves the directory."""

    def read(path: str) -> bytes:
        assert path.startswith("/keys/")
        assert path.count("/") == 4
        assert "/../" not in path + "/"
        return base64.b64encode(b"s" * 64) if "/HS" in path else b""

    try:
        claims(text, KeyDirectory("/keys/", read, lambda path: read(path)), Terms((), "", 30))
    except (Refused, DatabaseError):
        return
    raise AssertionError("a token was taken that nobody signed")


def _oauth2_file(text: str) -> None:
    said, _, rest = text.partition("\n")
    try:
        database = Oauth2Database("x", rest, lambda path: "", lambda path: b"", lambda path: 0, skew_s=30)
    except BadDatabase:
        return
    found = asyncio.run(database.token(Question("bob"), "\n" + said))
    assert found is not None
    assert found.is_right is False
    try:
        fields = json.loads(said)
    except (ValueError, RecursionError):
        return
    if isinstance(fields, dict):
        judged = database._judge(fields, Question("bob@example.org"))
        assert not judged.is_right or judged.fields["user"] == "bob@example.org"


def _answers(octets: bytes) -> None:
    """All at once or one octet at a time: the same."""
    assert _taken([octets]) == _taken([octets[at : at + 1] for at in range(len(octets))])


def _taken(pieces: list[bytes]) -> list[ldap.Answer | str]:
    answers, found = ldap.Answers(limit_octets=4096), list[ldap.Answer | str]()
    for piece in pieces:
        answers.feed(piece)
        try:
            while (one := answers.next()) is not None:
                found.append(one)
        except ldap.BadMessage as error:
            return [*found, str(error)]
    return found


def _filter(text: str) -> None:
    name, _, rest = text.partition("\n")
    try:
        parsed = ldap.parse_filter(rest)
        templates = {one: Template.parse(one, LOGIN_VARIABLES) for one in parsed.templates()}
    except (ldap.BadFilter, BadTemplate):
        return
    # Whatever the name is, the filter has the same form: only the octets of values differ.
    values = Question(name).values()
    one = parsed.encoded(lambda value: templates[value].fill(values))
    assert _form(one) == _form(parsed.encoded(lambda value: ""))


def _form(encoded: bytes) -> list[object]:
    """Tags, without values."""
    at, found = 0, list[object]()
    while at < len(encoded):
        tag, size, at = encoded[at], encoded[at + 1], at + 2
        if size & 0x80:
            count = size & 0x7F
            size, at = int.from_bytes(encoded[at : at + count], "big"), at + count
        assert at + size <= len(encoded)
        found.append((tag, _form(encoded[at : at + size]) if tag & 0x20 else ()))
        at += size
    return found


def _file(text: str) -> None:
    name, _, rest = text.partition("\n")
    try:
        settings = LdapSettings("x", rest, lambda path: "")
    except BadDatabase:
        return
    fields_of(settings.pass_rules, _ENTRY, Question(name))
    fields_of(settings.user_rules, _ENTRY, Question(name))


def _name(text: str) -> None:
    name, _, rest = text.partition("\n")
    filled = DnTemplate("uid=%5u+cn=%n,ou=%1.3Un,dc=%Dd").fill(Question(name).values())
    parts = filled.split(",")
    domain = name.rpartition("@")[2] if "@" in name else ""
    assert len(parts) == 3 + domain.count(".")
    assert filled.count("+") == 1
    assert filled.count("=") == 4 + domain.count(".")
    try:
        rules = parse_attributes(rest)
    except BadDatabase:
        return
    fields_of(rules, _ENTRY, Question(name))


TARGET = Target(
    check,
    seeds=(
        b"\0\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00\x30\x1a\x02\x01\x02\x64\x15\x04\x04dc=x\x30\x0d"
        b"\x30\x0b\x04\x03uid\x31\x04\x04\x02ab",
        b"\1*)(uid=*\n(&(objectClass=posixAccount)(|(uid=%u)(!(mail=a*%n*b))(cn:dn:2.4.6:=\\2a%d)(n>=%3u)(x=*)))",
        b"\2bob@example.org\nuris = ldap://localhost\nbase = dc=%Dd\npass_attrs = uid=user=%$, =home=/m/%{ldap:mail:x}\n"
        b"user_filter = (uid=%n)\nauth_bind = yes\nauth_bind_userdn = uid=%n,dc=x\nscope = base\n",
        b"\0\x30\x30\x02\x01\x01\x65\x07\x0a\x01\x00\x04\x00\x04\x00\xa0\x22\x30\x20\x04\x161.2.840.113556.1.4.319\x04\x06\x30\x04"
        b"\x02\x00\x04\x00",
        b"\4eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.AAAA",
        b'\5{"alg": "HS256", "kid": "../x"}\n{"sub": "1", "azp": "a/b", "exp": 9999999999}',
        b'\6{"email": "bob@example.org", "active": true, "scope": "imap"}\nintrospection_url = http://127.0.0.1/x\n'
        b"scope = imap\npass_attrs = a=%{oauth2:email} b=%u\nactive_attribute = active\nusername_format = %Lu\n",
        b"\3a,b+c@x=y.example\nmail=user=%L$, =all=%{ldap_multi:mail:,:none}, =dn=%{ldap_dn}",
    ),
    words=(
        b"(", b")", b"&", b"|", b"!", b"*", b"\\2a", b"%u", b"%{ldap:", b"}", b"%$", b"=", b":=", b":dn:", b">=", b"~=",
        b",", b"+", b"\\", b"@", b".", b"\x30", b"\x04", b"\x0a", b"\x31", b"\x84", b"uris", b"base", b"tls",
        b"alg", b"none", b"HS256", b"ES256", b"EdDSA", b"kid", b"azp", b"crit", b"exp", b'"', b"{", b"[", b"..", b"/",
        b"introspection_mode", b"local", b"%{oauth2:", b"local_validation_key_dict", b"fs:posix:prefix=/",
    ),
    separator=b"\n",
    max_octets=2000,
)  # fmt: skip
