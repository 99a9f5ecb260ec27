"""Lines in syslog's format, and files that cannot be planted."""

import os
import time
from pathlib import Path

import pytest

from posthouse.config.parameter import MAIN, Settings
from posthouse.core.logline import Level
from posthouse.runtime import log_files
from posthouse.runtime.schema import LogRecord


def settings(**values: str) -> Settings:
    return Settings(MAIN, values, {})


def test_a_line_has_the_form_that_log_analysers_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    form = log_files.LineFormat("mail.example.org")
    record = LogRecord(1763899200.9, Level.INFO, "postfix/smtpd", 123, "connect from unknown[192.0.2.1]")
    assert form.line(record) == "Nov 23 12:00:00 mail postfix/smtpd[123]: connect from unknown[192.0.2.1]\n"
    assert form.datagram(record, 2) == "<22>Nov 23 12:00:00 postfix/smtpd[123]: connect from unknown[192.0.2.1]"
    dovecot = LogRecord(1762171200.0, Level.INFO, "dovecot", 9, "imap-login: Login: user=<a>")
    assert form.line(dovecot) == "Nov  3 12:00:00 mail dovecot: imap-login: Login: user=<a>\n"


def test_errors_have_a_file_beside_the_log() -> None:
    found = log_files.paths(settings(maillog_file="/var/log/mail.log"))
    assert found == ("/var/log/mail.log", "/var/log/mail.err")


def test_no_file_means_syslog() -> None:
    assert log_files.paths(settings(maillog_file="")) == ()


def test_a_file_outside_the_prefixes_is_refused() -> None:
    with pytest.raises(log_files.LogFileError, match="maillog_file_prefixes"):
        log_files.paths(settings(maillog_file="/etc/passwd"))
    with pytest.raises(log_files.LogFileError):
        log_files.paths(settings(maillog_file="/variable/mail.log"))


def test_a_new_file_gets_the_permissions_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    descriptor = log_files.open_file(str(path), settings(maillog_file_permissions="0640"))
    os.write(descriptor, b"line\n")
    os.close(descriptor)
    assert path.stat().st_mode & 0o777 == 0o640
    again = log_files.open_file(str(path), settings())
    os.write(again, b"line\n")
    os.close(again)
    assert path.read_text() == "line\nline\n"


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "shadow"
    target.write_text("precious")
    (tmp_path / "mail.log").symlink_to(target)
    with pytest.raises(log_files.LogFileError):
        log_files.open_file(str(tmp_path / "mail.log"), settings())
    assert target.read_text() == "precious"
