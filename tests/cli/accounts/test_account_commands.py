"""posthouse domain, user and alias, as an administrator types them."""

import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.auth.directory import Directory
from posthouse.auth.schemes import verify


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
