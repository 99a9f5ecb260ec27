"""BODY and BODYSTRUCTURE, ready for the wire (RFC 3501 s7.4.2)."""

from posthouse.protocol.message.envelope import envelope
from posthouse.protocol.message.parameters import Parameters, parameter, parse_parameterized
from posthouse.protocol.message.scanner import Part, scan
from posthouse.protocol.message.wire import nstring, string

_DEFAULT_CHARSET = (b"charset", b"us-ascii")
# RFC 3501 s9 wants at least one part in a multipart; one in which none is found gets an empty text, as in Dovecot.
_EMPTY_TEXT = b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0)'
_EMPTY_TEXT_EXTENDED = b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL)'


def structures(content: bytes) -> tuple[bytes, bytes]:
    """(BODY, BODYSTRUCTURE), the parenthesised lists without the item names."""
    return structures_of(content, scan(content))


def structures_of(content: bytes, part: Part) -> tuple[bytes, bytes]:
    """Both texts in one walk: they differ only in the extension data."""
    if part.is_multipart:
        plain, extended = _EMPTY_TEXT, _EMPTY_TEXT_EXTENDED
        if part.children:
            pairs = [structures_of(content, child) for child in part.children]
            plain = b"".join([pair[0] for pair in pairs])
            extended = b"".join([pair[1] for pair in pairs])
        sub_type = string(part.sub_type)
        return (
            b"(%b %b)" % (plain, sub_type),
            b"(%b %b %b %b)" % (extended, sub_type, _parameter_list(part.parameters), _extension(part)),
        )
    fields = part.fields
    parameters = part.parameters
    main_type = part.main_type.lower()
    if main_type == b"text" and parameter(parameters, b"charset") is None:
        # RFC 2046 s4.1.2: the default; told explicitly because clients look for it.
        parameters = (*parameters, _DEFAULT_CHARSET)
    encoding = (
        parse_parameterized(fields[b"content-transfer-encoding"])[0]
        if (b"content-transfer-encoding" in fields)
        else b""
    )
    basic = b"%b %b %b %b %b %b %d" % (
        string(part.main_type),
        string(part.sub_type),
        _parameter_list(parameters),
        nstring(fields.get(b"content-id")),
        nstring(fields.get(b"content-description")),
        string(encoding or b"7bit"),
        part.body_end - part.body_start,
    )
    extension = nstring(fields.get(b"content-md5")) + b" " + _extension(part)
    if part.is_message and part.children:
        inner = part.children[0]
        inner_plain, inner_extended = structures_of(content, inner)
        inner_envelope = envelope(content[inner.header_start : inner.body_start])
        return (
            b"(%b %b %b %d)" % (basic, inner_envelope, inner_plain, part.body_lines),
            b"(%b %b %b %d %b)" % (basic, inner_envelope, inner_extended, part.body_lines, extension),
        )
    if main_type == b"text":
        return b"(%b %d)" % (basic, part.body_lines), b"(%b %d %b)" % (basic, part.body_lines, extension)
    return b"(%b)" % basic, b"(%b %b)" % (basic, extension)


def _parameter_list(parameters: Parameters) -> bytes:
    if not parameters:
        return b"NIL"
    return b"(" + b" ".join([string(name) + b" " + string(value) for name, value in parameters]) + b")"


def _extension(part: Part) -> bytes:
    """body-fld-dsp SP body-fld-lang SP body-fld-loc"""
    fields = part.fields
    if not fields:
        return b"NIL NIL NIL"
    disposition = b"NIL"
    if b"content-disposition" in fields:
        kind, parameters = parse_parameterized(fields[b"content-disposition"])
        if kind:
            disposition = b"(%b %b)" % (string(kind), _parameter_list(parameters))
    language = b"NIL"
    tags = [tag for tag in fields.get(b"content-language", b"").replace(b",", b" ").split() if tag]
    if tags:
        language = b"(" + b" ".join([string(tag) for tag in tags]) + b")"
    return b"%b %b %b" % (disposition, language, nstring(fields.get(b"content-location")))
