"""The auth cache: answers of databases that are elsewhere, remembered (auth_cache_size, auth_cache_ttl).

A cached password that does not fit is asked for anew if it did fit the last time (it may just have been changed) or if
the answer is older than auth_cache_negative_ttl. While a database cannot be asked, an expired answer is better than
none.

Databases that may be cached say what their answer depends on: `password_cache_key`, `user_cache_key` (both of a
question) and `check_cache_key` for those that compare by themselves.
"""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from posthouse.auth.databases.lookup import DatabaseError, PassFound, Question

ENTRY_OCTETS: Final = 600
"""What one answer costs besides its texts: names, tuples, the places in two dictionaries."""
Key = tuple[str, ...]


class _Entry(msgspec.Struct):
    """`found` None: no such user."""

    found: PassFound | None
    fields: Mapping[str, str] | None
    digest: bytes
    since_s: float
    octets: int
    did_fit: bool = False


class AnswerCache:
    """All databases share one, so that auth_cache_size is what it says. `size_octets` 0 remembers nothing."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._octets = 0
        self._secret = secrets.token_bytes(32)
        self.resize(0, 0, 0)

    def resize(self, size_octets: int, ttl_s: float, negative_ttl_s: float) -> None:
        self._limit = size_octets
        self.is_on = size_octets > 0
        self.ttl_s = ttl_s
        self.negative_ttl_s = negative_ttl_s
        self._shrink()

    def __len__(self) -> int:
        return len(self._entries)

    def flush(self, users: Sequence[str] = ()) -> int:
        """Forget everybody, or these users; how many answers that were."""
        unwanted = [key for key in self._entries if not users or key[1] in users]
        for key in unwanted:
            self._drop(key)
        return len(unwanted)

    def get(self, key: Key) -> tuple[_Entry | None, float]:
        """The entry, however old, and its age in seconds."""
        entry = self._entries.get(key)
        if entry is None:
            return None, 0.0
        self._entries.move_to_end(key)
        return entry, self._monotonic() - entry.since_s

    def put(
        self,
        key: Key,
        *,
        found: PassFound | None = None,
        fields: Mapping[str, str] | None = None,
        digest: bytes = b"",
    ) -> None:
        self._drop(key)
        texts = [*key, *(found.fields.items() if found else ()), *(fields.items() if fields else ())]
        octets = ENTRY_OCTETS + sum(len(one) if isinstance(one, str) else len(one[0]) + len(one[1]) for one in texts)
        octets += len(found.stored) if found else 0
        if octets > self._limit:
            return
        self._entries[key] = _Entry(found, fields, digest, self._monotonic(), octets)
        self._octets += octets
        self._shrink()

    def digest(self, password: bytes) -> bytes:
        """To recognise a password by; the key never leaves this process."""
        return hashlib.blake2b(password, key=self._secret, digest_size=32).digest()

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._octets -= entry.octets

    def _shrink(self) -> None:
        while self._octets > self._limit:
            _, entry = self._entries.popitem(last=False)
            self._octets -= entry.octets


class _Passwords(Protocol):
    name: str
    default_scheme: str

    async def password(self, question: Question) -> PassFound | None: ...

    def password_cache_key(self, question: Question) -> Sequence[str]: ...

    def close(self) -> None: ...


class _Users(Protocol):
    name: str

    async def fields(self, question: Question) -> Mapping[str, str] | None: ...

    def user_cache_key(self, question: Question) -> Sequence[str]: ...

    def close(self) -> None: ...


class _Checks(Protocol):
    name: str
    default_scheme: str

    async def check(self, question: Question, password: bytes) -> PassFound | None: ...

    def check_cache_key(self, question: Question) -> Sequence[str]: ...

    def close(self) -> None: ...


class CachedPasswords:
    """A PassDatabase in front of another; `place` tells the blocks of a chain apart."""

    def __init__(self, database: _Passwords, cache: AnswerCache, place: str) -> None:
        self.name = database.name
        self.is_immediate = getattr(database, "is_immediate", False)
        self.default_scheme = database.default_scheme
        self._database = database
        self._cache = cache
        self._place = place

    async def password(self, question: Question) -> PassFound | None:
        if not self._cache.is_on:
            return await self._database.password(question)
        key = (self._place, question.user, *self._database.password_cache_key(question))
        entry, age_s = self._cache.get(key)
        if entry is not None:
            if entry.found is None and age_s < self._cache.negative_ttl_s:
                return None
            if entry.found is not None and age_s < self._cache.ttl_s:
                return msgspec.structs.replace(entry.found, memory=_Memory(self, question, key, entry, age_s))
        try:
            return await self.fresh(question, key)
        except DatabaseError as error:
            if entry is None or entry.found is None:
                raise
            return msgspec.structs.replace(entry.found, memory=_Unconfirmed(error))

    async def fresh(self, question: Question, key: Key) -> PassFound | None:
        found = await self._database.password(question)
        self._cache.put(key, found=found)
        if found is None:
            return None
        entry, _ = self._cache.get(key)
        return found if entry is None else msgspec.structs.replace(found, memory=_Fitting(entry))

    def stale(self, entry: _Entry, age_s: float) -> bool:
        return entry.did_fit or age_s >= self._cache.negative_ttl_s

    def close(self) -> None:
        self._database.close()


class _Fitting:
    """Of an answer that was just asked for: only whether it fits is still to be learned."""

    def __init__(self, entry: _Entry) -> None:
        self._entry = entry

    def fits(self) -> None:
        self._entry.did_fit = True

    async def again(self) -> PassFound | None:
        return self._entry.found


class _Unconfirmed:
    """Of an expired answer, while the database cannot be asked: enough to let somebody in, not to refuse him."""

    def __init__(self, error: DatabaseError) -> None:
        self._error = error

    def fits(self) -> None:
        pass

    async def again(self) -> PassFound | None:
        raise self._error


class _Memory:
    """Of an answer from the cache."""

    def __init__(self, owner: CachedPasswords, question: Question, key: Key, entry: _Entry, age_s: float) -> None:
        self._owner = owner
        self._question = question
        self._key = key
        self._entry = entry
        self._age_s = age_s

    def fits(self) -> None:
        self._entry.did_fit = True

    async def again(self) -> PassFound | None:
        if not self._owner.stale(self._entry, self._age_s):
            return self._entry.found
        return await self._owner.fresh(self._question, self._key)


class CachedUsers:
    """A UserDatabase in front of another."""

    def __init__(self, database: _Users, cache: AnswerCache, place: str) -> None:
        self.name = database.name
        self.is_immediate = getattr(database, "is_immediate", False)
        self._database = database
        self._cache = cache
        self._place = place

    async def users(self) -> list[str]:
        found: list[str] = await self._database.users()  # type: ignore[attr-defined]  # whoever can be cached can list
        return found

    async def fields(self, question: Question) -> Mapping[str, str] | None:
        if not self._cache.is_on:
            return await self._database.fields(question)
        key = (self._place, question.user, *self._database.user_cache_key(question))
        entry, age_s = self._cache.get(key)
        if entry is not None and age_s < (self._cache.negative_ttl_s if entry.fields is None else self._cache.ttl_s):
            return entry.fields
        try:
            fields = await self._database.fields(question)
        except DatabaseError:
            if entry is None or entry.fields is None:
                raise
            return entry.fields
        self._cache.put(key, fields=fields)
        return fields

    def close(self) -> None:
        self._database.close()


class CachedChecks:
    """A CheckingDatabase in front of another: a password that was right needs not be tried again. Wrong ones are."""

    def __init__(self, database: _Checks, cache: AnswerCache, place: str) -> None:
        self.name = database.name
        self.is_immediate = getattr(database, "is_immediate", False)
        self.default_scheme = database.default_scheme
        self._database = database
        self._cache = cache
        self._place = place

    async def check(self, question: Question, password: bytes) -> PassFound | None:
        if not self._cache.is_on:
            return await self._database.check(question, password)
        key = (self._place, question.user, *self._database.check_cache_key(question))
        digest = self._cache.digest(password)
        entry, age_s = self._cache.get(key)
        if entry is not None and age_s < self._cache.ttl_s and hmac.compare_digest(entry.digest, digest):
            return entry.found
        found = await self._database.check(question, password)
        if found is not None and found.is_right:
            self._cache.put(key, found=found, digest=digest)
        return found

    def close(self) -> None:
        self._database.close()


class CachedChecksOfKnown(CachedChecks):
    """Of a database that also says who exists; that is asked for rarely, and not remembered."""

    async def password(self, question: Question) -> PassFound | None:
        found: PassFound | None = await self._database.password(question)  # type: ignore[attr-defined]
        return found


def cached_passwords(database: Any, cache: AnswerCache, place: str) -> Any:
    """The database itself if it cannot be cached."""
    if hasattr(database, "password_cache_key"):
        return CachedPasswords(database, cache, place)
    if hasattr(database, "check_cache_key"):
        kind = CachedChecksOfKnown if hasattr(database, "password") else CachedChecks
        return kind(database, cache, place)
    return database


def cached_users(database: Any, cache: AnswerCache, place: str) -> Any:
    return CachedUsers(database, cache, place) if hasattr(database, "user_cache_key") else database
