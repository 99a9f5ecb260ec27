"""Who a message is from and to, and where it came from. Envelope addresses are not header fields."""

from typing import Self

import msgspec

from posthouse.core.address import Address

NULL_SENDER = None


class Recipient(msgspec.Struct, frozen=True, array_like=True):
    """One envelope recipient.

    `original` is the address as the client gave it (ORCPT, RFC 3461 s4.2, without the "rfc822;" prefix); `notify` is
    a subset of {"NEVER"} or {"SUCCESS", "FAILURE", "DELAY"} in the client's order, empty when it gave none (s4.1).
    """

    address: Address
    original: str = ""
    notify: tuple[str, ...] = ()


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """Sender, recipients and the parameters of MAIL.

    `sender` None is the null reverse-path (RFC 5321 s4.5.5): such a message never causes a DSN. `body` is "7BIT",
    "8BITMIME" or "" (not said); `ret` "FULL", "HDRS" or ""; `envid` decoded (RFC 3461 s4.3, s4.4).
    """

    sender: Address | None
    recipients: tuple[Recipient, ...] = ()
    body: str = ""
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""

    def with_recipients(self, recipients: tuple[Recipient, ...]) -> Self:
        return msgspec.structs.replace(self, recipients=recipients)


class Arrival(msgspec.Struct, frozen=True, array_like=True):
    """Facts of reception, kept with the message for Received:, the log, DSNs and later questions."""

    at_s: float
    """Unix time of MAIL (first octet of the transaction)."""
    origin: str
    """"smtp", "lmtp", "pickup" (local submission), "bounce" (made here)."""
    client_name: str = ""
    client_address: str = ""
    helo: str = ""
    protocol: str = ""
    sasl_method: str = ""
    sasl_username: str = ""
    submitter_uid: int = -1
    message_id: str = ""
