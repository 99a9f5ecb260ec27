"""The ready-made wire texts of one message, as the index keeps them."""

from typing import Final, NamedTuple

from posthouse.protocol.message.envelope import envelope
from posthouse.protocol.message.header import header_end
from posthouse.protocol.message.structure import structures
from posthouse.store.interface import Cached

_OF_HEADER: Final = frozenset({Cached.ENVELOPE, Cached.HEADER})


class WireTexts(NamedTuple):
    """`body` and `bodystructure` are None where only the header was looked at."""

    envelope: bytes
    body: bytes | None
    bodystructure: bytes | None
    header: bytes

    def get(self, what: Cached) -> bytes:
        """Of what `wire_texts` was asked for."""
        found: bytes | None
        match what:
            case Cached.ENVELOPE:
                found = self.envelope
            case Cached.BODY:
                found = self.body
            case Cached.BODYSTRUCTURE:
                found = self.bodystructure
            case Cached.HEADER:
                found = self.header
        assert found is not None, what
        return found


def wire_texts(content: bytes, what: Cached) -> WireTexts:
    """For a question about the header what the header gives, which is half the work; else everything."""
    header = content[: header_end(content)]
    body, bodystructure = (None, None) if what in _OF_HEADER else structures(content)
    return WireTexts(envelope(header), body, bodystructure, header)
