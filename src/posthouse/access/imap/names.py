"""Mailbox names between the wire and the store.

The store names levels with "/" in Unicode; clients see modified UTF-7 and the separator of the configuration.
"""

from posthouse.protocol.imap.mailbox_name import BadMailboxName, decode_mailbox_name, format_mailbox_name
from posthouse.store.interface import InvalidName


class WireNames:
    def __init__(self, separator: str) -> None:
        self.separator = separator
        self._quoted_separator = b'"' + separator.encode("ascii").replace(b"\\", b"\\\\") + b'"'

    def read(self, octets: bytes) -> str:
        """The store's name of a mailbox. Raises InvalidName."""
        try:
            name = decode_mailbox_name(octets)
        except BadMailboxName as error:
            raise InvalidName("Mailbox name is not valid mUTF-7") from error
        return self.to_store(name)

    def to_store(self, name: str) -> str:
        if name.upper() == "INBOX":
            return "INBOX"
        if self.separator != "/":
            if "/" in name:
                raise InvalidName("Character not allowed in mailbox name: '/'")
            name = name.replace(self.separator, "/")
        return name

    def to_wire(self, name: str) -> str:
        """With the wire's separator, still Unicode (patterns are matched against this)."""
        return name if self.separator == "/" else name.replace("/", self.separator)

    def format(self, name: str) -> bytes:
        return format_mailbox_name(self.to_wire(name))

    @property
    def quoted_separator(self) -> bytes:
        return self._quoted_separator
