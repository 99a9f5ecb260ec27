"""The embedded directory."""

import os
import re
import stat
from pathlib import Path

import apsw
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from hypothesis import given
from hypothesis import strategies as st

from posthouse.auth import app_passwords, migrations, schema
from posthouse.auth.directory import Account, Directory, DirectoryError, Login, Refused
from posthouse.auth.names import BadName
from posthouse.auth.schemes import Argon2Cost, Hasher, UnusablePassword
from posthouse.auth.server_storage import REVISION

CHEAP = Hasher(Argon2Cost(memory_octets=64 << 10, passes=1))


BAD_ADDRESSES = [
    *("", "bob", "@example.org", "bob@", "a/b@example.org", "..@example.org", ".a@example.org", "a..b@example.org"),
    *("a b@example.org", "a\0b@example.org", "a@b@example.org", "x" * 65 + "@example.org", "bob@exa mple.org"),
    *("bob@-x.org", "bob@x..org", "bob@" + "a" * 64 + ".org", "bob@[192.0.2.1]", "bob\n@example.org"),
]


@pytest.fixture
def directory(tmp_path: Path):  # type: ignore[no-untyped-def]
    found = Directory.open(tmp_path / "auth" / "directory.sqlite", hasher=CHEAP, cache_entries=100)
    found.add_domain("example.org")
    yield found
    found.close()


def second(directory: Directory, tmp_path: Path) -> Directory:
    return Directory.open(tmp_path / "auth" / "directory.sqlite", hasher=CHEAP, cache_entries=100)


def test_the_database_can_be_read_by_its_owner_only(directory: Directory, tmp_path: Path) -> None:
    directory.add_account("bob@example.org", "secret")
    for path in (tmp_path / "auth", *(tmp_path / "auth").iterdir()):
        assert not stat.S_IMODE(os.stat(path).st_mode) & 0o077, path


def test_names_are_kept_in_one_spelling(directory: Directory) -> None:
    assert directory.add_domain("BÜCHER.example.") == "xn--bcher-kva.example"
    account = directory.add_account("Bob@Bücher.Example", "secret")
    assert account.address == "bob@xn--bcher-kva.example"
    assert directory.account("BOB@bücher.example") == directory.account("bob@XN--BCHER-KVA.example") != None  # noqa: E711
    directory.add_account("用户@example.org", "secret")
    assert directory.account("用户@EXAMPLE.org") is not None
    assert directory.has_domain("bücher.EXAMPLE")


@pytest.mark.parametrize(
    "address",
    BAD_ADDRESSES,
)
def test_an_address_that_could_leave_its_directory_or_break_a_line_is_no_account(
    directory: Directory, address: str
) -> None:
    with pytest.raises((BadName, Refused)):
        directory.add_account(address, "secret")


def test_an_account_needs_its_domain(directory: Directory) -> None:
    with pytest.raises(Refused, match=r"posthouse domain add example.net"):
        directory.add_account("bob@example.net", "secret")


def test_changes_of_another_connection_are_seen_at_once(directory: Directory, tmp_path: Path) -> None:
    other = second(directory, tmp_path)
    assert directory.account("bob@example.org") is None
    other.add_account("bob@example.org", "secret", quota_octets=7)
    found = directory.account("bob@example.org")
    assert found is not None
    assert found.quota_octets == 7
    other.set_quota("bob@example.org", 8)
    other.set_disabled("bob@example.org", True)
    found = directory.account("bob@example.org")
    assert found is not None
    assert (found.quota_octets, found.is_disabled) == (8, True)
    other.remove_account("bob@example.org")
    assert directory.account("bob@example.org") is None
    other.close()


def test_one_writer_waits_for_another(directory: Directory, tmp_path: Path) -> None:
    other = second(directory, tmp_path)
    other._storage.connection.set_busy_timeout(50)
    with directory._transaction(), pytest.raises(DirectoryError, match=r"(?i)busy|locked"):
        other.add_domain("example.net")
    other.add_domain("example.net")
    other.close()


def test_a_domain_with_contents_is_not_removed_by_accident(directory: Directory) -> None:
    directory.add_account("bob@example.org", "secret")
    directory.add_alias("info@example.org", ["bob@example.org"])
    with pytest.raises(Refused, match="1 accounts and 1 aliases"):
        directory.remove_domain("example.org")
    directory.remove_domain("example.org", with_contents=True)
    assert directory.account("bob@example.org") is None
    assert directory.targets("info@example.org") == ()
    assert directory.domains() == []


def test_aliases_collect_targets_in_order(directory: Directory) -> None:
    directory.add_alias("team@example.org", ["a@example.net", "B@Example.net"])
    assert directory.add_alias("team@example.org", ["c@example.net"]).targets == (
        "a@example.net",
        "B@example.net",
        "c@example.net",
    )
    directory.remove_alias("team@example.org", ["a@example.net"])
    assert directory.targets("TEAM@example.org") == ("B@example.net", "c@example.net")
    with pytest.raises(Refused, match="leads there already"):
        directory.add_alias("team@example.org", ["c@example.net"])
    directory.remove_alias("team@example.org")
    with pytest.raises(Refused, match="there is no alias"):
        directory.remove_alias("team@example.org")


def test_a_catch_all_spares_accounts_and_aliases(directory: Directory) -> None:
    directory.add_account("bob@example.org", "secret")
    directory.add_alias("info@example.org", ["bob@example.org"])
    assert directory.targets("bob@example.org") == ()
    directory.add_alias("@example.org", ["all@example.net"])
    assert directory.targets("@example.org") == ("all@example.net",)
    assert directory.targets("bob@example.org") == ("bob@example.org",)
    assert directory.targets("info@example.org") == ("bob@example.org",)
    assert directory.targets("other@example.org") == ()


def test_an_alias_takes_an_accounts_mail_only_if_that_is_said(directory: Directory) -> None:
    directory.add_account("bob@example.org", "secret")
    with pytest.raises(Refused, match="take all its mail away"):
        directory.add_alias("bob@example.org", ["x@example.net"])
    directory.add_alias("bob@example.org", ["bob@example.org", "x@example.net"])
    assert directory.targets("bob@example.org") == ("bob@example.org", "x@example.net")
    directory.add_alias("alias@example.org", ["bob@example.org"])
    with pytest.raises(Refused, match="is an alias"):
        directory.add_account("alias@example.org", "secret")


def test_a_refused_change_leaves_nothing_behind(directory: Directory) -> None:
    with pytest.raises(Refused):
        directory.add_alias("team@example.org", [f"u{n}@example.net" for n in range(1001)])
    assert directory.aliases() == []
    with pytest.raises(Refused):
        directory.set_quota("bob@example.org", -1)


def test_hashes_from_elsewhere_are_checked_when_they_are_set(directory: Directory) -> None:
    directory.add_account("bob@example.org", "{SHA512-CRYPT}$6$abcdefgh$" + "x" * 86, hashed=True)
    for bad in ("secret", "{ROT13}frperg", "{ARGON2ID}nonsense", "{MD5-CRYPT}$6$x$y", "{PLAIN}two\nlines"):
        with pytest.raises(UnusablePassword):
            directory.set_password("bob@example.org", bad, hashed=True)


def test_what_quotes_mean_to_sql_is_only_text(directory: Directory) -> None:
    name = "o'brien;--@example.org"
    with pytest.raises(BadName):
        directory.add_account(name, "x")
    directory.add_account("o'brien@example.org", "x'); DROP TABLE accounts; --")
    assert directory.account("o'brien@example.org") is not None
    assert directory.account("' OR 1=1 --") is None


def test_a_database_of_a_later_release_is_refused(directory: Directory, tmp_path: Path) -> None:
    directory._rows("UPDATE schema_version SET version = 99")
    with pytest.raises(DirectoryError, match="later release"):
        second(directory, tmp_path)


def test_an_older_schema_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "directory.sqlite"
    old = Directory.open(path, hasher=CHEAP)
    old.add_domain("example.org")
    monkeypatch.setattr(schema, "VERSIONS", (*schema.VERSIONS, ("CREATE TABLE extra (name VARCHAR(10))",)))
    new = Directory.open(path, hasher=CHEAP)
    assert new._rows("SELECT version FROM schema_version") == [(3,)]
    assert new._rows("SELECT count(*) FROM extra") == [(0,)]
    assert new.domains() == ["example.org"]
    old.close()
    new.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "directory.sqlite"
    Directory.open(path, hasher=CHEAP).close()
    broken = ("CREATE TABLE extra (name VARCHAR(10))", "CREATE NONSENSE")
    monkeypatch.setattr(schema, "VERSIONS", (*schema.VERSIONS, broken))
    with pytest.raises(DirectoryError):
        Directory.open(path, hasher=CHEAP)
    connection = apsw.Connection(str(path))
    assert connection.execute("SELECT version FROM schema_version").fetchall() == [(2,)]
    assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'extra'").fetchall()
    connection.close()


def test_a_file_that_is_no_database_is_an_error_not_an_empty_directory(tmp_path: Path) -> None:
    path = tmp_path / "directory.sqlite"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(DirectoryError):
        Directory.open(path)
    with pytest.raises(DirectoryError):
        Directory.open(tmp_path / "missing.sqlite", create=False)


FIRST_RELEASE = """
CREATE TABLE schema_version (version INTEGER NOT NULL);
INSERT INTO schema_version (version) VALUES (1);
CREATE TABLE domains (name VARCHAR(255) NOT NULL PRIMARY KEY, created BIGINT NOT NULL);
CREATE TABLE accounts ( address VARCHAR(320) NOT NULL PRIMARY KEY, domain VARCHAR(255) NOT NULL REFERENCES domains
 (name), password VARCHAR(1024) NOT NULL, quota_octets BIGINT NOT NULL DEFAULT 0, disabled SMALLINT NOT NULL DEFAULT 0,
 created BIGINT NOT NULL, home VARCHAR(1024) NOT NULL DEFAULT '', mail VARCHAR(1024) NOT NULL DEFAULT '');
CREATE INDEX accounts_domain ON accounts (domain);
CREATE TABLE aliases ( address VARCHAR(320) NOT NULL, position INTEGER NOT NULL, domain VARCHAR(255) NOT NULL
 REFERENCES domains (name), target VARCHAR(320) NOT NULL, PRIMARY KEY (address, position));
CREATE INDEX aliases_domain ON aliases (domain);
INSERT INTO domains VALUES ('example.org', 1700000000);
INSERT INTO accounts VALUES ('bob@example.org', 'example.org', '{PLAIN}secret', 7, 1, 1700000001, '/home/bob', '');
INSERT INTO aliases VALUES ('info@example.org', 0, 'example.org', 'bob@example.org');
"""


def test_a_directory_of_the_first_release_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "directory.sqlite"
    old = apsw.Connection(str(path))
    old.execute(FIRST_RELEASE)
    old.close()
    found = Directory.open(path, hasher=CHEAP)
    bob = found.account("bob@example.org")
    assert bob == Account("bob@example.org", "{PLAIN}secret", 7, True, 1700000001, "/home/bob", "")
    assert found.targets("info@example.org") == ("bob@example.org",)
    found.add_app_password("bob@example.org", "phone")
    assert [one.label for one in found.app_passwords("bob@example.org")] == ["phone"]
    found.close()


def test_every_version_has_its_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    scripts = ScriptDirectory.from_config(config)
    revisions = [one.revision for one in scripts.walk_revisions()]
    assert sorted(revisions) == [f"{number:04}" for number in range(1, len(schema.VERSIONS) + 1)]
    assert scripts.get_heads() == [REVISION]


def test_removing_an_account_or_a_domain_removes_what_hangs_on_it(directory: Directory) -> None:
    for name in ("bob@example.org", "ann@example.org"):
        directory.add_account(name, "secret")
        directory.add_app_password(name, "phone")
        directory.note_logins([Login(name, "imap", 5)])
    directory.remove_account("bob@example.org")
    assert [one.address for one in directory.logins()] == ["ann@example.org"]
    directory.remove_domain("example.org", with_contents=True)
    assert directory.logins() == []
    assert directory._rows("SELECT count(*) FROM app_passwords") == [(0,)]


def test_app_passwords_have_labels_scopes_and_ends(directory: Directory) -> None:
    directory.add_account("bob@example.org", "secret")
    made, password = directory.add_app_password("BOB@example.org", " phone ", services=["IMAP", "submission", "smtp"])
    assert made.services == ("imap", "smtp")
    assert re.fullmatch(r"[a-z2-9]{4}(-[a-z2-9]{4}){3}", password)
    assert password.replace("-", "") not in str(directory._rows("SELECT * FROM app_passwords"))
    assert directory.app_passwords("bob@example.org") == (made,)
    for label, services, expires_s, why in (
        ("phone", [], 0, "already"),
        ("", [], 0, "one line"),
        ("x\ny", [], 0, "one line"),
        ("x" * 65, [], 0, "one line"),
        ("tablet", ["im ap"], 0, "not the name of a service"),
        ("tablet", [], 5, "expired already"),
    ):
        with pytest.raises(Refused, match=why):
            directory.add_app_password("bob@example.org", label, services=services, expires_s=expires_s)
    with pytest.raises(Refused, match="no app password"):
        directory.remove_app_password("bob@example.org", "tablet")
    for number in range(49):
        directory.add_app_password("bob@example.org", f"device {number}")
    with pytest.raises(Refused, match="at most 50"):
        directory.add_app_password("bob@example.org", "one more")
    directory.remove_app_password("bob@example.org", "phone")
    assert len(directory.app_passwords("bob@example.org")) == 49


@given(st.binary(max_size=40))
def test_only_what_was_generated_is_an_app_password(octets: bytes) -> None:
    key = app_passwords.canonical(octets)
    if key is not None:
        assert len(key) == 16
        assert octets.decode().lower().replace("-", "").replace(" ", "").encode() == key


def test_an_app_password_is_good_as_people_type_it() -> None:
    password = app_passwords.generate()
    stored = app_passwords.AppPassword("phone", app_passwords.digest(password))
    for typed in (password, password.upper(), password.replace("-", ""), password.replace("-", " ")):
        key = app_passwords.canonical(typed.encode())
        assert key is not None
        assert app_passwords.fitting((stored,), key) is stored
    other = app_passwords.canonical(app_passwords.generate().encode())
    assert other is not None
    assert app_passwords.fitting((stored,), other) is None
    assert len({app_passwords.generate() for _ in range(1000)}) == 1000


def test_a_renamed_account_takes_everything_along(directory: Directory) -> None:
    directory.add_account("bob@example.org", "secret", quota_octets=9)
    directory.add_account("ann@example.org", "secret")
    directory.add_alias("info@example.org", ["bob@example.org", "x@example.net"])
    directory.add_app_password("bob@example.org", "phone")
    directory.note_logins([Login("bob@example.org", "imap", 5, "phone")])
    before = directory.account("bob@example.org")
    assert before is not None
    with pytest.raises(Refused, match="exists already"):
        directory.rename_account("bob@example.org", "ann@example.org", home="/m/bob", mail="maildir:/m/bob/M")
    new = directory.rename_account("bob@example.org", "Robert@example.org", home="/m/bob", mail="maildir:/m/bob/M")
    assert (new.password, new.quota_octets, new.home) == (before.password, 9, "/m/bob")
    assert directory.account("bob@example.org") is None
    assert directory.targets("info@example.org") == ("robert@example.org", "x@example.net")
    assert [one.last_used_s for one in directory.app_passwords("robert@example.org")] == [5]
    assert directory.logins("robert@example.org") == [Login("robert@example.org", "imap", 5)]


def test_notes_of_a_removed_account_and_older_ones_are_dropped(directory: Directory) -> None:
    directory.add_account("bob@example.org", "secret")
    directory.note_logins([Login("bob@example.org", "imap", 9), Login("gone@example.org", "imap", 9)])
    directory.note_logins([Login("bob@example.org", "imap", 8), Login("bob@example.org", "smtp", 8)])
    assert [(one.service, one.at_s) for one in directory.logins()] == [("imap", 9), ("smtp", 8)]


def test_a_new_hash_never_replaces_a_newer_password(directory: Directory) -> None:
    directory.add_account("bob@example.org", "{PLAIN}secret", hashed=True)
    assert directory.replace_hash("bob@example.org", "{PLAIN}secret", "{PLAIN}other")
    assert not directory.replace_hash("bob@example.org", "{PLAIN}secret", "{PLAIN}third")
    found = directory.account("bob@example.org")
    assert found is not None
    assert found.password == "{PLAIN}other"


def test_targets_of_an_alias_are_replaced(directory: Directory) -> None:
    directory.add_account("bob@example.org", "secret")
    directory.add_alias("team@example.org", ["a@example.net", "b@example.net"])
    directory.set_alias("Team@example.org", ["c@example.net", "a@example.net", "c@example.net"])
    assert directory.alias_targets("team@example.org") == ("c@example.net", "a@example.net")
    with pytest.raises(Refused, match="there is no alias"):
        directory.set_alias("x@example.org", ["a@example.net"])
    directory.add_alias("bob@example.org", ["bob@example.org", "a@example.net"])
    with pytest.raises(Refused, match="none of its mail"):
        directory.set_alias("bob@example.org", ["a@example.net"])
    assert directory.alias_targets("bob@example.org") == ("bob@example.org", "a@example.net")
