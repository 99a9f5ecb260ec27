"""Lines in syslog's format, and files that cannot be planted."""

import os
import time
from pathlib import Path

import pytest

from posthouse.config.configuration import Configuration
from posthouse.config.parameter import DOVECOT, MAIN, Settings
from posthouse.core.logline import Level
from posthouse.runtime import log_files
from posthouse.runtime.schema import LogRecord


def settings(**values: str) -> Settings:
    return Settings(MAIN, values, {})


def routes(main: dict[str, str] | None = None, **dovecot: str) -> log_files.Routes:
    return log_files.routes(Configuration("/x", settings(**(main or {})), Settings(DOVECOT, dovecot, {})))


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
    assert routes({"maillog_file": "/var/log/mail.log"}).files == ("/var/log/mail.log", "/var/log/mail.err")


def test_no_file_means_syslog() -> None:
    assert routes({"maillog_file": ""}).files == ()


def test_a_file_outside_the_prefixes_is_refused() -> None:
    with pytest.raises(log_files.LogFileError, match="maillog_file_prefixes"):
        routes({"maillog_file": "/etc/passwd"})
    with pytest.raises(log_files.LogFileError):
        routes({"maillog_file": "/variable/mail.log"})


def test_dovecots_services_can_have_files_of_their_own() -> None:
    def of_levels(**dovecot: str) -> list[str]:
        found = routes({"maillog_file": "/var/log/mail.log"}, **dovecot)
        return [found.of_dovecot(level) for level in (Level.ERROR, Level.WARNING, Level.INFO, Level.DEBUG)]

    assert of_levels() == ["", "", "", ""]
    assert of_levels(log_path="/l") == ["/l", "/l", "/l", "/l"]
    assert of_levels(log_path="/l", info_log_path="/i") == ["/l", "/l", "/i", "/i"]
    assert of_levels(info_log_path="/i", debug_log_path="/d") == ["", "", "/i", "/d"]
    assert of_levels(log_path="syslog") == ["", "", "", ""]
    with pytest.raises(log_files.LogFileError, match="absolute path"):
        of_levels(log_path="dovecot.log")


def test_a_line_in_a_file_of_dovecots_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()

    def line(level: Level, text: str) -> str:
        return log_files.dovecot_line(LogRecord(1763899200.9, level, "dovecot", 9, text), "%Y-%m-%d %H:%M:%S ")

    assert line(Level.INFO, "imap-login: Login: user=<a>") == "2025-11-23 12:00:00 imap-login: Info: Login: user=<a>\n"
    assert line(Level.ERROR, "auth: Error: sql: away") == "2025-11-23 12:00:00 auth: Error: sql: away\n"
    assert (
        line(Level.INFO, "imap(a)<9><s>: Disconnected: x")
        == "2025-11-23 12:00:00 imap(a)<9><s>: Info: Disconnected: x\n"
    )


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
