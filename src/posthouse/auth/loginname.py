"""What a client typed as user name, made into the name that is looked up."""

from posthouse.auth.names import fold_address
from posthouse.core.variables import Template, user_values

MAXIMAL_LENGTH = 320
"""An address is at most 64 + 1 + 255 octets (RFC 5321 s4.5.3.1); nothing longer can be an account."""


class BadLoginName(ValueError):
    """Nobody can be called that; the text is for the log."""


class LoginNames:
    def __init__(self, form: Template, default_realm: str, characters: str) -> None:
        self._form = form
        self._default_realm = default_realm
        self._characters = frozenset(characters)

    def parse(self, typed: str) -> str:
        """Raises BadLoginName."""
        if not typed:
            raise BadLoginName("empty username")
        if len(typed) > MAXIMAL_LENGTH:
            raise BadLoginName("username is too long")
        if self._characters:
            for character in typed:
                if character not in self._characters:
                    raise BadLoginName(
                        "Username character disallowed by auth_username_chars: "
                        f"0x{ord(character):02x} (username: {typed})"
                    )
        if self._default_realm and "@" not in typed:
            typed = f"{typed}@{self._default_realm}"
        return fold_address(self._form.fill(user_values(typed)))
