"""EHLO, VRFY, ETRN, HELP and what else moves no mail."""

from collections.abc import Callable

from tests.services.smtpd.world import World

NewWorld = Callable[..., World]


def test_ehlo_announces_what_there_is(world: World) -> None:
    with world.connect() as client:
        assert client.reply() == "220 mail.example.test ESMTP Posthouse"
        assert client.ask("EHLO c").splitlines() == [
            "250-mail.example.test",
            "250-PIPELINING",
            "250-SIZE 10240000",
            "250-VRFY",
            "250-ETRN",
            "250-STARTTLS",
            "250-ENHANCEDSTATUSCODES",
            "250-8BITMIME",
            "250-DSN",
            "250-SMTPUTF8",
            "250 CHUNKING",
        ]
        assert client.ask("HELO c") == "250 mail.example.test"


def test_keywords_can_be_discarded_and_are_then_not_understood(new_world: NewWorld) -> None:
    world = new_world(smtpd_discard_ehlo_keywords="chunking, dsn, starttls, etrn, silent-discard")
    with world.connect() as client:
        client.reply()
        answer = client.ask("EHLO c")
        assert not any(word in answer for word in ("CHUNKING", "DSN", "STARTTLS", "ETRN"))
        assert client.ask("STARTTLS").startswith("502 ")
        assert client.ask("ETRN example.test").startswith("502 ")
        assert client.ask("MAIL FROM:<s@example.org> RET=HDRS").startswith("501 5.7.1 ")


def test_vrfy_tells_what_rcpt_would_tell(world: World) -> None:
    with world.connect() as client:
        client.greeted()
        assert client.ask("VRFY <alice@example.test>") == "252 2.0.0 <alice@example.test>"
        assert client.ask("VRFY alice@example.test").startswith("252 ")
        assert client.ask("VRFY nobody@example.test").startswith("550 5.1.1 ")
        assert client.ask("VRFY <>").startswith("501 5.1.3 ")


def test_vrfy_can_be_disabled(new_world: NewWorld) -> None:
    world = new_world(disable_vrfy_command="yes")
    with world.connect() as client:
        client.reply()
        assert "VRFY" not in client.ask("EHLO c")
        assert client.ask("VRFY alice@example.test") == "502 5.5.1 VRFY command is disabled"


def test_etrn_flushes_listed_domains_only(world: World) -> None:
    world.listed.add(("fast_flush_domains", "relayed.example"))
    with world.connect() as client:
        client.greeted()
        assert client.ask("ETRN relayed.example") == "250 2.0.0 Queuing started"
        assert client.ask("ETRN @Relayed.example") == "250 2.0.0 Queuing started"
        assert client.ask("ETRN other.example") == "459 4.7.0 <other.example>: service unavailable"
        assert client.ask("ETRN not a domain").startswith("500 5.5.4 ")
        world.tables_fail = True
        assert client.ask("ETRN relayed.example") == "458 4.3.0 Unable to queue messages"
    assert world.flushed == ["relayed.example", "relayed.example"]


def test_help_noop_rset_quit(world: World) -> None:
    with world.connect() as client:
        client.greeted()
        assert client.ask("HELP").startswith("214-2.0.0 Commands:")
        assert client.ask("NOOP really") == "250 2.0.0 Ok"
        assert client.ask("RSET") == "250 2.0.0 Ok"
        assert client.ask("QUIT") == "221 2.0.0 Bye"
        assert client.reply() == ""


def test_noop_commands_of_ones_own(new_world: NewWorld) -> None:
    world = new_world(smtpd_noop_commands="FROB")
    with world.connect() as client:
        client.greeted()
        assert client.ask("frob nicate") == "250 2.0.0 Ok"


def test_helo_can_be_required(new_world: NewWorld) -> None:
    world = new_world(smtpd_helo_required="yes")
    with world.connect() as client:
        client.reply()
        assert client.ask("MAIL FROM:<s@example.org>") == "503 5.5.1 Error: send HELO/EHLO first"


def test_a_protocol_error_is_logged_as_what_it_is(world: World) -> None:
    with world.connect() as client:
        client.greeted()
        client.ask("MAIL TO:<x>")
        client.ask("FROB")
    world.wait_for_log(
        r"^protocol error after MAIL from localhost\[127.0.0.1\]: 501 5.5.4 Syntax: MAIL FROM:<address>: MAIL TO:<x>$"
    )
    world.wait_for_log(r"^protocol error after UNKNOWN .*: 500 5.5.2 command not recognized: FROB$")


def test_names_are_unknown_without_lookups(new_world: NewWorld) -> None:
    world = new_world(smtpd_peername_lookup="no", smtpd_client_port_logging="yes")
    with world.connect() as client:
        client.greeted()
    world.wait_for_log(r"^connect from unknown\[127.0.0.1\]:\d+$")


def test_a_stop_says_goodbye(new_world: NewWorld) -> None:
    world = new_world()
    with world.connect() as client:
        client.greeted()
        world.__exit__()
        assert client.reply() == "421 4.3.2 mail.example.test Service is being restarted"
