"""Any octets, cut anywhere, to IMAP and POP3 before login.

What holds: packets make no difference; answers are whole lines; what is kept is bounded; after STARTTLS nothing of
what was sent ahead is left; SASL messages that come out are those of the grammar.
"""

from typing import cast

from fuzz.target import Target
from posthouse.protocol.imap.login import ImapLogin
from posthouse.protocol.login import (
    Authenticate,
    Cancel,
    Channel,
    Close,
    Continue,
    LoginCore,
    LoginOptions,
    Refusal,
    Send,
    Slipped,
    StartTls,
)
from posthouse.protocol.pop3.login import Pop3Login
from posthouse.protocol.sasl.known import SERVER_MECHANISMS
from posthouse.protocol.sasl.mechanism import (
    Anonymous,
    Challenge,
    Claim,
    Credentials,
    NeedSecret,
    Said,
    SaslError,
    ScramKeys,
    SecretMechanism,
    ServerMechanism,
    Surroundings,
    Token,
    Wrong,
)

AROUND = Surroundings("nonce", "mail.example", {"tls-unique": b"unique"}, "bob", ("example.org",))
SCRAM_KEYS = {"SCRAM-SHA-1": ScramKeys(4096, b"salt", b"k" * 20, b"s" * 20)}
SCRAM_KEYS["SCRAM-SHA-256"] = ScramKeys(4096, b"salt", b"k" * 32, b"s" * 32)


class Connection:
    """A login service that believes nobody."""

    def __init__(self, core: LoginCore, limit: int) -> None:
        self.core = core
        self.limit = limit
        self.facts: list[object] = []
        self.out: list[bytes] = [core.greeting()]
        self.closed = False
        self.had_tls = False
        self._mechanism: ServerMechanism | None = None

    def send(self, octets: bytes) -> None:
        if self.closed:
            return
        core = self.core
        core.receive_data(octets)
        while not self.closed and (event := core.next_event()) is not None:
            match event:
                case Send(data) | Cancel(data):
                    self.say(data)
                case Slipped(slip, mechanism, data, user):
                    self.facts.append((slip, mechanism, user))
                    self.say(data)
                case Close(data, reason):
                    self.facts.append(reason)
                    self.say(data)
                    self.closed = True
                case StartTls(data):
                    self.say(data)
                    assert core.buffered == 0
                    core.tls_started()
                    self.had_tls = True
                case Authenticate(mechanism, response):
                    self._mechanism = SERVER_MECHANISMS[mechanism].make(AROUND)
                    self.exchange(response)
                case Continue(response):
                    self.exchange(response)
        assert self.closed or core.buffered <= self.limit

    def exchange(self, response: bytes | None) -> None:
        assert self._mechanism is not None
        try:
            said: Said = self._mechanism.step(response)
            if isinstance(said, NeedSecret):
                assert said.authcid
                assert "\0" not in said.authcid + said.authzid
                self.facts.append(said)
                secret = SCRAM_KEYS.get(said.kind, b"d" * 16)
                said = cast(SecretMechanism, self._mechanism).secret(secret)
        except SaslError:
            self.facts.append("not SASL")
            self.say(self.core.refused(Refusal.MALFORMED))
            return
        if isinstance(said, Challenge):
            self.say(self.core.challenge(said.data))
            return
        match said:
            case Credentials():
                assert said.authcid
                assert "\0" not in said.authcid + said.authzid
                assert b"\0" not in said.password
            case Claim(authcid, _):
                assert authcid == "bob"
            case Token(user, token):
                assert "\0" not in user
                assert token.isascii()
            case Anonymous(trace):
                assert len(trace) <= 255
            case _:
                assert isinstance(said, Wrong), "nobody knows the secret"
        self.facts.append(said)
        self.say(self.core.refused(Refusal.WRONG))

    def say(self, data: bytes) -> None:
        assert data.endswith(b"\r\n")
        assert data.count(b"\r\n") == data.count(b"\n") == data.count(b"\r")
        self.out.append(data)


def connections(choice: int) -> list[Connection]:
    options = LoginOptions(
        mechanisms=tuple(SERVER_MECHANISMS),
        knows_tokens=bool(choice & 32),
        offers_tls=bool(choice & 1),
        requires_tls=bool(choice & 2),
        refuses_plaintext=bool(choice & 4),
        line_limit=300,
        literal_limit=200,
        max_bad_commands=4,
        max_commands=12,
    )
    is_tls, is_secured = bool(choice & 8), bool(choice & 24)
    cores = (
        (ImapLogin(options, is_tls=is_tls, is_secured=is_secured), 1000),
        (Pop3Login(options, is_tls=is_tls, is_secured=is_secured), 301),
    )
    for core, _ in cores:
        core.channel = Channel((("tls-unique", b"unique"),), "bob" if choice & 64 else "")
    return [Connection(core, limit) for core, limit in cores]


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    step, octets = data[1] % 40 + 1, data[2:]
    # The first packet says whether it is a browser; what comes later does not.
    first = max(step, 16)
    for whole, pieces in zip(connections(data[0]), connections(data[0]), strict=True):
        whole.send(octets[:first])
        pieces.send(octets[:first])
        whole.send(octets[first : first + 250])
        for at in range(first, min(len(octets), first + 250), step):
            pieces.send(octets[at : min(at + step, first + 250)])
        if not (whole.had_tls or pieces.had_tls):
            assert whole.facts == pieces.facts
            assert b"".join(whole.out) == b"".join(pieces.out)
            assert whole.closed == pieces.closed
        for at in range(first + 250, len(octets), step):
            pieces.send(octets[at : at + step])


TARGET = Target(
    check,
    seeds=(
        b"\x18\1a CAPABILITY\r\nb LOGIN u {3}\r\npwd\r\nc AUTHENTICATE PLAIN AGEAYg==\r\nd LOGOUT\r\n",
        b"\x18\2a AUTHENTICATE LOGIN\r\nYQ==\r\nYg==\r\nb ID (\"name\" NIL)\r\nc NOOP\r\nd ENABLE x\r\n",
        b"\x01\3a STARTTLS\r\nb LOGIN a b\r\n",
        b"\x07\7a LOGIN a b\r\nb AUTHENTICATE PLAIN =\r\nc AUTHENTICATE X\r\nd AUTHENTICATE PLAIN\r\n*\r\n",
        b"\x18\1CAPA\r\nUSER u\r\nPASS p w\r\nAUTH PLAIN AGEAYg==\r\nAUTH LOGIN\r\nYQ==\r\n*\r\nQUIT\r\n",
        b"\x01\1STLS\r\nUSER x\r\n",
        b"\0\1GET / HTTP/1.1\r\n",
    ),
    words=(
        b"a LOGIN ", b"a AUTHENTICATE PLAIN", b"a AUTHENTICATE LOGIN ", b"a ID NIL", b"a ID (", b"a CAPABILITY",
        b"a STARTTLS", b"a NOOP", b"a LOGOUT", b"AUTH", b"AUTH PLAIN", b"AUTH LOGIN YQ==", b"USER x", b"PASS y",
        b"CAPA", b"STLS", b"NOOP", b"QUIT", b"*", b"=", b"AGEAYg==", b"YQ==", b"{3}\r\n", b"{3+}\r\nabc", b"\"",
        b"\\", b"NIL", b"(", b")", b"\r\n", b"\r", b"\n", b"\0", b"\xff", b"GET ",
    ),
    separator=b"\r\n",
)  # fmt: skip
