"""What a client did in its session: commands for the disconnect line, errors for the limits."""

from collections.abc import Mapping
from typing import Any, Final

from posthouse.protocol.smtp.states import MUST_END_GROUP, Verb

ORDER: Final = (
    "helo", "ehlo", "lhlo", "starttls", "auth", "mail", "rcpt", "data", "bdat", "rset", "noop", "vrfy", "etrn", "help",
    "quit", "unknown",
)  # fmt: skip
WORDS: Final[Mapping[Verb, tuple[str, str, bool]]] = {
    verb: (verb.value.lower(), verb.value, verb in MUST_END_GROUP) for verb in Verb
}
"""As in the disconnect line, as in other lines, and whether a reply must be waited for."""
_known: Final[dict[tuple[Any, ...], str]] = {}
_MAXIMAL_KNOWN: Final = 500


class Tally:
    """`errors` and `junk` count since the last delivered message (smtpd_hard_error_limit, smtpd_junk_command_limit)."""

    __slots__ = ("_accepted", "_commands", "errors", "junk")

    def __init__(self) -> None:
        self._commands: dict[str, int] = {}
        self._accepted: dict[str, int] = {}
        self.errors = 0
        self.junk = 0

    def began(self, name: str) -> None:
        commands = self._commands
        commands[name] = commands.get(name, 0) + 1

    def succeeded(self, name: str) -> None:
        accepted = self._accepted
        accepted[name] = accepted.get(name, 0) + 1

    def delivered(self) -> None:
        """A message was accepted: earlier errors are forgiven."""
        self.errors = 0
        self.junk = 0

    def text(self) -> str:
        """ " ehlo=1 rcpt=1/2 commands=2/3"."""
        # Most sessions are alike.
        key = (*self._commands.items(), None, *self._accepted.items())
        found = _known.get(key)
        if found is None:
            if len(_known) >= _MAXIMAL_KNOWN:
                _known.clear()
            found = _known[key] = self._format()
        return found

    def _format(self) -> str:
        words: list[str] = []
        good = bad = 0
        for name in ORDER:
            count = self._commands.get(name)
            if not count:
                continue
            accepted = min(self._accepted.get(name, 0), count)
            good += accepted
            bad += count - accepted
            words.append(f" {name}={count}" if accepted == count else f" {name}={accepted}/{count}")
        words.append(f" commands={good}" if not bad else f" commands={good}/{good + bad}")
        return "".join(words)
