"""How much TLS a destination gets, and whether a certificate proves the server (RFC 3207, RFC 7435, RFC 6125)."""

import ssl
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from posthouse.config.parameter import BadValue, Settings
from posthouse.config.parameters import smtp as own
from posthouse.delivery.outbound.destination import Destination
from posthouse.delivery.outbound.settings import AgentSettings
from posthouse.runtime.tls import Verification, client_context

LEVELS: Final = ("none", "may", "encrypt", "verify", "secure")
_ORDER: Final = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """`match`: names, or "hostname", "nexthop", "dot-nexthop", that the certificate must have."""

    level: str
    match: tuple[str, ...] = ()
    servername: str = ""

    @property
    def required(self) -> bool:
        return self.level in ("encrypt", "verify", "secure")

    @property
    def verified(self) -> bool:
        return self.level in ("verify", "secure")


def default_policy(settings: AgentSettings) -> TlsPolicy:
    return _with_defaults(settings.tls_level, (), "", settings)


def _with_defaults(level: str, match: tuple[str, ...], servername: str, settings: AgentSettings) -> TlsPolicy:
    names = match or (settings.tls_secure_match if level == "secure" else settings.tls_verify_match)
    return TlsPolicy(level, names if level in ("verify", "secure") else (), servername or settings.tls_servername)


def parse_policy(value: str, settings: AgentSettings) -> TlsPolicy:
    """An entry of smtp_tls_policy_maps: a level, then attributes. Raises BadValue for what we do not do: less
    protection than the administrator asked for is no option."""
    words = value.replace(",", " ").split()
    if not words or words[0] not in LEVELS:
        raise BadValue(f"TLS security level {value!r} is not supported")
    match: tuple[str, ...] = ()
    servername = ""
    for word in words[1:]:
        name, _, text = word.partition("=")
        if name == "match":
            match = tuple(one for one in text.split(":") if one)
        elif name == "servername":
            servername = text
        elif name not in ("ciphers", "exclude", "connection_reuse"):
            raise BadValue(f"TLS policy attribute {word!r} is not supported")
    return _with_defaults(words[0], match, servername, settings)


def policy_keys(destination: Destination) -> list[str]:
    """The nexthop as it was given, without its port, then (for domains) its parents as .example.com."""
    keys = [destination.text, destination.host]
    if destination.mx:
        at = destination.host.find(".", 1)
        while at >= 0:
            keys.append(destination.host[at:])
            at = destination.host.find(".", at + 1)
    return list(dict.fromkeys(key.lower() for key in keys if key))


def minimal_version(words: tuple[str, ...]) -> str:
    """What ">=TLSv1.2" or "!SSLv2, !TLSv1" means as the oldest version allowed. Raises BadValue."""
    allowed = list(_ORDER)
    names = {one.lower(): one for one in _ORDER}
    named: list[str] = []
    for word in words:
        text = word.lower()
        if text.startswith(">="):
            if text[2:] in names:
                allowed = [one for one in allowed if _ORDER.index(one) >= _ORDER.index(names[text[2:]])]
            elif not text[2:].startswith("ssl"):
                raise BadValue(f"unknown TLS protocol {word!r}")
        elif text.startswith("<="):
            if text[2:] not in names:
                raise BadValue(f"unknown TLS protocol {word!r}")
        elif text.startswith("!"):
            allowed = [one for one in allowed if one.lower() != text[1:]]
        elif text in names:
            named.append(names[text])
    allowed = [one for one in allowed if not named or one in named]
    if not allowed:
        raise BadValue(f"no TLS protocol is left by {' '.join(words)!r}")
    return allowed[0]


class TlsContexts:
    """A context that reads files an administrator named is made before the jail closes: certificates and keys cannot be
    read afterwards, and what is wrong with them is said at the start. Without such files it is made when a destination
    first asks for it: the system's authorities, which stay readable, take 2 MB of memory that few need."""

    def __init__(self, settings: Settings, *, lmtp: bool) -> None:
        """Raises TlsError or BadValue."""
        self._files: dict[str, str] = {
            "ca_file": settings[own.TLS_CAFILE.of(lmtp)],
            "ca_path": settings[own.TLS_CAPATH.of(lmtp)],
            "certificate": settings[own.TLS_CERT_FILE.of(lmtp)],
            "key": settings[own.TLS_KEY_FILE.of(lmtp)],
        }
        mandatory = minimal_version(settings[own.TLS_MANDATORY_PROTOCOLS.of(lmtp)])
        lenient = minimal_version(settings[own.TLS_PROTOCOLS.of(lmtp)])
        self._kinds = {
            False: (Verification.NONE, mandatory),
            True: (Verification.CHAIN, mandatory),
            None: (Verification.NONE, lenient),
        }
        """By whether the policy verifies; None: TLS is not even required."""
        self._made: dict[bool | None, ssl.SSLContext] = {}
        if any(self._files.values()):
            for kind in self._kinds:
                self._context(kind)

    def of(self, policy: TlsPolicy) -> ssl.SSLContext:
        return self._context(policy.verified if policy.required else None)

    def _context(self, kind: bool | None) -> ssl.SSLContext:
        made = self._made.get(kind)
        if made is None:
            verification, minimum = self._kinds[kind]
            with warnings.catch_warnings():
                # Python calls TLS 1.0 and 1.1 deprecated, rightly; whether they are used is the administrator's word.
                warnings.simplefilter("ignore", DeprecationWarning)
                made = self._made[kind] = client_context(verification, minimum=minimum, **self._files)
        return made


def expected_names(policy: TlsPolicy, destination: Destination, host_name: str) -> list[str]:
    """`match` with its words replaced; a leading dot means any name below."""
    names: list[str] = []
    for word in policy.match:
        if word == "hostname":
            names.append(host_name)
        elif word == "nexthop":
            names.append(destination.host)
        elif word == "dot-nexthop":
            names.append(f".{destination.host}")
        else:
            names.append(word)
    return [name.lower().rstrip(".") for name in names]


def certificate_matches(certificate: dict[str, Any] | None, names: Sequence[str]) -> bool:
    """RFC 6125 s6.4: DNS names of the certificate; a wildcard stands for one leftmost label; the subject's CN counts
    only without any DNS name (s6.4.4)."""
    if not certificate:
        return False
    offered = [value.lower() for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    if not offered:
        offered = [
            value.lower() for group in certificate.get("subject", ()) for kind, value in group if kind == "commonName"
        ]
    return any(_fits(one, name) for one in offered for name in names)


def _fits(offered: str, name: str) -> bool:
    if name.startswith("."):
        return offered.endswith(name)
    if offered.startswith("*."):
        return name.partition(".")[2] == offered[2:] and bool(name.partition(".")[0]) and "." in offered[2:]
    return offered == name
