"""Commands with their arguments: text of a line becomes an event, or PermFail with what is wrong with it.

That the verb has a place in the current state is known already; that it is accepted is not, so nothing here moves the
machine. BDAT is not among them: its octets have to be counted, whatever they say.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from posthouse.core.reply import PermFail
from posthouse.protocol.sasl import lines as sasl
from posthouse.protocol.smtp import replies
from posthouse.protocol.smtp.events import (
    Auth,
    Data,
    Etrn,
    Event,
    Hello,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Refusal,
    Reset,
    StartTls,
    Vrfy,
)
from posthouse.protocol.smtp.options import Options
from posthouse.protocol.smtp.parameters import (
    NO_MAIL_PARAMETERS,
    NO_RCPT_PARAMETERS,
    parse_mail_parameters,
    parse_rcpt_parameters,
)
from posthouse.protocol.smtp.paths import BadPath, parse_path
from posthouse.protocol.smtp.states import Verb

_FROM: Final = re.compile(r"FROM[ \t]*:[ \t]*", re.IGNORECASE)
_TO: Final = re.compile(r"TO[ \t]*:[ \t]*", re.IGNORECASE)
# RFC 1985 s5: node-name, "@" for subdomains too, "#" for a queue name.
_ETRN: Final = re.compile(r"[@#]?[A-Za-z0-9\[](?:[A-Za-z0-9._:-]*[A-Za-z0-9\]])?")
_MAXIMAL_HELLO: Final = 255
_UNSAFE_IN_HELLO: Final = re.compile(r"[^!-~]|[<>()\\\";@]")
"""What Postfix replaces there too, and whatever is no printable ASCII."""
"""RFC 5321 s4.5.3.1.2: no domain is longer."""


class Conversation:
    """What the client has said so far, as far as the meaning of its next command depends on it."""

    __slots__ = (
        "accepted",
        "answering",
        "hello",
        "is_authenticated",
        "is_extended",
        "is_secure",
        "options",
        "smtputf8",
    )

    def __init__(self, options: Options) -> None:
        self.options = options
        self.answering: Verb | None = Verb.CONNECT
        """What is to be answered; None: whatever happens next begins with octets from the client."""
        self.hello = ""
        self.is_extended = False
        self.is_secure = False
        self.is_authenticated = False
        self.smtputf8 = False
        self.accepted = 0
        """Recipients of this transaction."""


def parse_hello(talk: Conversation, argument: str) -> Event:
    assert talk.answering is not None
    verb = talk.answering
    if not argument or len(argument) > _MAXIMAL_HELLO:
        raise PermFail(replies.HELLO_SYNTAX[verb.value])
    if _UNSAFE_IN_HELLO.search(argument):
        # It stands in Received: fields and log lines, between < and > or before a comment: nothing may end those.
        argument = _UNSAFE_IN_HELLO.sub("?", argument)
    talk.hello = argument
    talk.is_extended = verb is not Verb.HELO
    return Hello(verb, argument)


def parse_mail(talk: Conversation, argument: str) -> Event:
    options = talk.options
    if not talk.hello and (options.hello_required or options.is_lmtp):
        raise PermFail(replies.NEED_HELLO)
    match = _FROM.match(argument)
    if match is None:
        raise PermFail(replies.MAIL_SYNTAX)
    try:
        sender, rest = parse_path(argument[match.end() :], strict=options.strict_paths)
    except BadPath:
        raise PermFail(replies.BAD_SENDER) from None
    parameters = NO_MAIL_PARAMETERS
    if rest:
        if rest[0] not in " \t":
            raise PermFail(replies.BAD_SENDER)
        parameters = parse_mail_parameters(rest, options.mail_parameters, replies.MAIL_SYNTAX)
        # RFC 1870 s6.1: what is declared too large need not be sent.
        if options.size_limit and parameters.size > options.size_limit:
            raise PermFail(replies.SIZE_EXCEEDED)
    if sender is not None and not parameters.smtputf8 and options.requires_smtputf8 and not sender.is_ascii:
        raise PermFail(replies.NEED_SMTPUTF8)
    talk.smtputf8 = parameters.smtputf8
    return Mail(sender, parameters)


def parse_rcpt(talk: Conversation, argument: str) -> Event:
    options = talk.options
    match = _TO.match(argument)
    if match is None:
        raise PermFail(replies.RCPT_SYNTAX)
    try:
        recipient, rest = parse_path(argument[match.end() :], strict=options.strict_paths)
    except BadPath:
        raise PermFail(replies.BAD_RECIPIENT) from None
    if recipient is None:
        raise PermFail(replies.BAD_RECIPIENT)
    parameters = NO_RCPT_PARAMETERS
    if rest:
        if rest[0] not in " \t":
            raise PermFail(replies.BAD_RECIPIENT)
        parameters = parse_rcpt_parameters(rest, options.rcpt_parameters, replies.RCPT_SYNTAX)
    if not talk.smtputf8 and options.requires_smtputf8 and not recipient.is_ascii:
        raise PermFail(replies.NEED_SMTPUTF8)
    if talk.accepted >= options.recipient_limit:
        # RFC 5321 s4.5.3.1.10: 452, so that the client sends the others in another transaction.
        return Refusal(Verb.RCPT, replies.TOO_MANY_RECIPIENTS, str(recipient))
    return Rcpt(recipient, parameters.notify, parameters.original)


def parse_data(talk: Conversation, argument: str) -> Event:  # noqa: ARG001 - as all of them
    if argument:
        raise PermFail(replies.DATA_SYNTAX)
    return Data()


def parse_rset(talk: Conversation, argument: str) -> Event:  # noqa: ARG001 - as all of them
    if argument:
        raise PermFail(replies.RSET_SYNTAX)
    return Reset()


def parse_noop(talk: Conversation, argument: str) -> Event:  # noqa: ARG001 - RFC 5321 s4.1.1.9: any argument is ignored
    return Noop()


def parse_help(talk: Conversation, argument: str) -> Event:  # noqa: ARG001 - one text for every topic
    return Help()


def parse_quit(talk: Conversation, argument: str) -> Event:  # noqa: ARG001 - whoever wants to go may go
    return Quit()


def parse_vrfy(talk: Conversation, argument: str) -> Event:  # noqa: ARG001 - as all of them
    if argument[-9:].upper() == " SMTPUTF8":
        argument = argument[:-9].rstrip()
    elif not argument.isascii():
        raise PermFail(replies.NEED_SMTPUTF8)
    if not argument:
        raise PermFail(replies.VRFY_SYNTAX)
    return Vrfy(argument)


def parse_etrn(talk: Conversation, argument: str) -> Event:
    if not talk.options.offers_etrn:
        raise PermFail(replies.NOT_IMPLEMENTED)
    if talk.options.hello_required and not talk.hello:
        raise PermFail(replies.NEED_HELLO)
    if not _ETRN.fullmatch(argument):
        raise PermFail(replies.ETRN_SYNTAX)
    return Etrn(argument)


def parse_starttls(talk: Conversation, argument: str) -> Event:
    if argument:
        raise PermFail(replies.STARTTLS_SYNTAX)
    if talk.is_secure:
        raise PermFail(replies.TLS_ACTIVE)
    return StartTls()


def parse_auth(talk: Conversation, argument: str) -> Event:
    if not talk.is_extended:
        raise PermFail(replies.NO_AUTH)
    if talk.is_authenticated:
        raise PermFail(replies.ALREADY_AUTHENTICATED)
    words = argument.split()
    if not 1 <= len(words) <= 2:
        raise PermFail(replies.AUTH_SYNTAX)
    response: bytes | None = None
    if len(words) == 2:
        try:
            response = sasl.decode_initial(words[1])
        except sasl.BadBase64:
            raise PermFail(replies.AUTH_BAD_BASE64) from None
    return Auth(words[0].upper(), response)


PARSERS: Final[Mapping[Verb, Callable[[Conversation, str], Event]]] = {
    Verb.HELO: parse_hello,
    Verb.EHLO: parse_hello,
    Verb.LHLO: parse_hello,
    Verb.MAIL: parse_mail,
    Verb.RCPT: parse_rcpt,
    Verb.DATA: parse_data,
    Verb.RSET: parse_rset,
    Verb.NOOP: parse_noop,
    Verb.VRFY: parse_vrfy,
    Verb.ETRN: parse_etrn,
    Verb.HELP: parse_help,
    Verb.QUIT: parse_quit,
    Verb.STARTTLS: parse_starttls,
    Verb.AUTH: parse_auth,
}
