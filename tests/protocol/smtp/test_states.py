"""The table, and the core beside it: every state with every verb."""

import pytest

from posthouse.core.reply import LOCAL_ERROR
from posthouse.protocol.smtp.events import Refusal
from posthouse.protocol.smtp.options import Options
from posthouse.protocol.smtp.states import AFTER_ACCEPT, AFTER_CHALLENGE, AFTER_REFUSAL, OUT_OF_SEQUENCE, State, Verb
from tests.protocol.smtp.talk import Talk

REACH = {
    State.CONNECTED: b"",
    State.GREETED: b"EHLO c.example\r\n",
    State.MAIL: b"EHLO c.example\r\nMAIL FROM:<s@example.org>\r\n",
    State.RCPT: b"EHLO c.example\r\nMAIL FROM:<s@example.org>\r\nRCPT TO:<a@example.test>\r\n",
    State.CHUNKS: b"EHLO c.example\r\nMAIL FROM:<s@example.org>\r\nRCPT TO:<a@example.test>\r\nBDAT 2\r\nx\n",
}
COMMANDS = {
    Verb.HELO: b"HELO c.example\r\n",
    Verb.EHLO: b"EHLO c.example\r\n",
    Verb.MAIL: b"MAIL FROM:<s@example.org>\r\n",
    Verb.RCPT: b"RCPT TO:<b@example.test>\r\n",
    Verb.DATA: b"DATA\r\n",
    Verb.BDAT: b"BDAT 3\r\nabc",
    Verb.RSET: b"RSET\r\n",
    Verb.NOOP: b"NOOP\r\n",
    Verb.VRFY: b"VRFY a\r\n",
    Verb.ETRN: b"ETRN example.test\r\n",
    Verb.HELP: b"HELP\r\n",
    Verb.QUIT: b"QUIT\r\n",
    Verb.STARTTLS: b"STARTTLS\r\n",
    Verb.AUTH: b"AUTH PLAIN AGEAYg==\r\n",
}


def reached(state: State) -> Talk:
    talk = Talk(normalizes=True)
    talk.send(REACH[state])
    assert talk.state is state
    return talk


@pytest.mark.parametrize("state", REACH)
@pytest.mark.parametrize("verb", COMMANDS)
def test_every_verb_in_every_state_does_what_the_table_says(state: State, verb: Verb) -> None:
    talk = reached(state)
    answer = talk.send(COMMANDS[verb])
    following = AFTER_ACCEPT.get((state, verb))
    if following is None:
        assert answer.startswith((b"503 5.5.1 ", b"554 5.5.1 "))
        assert talk.state is state
        assert isinstance(talk.events[-1], Refusal)
    else:
        assert answer[:1] in b"23"
        assert talk.state is following


@pytest.mark.parametrize(
    ("state", "verb"), [(state, verb) for state, verb in AFTER_ACCEPT if state in REACH and verb in COMMANDS]
)
def test_a_refused_verb_leaves_the_state_alone(state: State, verb: Verb) -> None:
    talk = reached(state)
    talk.core.receive_data(COMMANDS[verb])
    assert talk.core.next_event() is not None
    talk.core.reply(LOCAL_ERROR)
    assert talk.state is AFTER_REFUSAL.get((state, verb), state)


def test_every_verb_that_a_client_can_say_is_tried_here() -> None:
    answers_only = {Verb.CONNECT, Verb.CONTENT, Verb.RESPONSE, Verb.UNKNOWN}
    assert set(Verb) - answers_only - {Verb.LHLO} == set(COMMANDS), "a new verb needs a line in COMMANDS"


def test_every_state_is_reachable_from_the_greeting() -> None:
    seen = {State.CONNECTING}
    while True:
        more = {to for table in (AFTER_ACCEPT, AFTER_CHALLENGE) for (frm, _), to in table.items() if frm in seen} - seen
        if not more:
            break
        seen |= more
    assert seen == set(State)


def test_quit_is_possible_wherever_commands_are() -> None:
    assert all((state, Verb.QUIT) in AFTER_ACCEPT for state in REACH)


def test_words_for_sequence_errors_exist_for_forbidden_pairs_only() -> None:
    assert not set(OUT_OF_SEQUENCE) & set(AFTER_ACCEPT)


def test_hello_inside_a_transaction_ends_it() -> None:
    talk = reached(State.RCPT)
    talk.send(b"EHLO again.example\r\n")
    assert talk.codes(b"RCPT TO:<b@example.test>\r\n") == [503]


def test_a_name_that_could_end_a_comment_or_a_log_field_is_neutralised() -> None:
    talk = Talk()
    assert talk.codes(b'EHLO a> (b) [c] \\d;"@e\r\n') == [250]
    assert talk.core.hello == "a???b??[c]??d???e"


def test_mail_without_hello_is_accepted_unless_hello_is_required() -> None:
    assert Talk().codes(b"MAIL FROM:<s@example.org>\r\n") == [250]
    assert Talk(Options(hello_required=True)).codes(b"MAIL FROM:<s@example.org>\r\n") == [503]


def test_lmtp_knows_lhlo_and_neither_helo_nor_ehlo() -> None:
    talk = Talk(Options(is_lmtp=True))
    assert talk.codes(b"HELO c\r\nEHLO c\r\nMAIL FROM:<>\r\nLHLO c\r\nMAIL FROM:<>\r\n") == [500, 500, 503, 250, 250]
