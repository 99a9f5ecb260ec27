"""What the settings say about every message, made once per listener."""

from dataclasses import dataclass
from typing import Self

from posthouse.config.parameter import Settings
from posthouse.config.parameters import general
from posthouse.config.parameters import intake as own


@dataclass(frozen=True, slots=True)
class Rules:
    myhostname: str
    mail_name: str
    hopcount_limit: int
    field_size_limit: int
    section_size_limit: int
    always_add_missing: bool
    undisclosed_recipients: str
    dropped_fields: tuple[bytes, ...]
    """Lower case, without colon."""
    forbidden_octets: bytes
    stripped_octets: bytes

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            settings[general.MYHOSTNAME],
            settings[general.MAIL_NAME],
            settings[own.HOPCOUNT_LIMIT],
            settings[own.HEADER_SIZE_LIMIT],
            settings[own.HEADER_SECTION_SIZE_LIMIT],
            settings[own.ALWAYS_ADD_MISSING_HEADERS],
            settings[own.UNDISCLOSED_RECIPIENTS_HEADER].strip(),
            tuple(name.lower().rstrip(":").encode() for name in settings[own.MESSAGE_DROP_HEADERS]),
            settings[own.MESSAGE_REJECT_CHARACTERS],
            settings[own.MESSAGE_STRIP_CHARACTERS],
        )
