"""TLS and logins towards other servers."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from posthouse.config.parameter import BadValue
from posthouse.core.result import DeliveryStatus
from posthouse.delivery.outbound.destination import Destination
from posthouse.delivery.outbound.tls import certificate_matches, minimal_version, policy_keys
from tests.services.smtp.conftest import Desk
from tests.services.smtp.peers import Scripted, Server, usual

MakeDesk = Callable[..., Desk]
SENT, DEFERRED = DeliveryStatus.SENT, DeliveryStatus.DEFERRED


@dataclass
class Certificate:
    path: Path
    context: ssl.SSLContext


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """For mx.test, signed by itself."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mx.test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("mx.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return Certificate(path, context)


class TlsServer(Server):
    """Offers STARTTLS; with `broken` the handshake fails; `inside` counts commands under TLS."""

    def __init__(
        self, context: ssl.SSLContext, *, broken: bool = False, extra: str = "", **answers: str | None
    ) -> None:
        self.context = context
        self.broken = broken
        self.extra = extra
        self.answers = answers
        self.inside: list[str] = []
        self.upgraded: set[Scripted] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        super().__init__(self._script)

    def _script(self, command: str, connection: Scripted) -> str | None:
        secure = connection in self.upgraded
        if secure:
            self.inside.append(command)
        if command.startswith("EHLO"):
            lines = ["250-mx.test", *(["250-STARTTLS"] if not secure else []), *self.extra.split(), "250 PIPELINING"]
            return "\n".join(line.replace("_", " ") for line in lines)
        if command == "STARTTLS":
            connection.transport.write(b"220 2.0.0 Ready\r\n")
            connection.held = True
            if self.broken:
                asyncio.get_running_loop().call_later(0.05, connection.transport.write, b"this is no TLS\r\n")
                return ""
            task = asyncio.get_running_loop().create_task(self._upgrade(connection))
            self.tasks.add(task)
            return ""
        return usual(command, connection, **self.answers)

    async def _upgrade(self, connection: Scripted) -> None:
        with contextlib.suppress(OSError, ssl.SSLError):
            transport: Any = await asyncio.get_running_loop().start_tls(
                connection.transport, connection, self.context, server_side=True
            )
            connection.transport = transport
            self.upgraded.add(connection)
            connection.held = False
            connection.data_received(b"")


def run(place: Desk, peer: Server, nexthop: str = "[127.0.0.1]:{port}", **job: object) -> Iterator[object]:
    results: list[Any] = []

    async def test() -> None:
        port = await peer.listen()
        results.extend(await place.deliver(nexthop.format(port=port), **job))
        await peer.close()

    place.drive(test)
    return iter(results)


def test_without_a_level_nothing_is_encrypted(desk: MakeDesk, certificate: Certificate) -> None:
    peer = TlsServer(certificate.context)
    (result,) = run(desk(), peer)
    assert result.status is SENT
    assert "STARTTLS" not in peer.commands


@pytest.mark.parametrize("level", ["may", "encrypt"])
def test_offered_encryption_is_used_whatever_the_certificate(
    desk: MakeDesk, certificate: Certificate, level: str
) -> None:
    place = desk(smtp_tls_security_level=level, smtp_tls_loglevel="1")
    peer = TlsServer(certificate.context)
    (result,) = run(place, peer)
    assert result.status is SENT
    assert peer.inside[0].startswith("EHLO")
    assert peer.inside[1].startswith("MAIL")
    assert any("Untrusted TLS connection established to 127.0.0.1[127.0.0.1]:" in line for line in place.log())


def test_broken_opportunistic_encryption_is_no_reason_to_keep_the_mail(
    desk: MakeDesk, certificate: Certificate
) -> None:
    peer = TlsServer(certificate.context, broken=True)
    (result,) = run(desk(smtp_tls_security_level="may"), peer)
    assert result.status is SENT
    assert peer.connections == 2


def test_required_encryption_is_never_given_up(desk: MakeDesk, certificate: Certificate) -> None:
    (result,) = run(desk(smtp_tls_security_level="encrypt"), TlsServer(certificate.context, broken=True))
    assert (result.status, result.dsn) in ((DEFERRED, "4.7.5"), (DEFERRED, "4.5.0"))


def test_required_encryption_that_is_not_offered(desk: MakeDesk) -> None:
    (result,) = run(desk(smtp_tls_security_level="encrypt"), Server(usual))
    assert (result.status, result.dsn) == (DEFERRED, "4.7.4")
    assert result.text == "TLS is required, but was not offered by host 127.0.0.1[127.0.0.1]"


def test_secure_needs_a_trusted_certificate_of_the_right_name(desk: MakeDesk, certificate: Certificate) -> None:
    trusted = {"smtp_tls_security_level": "secure", "smtp_tls_CAfile": str(certificate.path)}
    place = desk(**trusted, smtp_tls_secure_cert_match="mx.test", smtp_tls_loglevel="1")
    (result,) = run(place, TlsServer(certificate.context))
    assert result.status is SENT, result
    assert any("Verified TLS connection established" in line for line in place.log())


def test_secure_refuses_another_name(desk: MakeDesk, certificate: Certificate) -> None:
    place = desk(
        smtp_tls_security_level="secure",
        smtp_tls_CAfile=str(certificate.path),
        smtp_tls_secure_cert_match="other.test",
    )
    (result,) = run(place, TlsServer(certificate.context))
    assert (result.status, result.dsn, result.text) == (DEFERRED, "4.7.5", "Server certificate not verified")


def test_secure_refuses_an_unknown_authority(desk: MakeDesk, certificate: Certificate) -> None:
    place = desk(smtp_tls_security_level="secure", smtp_tls_secure_cert_match="mx.test")
    (result,) = run(place, TlsServer(certificate.context))
    assert (result.status, result.dsn) == (DEFERRED, "4.7.5")


def test_a_policy_table_decides_by_destination(desk: MakeDesk, certificate: Certificate) -> None:
    place = desk(smtp_tls_policy_maps="static:unused")
    place.tables[("smtp_tls_policy_maps", "127.0.0.1")] = "encrypt"
    peer = TlsServer(certificate.context)
    (result,) = run(place, peer)
    assert result.status is SENT
    assert peer.inside


def test_a_policy_we_do_not_understand_never_means_less(desk: MakeDesk, certificate: Certificate) -> None:
    place = desk(smtp_tls_policy_maps="static:unused")
    place.tables[("smtp_tls_policy_maps", "127.0.0.1")] = "dane-only"
    (result,) = run(place, TlsServer(certificate.context))
    assert (result.status, result.dsn) == (DEFERRED, "4.7.5")


# ── logins ──


def login_server(*mechanisms: str, accept: str = "AGJvYgBzZWNyZXQ=") -> Server:
    def script(command: str, connection: Scripted) -> str | None:
        if command.startswith("EHLO"):
            return f"250-mx.test\n250 AUTH {' '.join(mechanisms)}"
        if command.startswith("AUTH PLAIN"):
            return "235 2.7.0 ok" if command.split()[2] == accept else "535 5.7.8 wrong"
        if command.startswith("AUTH LOGIN"):
            return "334 VXNlcm5hbWU6"
        if command == base64.b64encode(b"bob").decode():
            return "334 UGFzc3dvcmQ6"
        if command == base64.b64encode(b"secret").decode():
            return "235 2.7.0 ok"
        return usual(command, connection)

    return Server(script)


LOGIN = {
    "smtp_sasl_auth_enable": "yes",
    "smtp_sasl_password_maps": "static:unused",
    "smtp_sasl_security_options": "noanonymous",
}


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_we_log_in_where_we_have_a_password(desk: MakeDesk, mechanism: str) -> None:
    place = desk(**LOGIN)
    place.tables[("smtp_sasl_password_maps", "127.0.0.1")] = "bob:secret"
    peer = login_server(mechanism)
    (result,) = run(place, peer)
    assert result.status is SENT
    assert any(command.startswith(f"AUTH {mechanism}") for command in peer.commands)


def test_without_a_password_nobody_logs_in(desk: MakeDesk) -> None:
    peer = login_server("PLAIN")
    (result,) = run(desk(**LOGIN), peer)
    assert result.status is SENT
    assert not any(command.startswith("AUTH") for command in peer.commands)


def test_passwords_are_not_sent_in_clear_text_unless_allowed(desk: MakeDesk) -> None:
    place = desk(**{**LOGIN, "smtp_sasl_security_options": "noplaintext, noanonymous"})
    place.tables[("smtp_sasl_password_maps", "127.0.0.1")] = "bob:secret"
    (result,) = run(place, login_server("PLAIN", "LOGIN"))
    assert result.status is DEFERRED
    assert result.text.endswith("no mechanism available")


def test_a_wrong_password_keeps_the_mail(desk: MakeDesk) -> None:
    place = desk(**LOGIN)
    place.tables[("smtp_sasl_password_maps", "127.0.0.1")] = "bob:wrong"
    (result,) = run(place, login_server("PLAIN"))
    assert (result.status, result.dsn) == (DEFERRED, "4.7.8")
    assert "SASL authentication failed; server 127.0.0.1[127.0.0.1] said: 535 5.7.8 wrong" in result.text


def test_the_sender_may_choose_the_login(desk: MakeDesk) -> None:
    place = desk(**LOGIN, smtp_sender_dependent_authentication="yes")
    place.tables[("smtp_sasl_password_maps", "s@x.test")] = "bob:secret"
    peer = login_server("PLAIN")
    (result,) = run(place, peer)
    assert result.status is SENT
    assert any(command.startswith("AUTH PLAIN") for command in peer.commands)


# ── values ──


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (">=TLSv1", "TLSv1"),
        (">=TLSv1.2", "TLSv1.2"),
        ("!SSLv2, !SSLv3", "TLSv1"),
        ("!SSLv2 !SSLv3 !TLSv1 !TLSv1.1", "TLSv1.2"),
        ("TLSv1.3", "TLSv1.3"),
        (">=SSLv3", "TLSv1"),
    ],
)
def test_protocol_lists_mean_an_oldest_version(text: str, expected: str) -> None:
    assert minimal_version(tuple(text.replace(",", " ").split())) == expected


def test_nonsense_protocols_are_refused() -> None:
    with pytest.raises(BadValue):
        minimal_version((">=TLSv9",))
    with pytest.raises(BadValue):
        minimal_version(("!TLSv1", "!TLSv1.1", "!TLSv1.2", "!TLSv1.3"))


def test_policies_are_looked_up_by_nexthop_host_and_parents() -> None:
    assert policy_keys(Destination.parse("a.b.test:587", 25)) == ["a.b.test:587", "a.b.test", ".b.test", ".test"]
    assert policy_keys(Destination.parse("[Mx.b.test]", 25)) == ["[mx.b.test]", "mx.b.test"]


@pytest.mark.parametrize(
    ("offered", "names", "expected"),
    [
        (["mx.test"], ["mx.test"], True),
        (["*.test"], ["mx.test"], False),
        (["*.b.test"], ["mx.b.test"], True),
        (["*.b.test"], ["x.mx.b.test"], False),
        (["x.b.test"], [".b.test"], True),
        (["xb.test"], [".b.test"], False),
        (["other.test"], ["mx.test"], False),
        ([], ["mx.test"], False),
    ],
)
def test_names_of_certificates(offered: list[str], names: list[str], expected: bool) -> None:
    certificate = {"subjectAltName": tuple(("DNS", one) for one in offered)}
    assert certificate_matches(certificate, names) is expected


def test_the_common_name_counts_only_without_dns_names() -> None:
    subject = ((("commonName", "mx.test"),),)
    assert certificate_matches({"subject": subject}, ["mx.test"])
    assert not certificate_matches({"subject": subject, "subjectAltName": (("DNS", "other.test"),)}, ["mx.test"])
    assert not certificate_matches(None, ["mx.test"])
