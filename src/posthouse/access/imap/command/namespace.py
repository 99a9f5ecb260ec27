"""NAMESPACE (RFC 2342): one personal namespace without a prefix."""

from typing import TYPE_CHECKING

from posthouse.access.imap.specification import Answer
from posthouse.protocol.imap.arguments import Arguments
from posthouse.protocol.imap.response import ok

if TYPE_CHECKING:
    from posthouse.access.imap.session import ImapSession


def namespace(session: "ImapSession", arguments: Arguments) -> Answer:
    arguments.end()
    session.write(b'* NAMESPACE (("" %b)) NIL NIL\r\n' % session.names.quoted_separator)
    return ok("Namespace completed.")
