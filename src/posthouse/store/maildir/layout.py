"""Folders of a Maildir++ tree: `.Work.2026` below the root is the mailbox "Work/2026", the root itself is INBOX.

Names are modified UTF-7 on disk. A directory whose name is not (made by a program that knows nothing of it) is shown
under the name it has, and found again through the listing.
"""

import os
from typing import Final

from posthouse.protocol.imap.mailbox_name import BadMailboxName, decode_mailbox_name, encode_mailbox_name
from posthouse.store.interface import InvalidName
from posthouse.store.naming import INBOX

MAX_FILE_NAME: Final = 255
TMP: Final = "tmp"
SUBDIRECTORIES: Final = (TMP, "new", "cur")
DIRECTORY_MODE: Final = 0o700
TRASHED: Final = "..posthouse-trashed-"
"""Prefix of folders that are being removed; two dots hide them from every Maildir++ program."""


def entry_of(name: str) -> str:
    """The directory of a mailbox below the root; "" for INBOX. Raises InvalidName."""
    if name == INBOX:
        return ""
    if "." in name:
        # "." separates levels on disk; every Maildir++ program refuses or confuses it.
        raise InvalidName("Mailbox name must not contain '.'")
    entry = "." + encode_mailbox_name(name).decode("ascii").replace("/", ".")
    if len(entry) > MAX_FILE_NAME:
        raise InvalidName("Mailbox name is too long")
    return entry


def name_of(entry: str) -> str | None:
    """The mailbox that a directory below the root is; None if it is none."""
    if not entry.startswith(".") or len(entry) < 2 or entry.startswith("..") or ".." in entry or entry.endswith("."):
        return None
    levels = entry[1:]
    try:
        name = "/".join(decode_mailbox_name(level.encode("ascii")) for level in levels.split("."))
    except (BadMailboxName, UnicodeEncodeError):
        name = levels.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace(".", "/")
    if name.upper() == INBOX:
        return None
    first, slash, rest = name.partition("/")
    return INBOX + slash + rest if first.upper() == INBOX else name


def scan(root: str) -> dict[str, str]:
    """Every mailbox except INBOX, with its directory."""
    found: dict[str, str] = {}
    strange: list[tuple[str, str]] = []
    try:
        with os.scandir(root) as entries:
            for entry in entries:
                name = name_of(entry.name)
                if name is None or not os.path.isdir(f"{root}/{entry.name}/cur"):
                    continue
                if encoded_differently(name, entry.name):
                    strange.append((name, entry.name))
                else:
                    found[name] = entry.name
    except FileNotFoundError:
        return found
    for name, directory in strange:
        found.setdefault(name, directory)
    return found


def encoded_differently(name: str, entry: str) -> bool:
    try:
        return entry_of(name) != entry
    except InvalidName:
        return True


def make(directory: str, *, folder: bool) -> None:
    """Make a Maildir, or what is missing of one. `folder` adds the mark of Maildir++ that the root is one level up."""
    os.makedirs(directory, DIRECTORY_MODE, exist_ok=True)
    for part in SUBDIRECTORIES:
        try:
            os.mkdir(f"{directory}/{part}", DIRECTORY_MODE)
        except FileExistsError:
            pass
    if folder:
        os.close(os.open(f"{directory}/maildirfolder", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
