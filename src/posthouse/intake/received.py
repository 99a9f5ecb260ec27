"""The Received: field (RFC 5321 s4.4), in Postfix's words, because tools and people parse it by eye and by regex.

One line per fact; every line but the first begins with a tab. The caller puts the result in front of the message.
"""

from posthouse.core.address import Address
from posthouse.core.identifiers import QueueId
from posthouse.intake.date import format_date
from posthouse.intake.rules import Rules


def received_from_client(
    rules: Rules,
    *,
    helo: str,
    client_name: str,
    client_address: str,
    protocol: str,
    queue_id: QueueId,
    at_s: float,
    recipient: Address | None = None,
    tls: str = "",
    authenticated: str = "",
) -> bytes:
    """`recipient` only if there is exactly one (RFC 5321 s7.6: a list would show blind copies); `tls` such as
    "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)"."""
    # RFC 5321 s4.1.3: an IPv6 literal has a tag.
    literal = f"IPv6:{client_address}" if ":" in client_address else client_address
    facts = ""
    if tls:
        facts = f"\t(using {tls})\r\n"
    if authenticated:
        facts += f"\t(Authenticated sender: {_comment(authenticated)})\r\n"
    stamp = format_date(at_s)
    ending = f"\r\n\tfor <{recipient}>; {stamp}\r\n" if recipient is not None else f"; {stamp}\r\n"
    return (
        f"Received: from {helo or client_name} ({client_name} [{literal}])\r\n"
        f"{facts}\tby {rules.myhostname} ({rules.mail_name}) with {protocol} id {queue_id}{ending}"
    ).encode("utf-8", "surrogateescape")


def received_from_user(rules: Rules, *, uid: int, queue_id: QueueId, at_s: float) -> bytes:
    """For a message out of the maildrop."""
    return (
        f"Received: by {rules.myhostname} ({rules.mail_name}, from userid {uid})\r\n"
        f"\tid {queue_id}; {format_date(at_s)}\r\n"
    ).encode()


def _comment(words: str) -> str:
    """RFC 5322 s3.2.2 ccontent: what would end the comment, or the line, is left out."""
    return "".join(character for character in words if character.isprintable() and character not in "()\\")
