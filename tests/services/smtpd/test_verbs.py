"""What a new verb must also have in smtpd: a handler, a place in the disconnect line, a word in HELP."""

from posthouse.protocol.smtp import events
from posthouse.protocol.smtp.states import Verb
from posthouse.services.smtpd.commands import HELP, HELP_LMTP
from posthouse.services.smtpd.house import HANDLERS
from posthouse.services.smtpd.tally import ORDER

SAID = set(Verb) - {Verb.CONNECT, Verb.CONTENT, Verb.RESPONSE, Verb.UNKNOWN}


def test_every_event_has_a_handler() -> None:
    assert set(events.Event.__subclasses__()) == set(HANDLERS), "services/smtpd/house.py"


def test_the_disconnect_line_counts_every_verb() -> None:
    assert set(ORDER) == {one.value.lower() for one in SAID | {Verb.UNKNOWN}}


def test_help_names_every_verb() -> None:
    lmtp_only, smtp_only = {Verb.LHLO}, {Verb.HELO, Verb.EHLO, Verb.ETRN}
    for reply, others in ((HELP, lmtp_only), (HELP_LMTP, smtp_only)):
        assert {word for word in reply.lines[0].split() if word.isupper()} == {one.value for one in SAID - others}
