"""The `subscriptions` file of Dovecot, in both its versions; Courier's is imported once.

Version 1 has one name a line with "." between levels; version 2 begins with "V<tab>2" and an empty line and has
tabs between levels. Names are modified UTF-7. The version found is the version written.
"""

from typing import Final

from posthouse.protocol.imap.mailbox_name import BadMailboxName, decode_mailbox_name, encode_mailbox_name
from posthouse.store.interface import InvalidName
from posthouse.store.maildir.textfiles import read_text, write_text
from posthouse.store.naming import canonical

FILE: Final = "subscriptions"
COURIER_FILE: Final = "courierimapsubscribed"
_VERSION_2: Final = "V\t2\n\n"


def parse(text: str, courier: bool = False) -> list[str]:
    """The names that can be names; the rest is of no use to anybody."""
    separator = "."
    if text.startswith("V\t2\n"):
        text = text[4:]
        separator = "\t"
    names: dict[str, None] = {}
    for line in text.split("\n"):
        levels = line.rstrip("\r").split(separator)
        if courier and levels[0] == "INBOX" and len(levels) > 1:
            del levels[0]
        try:
            name = canonical("/".join(decode_mailbox_name(level.encode("ascii")) for level in levels))
        except (BadMailboxName, UnicodeEncodeError, InvalidName):
            continue
        names[name] = None
    return list(names)


def render(names: list[str], version_2: bool = True) -> str:
    separator = "\t" if version_2 else "."
    lines = [encode_mailbox_name(name).decode("ascii").replace("/", separator) + "\n" for name in names]
    return (_VERSION_2 if version_2 else "") + "".join(lines)


def load(root: str) -> list[str]:
    text = read_text(f"{root}/{FILE}")
    if text is not None:
        return parse(text)
    text = read_text(f"{root}/{COURIER_FILE}")
    return parse(text, courier=True) if text is not None else []


def change(root: str, name: str, subscribed: bool) -> bool:
    """Read, change, write: another program may have changed it meanwhile. True if it was written."""
    names = load(root)
    if (name in names) == subscribed:
        return False
    if subscribed:
        names.append(name)
    else:
        names.remove(name)
    old = read_text(f"{root}/{FILE}")
    write_text(f"{root}/{FILE}", render(names, old is None or old == "" or old.startswith("V\t2")))
    return True
