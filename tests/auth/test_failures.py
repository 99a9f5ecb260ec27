"""Penalties and suspicions, with a clock of the test's own."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.auth.failures import Failures, Limits, networks
from posthouse.auth.loglines import WrongLogins


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


LOCAL = networks(["127.0.0.0/8", "::1/128"])


def failures(
    clock: Clock, *, clients: int = 100, penalty_s: float = 29, limit: int = 3, window_s: float = 600
) -> Failures:
    return Failures(Limits(clients, penalty_s, limit, window_s, LOCAL), clock)


def test_penalties_grow_as_dovecots_do_and_a_login_ends_them() -> None:
    found = failures(Clock(), limit=0)
    waits = []
    for number in range(6):
        waits.append(found.penalty_s("192.0.2.1"))
        found.failed("192.0.2.1", "bob", b"%d" % number, "imap", "Password mismatch")
    assert waits == [0, 4, 8, 15, 15, 15]
    assert found.penalty_s("192.0.2.2") == 0
    found.succeeded("192.0.2.1", "bob")
    assert found.penalty_s("192.0.2.1") == 0


def test_the_same_wrong_login_again_makes_it_no_longer_and_is_no_suspicion() -> None:
    found = failures(Clock())
    for _ in range(50):
        assert found.failed("192.0.2.1", "bob", b"stale", "imap", "Password mismatch") is None
    assert found.penalty_s("192.0.2.1") == 4
    # Without a password nothing can be recognised.
    assert found.failed("192.0.2.1", "bob", None, "imap", "x") is None
    suspicion = found.failed("192.0.2.1", "bob", None, "imap", "x")
    assert suspicion is not None
    assert suspicion.repeats == 49


def test_a_penalty_is_forgotten_after_its_lifetime() -> None:
    clock = Clock()
    found = failures(clock)
    found.failed("192.0.2.1", "bob", b"x", "imap", "x")
    clock.now_s += 28
    assert found.penalty_s("192.0.2.1") == 4
    clock.now_s += 1
    assert found.penalty_s("192.0.2.1") == 0
    found.failed("192.0.2.1", "bob", b"y", "imap", "x")
    assert found.penalty_s("192.0.2.1") == 4


def test_networks_of_ipv6_count_as_one_client_and_mapped_addresses_as_ipv4() -> None:
    found = failures(Clock())
    found.failed("2001:db8:1:2::3", "bob", b"x", "imap", "x")
    assert found.penalty_s("2001:db8:1:ffff::1") == 4
    assert found.penalty_s("2001:db8:2::3") == 0
    found.failed("::ffff:192.0.2.1", "bob", b"x", "imap", "x")
    assert found.penalty_s("192.0.2.1") == 4


@pytest.mark.parametrize("remote", ["127.0.0.1", "127.9.9.9", "::1", "", "not an address"])
def test_this_machine_and_clients_without_an_address_are_exempt(remote: str) -> None:
    found = failures(Clock(), limit=1)
    assert found.failed(remote, "bob", b"x", "imap", "x") is None
    assert found.penalty_s(remote) == 0
    assert len(found) == 0


def test_different_wrong_logins_within_the_window_are_reported_once() -> None:
    clock = Clock()
    found = failures(clock)
    assert found.failed("192.0.2.1", "ann", b"1", "imap", "unknown user") is None
    clock.now_s += 601
    assert found.failed("192.0.2.1", "bob", b"1", "imap", "Password mismatch") is None
    clock.now_s += 10
    assert found.failed("192.0.2.1", "bob", b"2", "smtp", "Password mismatch") is None
    suspicion = found.failed("192.0.2.1", "eve", b"2", "imap", "unknown user")
    assert suspicion is not None
    assert (suspicion.failures, suspicion.within_s, suspicion.users) == (3, 10, ("bob", "eve"))
    assert suspicion.services == (("imap", 2), ("smtp", 1))
    assert found.failed("192.0.2.1", "eve", b"3", "imap", "x") is None, "counted anew"


def test_who_finds_his_password_in_the_end_is_no_intruder() -> None:
    found = failures(Clock())
    found.failed("192.0.2.1", "bob", b"1", "imap", "x")
    found.failed("192.0.2.1", "bob", b"2", "imap", "x")
    found.succeeded("192.0.2.1", "bob")
    assert found.failed("192.0.2.1", "bob", b"3", "imap", "x") is None
    # An account of his own does not wash an intruder clean.
    found.failed("192.0.2.1", "ann", b"1", "imap", "x")
    found.succeeded("192.0.2.1", "mallory")
    assert found.failed("192.0.2.1", "eve", b"1", "imap", "x") is not None


def test_what_is_remembered_is_bounded() -> None:
    found = failures(Clock(), clients=10)
    for number in range(1000):
        found.failed(f"192.0.{number // 250}.{number % 250}", "bob", b"x", "imap", "x")
    assert len(found) == 10


@given(st.text(), st.text(), st.binary())
def test_no_client_can_break_the_line_of_the_log(remote: str, user: str, password: bytes) -> None:
    found = failures(Clock(), limit=1)
    suspicion = found.failed(remote, user, password, "imap", "unknown user")
    if suspicion is None:
        return
    ipaddress.ip_address(remote)
    line = WrongLogins(
        suspicion.remote,
        suspicion.failures,
        suspicion.within_s,
        suspicion.users,
        suspicion.services,
        suspicion.repeats,
        suspicion.reason,
    ).text()
    assert line.startswith(f"ban: rip={remote}, 1 different wrong logins in 0 secs (imap 1) for 1 users (")
    assert line.count("rip=") == 1 + user.count("rip=")
