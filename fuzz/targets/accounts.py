"""Users from elsewhere: passwd-files, URLs of databases, and what becomes of them in the directory."""

from fuzz.target import Target
from posthouse.auth.app_passwords import canonical
from posthouse.auth.databases.queries import parse_connect
from posthouse.auth.directory import Directory
from posthouse.auth.imports.database import settings_of_url
from posthouse.auth.imports.harvest import Unreadable
from posthouse.auth.imports.passwd_file import read
from posthouse.auth.imports.taking import take
from posthouse.auth.schemes import Hasher
from posthouse.auth.storage import SqliteStorage

_DIRECTORY = Directory(SqliteStorage(":memory:", create=False), Hasher())
_SLOW = (b"argon2", b"ARGON2", b"PBKDF2", b"SCRAM", b"OTP", b"CRYPT", b"$")
"""Their cost stands in the hash; the limits for that have tests of their own."""


def check(data: bytes) -> None:
    if not data:
        return
    kind, octets = data[0] % 3, data[1:]
    if kind == 0:
        _passwd_file(octets)
    elif kind == 1:
        _url(octets.decode("utf-8", "replace"))
    else:
        _app_password(octets)


def _passwd_file(octets: bytes) -> None:
    if any(one in octets for one in _SLOW):
        return
    harvest = read(octets, default_scheme="PLAIN", domain="example.org")
    dry = take(_DIRECTORY, harvest, updates=True, is_dry=True)
    assert _DIRECTORY.domains() == [], "a dry run leaves nothing"
    assert dry.accounts.taken + len(dry.skipped) == len(harvest.accounts) + len(harvest.skipped)
    assert dry.accounts.changed + dry.accounts.present == 0


def _url(text: str) -> None:
    url, _, password = text.partition("\n")
    try:
        settings = settings_of_url(url, password)
    except Unreadable:
        return
    if settings["driver"] != "sqlite":
        # Whatever stands in the URL, it is one value of connect and no other setting.
        found = parse_connect(settings["connect"], "x")
        assert set(found) <= {"host", "port", "user", "password", "dbname", "sslmode", "ssl_ca"}
        assert all(len(values) == 1 for values in found.values())


def _app_password(octets: bytes) -> None:
    key = canonical(octets)
    if key is not None:
        assert canonical(key) == key
        assert len(key) == 16


TARGET = Target(
    check,
    seeds=(
        b"\0bob@example.org:{PLAIN}a:1:2::/home/bob::userdb_mail=x userdb_quota_rule=*:storage=1M\n",
        b"\0ann:secret::::::nologin allow_nets=192.0.2.0/24\n#x\nann:y\n",
        b"\1mysql://joe:a%27b@[2001:db8::1]:3306/mail?host=/run/x.sock\nsecret",
        b"\2abcd-efgh-ijkm-npqr",
    ),
    words=(
        b"{PLAIN}", b":::::", b"@example.org", b"userdb_", b"quota_rule=*:bytes=", b"nologin", b"proxy", b"mysql://",
        b"postgresql://", b"sqlite:///", b"?host=", b"&sslmode=", b"%27", b"%5C", b"'", b"\\", b"-", b" ",
    ),
    separator=b"\n",
    max_octets=2000,
)  # fmt: skip
