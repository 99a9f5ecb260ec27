"""Special uses given at CREATE (RFC 6154), in a text file of ours: `<name><tab><\\Use>`, modified UTF-7."""

from typing import Final

from posthouse.protocol.imap.mailbox_name import BadMailboxName, decode_mailbox_name, encode_mailbox_name
from posthouse.store.maildir.textfiles import read_text, write_text

FILE: Final = "posthouse.special-use"


def load(root: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in (read_text(f"{root}/{FILE}") or "").split("\n"):
        name, tab, use = line.partition("\t")
        if tab and use.startswith("\\") and use.isascii():
            try:
                found[decode_mailbox_name(name.encode("ascii"))] = use
            except (BadMailboxName, UnicodeEncodeError):
                continue
    return found


def save(root: str, uses: dict[str, str]) -> None:
    lines = [f"{encode_mailbox_name(name).decode('ascii')}\t{use}\n" for name, use in sorted(uses.items())]
    write_text(f"{root}/{FILE}", "".join(lines))
