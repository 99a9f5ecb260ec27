"""Chains of passdb and userdb blocks, asked in the order of the file until one decides (Dovecot's result_* rules)."""

import enum
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from posthouse.auth.databases.lookup import (
    CheckingDatabase,
    DatabaseError,
    PassDatabase,
    PassFound,
    Question,
    TokenDatabase,
    UserDatabase,
)
from posthouse.auth.databases.simple import fill
from posthouse.auth.schemes import UnknownScheme
from posthouse.core.variables import Template

AnyPassDatabase = PassDatabase | CheckingDatabase | TokenDatabase
T = TypeVar("T", AnyPassDatabase, UserDatabase)
PROXY_FIELDS: Final = frozenset(("proxy", "proxy_maybe", "host", "nologin_proxy"))


class Rule(enum.Enum):
    """What follows from the result of one block."""

    RETURN_OK = "return-ok"
    RETURN_FAIL = "return-fail"
    RETURN = "return"
    CONTINUE = "continue"
    CONTINUE_OK = "continue-ok"
    CONTINUE_FAIL = "continue-fail"


@dataclass(frozen=True, slots=True)
class Block(Generic[T]):
    database: T
    on_success: Rule = Rule.RETURN_OK
    on_failure: Rule = Rule.CONTINUE
    on_trouble: Rule = Rule.CONTINUE
    skip: str = "never"
    """never, authenticated, unauthenticated"""
    is_deny: bool = False
    default_fields: Mapping[str, Template] = field(default_factory=dict)
    override_fields: Mapping[str, Template] = field(default_factory=dict)
    mechanisms: frozenset[str] = frozenset()
    """Only for these; empty for all."""
    passes_on: bool = False
    """Of a database of master users (pass = yes): the user must be known to the other blocks as well."""

    def with_fields(self, found: Mapping[str, str], question: Question) -> dict[str, str]:
        return {
            **fill(self.default_fields, question),
            **found,
            **fill(self.override_fields, question),
        }


class Outcome(msgspec.Struct, frozen=True):
    """Of a password chain. `database` is the block that decided; `reason` is for the log."""

    is_right: bool
    reason: str
    database: str
    fields: Mapping[str, str] = {}
    is_temporary: bool = False
    is_disabled: bool = False


_NEVER_OK: Final = {Rule.RETURN_OK: Rule.RETURN, Rule.RETURN_FAIL: Rule.RETURN, Rule.CONTINUE_OK: Rule.CONTINUE}


class Unsuitable(Exception):
    """This kind of database cannot judge this kind of proof; the next one is asked. The text is for the log."""


class Proof(Protocol):
    """What a client has shown: a password, a token, its part of an exchange."""

    async def find(self, database: AnyPassDatabase, question: Question) -> PassFound | None:
        """None: no such user there. Raises DatabaseError, Unsuitable."""
        ...

    async def verify(self, found: PassFound, default_scheme: str) -> bool:
        """Asked if `found.is_right` is None. Raises for a stored password that cannot be compared."""
        ...


async def authenticate(
    blocks: Sequence[Block[AnyPassDatabase]], question: Question, proof: Proof, trouble: Callable[[str, str], None]
) -> Outcome:
    """`trouble` hears, by database, of what could not be asked; it is an administrator's business."""
    success: Outcome | None = None
    failure = Outcome(False, "unknown user", blocks[0].database.name if blocks else "passdb")
    had_trouble = False
    for block in blocks:
        if block.mechanisms and question.mechanism not in block.mechanisms:
            continue
        if (block.skip == "authenticated" and success) or (block.skip == "unauthenticated" and not success):
            continue
        name = block.database.name
        outcome: Outcome | None = None
        try:
            found = await (_EXISTENCE if block.is_deny else proof).find(block.database, question)
            if block.is_deny:
                if found is not None:
                    return Outcome(False, "user is denied by a passdb with deny=yes", name)
                continue
            if found is None:
                outcome = Outcome(False, "unknown user", name)
            else:
                outcome = await _one(block, found, question, proof)
        except Unsuitable as error:
            outcome = Outcome(False, str(error), name)
        except DatabaseError as error:
            trouble(name, str(error))
            had_trouble = True
            if block.is_deny:
                return Outcome(False, "a passdb with deny=yes cannot be asked", name, is_temporary=True)
        if outcome is None:
            # Whatever the rule says: what could not be asked lets nobody in, and refuses nobody.
            rule = _NEVER_OK.get(block.on_trouble, block.on_trouble)
        elif outcome.is_disabled:
            return outcome
        elif outcome.is_right:
            rule = block.on_success
        else:
            rule = block.on_failure
            failure = outcome
        match rule:
            case Rule.RETURN_OK:
                return outcome if outcome is not None and outcome.is_right else success or Outcome(True, "", name)
            case Rule.RETURN_FAIL:
                return outcome if outcome is not None and not outcome.is_right else Outcome(False, "refused", name)
            case Rule.RETURN:
                break
            case Rule.CONTINUE_OK:
                success = outcome if outcome is not None and outcome.is_right else success or Outcome(True, "", name)
            case Rule.CONTINUE_FAIL:
                success = None
            case Rule.CONTINUE:
                pass
    if success is not None:
        return success
    if had_trouble:
        # It might have been right there.
        return Outcome(False, "a database could not be asked", failure.database, is_temporary=True)
    return failure


class Existence:
    """No proof at all: does this user exist, and may he log in?"""

    async def find(self, database: AnyPassDatabase, question: Question) -> PassFound | None:
        look_up = getattr(database, "password", None)
        if look_up is None:
            raise Unsuitable(f"{database.name} cannot be asked without a password")
        found: PassFound | None = await look_up(question)
        return None if found is None else PassFound("", found.fields, is_right=True)

    async def verify(self, found: PassFound, default_scheme: str) -> bool:  # noqa: ARG002
        return True


_EXISTENCE: Final = Existence()


async def _one(block: Block[AnyPassDatabase], found: PassFound, question: Question, proof: Proof) -> Outcome:
    name = block.database.name
    fields = block.with_fields(found.fields, question)
    if (networks := fields.get("allow_nets")) and not _is_allowed(question.remote, networks):
        return Outcome(False, "allow_nets check failed: IP not in allowed networks", name)
    if proxied := sorted(one for one in PROXY_FIELDS if is_yes(fields.get(one, "no"))):
        raise DatabaseError(f"the field {proxied[0]} (proxying to another server) is not supported")
    is_barred = is_yes(fields.get("nologin", "no"))
    if found.is_right is not None:
        is_right, reason = found.is_right, found.reason
    elif is_yes(fields.get("nopassword", "no")):
        if found.stored:
            raise DatabaseError(f"{question.user}: nopassword is set, but the password is not empty")
        is_right, reason = True, ""
    elif not found.stored:
        is_right, reason = False, "no password is stored"
    else:
        try:
            is_right, reason = await proof.verify(found, block.database.default_scheme), ""
        except UnknownScheme:
            # Who may not log in needs no password that makes sense.
            if not is_barred:
                raise
            is_right, reason = False, ""
    if not is_right:
        if found.memory is not None:
            now = await found.memory.again()
            if now is None:
                return Outcome(False, "unknown user", name)
            if now.stored != found.stored or now.fields != found.fields:
                return await _one(block, msgspec.structs.replace(now, memory=None), question, proof)
        return Outcome(False, reason or "Password mismatch", name)
    if found.memory is not None:
        found.memory.fits()
    if is_barred:
        # Told only to whoever knows the password.
        return Outcome(False, fields.get("reason") or "login is disabled for this user", name, is_disabled=True)
    return Outcome(True, "", name, fields)


def is_yes(value: str) -> bool:
    return value.lower() not in ("no", "n", "0", "")


def _is_allowed(remote: str, networks: str) -> bool:
    """Commas between networks; "local" is a connection without an address. What cannot be read allows nobody."""
    for word in networks.replace(" ", ",").split(","):
        if word == "local" and not remote:
            return True
        try:
            if word and ipaddress.ip_address(remote) in ipaddress.ip_network(word, strict=False):
                return True
        except ValueError:
            continue
    return False


async def look_up(
    blocks: Sequence[Block[UserDatabase]], question: Question, trouble: Callable[[str, str], None]
) -> Mapping[str, str] | None:
    """The fields of a user; None if nobody knows him. Raises DatabaseError if that could not be found out."""
    found: dict[str, str] | None = None
    failed = ""
    for block in blocks:
        if (block.skip == "found" and found is not None) or (block.skip == "notfound" and found is None):
            continue
        try:
            fields = await block.database.fields(question)
        except DatabaseError as error:
            trouble(block.database.name, str(error))
            failed, rule = str(error), block.on_trouble
            fields = None
        else:
            rule = block.on_failure if fields is None else block.on_success
        if fields is not None:
            found = {**(found or {}), **block.with_fields(fields, question)}
        if rule in (Rule.RETURN_OK, Rule.RETURN):
            break
        if rule is Rule.RETURN_FAIL:
            return None
    if found is None and failed:
        raise DatabaseError(failed)
    return found
