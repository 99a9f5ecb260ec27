"""TLS contexts: what we offer as a server and what we ask for as a client.

Certificates and keys are read in `before_jail()`; afterwards no process can. TLS 1.2 and newer (RFC 8996), forward
secrecy and authenticated ciphers only (RFC 9325 s4.2); a client that speaks to whoever answers (opportunistic TLS,
RFC 7435) verifies nothing, because the alternative is clear text.
"""

import enum
import ssl
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

# RFC 9325 s4.2.1, plus ChaCha20; TLS 1.3 suites are all fine and chosen by OpenSSL.
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL:!PSK:!SRP"
OPPORTUNISTIC_CIPHERS: Final = "DEFAULT:@SECLEVEL=0"
"""To a peer with an old server: weak encryption is better than none, and nobody promised more."""
VERSIONS: Final = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}


class TlsError(Exception):
    """A certificate, key or setting that cannot be used; the text names the file."""


class Verification(enum.Enum):
    NONE = "none"
    """Opportunistic: any certificate will do."""
    CHAIN = "chain"
    """A certificate that a trusted authority signed, for whatever name."""
    NAME = "name"
    """RFC 6125: a trusted certificate for the name we asked for."""


def server_context(
    certificate: str | Path,
    key: str | Path = "",
    *,
    minimum: str = "TLSv1.2",
    ciphers: str = CIPHERS,
    client_ca: str = "",
) -> ssl.SSLContext:
    """Reads the files now: call it in `before_jail()`. `key` may be in the certificate's file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[minimum]
    # A renegotiation is a way to make us compute; TLS 1.3 has none and nobody needs it.
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_SINGLE_ECDH_USE
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    # Mail programs end connections without close_notify all the time; SMTP, IMAP and POP3 have ends of their own.
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    _set_ciphers(context, ciphers)
    try:
        context.load_cert_chain(certificate, key or certificate, password=_no_password)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise TlsError(
            f"cannot use certificate {certificate} with key {key or certificate}: {_words(error)}"
        ) from error
    if client_ca:
        _load_authorities(context, client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def add_certificate(context: ssl.SSLContext, certificate: str | Path, key: str | Path = "") -> None:
    """A second key, of another kind: the library offers whichever the client understands."""
    try:
        context.load_cert_chain(certificate, key or certificate, password=_no_password)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise TlsError(
            f"cannot use certificate {certificate} with key {key or certificate}: {_words(error)}"
        ) from error


def client_context(
    verification: Verification,
    *,
    ca_file: str = "",
    ca_path: str = "",
    minimum: str = "TLSv1.2",
    ciphers: str = "",
    certificate: str = "",
    key: str = "",
) -> ssl.SSLContext:
    """Also to be made in `before_jail()`. Without `ca_file` and `ca_path`, the system's authorities count."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = verification is Verification.NAME
    context.verify_mode = ssl.CERT_NONE if verification is Verification.NONE else ssl.CERT_REQUIRED
    context.minimum_version = VERSIONS[minimum]
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    _set_ciphers(context, ciphers or (OPPORTUNISTIC_CIPHERS if verification is Verification.NONE else CIPHERS))
    if verification is not Verification.NONE:
        if ca_file or ca_path:
            _load_authorities(context, ca_file, ca_path)
        else:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if certificate:
        try:
            context.load_cert_chain(certificate, key or certificate, password=_no_password)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise TlsError(f"cannot use certificate {certificate}: {_words(error)}") from error
    return context


def end_point(certificate: str | Path) -> bytes:
    """The channel binding tls-server-end-point (RFC 5929 s4.1): a hash of our certificate. Reads the file now."""
    found = x509.load_pem_x509_certificate(Path(certificate).read_bytes())
    algorithm = found.signature_hash_algorithm
    if algorithm is None or algorithm.name in ("md5", "sha1"):
        algorithm = hashes.SHA256()
    return found.fingerprint(algorithm)


def bindings(connection: ssl.SSLObject, of_end_point: bytes) -> tuple[tuple[str, bytes], ...]:
    """The channel bindings of a connection, by type. None for TLS 1.3: what RFC 9266 wants there Python's library does
    not give out, and clients would fail with another one."""
    if connection.version() not in ("TLSv1.2", "TLSv1.1", "TLSv1"):
        return ()
    unique = connection.get_channel_binding("tls-unique")
    return (
        *((("tls-unique", unique),) if unique else ()),
        *((("tls-server-end-point", of_end_point),) if of_end_point else ()),
    )


def certified_name(connection: ssl.SSLObject, field: str) -> str:
    """A part of the subject of the client's certificate ("commonName"), which was verified; "" without one."""
    certificate: dict[str, Any] = dict(connection.getpeercert() or {})
    names = (pair for part in certificate.get("subject", ()) for pair in part)
    return next((str(value) for name, value in names if name == field), "")


def from_file(value: str) -> str:
    """The path in Dovecot's `<file` notation; plain paths are taken as they are."""
    return value[1:].strip() if value.startswith("<") else value


def describe(connection: ssl.SSLObject | ssl.SSLSocket) -> str:
    """As Postfix logs it: "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)"."""
    cipher = connection.cipher()
    if cipher is None:
        return "no TLS"
    name, _, bits = cipher
    return f"{connection.version()} with cipher {name} ({bits}/{bits} bits)"


def _set_ciphers(context: ssl.SSLContext, ciphers: str) -> None:
    try:
        context.set_ciphers(ciphers)
    except ssl.SSLError as error:
        raise TlsError(f"no cipher of {ciphers!r} is available: {_words(error)}") from error


def _load_authorities(context: ssl.SSLContext, ca_file: str, ca_path: str = "") -> None:
    try:
        context.load_verify_locations(ca_file or None, ca_path or None)
    except (OSError, ssl.SSLError) as error:
        raise TlsError(f"cannot use the certificate authorities in {ca_file or ca_path}: {_words(error)}") from error


def _no_password() -> str:
    # OpenSSL would ask on the terminal, and wait there for ever.
    raise ValueError("the key is encrypted; a mail server cannot type a password")


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
