"""The conversation: order, pipelining, and what becomes of each recipient."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.protocol.smtp.client import Client, ContentWanted, Finished, ProtocolError, Replied
from posthouse.protocol.smtp.client_transaction import (
    RecipientCommand,
    Stage,
    Transaction,
    original_recipient,
    xtext,
)

EHLO = b"250-mx\r\n250-PIPELINING\r\n250-SIZE\r\n250-DSN\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"


def ready(ehlo: bytes = EHLO, *, lmtp: bool = False, batch: int = 100) -> Client:
    client = Client(lmtp=lmtp, recipient_batch=batch)
    client.receive_data(b"220 mx ESMTP\r\n")
    assert isinstance(client.next_event(), Replied)
    assert client.hello("me") == b"EHLO me\r\n"
    client.receive_data(ehlo)
    event = client.next_event()
    assert isinstance(event, Replied)
    client.learn(event.reply)
    assert client.stage is None
    return client


def message(*paths: str, **more: object) -> Transaction:
    return Transaction("s@x", [RecipientCommand(path) for path in paths], **more)  # type: ignore[arg-type]


def codes(transaction: Transaction) -> list[tuple[int, str] | None]:
    return [None if one is None else (one.reply.code, one.stage.value) for one in transaction.outcomes]


def test_with_pipelining_everything_before_the_content_leaves_at_once() -> None:
    client = ready()
    transaction = message("a@y", "b@y", size=12)
    assert client.begin(transaction) == b"MAIL FROM:<s@x> SIZE=12\r\nRCPT TO:<a@y>\r\nRCPT TO:<b@y>\r\nDATA\r\n"
    client.receive_data(b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go\r\n")
    assert isinstance(client.next_event(), ContentWanted)
    assert client.stage is Stage.CONTENT
    client.content_sent()
    client.receive_data(b"250 2.0.0 queued\r\n")
    assert client.next_event() == Finished(transaction)
    assert codes(transaction) == [(250, "end of DATA"), (550, "RCPT TO")]


def test_without_pipelining_every_answer_is_awaited() -> None:
    client = ready(b"250 mx\r\n")
    transaction = message("a@y", "b@y", size=12)
    assert client.begin(transaction) == b"MAIL FROM:<s@x>\r\n"
    assert client.receive_data(b"250 ok\r\n") == b"RCPT TO:<a@y>\r\n"
    assert client.receive_data(b"450 4.2.0 later\r\n") == b"RCPT TO:<b@y>\r\n"
    assert client.receive_data(b"250 ok\r\n") == b"DATA\r\n"
    client.receive_data(b"354 go\r\n")
    assert isinstance(client.next_event(), ContentWanted)
    client.content_sent()
    client.receive_data(b"552 5.3.4 too big\r\n")
    assert client.next_event() == Finished(transaction)
    assert codes(transaction) == [(450, "RCPT TO"), (552, "end of DATA")]


def test_without_any_recipient_no_content_is_sent_and_the_next_message_starts_with_rset() -> None:
    client = ready(b"250 mx\r\n")
    client.begin(message("a@y"))
    client.receive_data(b"250 ok\r\n")
    client.receive_data(b"550 no\r\n")
    assert isinstance(client.next_event(), Finished)
    assert client.begin(message("b@y")) == b"RSET\r\n"
    assert client.receive_data(b"250 ok\r\n") == b"MAIL FROM:<s@x>\r\n"


def test_a_server_that_wants_content_for_nobody_gets_an_empty_message() -> None:
    client = ready()
    transaction = message("a@y")
    client.begin(transaction)
    assert client.receive_data(b"250 ok\r\n550 5.1.1 no\r\n354 go\r\n") == b".\r\n"
    assert client.next_event() is None
    client.receive_data(b"554 5.5.1 none\r\n")
    assert client.next_event() == Finished(transaction)
    assert codes(transaction) == [(550, "RCPT TO")]
    assert client.begin(message("b@y")).startswith(b"MAIL")


def test_a_refused_data_after_pipelining_needs_a_reset() -> None:
    client = ready()
    transaction = message("a@y", "b@y")
    client.begin(transaction)
    client.receive_data(b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n451 4.3.0 later\r\n")
    assert client.next_event() == Finished(transaction)
    assert codes(transaction) == [(451, "DATA"), (550, "RCPT TO")]
    assert client.begin(message("c@y")).startswith(b"RSET\r\nMAIL")


def test_a_refused_sender_decides_for_all() -> None:
    client = ready()
    transaction = message("a@y", "b@y")
    client.begin(transaction)
    client.receive_data(b"550 5.7.1 no\r\n503 5.5.1 x\r\n503 5.5.1 x\r\n503 5.5.1 x\r\n")
    assert client.next_event() == Finished(transaction)
    assert codes(transaction) == [(550, "MAIL FROM")] * 2


def test_lmtp_has_a_reply_for_each_accepted_recipient() -> None:
    client = ready(lmtp=True)
    transaction = message("a@y", "b@y", "c@y")
    client.begin(transaction)
    client.receive_data(b"250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n")
    assert isinstance(client.next_event(), ContentWanted)
    client.content_sent()
    client.receive_data(b"250 2.0.0 saved\r\n")
    assert client.next_event() is None
    client.receive_data(b"452 4.2.2 full\r\n")
    assert client.next_event() == Finished(transaction)
    assert codes(transaction) == [(250, "end of DATA"), (550, "RCPT TO"), (452, "end of DATA")]


def test_many_recipients_go_in_batches_with_data_behind_the_last() -> None:
    client = ready(batch=2)
    transaction = message("a@y", "b@y", "c@y")
    assert client.begin(transaction).count(b"RCPT") == 2
    assert client.receive_data(b"250 ok\r\n250 ok\r\n250 ok\r\n") == b"RCPT TO:<c@y>\r\nDATA\r\n"


def test_421_in_the_middle_decides_for_the_rest() -> None:
    client = ready(b"250 mx\r\n")
    transaction = message("a@y", "b@y")
    client.begin(transaction)
    client.receive_data(b"250 ok\r\n")
    client.receive_data(b"421 4.3.2 bye\r\n")
    assert client.closing
    assert client.next_event() == Finished(transaction)
    assert codes(transaction) == [(421, "RCPT TO")] * 2


def test_an_answer_that_means_nothing_is_try_again() -> None:
    client = ready(b"250 mx\r\n")
    transaction = message("a@y")
    client.begin(transaction)
    client.receive_data(b"354 what\r\n")
    assert client.next_event() == Finished(transaction)
    assert codes(transaction) == [(450, "MAIL FROM")]


def test_parameters_are_sent_where_they_are_understood() -> None:
    transaction = Transaction(
        "s@x",
        [RecipientCommand("ü@y", ("SUCCESS", "FAILURE"), "o+x@y")],
        size=5,
        body="8BITMIME",
        smtputf8=True,
        ret="HDRS",
        envid="a=b",
    )
    assert ready().begin(transaction).decode() == (
        "MAIL FROM:<s@x> SIZE=5 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+3Db\r\n"
        "RCPT TO:<ü@y> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;o+2Bx@y\r\nDATA\r\n"
    )
    assert ready(b"250 mx\r\n").begin(transaction) == b"MAIL FROM:<s@x>\r\n"


def test_xtext_and_original_recipients() -> None:
    assert xtext("a b+c=d\x7f") == "a+20b+2Bc+3Dd+7F"
    assert original_recipient("ü@y") == "utf-8;\\x{FC}@y"


def test_commands_in_the_middle_of_something_are_a_bug() -> None:
    client = ready()
    client.begin(message("a@y"))
    with pytest.raises(RuntimeError):
        client.quit()


REPLIES = st.sampled_from(
    [
        b"250 ok\r\n",
        b"354 go\r\n",
        b"550 5.1.1 no\r\n",
        b"451 later\r\n",
        b"421 bye\r\n",
        b"250-a\r\n250 b\r\n",
        b"25",
        b"x\r\n",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(REPLIES, max_size=12), st.integers(1, 4), st.booleans(), st.booleans())
def test_whatever_the_server_says_every_finished_recipient_has_one_outcome(
    replies: list[bytes], recipients: int, lmtp: bool, pipelining: bool
) -> None:
    client = ready(EHLO if pipelining else b"250 mx\r\n", lmtp=lmtp, batch=2)
    transaction = message(*(f"u{number}@y" for number in range(recipients)))
    client.begin(transaction)
    finished = False
    for reply in replies:
        try:
            client.receive_data(reply)
        except ProtocolError:
            break
        while (event := client.next_event()) is not None:
            if isinstance(event, ContentWanted):
                assert transaction.accepted
                client.content_sent()
            elif isinstance(event, Finished):
                finished = True
        if finished:
            break
    if finished:
        assert all(outcome is not None for outcome in transaction.outcomes)
    for outcome in transaction.outcomes:
        if outcome is not None and outcome.reply.positive:
            assert outcome.stage is Stage.END_OF_DATA
