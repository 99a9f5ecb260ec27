"""posthouse domain, user and alias, as an administrator types them."""

import json
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.auth.directory import Directory, Login
from posthouse.auth.schemes import make, verify

WEAK = make("MD5-CRYPT", b"secret")


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    directory = tmp_path / "etc"
    directory.mkdir()
    (directory / "main.cf").write_text(
        f"data_directory = {tmp_path}/data\nauth_argon2_memory = 1M\nauth_argon2_time_cost = 1\n"
        # Nobody has such a user, so that root stays root here.
        "auth_user = no-such-user\n"
    )
    return directory


def run(etc: Path, command: str, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", f"posthouse.cli.{command}", "-c", str(etc), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
    )


def ok(etc: Path, command: str, *arguments: str, stdin: str = "") -> str:
    done = run(etc, command, *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def refused(etc: Path, command: str, *arguments: str, stdin: str = "") -> str:
    done = run(etc, command, *arguments, stdin=stdin)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, "one clear line"
    return done.stderr


def directory(etc: Path) -> Directory:
    return Directory.open(etc.parent / "data" / "auth" / "directory.sqlite", create=False)


def test_the_life_of_a_domain_with_its_accounts_and_aliases(etc: Path) -> None:
    ok(etc, "domain", "add", "Example.org", "example.net")
    assert ok(etc, "domain", "list") == "example.net\nexample.org\n"
    ok(etc, "user", "add", "--quota", "2M", "Bob@example.org", stdin="secret\n")
    ok(etc, "user", "add", "ann@example.net", stdin="other")
    assert ok(etc, "user", "list", "example.org").splitlines()[1].split()[:3] == [
        "bob@example.org",
        "2097152",
        "active",
    ]
    ok(etc, "user", "quota", "bob@example.org", "none")
    ok(etc, "user", "disable", "bob@example.org")
    ok(etc, "alias", "add", "@example.org", "bob@example.org", "ann@example.net")
    assert ok(etc, "alias", "list").splitlines()[1].split() == ["@example.org", "bob@example.org,", "ann@example.net"]
    listed = json.loads(ok(etc, "user", "list", "--json"))
    assert [(one["address"], one["quota_octets"], one["disabled"]) for one in listed] == [
        ("ann@example.net", 0, False),
        ("bob@example.org", 0, True),
    ]
    assert "ARGON2" not in json.dumps(listed)
    assert "still has 1 accounts and 1 aliases" in refused(etc, "domain", "remove", "example.org")
    ok(etc, "user", "enable", "bob@example.org")
    ok(etc, "alias", "remove", "@example.org", "ann@example.net")
    assert json.loads(ok(etc, "alias", "list", "--json")) == [
        {"address": "@example.org", "targets": ["bob@example.org"]}
    ]
    ok(etc, "user", "remove", "bob@example.org")
    ok(etc, "domain", "remove", "--with-contents", "example.org")
    assert json.loads(ok(etc, "domain", "list", "--json")) == ["example.net"]


def test_passwords_come_from_standard_input_or_a_file_and_are_stored_as_argon2id(etc: Path, tmp_path: Path) -> None:
    ok(etc, "domain", "add", "example.org")
    ok(etc, "user", "add", "bob@example.org", "--password-stdin", stdin="from stdin\nnot this\n")
    secret = tmp_path / "secret"
    secret.write_bytes("пароль из файла\r\n".encode())
    ok(etc, "user", "add", "ann@example.org", "--password-file", str(secret))
    found = directory(etc)
    for address, password in (("bob@example.org", "from stdin"), ("ann@example.org", "пароль из файла")):
        account = found.account(address)
        assert account is not None
        assert account.password.startswith("{ARGON2ID}")
        assert verify(account.password, password.encode(), "")
    ok(etc, "user", "passwd", "bob@example.org", stdin="changed")
    account = found.account("bob@example.org")
    assert account is not None
    assert verify(account.password, b"changed", "")
    ok(etc, "user", "passwd", "--hashed", "bob@example.org", stdin="{MD5-CRYPT}$1$5pZSV9va$azfrPr6af3Fc7dLblQXVa0\n")
    account = found.account("bob@example.org")
    assert account is not None
    assert verify(account.password, b"password", "")
    found.close()


def test_mistakes_are_answered_with_what_to_do(etc: Path, tmp_path: Path) -> None:
    ok(etc, "domain", "add", "example.org")
    assert "posthouse domain add example.net" in refused(etc, "user", "add", "a@example.net", stdin="x")
    assert "there is no password" in refused(etc, "user", "add", "a@example.org", stdin="")
    assert "there is no password" in refused(etc, "user", "add", "a@example.org", stdin="\n")
    assert "No such file" in refused(etc, "user", "add", "a@example.org", "--password-file", str(tmp_path / "no"))
    assert "is not an address" in refused(etc, "user", "add", "a", stdin="x")
    assert "there is no account" in refused(etc, "user", "passwd", "a@example.org", stdin="x")
    assert "begins with its scheme" in refused(etc, "user", "add", "--hashed", "a@example.org", stdin="x")
    assert "exists already" in refused(etc, "domain", "add", "EXAMPLE.org")
    assert "is not a domain name" in refused(etc, "domain", "add", "exa mple")
    assert "there is no alias" in refused(etc, "alias", "remove", "a@example.org")
    assert run(etc, "user", "add", "--quota", "much", "a@example.org").returncode == 2
    assert run(etc, "user").returncode == 2


def test_a_broken_database_is_a_temporary_failure(etc: Path) -> None:
    ok(etc, "domain", "add", "example.org")
    path = etc.parent / "data" / "auth" / "directory.sqlite"
    for file in path.parent.iterdir():
        file.unlink()
    path.write_bytes(b"nonsense" * 1000)
    done = run(etc, "domain", "list")
    assert done.returncode == 75
    assert "not a database" in done.stderr


@pytest.fixture
def open_etc() -> Iterator[Path]:
    """In a place that other users can reach, which pytest's own directory is not."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    (place / "etc").mkdir()
    (place / "etc" / "main.cf").write_text(f"data_directory = {place}/data\nauth_user = nobody\n")
    yield place / "etc"
    shutil.rmtree(place)


@pytest.mark.root
def test_root_becomes_the_owner_of_the_database_before_touching_it(open_etc: Path) -> None:
    data = open_etc.parent / "data" / "auth"
    data.mkdir(parents=True, mode=0o700)
    os.chown(data, 65533, 65532)
    ok(open_etc, "domain", "add", "example.org")
    ok(open_etc, "user", "add", "bob@example.org", stdin="secret")
    assert {(file.stat().st_uid, file.stat().st_gid) for file in data.iterdir()} == {(65533, 65532)}


@pytest.mark.root
def test_root_makes_the_directory_for_the_auth_user(open_etc: Path) -> None:
    ok(open_etc, "domain", "add", "example.org")
    data = open_etc.parent / "data" / "auth"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    nobody = pwd.getpwnam("nobody")
    assert {file.stat().st_uid for file in (data, *data.iterdir())} == {nobody.pw_uid}


def test_an_account_is_shown_set_and_renamed(etc: Path) -> None:
    ok(etc, "domain", "add", "example.org")
    ok(etc, "user", "add", "--quota", "2M", "bob@example.org", stdin="secret\n")
    ok(etc, "alias", "add", "info@example.org", "bob@example.org")
    password = ok(etc, "app_password", "add", "--for", "imap,smtp", "--expires", "90d", "bob@example.org", "phone")
    assert len(password.strip()) == 19
    ok(etc, "user", "set", "--quota", "3M", "--mail", "maildir:~/M", "--app-passwords-only", "yes", "bob@example.org")
    shown = ok(etc, "user", "show", "bob@example.org")
    for line in (
        r"quota +3145728",
        r"password +ARGON2ID \(barred\)",
        r"home +/var/vmail/example.org/bob \(mail_home\)",
        r"mail +maildir:~/M",
        r"last login +never",
        r'app password +"phone" for imap, smtp, until 20\d\d-\d\d-\d\d \d\d:\d\d, last used never',
        r"alias +info@example.org",
    ):
        assert re.search(f"^{line}$", shown, re.MULTILINE), (line, shown)
    facts = json.loads(ok(etc, "user", "show", "--json", "bob@example.org"))
    assert (facts["app_passwords"][0]["label"], facts["aliases"]) == ("phone", ["info@example.org"])
    assert "argon2" not in json.dumps(facts)
    ok(etc, "user", "rename", "--keep-alias", "bob@example.org", "robert@example.org")
    found = directory(etc)
    account = found.account("robert@example.org")
    assert account is not None
    assert (account.home, account.mail) == ("/var/vmail/example.org/bob", "maildir:~/M")
    assert found.targets("bob@example.org") == ("robert@example.org",)
    found.note_logins([Login("robert@example.org", "imap", 86400 * 365)])
    found.close()
    assert re.search(r"robert@example.org .* 19(70|71)-\d\d-\d\d \d\d:\d\d$", ok(etc, "user", "list"), re.MULTILINE)
    assert "imap,smtp" in ok(etc, "app_password", "list", "robert@example.org")
    ok(etc, "app_password", "remove", "robert@example.org", "phone")
    assert ok(etc, "app_password", "list", "robert@example.org") == ""


def test_what_makes_no_sense_is_refused_in_one_line(etc: Path) -> None:
    ok(etc, "domain", "add", "example.org")
    ok(etc, "user", "add", "bob@example.org", stdin="secret\n")
    assert "no app password yet" in refused(etc, "user", "set", "--app-passwords-only", "yes", "bob@example.org")
    assert "nothing to set" in refused(etc, "user", "set", "bob@example.org")
    assert "no account" in refused(etc, "user", "show", "ann@example.org")
    assert "no account" in refused(etc, "app_password", "list", "ann@example.org")
    assert "no account" in refused(etc, "app_password", "add", "ann@example.org", "phone")
    assert "no app password" in refused(etc, "app_password", "remove", "bob@example.org", "phone")
    assert "no domain" in refused(etc, "domain", "disable", "example.net")


def test_a_disabled_domain_is_shown_as_such(etc: Path) -> None:
    ok(etc, "domain", "add", "example.org")
    ok(etc, "user", "add", "bob@example.org", stdin="secret\n")
    ok(etc, "domain", "disable", "example.org")
    assert ok(etc, "domain", "list") == "example.org  (disabled)\n"
    assert "domain disabled" in ok(etc, "user", "list")
    facts = json.loads(ok(etc, "domain", "show", "--json", "example.org"))
    assert (facts["disabled"], facts["accounts"], facts["aliases"]) == (True, 1, 0)
    ok(etc, "domain", "enable", "example.org")
    assert ok(etc, "domain", "list") == "example.org\n"


def test_the_report_counts_hashes_that_are_weak(etc: Path) -> None:
    ok(etc, "domain", "add", "example.org")
    ok(etc, "user", "add", "bob@example.org", stdin="secret\n")
    for name in ("ann", "eve"):
        ok(etc, "user", "add", "--hashed", f"{name}@example.org", stdin=WEAK + "\n")
    report = ok(etc, "user", "rehash-report")
    assert [line.split() for line in report.splitlines()[:3]] == [
        ["SCHEME", "ACCOUNTS", "WEAK"],
        ["ARGON2ID", "1", "0"],
        ["MD5-CRYPT", "2", "2"],
    ]
    assert "2 of 3 passwords have a weak hash" in report
    assert "auth_rehash_weak_passwords" in report
    assert json.loads(ok(etc, "user", "rehash-report", "--json"))["MD5-CRYPT"] == {"accounts": 2, "weak": 2}


def test_accounts_are_imported_after_a_dry_run(etc: Path, tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text(f"bob@example.org:{WEAK}:::::\nann@example.org:*:::::\n")
    dry = run(etc, "import_accounts", "passwd-file", "-n", str(file))
    assert (dry.returncode, dry.stderr) == (1, "")
    assert dry.stdout.splitlines() == [
        "domains:  1 would be taken, 0 would be changed, 0 already there",
        "accounts: 1 would be taken, 0 would be changed, 0 already there",
        "aliases:  0 would be taken, 0 would be changed, 0 already there",
        "skipped: ann@example.org: line 2: no password is stored",
    ]
    assert ok(etc, "domain", "list") == ""
    file.write_text(f"bob@example.org:{WEAK}:::::\n")
    assert "accounts: 1 taken" in ok(etc, "import_accounts", "passwd-file", str(file))
    assert json.loads(ok(etc, "import_accounts", "passwd-file", "--json", str(file)))["accounts"]["present"] == 1
    assert "cannot read" in refused(etc, "import_accounts", "passwd-file", str(tmp_path / "missing"))
    for source in ("mysql://joe@/x?host=/nowhere", f"sqlite://{tmp_path}/missing", str(tmp_path / "missing")):
        assert refused(etc, "import_accounts", "postfixadmin", source)
    assert "unknown setting" in refused(etc, "import_accounts", "dovecot-sql", _file(tmp_path, "x = 1\n"))
    assert "mail-base" in refused(etc, "import_accounts", "postfixadmin", "--mail-base", "vmail", "sqlite:///x")


def _file(directory: Path, text: str) -> str:
    path = directory / "file"
    path.write_text(text)
    return str(path)


def test_the_posthouse_command_knows_all_of_them(etc: Path) -> None:
    for words in (("app-password", "add", "--help"), ("import", "postfixadmin", "--help"), ("user", "show", "--help")):
        command = [sys.executable, "-m", "posthouse.cli.posthouse", "-c", str(etc), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stderr) == (0, "")
        assert " ".join(words[:2]) in done.stdout


def test_an_alias_is_set_and_shown(etc: Path) -> None:
    ok(etc, "domain", "add", "example.org")
    ok(etc, "alias", "add", "team@example.org", "a@example.net")
    ok(etc, "alias", "set", "team@example.org", "b@example.net", "c@example.net")
    assert ok(etc, "alias", "show", "team@example.org") == "b@example.net\nc@example.net\n"
    assert json.loads(ok(etc, "alias", "show", "--json", "team@example.org")) == ["b@example.net", "c@example.net"]
    assert "no alias" in refused(etc, "alias", "show", "x@example.org")
    assert "no alias" in refused(etc, "alias", "set", "x@example.org", "b@example.net")


def test_a_password_can_be_stored_for_another_mechanism(etc: Path) -> None:
    ok(etc, "domain", "add", "example.org")
    ok(etc, "user", "add", "--scheme", "SCRAM-SHA-256", "bob@example.org", stdin="secret\n")
    ok(etc, "user", "add", "--scheme", "digest-md5", "Ann@example.org", stdin="secret\n")
    found = directory(etc)
    for name, scheme in (("bob@example.org", "{SCRAM-SHA-256}"), ("ann@example.org", "{DIGEST-MD5}")):
        account = found.account(name)
        assert account is not None
        assert account.password.startswith(scheme)
        assert verify(account.password, b"secret", "", name)
    found.close()
    assert "unknown password scheme" in refused(etc, "user", "passwd", "--scheme", "x", "bob@example.org", stdin="y\n")
    for_both = ("user", "passwd", "--hashed", "--scheme", "SCRAM-SHA-1", "bob@example.org")
    assert "--hashed" in refused(etc, *for_both, stdin="y\n")
