"""EXTERNAL (RFC 4422 appendix A) and ANONYMOUS (RFC 4505): nothing is shown within SASL."""

from typing import ClassVar, Final

from posthouse.protocol.sasl.mechanism import (
    Anonymous,
    Challenge,
    Claim,
    Said,
    SaslError,
    Surroundings,
    Wrong,
    authzid_field,
)

MAXIMAL_TRACE: Final = 255
"""RFC 4505 s2"""


class ExternalServer:
    name: ClassVar = "EXTERNAL"

    def __init__(self, around: Surroundings) -> None:
        self._certified = around.certified

    def step(self, response: bytes | None) -> Said:
        if response is None:
            return Challenge(b"")
        authzid = authzid_field(response)
        if not self._certified:
            return Wrong("no verified certificate that names a user")
        return Claim(self._certified, authzid)


class AnonymousServer:
    name: ClassVar = "ANONYMOUS"

    def __init__(self, around: Surroundings) -> None:
        pass

    def step(self, response: bytes | None) -> Said:
        if response is None:
            return Challenge(b"")
        if len(response) > 4 * MAXIMAL_TRACE:
            raise SaslError("the trace is too long")
        return Anonymous(response.decode("utf-8", "replace")[:MAXIMAL_TRACE])
