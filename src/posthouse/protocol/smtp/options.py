"""What one listener allows: limits and extensions of the core."""

import msgspec

from posthouse.core.reply import Reply


class Options(msgspec.Struct, frozen=True):
    """What a listener allows. `mail_parameters` and `rcpt_parameters` are those that EHLO announces."""

    is_lmtp: bool = False
    command_limit: int = 2048
    auth_line_limit: int = 12288
    size_limit: int = 0
    recipient_limit: int = 1000
    inline_limit: int = 256 * 1024
    """Content up to here is one event; more comes in pieces of about this size."""
    hello_required: bool = False
    strict_paths: bool = False
    requires_smtputf8: bool = True
    """Addresses beyond ASCII only in transactions that declare SMTPUTF8."""
    offers_chunking: bool = True
    offers_etrn: bool = True
    bare_line_end: Reply = Reply.of(550, "5.5.2", "Error: bare <LF> received")
    mail_parameters: frozenset[str] = frozenset({"SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH"})
    rcpt_parameters: frozenset[str] = frozenset({"NOTIFY", "ORCPT"})
