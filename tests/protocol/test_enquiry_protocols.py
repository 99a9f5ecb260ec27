"""Dovecot's master protocol and Courier's authdaemon protocol, line by line."""

import pytest

from posthouse.protocol import courier_authdaemon as courier
from posthouse.protocol import dovecot_master as master
from posthouse.protocol.dovecot_auth import BadLine


@pytest.mark.parametrize(
    ("line", "parsed"),
    [
        (b"VERSION\t1\t0", master.Version(1)),
        (b"USER\t1\tbob\tservice=lmtp\tlip=::1", master.LookUp(1, "bob", "lmtp", False)),
        (b"PASS\t2\tbob@example.org\tservice=doveadm", master.LookUp(2, "bob@example.org", "doveadm", True)),
        (b"LIST\t3\tuser=*@example.org\tservice=x", master.ListUsers(3, "*@example.org")),
        (b"CACHE-FLUSH\t4", master.FlushCache(4, ())),
        (b"CACHE-FLUSH\t4\tann\tbob", master.FlushCache(4, ("ann", "bob"))),
        (b"REQUEST\t1\t2\t3\tcookie", master.Unknown("REQUEST")),
    ],
)
def test_lines_of_the_master_protocol(line: bytes, parsed: master.Request) -> None:
    assert master.parse(line) == parsed


@pytest.mark.parametrize(
    "line", [b"USER\t1", b"USER\tx\tbob", b"USER\t1\t\tservice=x", b"LIST", b"USER\t1\tb\xff", b"VERSION"]
)
def test_what_is_no_line_of_the_master_protocol(line: bytes) -> None:
    with pytest.raises(BadLine):
        master.parse(line)


def test_masks_are_stars_and_question_marks_only() -> None:
    assert master.ListUsers(1, "*@example.org").has("bob@example.org")
    assert master.ListUsers(1, "b?b").has("bob")
    assert not master.ListUsers(1, "[a-z]ob").has("bob")
    assert master.ListUsers(1, "[a]").has("[a]")
    assert master.ListUsers(1, "").has("anybody")


@pytest.mark.parametrize(
    ("mask", "text", "result"),
    [
        ("*", "", True),
        ("**", "x", True),
        ("?", "", False),
        ("a*b*c", "aXbYbZc", True),
        ("a*b*c", "aXbYbZ", False),
        ("*@*.org", "ann@example.org", True),
        ("ab", "abc", False),
        ("abc", "ab", False),
        ("*a" * 2000, "a" * 1000 + "b", False),
    ],
)
def test_masks_fit_in_bounded_time(mask: str, text: str, result: bool) -> None:
    assert master.fits(mask, text) is result


def whole(octets: bytes) -> courier.Request | None:
    return courier.Parser().receive_data(octets)


def test_requests_of_courier() -> None:
    assert whole(b"TCPREMOTEIP=::ffff:192.0.2.9\nPRE . imap bob@example.org\n") == courier.Pre(
        "imap", "bob@example.org"
    )
    body = b"webmail\nlogin\nbob\nse cret\n"
    request = b"TCPREMOTEIP=::ffff:192.0.2.9\nAUTH %d\n" % len(body) + body
    parser = courier.Parser()
    assert [parser.receive_data(request[at : at + 1]) for at in range(len(request) - 1)] == [None] * (len(request) - 1)
    assert parser.receive_data(request[-1:]) == courier.Login("webmail", "bob", b"se cret", "192.0.2.9")
    body = b"imap\ncram-md5\nPDE+\nYm9i\n"
    assert whole(b"AUTH %d\n" % len(body) + body) == courier.Exchange("imap", "CRAM-MD5", b"PDE+", b"Ym9i")
    assert whole(b"PASSWD imap\tbob\told\tnew\n") == courier.ChangePassword("imap", "bob", b"old", b"new")
    assert whole(b"ENUMERATE\n") == courier.Enumerate()
    assert whole(b"PRE . imap") is None


@pytest.mark.parametrize(
    "octets",
    [
        b"HELO\n",
        b"PRE . imap\n",
        b"AUTH x\n",
        b"AUTH 0\n",
        b"AUTH 99999999\n",
        b"AUTH 5\nimap\n",
        b"PASSWD imap\tbob\told\n",
        b"PRE . imap b\xff\n",
        b"x" * 5000,
    ],
)
def test_what_is_no_request_of_courier(octets: bytes) -> None:
    with pytest.raises(courier.BadRequest):
        whole(octets)


def test_values_of_a_database_begin_no_lines_of_their_own() -> None:
    answer = courier.account({"HOME": "/home/x\nPASSWD=secret", "ADDRESS": "bob", "NAME": ""})
    assert answer == b"HOME=/home/x PASSWD=secret\nADDRESS=bob\n.\n"
