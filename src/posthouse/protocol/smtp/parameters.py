"""Parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), DSN (RFC 3461), AUTH
(RFC 4954)."""

import re
from typing import Final

import msgspec

from posthouse.core.reply import PermFail, Reply

# RFC 5321 s4.1.2: esmtp-param = esmtp-keyword ["=" esmtp-value]; RFC 6531 s3.3 allows UTF-8 in values.
_PARAMETER: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\x80-\U0010ffff]+))?")
# RFC 3461 s4: xtext = *( xchar / hexchar )
_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_HEXCHAR: Final = re.compile(r"\+([0-9A-F]{2})")
# RFC 6533 s3: utf-8-addr-xtext and utf-8-addr-unitext
_UNICODE: Final = re.compile(r"\\x\{([0-9A-F]{2,6})\}")

BAD_SIZE: Final = Reply.of(501, "5.5.4", "Bad message size syntax")
BAD_RET: Final = Reply.of(501, "5.5.4", "Bad RET parameter syntax")
BAD_ENVID: Final = Reply.of(501, "5.5.4", "Bad ENVID parameter syntax")
BAD_AUTH: Final = Reply.of(501, "5.5.4", "Bad AUTH parameter syntax")
BAD_NOTIFY: Final = Reply.of(501, "5.5.4", "Error: Bad NOTIFY parameter syntax")
BAD_ORCPT: Final = Reply.of(501, "5.5.4", "Error: Bad ORCPT parameter syntax")
NO_DSN: Final = Reply.of(501, "5.7.1", "DSN support is disabled")
MAXIMAL_ENVID: Final = 100  # RFC 3461 s4.4
MAXIMAL_ORCPT: Final = 500  # RFC 3461 s4.2
_DSN: Final = frozenset({"RET", "ENVID", "NOTIFY", "ORCPT"})


class MailParameters(msgspec.Struct, frozen=True):
    """`size` is 0 if the client did not say; `body` and `ret` "" likewise; `envid` is decoded."""

    size: int = 0
    body: str = ""
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""


class RcptParameters(msgspec.Struct, frozen=True):
    """`original` is decoded, without "rfc822;"."""

    notify: tuple[str, ...] = ()
    original: str = ""


NO_MAIL_PARAMETERS: Final = MailParameters()
NO_RCPT_PARAMETERS: Final = RcptParameters()


def decode_xtext(text: str) -> str | None:
    """None if it is no xtext or hides control characters."""
    if not _XTEXT.fullmatch(text):
        return None
    decoded = _HEXCHAR.sub(lambda match: chr(int(match[1], 16)), text)
    return decoded if decoded.isascii() and decoded.isprintable() else None


def _split(text: str, allowed: frozenset[str], syntax: Reply) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for word in text.split():
        match = _PARAMETER.fullmatch(word)
        if match is None:
            raise PermFail(syntax)
        name = match[1].upper()
        if name not in allowed:
            # RFC 5321 s4.1.1.11: 555 for parameters not recognized.
            raise PermFail(NO_DSN if name in _DSN else Reply.of(555, "5.5.4", f"Unsupported option: {word[:100]}"))
        if name in found:
            raise PermFail(Reply.of(501, "5.5.4", f"Error: multiple {name}= options"))
        found[name] = match[2]
    return found


def parse_mail_parameters(text: str, allowed: frozenset[str], syntax: Reply) -> MailParameters:
    """`allowed` are the parameters that were announced. Raises PermFail."""
    found = _split(text, allowed, syntax)
    size = 0
    if "SIZE" in found:
        value = found["SIZE"] or ""
        # RFC 1870 s3: size-value = 1*20DIGIT
        if not (value.isascii() and value.isdecimal()) or len(value) > 20:
            raise PermFail(BAD_SIZE)
        size = int(value)
    body = ""
    if "BODY" in found:
        body = (found["BODY"] or "").upper()
        if body not in ("7BIT", "8BITMIME"):
            raise PermFail(Reply.of(555, "5.5.4", f"Unsupported option: BODY={body[:100]}"))
    if found.get("SMTPUTF8") is not None:  # RFC 6531 s3.4: no value
        raise PermFail(syntax)
    ret = ""
    if "RET" in found:
        ret = (found["RET"] or "").upper()
        if ret not in ("FULL", "HDRS"):
            raise PermFail(BAD_RET)
    envid = ""
    if "ENVID" in found:
        value = found["ENVID"] or ""
        decoded = decode_xtext(value)
        if not decoded or len(value) > MAXIMAL_ENVID:
            raise PermFail(BAD_ENVID)
        envid = decoded
    if "AUTH" in found and found["AUTH"] != "<>" and not decode_xtext(found["AUTH"] or ""):
        raise PermFail(BAD_AUTH)
    return MailParameters(size, body, "SMTPUTF8" in found, ret, envid)


def parse_rcpt_parameters(text: str, allowed: frozenset[str], syntax: Reply) -> RcptParameters:
    found = _split(text, allowed, syntax)
    notify: tuple[str, ...] = ()
    if "NOTIFY" in found:
        notify = tuple((found["NOTIFY"] or "").upper().split(","))
        # RFC 3461 s4.1: NEVER stands alone.
        if not set(notify) <= {"SUCCESS", "FAILURE", "DELAY"} and notify != ("NEVER",):
            raise PermFail(BAD_NOTIFY)
        if len(set(notify)) != len(notify):
            raise PermFail(BAD_NOTIFY)
    original = ""
    if "ORCPT" in found:
        original = _parse_orcpt(found["ORCPT"] or "")
    return RcptParameters(notify, original)


def _parse_orcpt(value: str) -> str:
    kind, semicolon, address = value.partition(";")
    if len(value) > MAXIMAL_ORCPT or not semicolon or not kind or not kind.isascii():
        raise PermFail(BAD_ORCPT)
    if kind.lower() == "utf-8":
        try:
            decoded: str | None = _UNICODE.sub(lambda match: chr(int(match[1], 16)), address)
        except (ValueError, OverflowError):
            decoded = None
        if decoded is None or not decoded.isprintable() or any("\ud800" <= one <= "\udfff" for one in decoded):
            raise PermFail(BAD_ORCPT)
    else:
        decoded = decode_xtext(address)
    if not decoded:
        raise PermFail(BAD_ORCPT)
    return decoded if kind.lower() in ("rfc822", "utf-8") else f"{kind};{decoded}"
