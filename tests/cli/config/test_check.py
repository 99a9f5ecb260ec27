"""posthouse check names every problem."""

import os
from pathlib import Path

import pytest

from posthouse.cli import check


def write(directory: Path, main: str) -> str:
    spool, data = directory / "spool", directory / "data"
    for made in (spool, data):
        made.mkdir(exist_ok=True)
    owner = "".join(f"{name} = root\n" for name in _users()) if os.geteuid() == 0 else ""
    (directory / "main.cf").write_text(
        f"compatibility_level = 3.6\nqueue_directory = {spool}\ndata_directory = {data}\n"
        f"alias_maps =\nalias_database =\n{owner}{main}"
    )
    (directory / "master.cf").write_text("smtp inet n - n - - smtpd\n")
    return str(directory)


def _users() -> list[str]:
    from posthouse.services.table import PROCESSES

    return sorted({spec.user for spec in PROCESSES})


def said(directory: str) -> list[str]:
    return [str(one) for one in check.problems(directory)]


def test_a_clean_configuration_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.run(write(tmp_path, "")) == 0
    assert capsys.readouterr().out == ""


def test_errors_make_the_status_1_and_warnings_do_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.run(write(tmp_path, "max_use = 3\n")) == 0
    assert "max_use has no effect here" in capsys.readouterr().out
    assert check.run(write(tmp_path, "message_size_limit = x\n")) == 1


def test_missing_tables_and_types_are_named(tmp_path: Path) -> None:
    found = said(write(tmp_path, f"transport_maps = hash:{tmp_path}/transport, cdb:/x\n"))
    assert any(f"{tmp_path}/transport does not exist" in one for one in found)
    assert any("no table type for 'cdb:/x'" in one for one in found)
    assert all(f"{tmp_path}/main.cf:" in one for one in found)


def test_restrictions_that_are_not_there_are_named(tmp_path: Path) -> None:
    directory = write(tmp_path, "smtpd_recipient_restrictions = reject_unauth_destinaton, permit\n")
    master = "smtp inet n - n - - smtpd\n -o smtpd_client_restrictions=permit_mynetwork,reject\n"
    (tmp_path / "master.cf").write_text(master)
    found = said(directory)
    assert any("main.cf:" in one and one.endswith("did you mean reject_unauth_destination?") for one in found)
    assert any("master.cf:1: warning: smtp: -o smtpd_client_restrictions" in one for one in found)
    assert len(found) == 2


def test_a_configuration_that_does_not_say_who_may_relay_is_named(tmp_path: Path) -> None:
    (one,) = said(write(tmp_path, "smtpd_relay_restrictions =\n"))
    assert "says who may relay" in one


def test_directories_are_examined(tmp_path: Path) -> None:
    directory = write(tmp_path, "")
    (tmp_path / "spool").chmod(0o777)
    (tmp_path / "data").rmdir()
    (tmp_path / "data").write_text("")
    found = said(directory)
    assert any("everybody can write there" in one and "chmod" in one for one in found)
    assert any("is no directory" in one for one in found)


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    found = said(write(tmp_path, "queue_directory = /proc/posthouse\n"))
    assert any("does not exist" in one and "posthouse init" in one for one in found) or os.geteuid() == 0


def test_missing_and_public_keys_are_named(tmp_path: Path) -> None:
    directory = write(tmp_path, "")
    key = tmp_path / "key.pem"
    key.write_text("")
    key.chmod(0o644)
    (tmp_path / "dovecot.conf").write_text(f"ssl_cert = <{tmp_path}/missing.pem\nssl_key = <{key}\n")
    found = said(directory)
    assert any("cannot read" in one and "missing.pem" in one for one in found)
    assert any("everybody can read the private key" in one for one in found)


@pytest.mark.skipif(os.geteuid() != 0, reason="users matter only as root")
def test_a_user_that_does_not_exist_is_named(tmp_path: Path) -> None:
    found = said(write(tmp_path, "smtpd_user = nobody-has-this-name\n"))
    assert any("there is no user 'nobody-has-this-name'" in one for one in found)


def test_a_directory_that_does_not_exist_is_said_to_be_missing(tmp_path: Path) -> None:
    found = check.problems(str(tmp_path / "nowhere"), {})
    assert any("No such file or directory" in problem.what for problem in found)


def test_a_directory_on_a_server_is_looked_at(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    for value, complaint in (
        ("mysql://joe@db.example/x?passwort_file=/x", "error: directory_database: passwort_file is not known in a URL"),
        ("mysql://joe@db.example:x/x", "error: directory_database: not a URL"),
        (
            f"postgresql://joe@/x?password_file={secret}",
            f"error: directory_database: password_file: cannot read {secret}",
        ),
        ("mysql://joe:secret@db.example/x", "warning: directory_database: everybody can read the password in main.cf"),
    ):
        found = said(write(tmp_path, f"directory_database = {value}\n"))
        assert [complaint in one for one in found] == [True], (value, found)
    secret.write_text("x")
    secret.chmod(0o600)
    assert said(write(tmp_path, f"directory_database = mysql://joe@db.example/x?password_file={secret}\n")) == []
