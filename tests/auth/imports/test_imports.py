"""Taking accounts over: a passwd-file, PostfixAdmin's tables, Dovecot's queries."""

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.auth.directory import Account, Directory, Refused
from posthouse.auth.imports import dovecot_sql, passwd_file, postfixadmin
from posthouse.auth.imports.database import opened, query_file, settings_of_url
from posthouse.auth.imports.harvest import Harvest, Unreadable
from posthouse.auth.imports.taking import Counts, Summary, take
from posthouse.auth.schemes import verify
from tests.auth.imports import postfixadmin_tables
from tests.auth.test_directory import CHEAP

MD5 = "$1$5pZSV9va$azfrPr6af3Fc7dLblQXVa0"
"""password"""
PASSWD_FILE = f"""
# users
ann@example.test:{{MD5-CRYPT}}{MD5}:5000:5000::/home/ann::userdb_quota_rule=*:storage=1M userdb_mail=maildir:~/M
bob:{MD5}::::::
carl@example.test:{{PLAIN}}secret::::::nologin
dora@example.test:{{PLAIN}}secret::::::allow_nets=192.0.2.0/24
eve@example.test:*:::::
frank@example.test:{{NONSENSE}}x:::::
ann@example.test:{{PLAIN}}second:::::
a/b@example.test:{{PLAIN}}x:::::
:{{PLAIN}}x:::::
ann@ example.test:{{PLAIN}}third:::::
""".encode()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    found = Directory.open(tmp_path / "auth" / "directory.sqlite", hasher=CHEAP)
    yield found
    found.close()


def account(directory: Directory, address: str) -> Account:
    found = directory.account(address)
    assert found is not None
    return found


def reasons(summary: Summary) -> dict[str, str]:
    return {one.what: one.why for one in summary.skipped}


def taken(directory: Directory, harvest: Harvest, *, updates: bool = False, is_dry: bool = False) -> Summary:
    return take(directory, harvest, updates=updates, is_dry=is_dry)


def users() -> Harvest:
    return passwd_file.read(PASSWD_FILE, default_scheme="CRYPT", domain="example.net")


def test_a_passwd_file_is_taken_with_its_hashes(directory: Directory) -> None:
    summary = taken(directory, users())
    assert summary.accounts == Counts(taken=3)
    assert summary.domains == Counts(taken=2)
    ann = account(directory, "ann@example.test")
    assert (ann.quota_octets, ann.home, ann.mail) == (1 << 20, "/home/ann", "maildir:~/M")
    assert verify(ann.password, b"password", "")
    assert account(directory, "bob@example.net").password == "{MD5-CRYPT}" + MD5
    assert account(directory, "carl@example.test").is_disabled
    why = reasons(summary)
    assert "allow_nets" in why["dora@example.test"]
    assert "no password" in why["eve@example.test"]
    assert "begins with its scheme" in why["frank@example.test"]
    assert "the first one counts" in why["ann@example.test"]
    assert "cannot have" in why["a/b@example.test"]
    assert why["line 11"] == "no name"
    # fuzz/found/accounts: the same account in another spelling.
    assert why["line 12"] == "white space in the name"


def test_a_dry_run_says_what_would_happen_and_changes_nothing(directory: Directory) -> None:
    before = directory._rows("SELECT count(*) FROM accounts")
    dry = taken(directory, users(), is_dry=True)
    assert directory._rows("SELECT count(*) FROM accounts") == before
    assert directory.domains() == []
    assert dry == taken(directory, users())
    assert len(directory.accounts()) == 3


def test_a_second_run_changes_nothing_and_says_so(directory: Directory) -> None:
    taken(directory, users())
    again = taken(directory, users())
    assert (again.accounts, again.domains) == (Counts(present=3), Counts(present=2))


def test_what_is_here_stays_unless_it_is_to_be_updated(directory: Directory) -> None:
    taken(directory, users())
    directory.set_password("ann@example.test", "a new one")
    directory.set_quota("bob@example.net", 7)
    summary = taken(directory, users())
    assert "another password; --update" in [one.why for one in summary.skipped if one.what == "ann@example.test"][-1]
    assert "another quota" in reasons(summary)["bob@example.net"]
    assert verify(account(directory, "ann@example.test").password, b"a new one", "")
    assert taken(directory, users(), updates=True).accounts == Counts(changed=2, present=1)
    assert verify(account(directory, "ann@example.test").password, b"password", "")
    assert account(directory, "bob@example.net").quota_octets == 0


def test_a_quota_beyond_what_a_database_can_count_is_no_crash(directory: Directory) -> None:
    # fuzz/found/accounts: SQLite counts to 2**63.
    lines = [
        f"u{n}:{{PLAIN}}x::::::userdb_quota_rule=*:bytes={quota}\n"
        for n, quota in enumerate((1 << 70, "9" * 5000, "9" * 18 + "T"))
    ]
    summary = taken(directory, passwd_file.read("".join(lines).encode(), default_scheme="CRYPT", domain="example.net"))
    assert summary.accounts == Counts(taken=3)
    assert [one.quota_octets for one in directory.accounts()] == [0, 0, (1 << 63) - 1]
    with pytest.raises(Refused, match="a quota is"):
        directory.set_quota("u0@example.net", 1 << 63)


def test_names_without_a_domain_need_one(directory: Directory) -> None:
    summary = taken(directory, passwd_file.read(b"bob:{PLAIN}x:::::\n", default_scheme="CRYPT", domain=""))
    assert "not an address" in reasons(summary)["bob"]
    assert directory.domains() == []


@given(st.binary(max_size=300))
def test_any_octets_are_a_passwd_file(octets: bytes) -> None:
    found = passwd_file.read(octets, default_scheme="CRYPT", domain="example.org")
    assert len(found.accounts) + len(found.skipped) <= octets.count(b"\n") + 1
    assert all(one.password.startswith("{") for one in found.accounts)


# ── PostfixAdmin ──


def check_postfixadmin(directory: Directory, harvest: Harvest) -> None:
    """The rows of postfixadmin_tables, whatever database they came from."""
    summary = taken(directory, harvest)
    assert summary.domains == Counts(taken=3)
    assert summary.accounts == Counts(taken=4)
    ann = account(directory, "ann@example.test")
    assert (ann.quota_octets, ann.mail, ann.is_disabled) == (1 << 20, "maildir:/var/vmail/example.test/ann", False)
    assert account(directory, "carl@example.test").is_disabled
    assert account(directory, "dora@closed.test").is_domain_disabled
    for name, scheme in (("ann@example.test", "MD5"), ("bob@example.test", "BLF"), ("carl@example.test", "SHA512")):
        stored = account(directory, name).password
        assert stored.startswith("{" + scheme + "-CRYPT}")
        assert verify(stored, b"secret", "")
        assert not verify(stored, b"wrong", "")
    assert directory.alias_targets("ann@example.test") == ()
    assert directory.targets("bob@example.test") == ("bob@example.test", "bob@elsewhere.test")
    assert directory.targets("info@example.test") == ("ann@example.test", "bob@example.test")
    assert directory.targets("@example.test") == ("ann@example.test",)
    assert directory.targets("info@other.test") == ("info@example.test",)
    assert directory.targets("ann@other.test") == ("ann@example.test",)
    assert directory.targets("@other.test") == ("ann@example.test",)
    why = reasons(summary)
    assert "no password" in why["eve@example.test"]
    assert "not active" in why["old@example.test"]
    assert "backup" in why["backup.test"]
    assert "domain is not taken" in why["frank@backup.test"]
    assert any("1 vacation" in note for note in summary.notes)
    assert any("1 mailboxes are not active" in note for note in summary.notes)
    again = taken(directory, harvest)
    assert (again.domains, again.accounts) == (Counts(present=3), Counts(present=4))
    assert again.aliases == Counts(present=summary.aliases.taken)


def sqlite_file(tmp_path: Path) -> Path:
    path = tmp_path / "postfixadmin.sqlite"
    connection = apsw.Connection(str(path))
    connection.execute(postfixadmin_tables.tables("int") + postfixadmin_tables.rows("1", "0"))
    connection.close()
    return path


def test_postfixadmin_on_sqlite(directory: Directory, tmp_path: Path) -> None:
    with opened(settings_of_url(f"sqlite://{sqlite_file(tmp_path)}", ""), "x") as database:
        check_postfixadmin(directory, postfixadmin.read(database, default_scheme="CRYPT", mail_base="/var/vmail/"))


def test_a_database_without_the_tables_is_an_error(directory: Directory, tmp_path: Path) -> None:
    path = tmp_path / "empty.sqlite"
    apsw.Connection(str(path)).execute("CREATE TABLE x (y)")
    with (
        opened(settings_of_url(f"sqlite://{path}", ""), "x") as database,
        pytest.raises(Unreadable, match="no such table"),
    ):
        postfixadmin.read(database, default_scheme="CRYPT", mail_base="")


@pytest.mark.parametrize(
    ("url", "connect"),
    [
        ("mysql://joe@db.example/mail", "host='db.example' user='joe' password='from file' dbname='mail'"),
        ("postgresql://joe:a%27b@[2001:db8::1]:33", r"host='2001:db8::1' port='33' user='joe' password='a\'b'"),
        ("mysql://joe@/mail?host=/run/x.sock", "host='/run/x.sock' user='joe' password='from file' dbname='mail'"),
    ],
)  # fmt: skip
def test_urls_become_what_query_files_have(url: str, connect: str) -> None:
    assert settings_of_url(url, "from file")["connect"] == connect


@pytest.mark.parametrize("url", ["oracle://x/y", "mysql://x:abc/y", "mysql://joe@/mail?socket=/x", "mysql://[x/y"])
def test_urls_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(Unreadable):
        settings_of_url(url, "")


# ── Dovecot's queries ──

QUERIES = """
driver = sqlite
connect = {path}
default_pass_scheme = MD5-CRYPT
password_query = SELECT username AS user, password, active = 0 AS nologin FROM mailbox WHERE username = '%u' AND \\
  (active = 1 OR password != '')
user_query = SELECT '/var/vmail/%d/%n' AS home, '*:bytes=' || quota AS quota_rule FROM mailbox WHERE username = '%u'
iterate_query = SELECT local AS username, domain FROM (SELECT substr(username, 1, instr(username, '@') - 1) AS local, \\
  domain FROM mailbox)
"""


def test_a_query_file_is_taken(directory: Directory, tmp_path: Path) -> None:
    settings = query_file(QUERIES.format(path=sqlite_file(tmp_path)), "queries")
    with opened(settings, "queries") as database:
        summary = taken(directory, dovecot_sql.read(database, settings))
    assert summary.accounts == Counts(taken=5)
    ann = account(directory, "ann@example.test")
    assert (ann.home, ann.quota_octets) == ("/var/vmail/example.test/ann", 1 << 20)
    assert account(directory, "carl@example.test").is_disabled
    assert verify(ann.password, b"secret", "")
    assert "no password" in reasons(summary)["eve@example.test"]


def test_a_query_file_that_lists_nobody_is_refused(tmp_path: Path) -> None:
    text = QUERIES.format(path=sqlite_file(tmp_path)).partition("iterate_query")[0]
    settings = query_file(text, "queries")
    with opened(settings, "queries") as database, pytest.raises(Unreadable, match="iterate_query is not set"):
        dovecot_sql.read(database, settings)
