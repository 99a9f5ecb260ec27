"""The ready-made wire texts of one message, as the index keeps them."""

from typing import NamedTuple

from posthouse.protocol.message.envelope import envelope
from posthouse.protocol.message.header import header_end
from posthouse.protocol.message.structure import structures
from posthouse.store.interface import Cached


class WireTexts(NamedTuple):
    envelope: bytes
    body: bytes
    bodystructure: bytes
    header: bytes

    def get(self, what: Cached) -> bytes:
        match what:
            case Cached.ENVELOPE:
                return self.envelope
            case Cached.BODY:
                return self.body
            case Cached.BODYSTRUCTURE:
                return self.bodystructure
            case Cached.HEADER:
                return self.header


def wire_texts(content: bytes) -> WireTexts:
    """Everything at once: the file has been read now, and the next question is for another item."""
    header = content[: header_end(content)]
    body, bodystructure = structures(content)
    return WireTexts(envelope(header), body, bodystructure, header)
