"""Passwords that were right a while ago, so that a client's next connection costs no hash.

What is kept is a keyed digest of password and stored hash; the key never leaves this process. The stored hash
is read again at every login, so a changed password or a removed account counts at once.
"""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from typing import Final

ENTRY_OCTETS: Final = 512
"""What one entry costs with its name and the containers around it, measured generously."""


class VerifiedCache:
    def __init__(self, size_octets: int, ttl_s: float) -> None:
        self._key = secrets.token_bytes(32)
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self.resize(size_octets, ttl_s)

    def resize(self, size_octets: int, ttl_s: float) -> None:
        self._limit = size_octets // ENTRY_OCTETS
        self._ttl_s = ttl_s
        while len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def __len__(self) -> int:
        return len(self._entries)

    def has(self, user: str, stored: str, password: bytes, now_s: float) -> bool:
        entry = self._entries.get(user)
        if entry is None:
            return False
        digest, until_s = entry
        if until_s <= now_s:
            del self._entries[user]
            return False
        if not hmac.compare_digest(digest, self._digest(stored, password)):
            return False
        self._entries.move_to_end(user)
        return True

    def add(self, user: str, stored: str, password: bytes, now_s: float) -> None:
        if not self._limit or not self._ttl_s:
            return
        self._entries[user] = (self._digest(stored, password), now_s + self._ttl_s)
        self._entries.move_to_end(user)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        self._entries.clear()

    def _digest(self, stored: str, password: bytes) -> bytes:
        known = stored.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(len(known).to_bytes(4, "big") + known + password, key=self._key, digest_size=32).digest()
