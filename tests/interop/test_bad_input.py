"""Hostile and broken clients: a clear reply with the right enhanced status, a bounded buffer, a log line, and
nothing else
disturbed. Every test ends by sending and reading a normal message."""

import contextlib
import re
import smtplib
import socket
import time
from collections.abc import Iterator

import pytest
from bench.process_tree import memory_mb

from tests.interop.world import World


@pytest.fixture(scope="module")
def world_settings() -> tuple[str, ...]:
    """Loopback counts as a stranger for the connection limit, and a silent client loses patience soon."""
    return ("smtpd_client_event_limit_exceptions=", "smtpd_timeout=3s", "smtpd_error_sleep_time=0s")


@pytest.fixture(autouse=True)
def _others_are_undisturbed(world: World) -> Iterator[None]:
    yield
    subject = f"still alive {time.monotonic_ns()}"

    def accepted() -> bool:
        with contextlib.suppress(OSError, smtplib.SMTPException), smtplib.SMTP(*address(world), timeout=10) as client:
            client.sendmail("s@example.org", [world.user], f"Subject: {subject}\r\n\r\nx\r\n")
            return True
        return False

    world.wait_until(accepted, "an ordinary client to be served")
    world.wait_for_subject(subject)


def address(world: World, name: str = "smtp") -> tuple[str, int]:
    return world.endpoint(name)


class Raw:
    """A client that sends octets, not commands."""

    def __init__(self, world: World, name: str = "smtp") -> None:
        self.sock = socket.create_connection(address(world, name), timeout=15)
        self.greeting = self.reply()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def reply(self) -> bytes:
        """One reply (all lines); b"" when the server has closed."""
        data = b""
        while not re.search(rb"(?:^|\r\n)\d{3} [^\r\n]*\r\n\Z", data):
            with contextlib.suppress(ConnectionResetError):
                if chunk := self.sock.recv(65536):
                    data += chunk
                    continue
            return data
        return data

    def ask(self, line: bytes) -> bytes:
        self.send(line)
        return self.reply()

    def until_data(self, recipient: str) -> None:
        assert self.ask(b"EHLO client.example\r\n").startswith(b"250")
        assert self.ask(b"MAIL FROM:<s@example.org>\r\n").startswith(b"250")
        assert self.ask(f"RCPT TO:<{recipient}>\r\n".encode()).startswith(b"250")
        assert self.ask(b"DATA\r\n").startswith(b"354")

    def close(self) -> None:
        self.sock.close()


@pytest.fixture
def raw(world: World) -> Iterator[Raw]:
    client = Raw(world)
    yield client
    client.close()


def test_an_over_long_command_line_is_refused_and_the_session_goes_on(raw: Raw) -> None:
    answer = raw.ask(b"EHLO " + b"x" * 100_000 + b"\r\n")
    assert re.match(rb"5\d\d[ -]5\.[0-9]\.[0-9]", answer), answer
    assert raw.ask(b"NOOP\r\n").startswith(b"250")


def test_an_endless_line_does_not_fill_the_memory(world: World, raw: Raw) -> None:
    before = memory_mb(world.pid)["private"]
    with contextlib.suppress(OSError):
        for _ in range(64):
            raw.send(b"A" * 1_000_000)
    assert memory_mb(world.pid)["private"] - before < 30


def test_nul_in_a_command_is_a_syntax_error(raw: Raw) -> None:
    raw.ask(b"EHLO client.example\r\n")
    assert re.match(rb"5\d\d 5\.5\.[24]", raw.ask(b"MAIL FROM:<a\0b@example.org>\r\n"))


@pytest.mark.parametrize(
    "line", [b"FROB\r\n", b"MAIL\r\n", b"MAIL FROM\r\n", b"MAIL FROM:<\r\n", b"RCPT TO:<a>\r\n", b"\r\n", b"EHLO\r\n"]
)
def test_half_commands_get_an_enhanced_status(raw: Raw, line: bytes) -> None:
    raw.ask(b"EHLO client.example\r\n")
    assert re.match(rb"50\d 5\.[157]\.[0-9]", raw.ask(line))
    assert raw.ask(b"NOOP\r\n").startswith(b"250")


def test_wrong_encodings_in_an_address_are_refused(raw: Raw) -> None:
    raw.ask(b"EHLO client.example\r\n")
    assert re.match(rb"5\d\d 5\.", raw.ask(b"MAIL FROM:<\xff\xfe@example.org> SMTPUTF8\r\n"))
    assert re.match(rb"5\d\d 5\.", raw.ask("MAIL FROM:<grüße@example.org>\r\n".encode()))


@pytest.mark.parametrize("end", [b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r.\r\n", b"\r\n.\r", b"\n\n.\n\n"])
def test_only_crlf_dot_crlf_ends_a_message(world: World, raw: Raw, end: bytes) -> None:
    raw.until_data(world.user)
    smuggled = (
        b"MAIL FROM:<evil@example.org>\r\nRCPT TO:<%b>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n"
        % world.user.encode()
    )
    raw.send(b"Subject: outer\r\n\r\nfirst" + end + smuggled)
    answer = raw.reply()
    assert re.match(rb"(250 2\.0\.0|5\d\d 5\.[0-9]\.[0-9]|521 5\.)", answer), answer
    for path in world.files():
        content = path.read_bytes()
        assert not content.partition(b"\n\n")[0].endswith(b"Subject: smuggled"), "a smuggled message was accepted"


def test_http_spoken_to_us_ends_the_session(world: World, raw: Raw) -> None:
    answer = raw.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith((b"221 2.7.0", b"521 5", b"500 5"))
    world.expect_log(r"warning: non-SMTP command from")


def test_a_silent_client_is_told_and_dropped(world: World, raw: Raw) -> None:
    assert raw.greeting.startswith(b"220 ")
    assert raw.reply().startswith(b"421 4.4.2 ")
    world.wait_for_log(r"timeout after (CONNECT|UNKNOWN|EHLO|END-OF-MESSAGE) from")


def test_too_many_errors_end_the_session(world: World, raw: Raw) -> None:
    answers = []
    for _ in range(40):
        answer = raw.ask(b"FROB\r\n")
        answers.append(answer)
        if not answer or answer.startswith(b"421"):
            break
    assert answers[-1].startswith(b"421 4.7.0 ")
    world.wait_for_log("too many errors after")


def test_a_message_over_the_limit_is_refused_before_and_after_data(world: World, raw: Raw) -> None:
    raw.ask(b"EHLO client.example\r\n")
    assert raw.ask(b"MAIL FROM:<s@example.org> SIZE=99999999999\r\n").startswith(b"552 5.3.4 ")
    assert raw.ask(b"NOOP\r\n").startswith(b"250")


def test_a_thousand_connections_from_one_address_do_not_shut_out_the_rest(world: World) -> None:
    before = memory_mb(world.pid)["private"]
    sockets: list[socket.socket] = []
    answers = []
    try:
        for _ in range(1000):
            sock = socket.socket()
            sock.settimeout(15)
            with contextlib.suppress(OSError):
                sock.connect(address(world))
            sockets.append(sock)
        for sock in sockets:
            with contextlib.suppress(OSError):
                answers.append(sock.recv(200))
        served = sum(answer.startswith(b"220 ") for answer in answers)
        refused = sum(answer.startswith(b"421 4.7.0 ") for answer in answers)
        assert served <= 100  # smtpd_client_connection_count_limit is 50; silent ones time out and make room
        assert refused >= 900 - (1000 - len(answers))
        assert memory_mb(world.pid)["private"] - before < 60
        with world.imap() as client:  # another service does not notice
            client.select("INBOX")
    finally:
        for sock in sockets:
            sock.close()
    world.expect_log("Connection concurrency limit exceeded")
    world.wait_for_log("Connection concurrency limit exceeded: [0-9]+ from")


def test_a_thousand_silent_imap_connections_leave_room_for_a_login(world: World) -> None:
    before = memory_mb(world.pid)["private"]
    sockets = []
    try:
        for _ in range(1000):
            sockets.append(socket.create_connection(address(world, "imap"), timeout=15))
        with world.imap() as client:
            assert client.select("INBOX")[0] == "OK"
        assert memory_mb(world.pid)["private"] - before < 60
    finally:
        for sock in sockets:
            sock.close()


def test_a_huge_literal_before_login_is_refused(world: World) -> None:
    with socket.create_connection(address(world, "imap"), timeout=15) as sock:
        sock.recv(1000)
        sock.sendall(b"a LOGIN {999999999}\r\n")
        answer = sock.recv(1000)
    assert answer.startswith((b"a BAD", b"a NO", b"* BYE"))
