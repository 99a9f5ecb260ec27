"""Names of mailboxes above any format: Unicode, "/" between levels, INBOX in any case (RFC 9051 s5.1)."""

from collections.abc import Iterable, Mapping
from typing import Final

from posthouse.store.interface import InvalidName, MailboxInfo

INBOX: Final = "INBOX"
MAX_NAME_OCTETS: Final = 200
"""A file name has at most 255 octets and modified UTF-7 makes names longer; Dovecot's limit is 235."""
MAX_LEVELS: Final = 20

# RFC 6154 s2; the names are those of Dovecot's default configuration (15-mailboxes.conf).
DEFAULT_SPECIAL_USE: Final[Mapping[str, str]] = {
    "Drafts": "\\Drafts",
    "Junk": "\\Junk",
    "Trash": "\\Trash",
    "Sent": "\\Sent",
    "Sent Messages": "\\Sent",
    "Archive": "\\Archive",
}


def canonical(name: str) -> str:
    """The one spelling of a name that exists or may exist. Raises InvalidName."""
    name = name.removesuffix("/")
    first, slash, rest = name.partition("/")
    if first.upper() == INBOX:
        name = INBOX + slash + rest
    if not name or len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_OCTETS:
        raise InvalidName("Mailbox name is empty or too long")
    levels = name.split("/")
    if "" in levels or len(levels) > MAX_LEVELS:
        raise InvalidName("Mailbox name has an empty level or too many")
    # RFC 9051 s5.1: no control characters; "*" and "%" could be created but never listed by name.
    if any(ord(letter) < 32 or letter in "*%\x7f" or "\ud800" <= letter <= "\udfff" for letter in name):
        raise InvalidName("Mailbox name has characters that are not allowed")
    return name


def superiors(name: str) -> Iterable[str]:
    """ "a/b/c" -> "a", "a/b"."""
    at = name.find("/")
    while at >= 0:
        yield name[:at]
        at = name.find("/", at + 1)


def listing(existing: Iterable[str], subscribed: Iterable[str], special_use: Mapping[str, str]) -> list[MailboxInfo]:
    """What LIST needs, sorted with INBOX first: every mailbox, and every name that only has mailboxes below it."""
    selectable = set(existing)
    selectable.add(INBOX)
    with_children = {above for name in selectable for above in superiors(name)}
    wanted = set(subscribed)
    return [
        MailboxInfo(
            name,
            name in selectable,
            name in with_children,
            name in wanted,
            (special_use.get(name) or DEFAULT_SPECIAL_USE.get(name, "")) if name in selectable else "",
        )
        for name in sorted(selectable | with_children, key=lambda one: (one.split("/")[0] != INBOX, one))
    ]
