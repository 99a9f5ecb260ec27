"""Python's own imaplib and poplib log in."""

import asyncio
import imaplib
import poplib
from collections.abc import Callable
from pathlib import Path

import pytest

from .world import LoginWorld, run


def in_thread(path: Path, dialogue: Callable[[LoginWorld], None]) -> None:
    async def scene(world: LoginWorld) -> None:
        await asyncio.to_thread(dialogue, world)

    run(scene, path)


def test_imaplib(tmp_path: Path) -> None:
    def dialogue(world: LoginWorld) -> None:
        imap = imaplib.IMAP4("127.0.0.1", world.ports["imap"], timeout=10)
        assert "IDLE" in imap.capabilities
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            imap.login("bob@example.org", "wrong")
        assert imap.login("bob@example.org", "secret")[0] == "OK"
        imap.shutdown()
        imap = imaplib.IMAP4("localhost", world.ports["imap"], timeout=10)
        imap.starttls(world.tls_context())
        assert imap.authenticate("PLAIN", lambda _: b"\0bob@example.org\0secret")[0] == "OK"
        imap.shutdown()
        imap = imaplib.IMAP4_SSL("localhost", world.ports["imaps"], ssl_context=world.tls_context(), timeout=10)
        # A password that needs a quoted string.
        world.auth.directory.set_password("bob@example.org", 'a "quoted" \\ word')
        assert imap.login("bob@example.org", 'a "quoted" \\ word')[0] == "OK"
        imap.shutdown()

    in_thread(tmp_path, dialogue)


def test_poplib(tmp_path: Path) -> None:
    def dialogue(world: LoginWorld) -> None:
        pop = poplib.POP3("127.0.0.1", world.ports["pop3"], timeout=10)
        assert pop.capa()["SASL"] == ["PLAIN", "LOGIN"]
        pop.user("bob@example.org")
        with pytest.raises(poplib.error_proto, match="AUTH"):
            pop.pass_("wrong")
        pop.user("bob@example.org")
        assert pop.pass_("secret") == b"+OK Logged in."
        pop.close()
        pop = poplib.POP3("localhost", world.ports["pop3"], timeout=10)
        pop.stls(world.tls_context())
        pop.user("bob@example.org")
        assert pop.pass_("secret") == b"+OK Logged in."
        pop.close()
        pop = poplib.POP3_SSL("localhost", world.ports["pop3s"], context=world.tls_context(), timeout=10)
        pop.user("bob@example.org")
        assert pop.pass_("secret") == b"+OK Logged in."
        pop.close()

    in_thread(tmp_path, dialogue)
