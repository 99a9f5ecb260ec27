"""Unique ids as the administrator wants them (pop3_uidl_format), so that clients of another server keep theirs."""

import re
from collections.abc import Callable

from posthouse.core.identifiers import Uid, UidValidity

_FIELD = re.compile(r"%(0?)([0-9]{0,3})(X?)([A-Za-z%])")


class BadUidlFormat(ValueError):
    pass


def compile_uidl_format(template: str) -> Callable[[Uid, UidValidity], bytes]:
    """%u is the UID, %v the UIDVALIDITY; width, leading zeros and X (hexadecimal, in small letters as Dovecot writes
    it) may stand before. Raises BadUidlFormat for anything else: a wrong id makes clients fetch all mail again.
    """
    fields = [match[4] for match in _FIELD.finditer(template)]
    if "u" not in fields:
        raise BadUidlFormat("%u is needed, or messages would share their ids")
    unknown = [field for field in fields if field not in ("u", "v", "%")]
    if unknown or "%" in _FIELD.sub("", template):
        raise BadUidlFormat("only %u (UID) and %v (UIDVALIDITY) can be used, as in %08Xu%08Xv")
    if not template.isascii() or not template.isprintable() or " " in template:
        raise BadUidlFormat("an id consists of visible ASCII characters (RFC 1939 s7)")

    def directive(match: re.Match[str]) -> str:
        zero, width, hexadecimal, field = match.groups()
        if field == "%":
            return "%%"
        return f"%({field}){zero}{width}{'x' if hexadecimal else 'd'}"

    python_format = _FIELD.sub(directive, template)
    return lambda uid, uid_validity: (python_format % {"u": uid, "v": uid_validity}).encode("ascii")
