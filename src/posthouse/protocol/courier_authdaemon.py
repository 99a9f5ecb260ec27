"""Courier's authdaemon protocol, server side: what courier-imap, courier-pop and sqwebmail ask a local socket.

One request a connection, behind lines about the client (TCPREMOTEIP=…). PRE and AUTH are answered with NAME=value lines
up to a dot; a user who does not exist, or a wrong password, with FAIL; what cannot be said, with nothing at all
(https://www.courier-mta.org/authlib/README.authdebug.html shows the dialogue).
"""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

MAXIMAL_LINE: Final = 4096
_ABOUT_CLIENT: Final = (b"TCPREMOTEIP=", b"TCPREMOTEPORT=", b"TCPLOCALIP=", b"TCPLOCALPORT=")
MAXIMAL_BODY: Final = 16_384
"""Octets of what AUTH announces."""


class BadRequest(ValueError):
    """Not this protocol: the connection ends without an answer."""


class Pre(msgspec.Struct, frozen=True):
    """Who is this user?"""

    service: str
    user: str


class Login(msgspec.Struct, frozen=True):
    """Is the password right?"""

    service: str
    user: str
    password: bytes
    remote: str = ""


class Exchange(msgspec.Struct, frozen=True):
    """A mechanism with a challenge that the client's server made itself: both in base64."""

    service: str
    mechanism: str
    challenge: bytes
    response: bytes
    remote: str = ""


class ChangePassword(msgspec.Struct, frozen=True):
    service: str
    user: str
    old: bytes
    new: bytes
    remote: str = ""


class Enumerate(msgspec.Struct, frozen=True):
    pass


Request = Pre | Login | Exchange | ChangePassword | Enumerate


class Parser:
    """Fed with octets until it has the request; what comes behind it is ignored, as Courier does."""

    def __init__(self) -> None:
        self._input = b""
        self._remote = ""

    def receive_data(self, data: bytes) -> Request | None:
        """None: more is needed. Raises BadRequest."""
        self._input += data
        while True:
            head, newline, body = self._input.partition(b"\n")
            if len(head) > MAXIMAL_LINE:
                raise BadRequest("a line is too long")
            if not newline:
                return None
            if not head.startswith(_ABOUT_CLIENT):
                break
            name, _, value = head.partition(b"=")
            if name == b"TCPREMOTEIP":
                self._remote = _address(value)
            self._input = body
        verb, _, rest = head.partition(b" ")
        match verb:
            case b"PRE":
                # PRE module service user; the module "." is any.
                words = rest.split(b" ", 2)
                if len(words) != 3:
                    raise BadRequest("PRE without a service and a user")
                return Pre(_text(words[1]), _text(words[2]))
            case b"AUTH":
                return self._auth(rest, body)
            case b"PASSWD":
                fields = rest.split(b"\t")
                if len(fields) != 4:
                    raise BadRequest("PASSWD without four fields")
                return ChangePassword(_text(fields[0]), _text(fields[1]), fields[2], fields[3], self._remote)
            case b"ENUMERATE":
                return Enumerate()
            case _:
                raise BadRequest("unknown request")

    def _auth(self, announced: bytes, body: bytes) -> Request | None:
        if not announced.isdigit() or not 0 < int(announced[:9]) <= MAXIMAL_BODY:
            raise BadRequest("AUTH without a length that makes sense")
        if len(body) < int(announced):
            return None
        fields = body[: int(announced)].split(b"\n")
        if len(fields) < 4:
            raise BadRequest("AUTH without service, type and data")
        service, kind, first, second = _text(fields[0]), fields[1], fields[2], fields[3]
        if kind == b"login":
            return Login(service, _text(first), second, self._remote)
        return Exchange(service, _text(kind).upper(), first, second, self._remote)


def _address(octets: bytes) -> str:
    """ "" for what is none."""
    try:
        found = ipaddress.ip_address(octets.decode("ascii", "replace"))
    except ValueError:
        return ""
    return str(getattr(found, "ipv4_mapped", None) or found)


def _text(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest("not UTF-8") from error


FAIL: Final = b"FAIL\n"
OK: Final = b"OK\n"
END: Final = b".\n"


def account(fields: Mapping[str, str]) -> bytes:
    """ "UID", "GID", "HOME", "ADDRESS", "NAME", "MAILDIR", "QUOTA", "OPTIONS": never a password."""
    lines = [f"{name}={_plain(value)}\n" for name, value in fields.items() if value]
    return "".join(lines).encode("utf-8", "surrogateescape") + END


def enumerated(users: Iterable[tuple[str, int, int, str, str, str]]) -> bytes:
    """Name, uid, gid, home, maildir, options of each."""
    lines = ["\t".join(_plain(str(one)) for one in user) + "\n" for user in users]
    return "".join(lines).encode("utf-8", "surrogateescape")


def _plain(value: str) -> str:
    """A value of a database cannot begin a line of its own."""
    return value.replace("\n", " ").replace("\r", " ").replace("\t", " ").replace("\0", " ")
