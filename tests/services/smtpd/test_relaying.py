"""Who may send what to whom: never an open relay, whatever the address looks like."""

from collections.abc import Callable

import pytest

from tests.services.smtpd.world import World

NewWorld = Callable[..., World]
STRANGER = {"mynetworks": "192.0.2.0/24"}


def rcpt(world: World, recipient: str, sender: str = "s@example.org") -> str:
    with world.connect() as client:
        client.greeted()
        assert client.ask(f"MAIL FROM:<{sender}>").startswith("250")
        return client.ask(f"RCPT TO:<{recipient}>")


def test_a_stranger_may_send_to_our_users_only(new_world: NewWorld) -> None:
    world = new_world(**STRANGER)
    assert rcpt(world, "alice@example.test") == "250 2.1.5 Ok"
    assert rcpt(world, "x@elsewhere.example") == "454 4.7.1 <x@elsewhere.example>: Relay access denied"
    world.wait_for_log(
        r"^NOQUEUE: reject: RCPT from localhost\[127.0.0.1\]: 454 4.7.1 <x@elsewhere.example>: Relay access denied; "
        r"from=<s@example.org> to=<x@elsewhere.example> proto=ESMTP helo=<client.example>$"
    )


def test_reject_unauth_destination_is_final(new_world: NewWorld) -> None:
    world = new_world(**STRANGER, smtpd_relay_restrictions="permit_mynetworks, reject_unauth_destination")
    assert rcpt(world, "x@elsewhere.example").startswith("554 5.7.1 ")


def test_mynetworks_may_relay(world: World) -> None:
    assert rcpt(world, "x@elsewhere.example") == "250 2.1.5 Ok"


def test_source_routes_are_stripped_and_their_end_counts(new_world: NewWorld) -> None:
    world = new_world(**STRANGER)
    assert rcpt(world, "@example.test:x@elsewhere.example").startswith("454 ")
    assert rcpt(world, "@elsewhere.example:alice@example.test").startswith("250 ")


def test_unknown_recipients_are_refused_in_postfix_words(world: World) -> None:
    answer = rcpt(world, "nobody@example.test")
    assert answer == (
        "550 5.1.1 <nobody@example.test>: Recipient address rejected: User unknown in virtual mailbox table"
    )
    world.wait_for_log("^NOQUEUE: reject: RCPT from ")


def test_who_is_added_now_is_accepted_now_and_who_exists_is_not_asked_twice(world: World) -> None:
    assert rcpt(world, "new@example.test").startswith("550 ")
    world.known.add("new@example.test")
    assert rcpt(world, "new@example.test").startswith("250 ")
    asked = world.questions
    assert rcpt(world, "new@example.test").startswith("250 ")
    assert world.questions == asked


def test_when_nobody_can_say_the_client_comes_again(world: World) -> None:
    world.tables_fail = True
    assert rcpt(world, "alice@example.test") == "451 4.3.0 <alice@example.test>: Temporary lookup failure"


def test_postmaster_without_domain_is_always_accepted(world: World) -> None:
    world.tables_fail = True
    assert rcpt(world, "postmaster").startswith("250 ")
    assert rcpt(world, "Postmaster").startswith("250 ")


def test_without_any_protection_the_default_one_holds(new_world: NewWorld) -> None:
    world = new_world(**STRANGER, smtpd_relay_restrictions="", smtpd_recipient_restrictions="")
    assert rcpt(world, "x@elsewhere.example").startswith("454 4.7.1 ")
    world.wait_for_log("^warning: neither smtpd_relay_restrictions nor smtpd_recipient_restrictions says who may relay")


def test_an_unknown_restriction_never_permits(new_world: NewWorld) -> None:
    world = new_world(smtpd_recipient_restrictions="frobnicate, permit")
    assert rcpt(world, "alice@example.test") == "451 4.3.5 Server configuration error"


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        (
            "smtpd_client_restrictions",
            "reject",
            "554 5.7.1 <localhost[127.0.0.1]>: Client host rejected: Access denied",
        ),
        ("smtpd_helo_restrictions", "reject", "554 5.7.1 <client.example>: Helo command rejected: Access denied"),
        ("smtpd_sender_restrictions", "reject", "554 5.7.1 <s@example.org>: Sender address rejected: Access denied"),
        ("smtpd_sender_restrictions", "defer", "450 4.3.2 <s@example.org>: Sender address rejected: Try again later"),
        ("smtpd_recipient_restrictions", "reject_plaintext_session", "450 4.7.1 Session encryption is required"),
    ],
)
def test_delayed_restrictions_speak_at_rcpt(new_world: NewWorld, parameter: str, value: str, expected: str) -> None:
    assert rcpt(new_world(**{parameter: value}), "alice@example.test") == expected


def test_without_delay_the_client_hears_it_at_once(new_world: NewWorld) -> None:
    world = new_world(smtpd_delay_reject="no", smtpd_client_restrictions="reject")
    with world.connect() as client:
        assert client.reply() == "554 5.7.1 <localhost[127.0.0.1]>: Client host rejected: Access denied"
        assert client.ask("MAIL FROM:<s@example.org>").startswith("503 5.7.0 ")
        assert client.ask("QUIT").startswith("221 ")


def test_data_restrictions_see_all_recipients(new_world: NewWorld) -> None:
    world = new_world(smtpd_data_restrictions="reject_unauth_pipelining, reject_multi_recipient_bounce")
    with world.connect() as client:
        client.greeted()
        client.ask("MAIL FROM:<>")
        client.ask("RCPT TO:<alice@example.test>")
        client.ask("RCPT TO:<bob@example.test>")
        assert client.ask("DATA") == "550 5.5.3 <DATA>: Data command rejected: Multi-recipient bounce"


def test_sending_ahead_is_logged_and_can_be_refused(new_world: NewWorld) -> None:
    world = new_world(smtpd_data_restrictions="reject_unauth_pipelining")
    with world.connect() as client:
        assert client.reply().startswith("220 ")
        client.send(
            b"EHLO c.example\r\nMAIL FROM:<s@example.org>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nx\r\n.\r\n"
        )
        assert [client.reply()[:3] for _ in range(3)] == ["250", "250", "250"]
        assert client.reply() == "503 5.5.0 <DATA>: Data command rejected: Improper use of SMTP command pipelining"
    world.wait_for_log(r"^improper command pipelining after EHLO from localhost\[127.0.0.1\]: MAIL FROM:<s@")


def test_sending_ahead_can_end_the_session(new_world: NewWorld) -> None:
    world = new_world(smtpd_forbid_unauth_pipelining="yes")
    with world.connect() as client:
        client.reply()
        client.send(b"EHLO c.example\r\nMAIL FROM:<s@example.org>\r\n")
        assert client.reply() == "554 5.5.0 Error: SMTP protocol synchronization"
        assert client.reply() == ""


def test_end_of_data_restrictions_come_before_the_queue(new_world: NewWorld) -> None:
    world = new_world(smtpd_end_of_data_restrictions="reject")
    with world.connect() as client:
        client.in_data()
        assert client.ask("x\r\n.") == "554 5.7.1 <END-OF-MESSAGE>: End-of-data rejected: Access denied"
    assert world.submitted == []
