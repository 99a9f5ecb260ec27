"""LIST and LSUB (RFC 3501 s6.3.8, s6.3.9), with the attributes of RFC 3348 and RFC 6154."""

from typing import TYPE_CHECKING

from posthouse.access.imap.pattern import Pattern
from posthouse.access.imap.specification import Answer
from posthouse.protocol.imap.arguments import Arguments
from posthouse.protocol.imap.mailbox_name import BadMailboxName, decode_mailbox_name
from posthouse.protocol.imap.response import ok
from posthouse.store.interface import MailboxInfo

if TYPE_CHECKING:
    from posthouse.access.imap.session import ImapSession


def list_mailboxes(session: "ImapSession", arguments: Arguments) -> Answer:
    reference, octets = _parse(arguments)
    if not octets:
        # RFC 3501 s6.3.8: an empty name asks for the separator and the root of the reference.
        session.write(b'* LIST (\\Noselect) %b ""\r\n' % session.names.quoted_separator)
        return ok("List completed.")
    pattern = _pattern(session, reference + octets)
    lines: list[bytes] = []
    if pattern is not None:
        for info in session.store.mailboxes():
            if pattern.matches(session.names.to_wire(info.name)):
                lines.append(_line(session, b"LIST", info.name, _attributes(info)))
    session.write(b"".join(lines))
    return ok("List completed.")


def lsub(session: "ImapSession", arguments: Arguments) -> Answer:
    reference, octets = _parse(arguments)
    if not octets:
        session.write(b'* LSUB (\\Noselect) %b ""\r\n' % session.names.quoted_separator)
        return ok("Lsub completed.")
    pattern = _pattern(session, reference + octets)
    found: dict[str, bytes] = {}
    if pattern is not None:
        for name in session.store.subscriptions():
            if pattern.matches(session.names.to_wire(name)):
                found[name] = b"()"
                continue
            # RFC 3501 s6.3.9: with "%", a name that is not subscribed itself stands for the subscribed ones below it.
            above = name
            while "/" in above:
                above = above.rpartition("/")[0]
                if pattern.matches(session.names.to_wire(above)):
                    found.setdefault(above, b"(\\Noselect)")
    session.write(b"".join([_line(session, b"LSUB", name, found[name]) for name in sorted(found)]))
    return ok("Lsub completed.")


def _parse(arguments: Arguments) -> tuple[bytes, bytes]:
    arguments.space()
    reference = arguments.astring()
    arguments.space()
    octets = arguments.list_mailbox()
    arguments.end()
    return reference, octets


def _pattern(session: "ImapSession", octets: bytes) -> Pattern | None:
    """None if nothing can match."""
    try:
        return Pattern(decode_mailbox_name(octets), session.names.separator)
    except BadMailboxName:
        return None


def _attributes(info: MailboxInfo) -> bytes:
    words = [] if info.selectable else ["\\Noselect"]
    words.append("\\HasChildren" if info.has_children else "\\HasNoChildren")
    if info.special_use:
        words.append(info.special_use)
    return b"(" + " ".join(words).encode("ascii") + b")"


def _line(session: "ImapSession", response: bytes, name: str, attributes: bytes) -> bytes:
    return b"* %b %b %b %b\r\n" % (response, attributes, session.names.quoted_separator, session.names.format(name))
