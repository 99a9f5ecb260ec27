"""mail_location: `maildir:PATH[:INBOX=PATH][:INDEX=PATH][:…]` as userdb answers it, and paths without a format."""

import os

import msgspec


class BadLocation(ValueError):
    """Not a location we can use; the text says why."""


class MailLocation(msgspec.Struct, frozen=True):
    root: str
    index: str = ""
    """Directory of the index; "" is the root itself."""


def parse_location(text: str, home: str) -> MailLocation:
    """`~/` is the home. Raises BadLocation."""
    kind, colon, rest = text.partition(":")
    if not colon or kind.startswith(("/", "~")):
        kind, rest = "maildir", text
    if kind.lower() != "maildir":
        raise BadLocation(f"mail format {kind!r} is not supported here: {text}")
    path, *options = rest.split(":")
    index = ""
    for option in options:
        key, _, value = option.partition("=")
        if key == "INDEX":
            # Dovecot's MEMORY is only possible where UIDs live elsewhere; ours must be kept.
            index = "" if value == "MEMORY" else _expand(value, home)
        elif key == "LAYOUT" and value.lower() != "maildir++":
            raise BadLocation(f"only LAYOUT=Maildir++ is supported: {text}")
        elif key == "INBOX" and _expand(value, home) != _expand(path, home):
            raise BadLocation(f"an INBOX apart from the root is not supported: {text}")
    root = _expand(path, home)
    if not root.startswith("/"):
        raise BadLocation(f"not an absolute path: {text}")
    return MailLocation(os.path.normpath(root), os.path.normpath(index) if index else "")


def _expand(path: str, home: str) -> str:
    if path == "~" or path.startswith("~/"):
        return home + path[1:]
    return path
