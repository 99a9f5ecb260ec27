"""The transports that the SMTP and LMTP client serves, each with everything it needs, made before the jail closes."""

from dataclasses import dataclass

from posthouse.config.configuration import Configuration
from posthouse.delivery.outbound.settings import COMMANDS, AgentSettings, overlaid
from posthouse.delivery.outbound.tls import TlsContexts, TlsPolicy, default_policy


@dataclass(frozen=True, slots=True)
class Transport:
    settings: AgentSettings
    contexts: TlsContexts
    policy: TlsPolicy
    """Where smtp_tls_policy_maps says nothing."""


def transports(configuration: Configuration) -> dict[str, Transport]:
    """All transports of master.cf that are ours, and the three that always exist. Raises BadValue or TlsError."""
    names = dict.fromkeys(("smtp", "relay", "lmtp"))
    names.update((one.endpoint, None) for one in configuration.master if one.command in COMMANDS and one.kind == "unix")
    found: dict[str, Transport] = {}
    shared: dict[bool, TlsContexts] = {}
    for name in names:
        main, lmtp = overlaid(configuration, name)
        settings = AgentSettings.read(main, lmtp=lmtp)
        contexts = shared.get(lmtp) if main is configuration.main else None
        if contexts is None:
            contexts = TlsContexts(main, lmtp=lmtp)
            if main is configuration.main:
                shared[lmtp] = contexts
        found[name] = Transport(settings, contexts, default_policy(settings))
    return found
