"""Contexts that clients can rely on, and a certificate made at home."""

import datetime
import ssl
from pathlib import Path

import pytest

from posthouse.runtime import certificates, tls


def talk(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> ssl.SSLObject:
    """A handshake in memory; returns the client's side."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname=name)
    waiting = [theirs, ours]
    for _ in range(20):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                pass
        if not waiting:
            return theirs
    raise AssertionError("the handshake does not end")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> certificates.CertificateFiles:
    return certificates.make(tmp_path_factory.mktemp("tls"), ("mail.example.test", "localhost", "127.0.0.1"))


@pytest.mark.parametrize("name", ["mail.example.test", "localhost", "127.0.0.1"])
def test_a_client_that_trusts_our_authority_accepts_our_names(files: certificates.CertificateFiles, name: str) -> None:
    server = tls.server_context(files.certificate, files.key)
    client = tls.client_context(tls.Verification.NAME, ca_file=str(files.authority))
    connection = talk(server, client, name)
    assert connection.version() == "TLSv1.3"
    assert tls.describe(connection).startswith("TLSv1.3 with cipher TLS_")


def test_a_client_that_verifies_refuses_another_name_and_another_authority(
    files: certificates.CertificateFiles, tmp_path: Path
) -> None:
    server = tls.server_context(files.certificate, files.key)
    client = tls.client_context(tls.Verification.NAME, ca_file=str(files.authority))
    with pytest.raises(ssl.SSLCertVerificationError):
        talk(server, client, "other.example.test")
    other = certificates.make(tmp_path, ("mail.example.test",))
    stranger = tls.client_context(tls.Verification.CHAIN, ca_file=str(other.authority))
    with pytest.raises(ssl.SSLCertVerificationError):
        talk(server, stranger, "mail.example.test")


def test_an_opportunistic_client_takes_any_certificate(files: certificates.CertificateFiles) -> None:
    server = tls.server_context(files.certificate, files.key)
    talk(server, tls.client_context(tls.Verification.NONE), "whatever.example.test")


def test_tls_1_1_is_refused(files: certificates.CertificateFiles) -> None:
    server = tls.server_context(files.certificate, files.key)
    client = tls.client_context(tls.Verification.NONE)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        talk(server, client, "mail.example.test")


def test_an_unusable_file_is_named(files: certificates.CertificateFiles, tmp_path: Path) -> None:
    with pytest.raises(tls.TlsError, match=r"nothing\.pem"):
        tls.server_context(tmp_path / "nothing.pem", files.key)
    with pytest.raises(tls.TlsError):
        tls.server_context(files.certificate, files.certificate)
    other = certificates.make(tmp_path, ("mail.example.test",))
    with pytest.raises(tls.TlsError, match="MISMATCH"):
        tls.server_context(files.certificate, other.key)


def test_the_key_is_for_its_owner_only(files: certificates.CertificateFiles) -> None:
    assert files.key.stat().st_mode & 0o777 == 0o600


def test_the_certificate_holds_for_ten_years(tmp_path: Path) -> None:
    from cryptography import x509

    now = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)
    made = certificates.make(tmp_path, ("mail.example.test",), now=now)
    found = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    assert found.not_valid_before_utc < now
    assert found.not_valid_after_utc.year == 2036
