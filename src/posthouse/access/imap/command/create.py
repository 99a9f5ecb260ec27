"""CREATE (RFC 3501 s6.3.3), with the special use of RFC 6154 s3."""

from typing import TYPE_CHECKING, Final

from posthouse.access.imap.specification import Answer, Steps
from posthouse.protocol.imap.arguments import Arguments, BadArguments
from posthouse.protocol.imap.response import no, ok

if TYPE_CHECKING:
    from posthouse.access.imap.session import ImapSession

_USES: Final = {
    use.lower(): use for use in ("\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash", "\\All")
}
_UNSUPPORTED: Final = ("\\Flagged", "\\All")
"""Virtual mailboxes, which the stores do not have."""


def create(session: "ImapSession", arguments: Arguments) -> Answer:
    arguments.space()
    octets = arguments.astring()
    uses: list[str] = []
    if arguments.maybe_space() and not arguments.at_end():
        uses = _read_uses(arguments)
    arguments.end()
    separator = session.names.separator.encode("ascii")
    # RFC 3501 s6.3.3: a trailing separator says that mailboxes will be created below; it is not part of the name.
    name = session.names.read(octets.removesuffix(separator))
    if len(uses) > 1 or any(use in _UNSUPPORTED for use in uses):
        return no("Cannot assign this special use", "USEATTR")
    return _create(session, name, uses[0] if uses else "")


def _create(session: "ImapSession", name: str, special_use: str) -> Steps:
    session.store.create(name, special_use)
    yield session.store.flush()
    return ok("Create completed.")


def _read_uses(arguments: Arguments) -> list[str]:
    """(USE (\\Sent))"""
    arguments.expect(b"(")
    if arguments.keyword() != "USE":
        raise BadArguments("Unknown CREATE parameter.")
    arguments.space()
    uses: list[str] = []
    for flag in arguments.flag_list():
        use = _USES.get(flag.lower())
        if use is None:
            raise BadArguments(f"Unknown special use {flag}")
        uses.append(use)
    arguments.expect(b")")
    return uses
