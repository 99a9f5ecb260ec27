"""What the command table says of one command."""

import enum
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from posthouse.protocol.imap.arguments import Arguments
from posthouse.protocol.imap.response import Status

if TYPE_CHECKING:
    from posthouse.access.imap.session import ImapSession

Answer = Status | Generator[Awaitable[None] | None, None, Status] | None
"""The tagged answer, long work that ends with it, or None: the answer comes later (IDLE)."""

Steps = Generator[Awaitable[None] | None, None, Status]


class State(enum.Enum):
    """RFC 3501 s3; before authentication the session does not exist."""

    AUTHENTICATED = "authenticated"
    SELECTED = "selected"


@dataclass(frozen=True, slots=True)
class Spec:
    state: State
    run: "Callable[[ImapSession, Arguments], Answer]"
    may_expunge: bool = True
    """RFC 3501 s7.4.1: no EXPUNGE during FETCH, STORE and SEARCH, whose numbers would shift."""
    creates_target: bool = False
    """A missing mailbox is answered with TRYCREATE."""
    before_literal: "Callable[[ImapSession, Arguments], Status | None] | None" = None
    """Asked before the client is told to send a literal: a refusal saves it the trouble."""
