"""Which addresses a configuration asks for, and what happens when they cannot be had."""

from pathlib import Path

import pytest

from posthouse.config.configuration import Configuration
from posthouse.config.loading import load
from posthouse.runtime import listeners


def configuration(directory: Path, master: str, main: str = "", dovecot: str = "") -> Configuration:
    (directory / "main.cf").write_text(f"inet_protocols = ipv4\n{main}")
    (directory / "master.cf").write_text(master)
    (directory / "dovecot.conf").write_text(f"listen = 127.0.0.1\n{dovecot}")
    return load(str(directory))


def addresses(found: Configuration) -> list[tuple[str, str, str]]:
    return [(one.service, one.name, one.address) for one in listeners.plan(found)]


def test_every_inet_entry_of_smtpd_is_a_listener_with_its_own_settings(tmp_path: Path) -> None:
    found = configuration(
        tmp_path,
        "smtp inet n - n - - smtpd\n"
        "127.0.0.1:2587 inet n - n - - smtpd\n  -o smtpd_banner=submission\n"
        "smtp unix - - n - - smtp\n",
        dovecot="protocols =\n",
    )
    assert addresses(found) == [("smtpd", "smtp", "0.0.0.0:25"), ("smtpd", "127.0.0.1:2587", "127.0.0.1:2587")]
    _, submission = listeners.plan(found)
    assert submission.settings.values["smtpd_banner"] == "submission"


def test_lmtp_has_a_listener_of_its_own_kind(tmp_path: Path) -> None:
    found = configuration(tmp_path, "127.0.0.1:24 inet n - n - - lmtpd\n", dovecot="protocols =\n")
    assert addresses(found) == [("lmtpd", "127.0.0.1:24", "127.0.0.1:24")]


def test_inet_interfaces_choose_the_addresses(tmp_path: Path) -> None:
    found = configuration(tmp_path, "25 inet n - n - - smtpd\n", "inet_interfaces = loopback-only\n", "protocols =\n")
    assert addresses(found) == [("smtpd", "25", "127.0.0.1:25")]


def test_dovecot_listens_on_its_customary_ports(tmp_path: Path) -> None:
    found = configuration(tmp_path, "")
    assert addresses(found) == [
        ("imap-login", "imap", "127.0.0.1:143"),
        ("imap-login", "imaps", "127.0.0.1:993"),
        ("pop3-login", "pop3", "127.0.0.1:110"),
        ("pop3-login", "pop3s", "127.0.0.1:995"),
    ]
    assert [one.implicit_tls for one in listeners.plan(found)] == [False, True, False, True]


def test_dovecot_listeners_are_moved_switched_off_and_added(tmp_path: Path) -> None:
    found = configuration(
        tmp_path,
        "",
        dovecot="protocols = imap\nservice imap-login {\n  inet_listener imap {\n    port = 0\n  }\n"
        "  inet_listener imaps {\n    port = 9993\n    address = 127.0.0.2\n  }\n"
        "  inet_listener second {\n    port = 1143\n  }\n}\n",
    )
    assert addresses(found) == [
        ("imap-login", "imaps", "127.0.0.2:9993"),
        ("imap-login", "second", "127.0.0.1:1143"),
    ]


def test_without_tls_there_is_no_listener_that_begins_with_it(tmp_path: Path) -> None:
    found = configuration(tmp_path, "", dovecot="ssl = no\n")
    assert [name for _, name, _ in addresses(found)] == ["imap", "pop3"]


def test_the_same_address_twice_is_named(tmp_path: Path) -> None:
    found = configuration(tmp_path, "127.0.0.1:143 inet n - n - - smtpd\n", dovecot="protocols = imap\n")
    with pytest.raises(listeners.ListenError, match=r"127\.0\.0\.1:143 is already listened on by 127\.0\.0\.1:143"):
        listeners.plan(found)


def test_a_port_in_use_is_named_with_its_entry(tmp_path: Path) -> None:
    found = configuration(tmp_path, "127.0.0.1:0 inet n - n - - smtpd\n", dovecot="protocols =\n")
    with pytest.raises(listeners.ListenError, match="0 is no port"):
        listeners.plan(found)
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = configuration(tmp_path, f"127.0.0.1:{port} inet n - n - - smtpd\n", dovecot="protocols =\n")
        (one,) = listeners.plan(found)
        with pytest.raises(listeners.ListenError, match=rf"master.cf:1: cannot listen on 127\.0\.0\.1:{port}: "):
            listeners.bind(one)
