"""Every mechanism by its name, and what may be said of it before it is used."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final

import msgspec

from posthouse.protocol.sasl.digests import CramMd5Client, CramMd5Server, DigestMd5Server
from posthouse.protocol.sasl.mechanism import ClientMechanism, ServerMechanism, Surroundings
from posthouse.protocol.sasl.plain import LoginClient, LoginServer, PlainClient, PlainServer
from posthouse.protocol.sasl.scram import ScramClient, ScramServer
from posthouse.protocol.sasl.tokens import OauthBearerServer, Xoauth2Server
from posthouse.protocol.sasl.unproven import AnonymousServer, ExternalServer


class Kind(msgspec.Struct, frozen=True):
    """`flags` are Dovecot's words: plaintext (whoever listens can log in as well), dictionary and active (attacks that
    work), mutual-auth, anonymous."""

    make: Callable[[Surroundings], ServerMechanism]
    flags: tuple[str, ...] = ()
    is_bound: bool = False
    """To the TLS connection: only where there is one that can be named."""

    @property
    def is_plaintext(self) -> bool:
        return "plaintext" in self.flags


def _scram(hash_name: str, kind: str, *, is_plus: bool) -> Callable[[Surroundings], ServerMechanism]:
    return partial(ScramServer, hash_name=hash_name, kind=kind, is_plus=is_plus)


SERVER_MECHANISMS: Final[Mapping[str, Kind]] = {
    "PLAIN": Kind(PlainServer, ("plaintext",)),
    "LOGIN": Kind(LoginServer, ("plaintext",)),
    "CRAM-MD5": Kind(CramMd5Server, ("dictionary", "active")),
    "DIGEST-MD5": Kind(DigestMd5Server, ("dictionary", "active", "mutual-auth")),
    "SCRAM-SHA-1": Kind(_scram("sha1", "SCRAM-SHA-1", is_plus=False), ("mutual-auth",)),
    "SCRAM-SHA-1-PLUS": Kind(_scram("sha1", "SCRAM-SHA-1", is_plus=True), ("mutual-auth",), is_bound=True),
    "SCRAM-SHA-256": Kind(_scram("sha256", "SCRAM-SHA-256", is_plus=False), ("mutual-auth",)),
    "SCRAM-SHA-256-PLUS": Kind(_scram("sha256", "SCRAM-SHA-256", is_plus=True), ("mutual-auth",), is_bound=True),
    "XOAUTH2": Kind(Xoauth2Server, ("plaintext",)),
    "OAUTHBEARER": Kind(OauthBearerServer, ("plaintext",)),
    "EXTERNAL": Kind(ExternalServer),
    "ANONYMOUS": Kind(AnonymousServer, ("anonymous",)),
}
TOKEN_MECHANISMS: Final = frozenset({"XOAUTH2", "OAUTHBEARER"})
PLAINTEXT_MECHANISMS: Final = frozenset(name for name, kind in SERVER_MECHANISMS.items() if kind.is_plaintext)
CLIENT_MECHANISMS: Final[Mapping[str, Callable[[str, str], ClientMechanism]]] = {
    "SCRAM-SHA-256": partial(ScramClient, "sha256"),
    "SCRAM-SHA-1": partial(ScramClient, "sha1"),
    "PLAIN": PlainClient,
    "LOGIN": LoginClient,
    "CRAM-MD5": CramMd5Client,
}
"""In the order of preference. CRAM-MD5 is the last: servers offer it that have no password to compare with."""


def offered(names: Iterable[str], *, knows_tokens: bool, has_bindings: bool = False, certified: str = "") -> list[str]:
    """Of the mechanisms of the configuration, what works on a connection."""
    return [
        name
        for name in dict.fromkeys(one.upper() for one in names)
        if name in SERVER_MECHANISMS
        and (knows_tokens or name not in TOKEN_MECHANISMS)
        and (has_bindings or not SERVER_MECHANISMS[name].is_bound)
        and (certified or name != "EXTERNAL")
    ]
