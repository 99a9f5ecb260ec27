"""Tickets, remembered passwords, turns at hashing, names and templates: each by itself."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.auth import passdb as passdb_module
from posthouse.auth import tickets as tickets_module
from posthouse.auth.databases.chain import Block
from posthouse.auth.databases.embedded import EmbeddedDatabase
from posthouse.auth.databases.lookup import Question
from posthouse.auth.directory import Directory
from posthouse.auth.hashing import Busy, HashPool
from posthouse.auth.loginname import BadLoginName, LoginNames
from posthouse.auth.mechanism_secrets import Decoys
from posthouse.auth.names import BadName, fold_address, parse_address
from posthouse.auth.passdb import PassDb, Verdict
from posthouse.auth.schemes import Argon2Cost, Hasher
from posthouse.auth.tickets import Tickets
from posthouse.auth.userdb import without_extension
from posthouse.auth.verified import ENTRY_OCTETS, VerifiedCache
from posthouse.core.variables import BadTemplate, Template, user_values
from posthouse.protocol.sasl.mechanism import Credentials

CHEAP = Hasher(Argon2Cost(memory_octets=64 << 10, passes=1))


# ── tickets ──


def test_a_ticket_works_once_for_its_service_and_not_for_long() -> None:
    tickets = Tickets(60)
    first, other = tickets.issue("bob", "imap", 0), tickets.issue("bob", "imap", 0)
    assert first != other
    assert len(first) == 32
    assert tickets.redeem(first, "imap", 59) == ("bob", {})
    assert tickets.redeem(first, "imap", 59) is None
    assert tickets.redeem(other, "imap", 60) is None
    wrong = tickets.issue("bob", "pop3", 100)
    assert tickets.redeem(wrong, "imap", 100) is None
    assert tickets.redeem(wrong, "pop3", 100) is None
    assert tickets.redeem(b"", "imap", 0) is None


def test_expired_tickets_are_forgotten_and_their_number_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    tickets = Tickets(60)
    for _ in range(10):
        tickets.issue("bob", "imap", 0)
    tickets.issue("bob", "imap", 61)
    assert len(tickets) == 1
    monkeypatch.setattr(tickets_module, "MAXIMAL_OPEN", 5)
    newest = [tickets.issue("bob", "imap", 62) for _ in range(10)][-1]
    assert len(tickets) == 5
    assert tickets.redeem(newest, "imap", 62) == ("bob", {})


# ── remembered passwords ──


def test_a_remembered_password_is_bound_to_user_hash_and_time() -> None:
    cache = VerifiedCache(10 * ENTRY_OCTETS, 100)
    cache.add("bob", "hash", b"secret", 0)
    assert cache.has("bob", "hash", b"secret", 99)
    assert not cache.has("bob", "hash", b"Secret", 0)
    assert not cache.has("bob", "other hash", b"secret", 0)
    assert not cache.has("ann", "hash", b"secret", 0)
    # Where hash ends and password begins is part of it.
    assert not cache.has("bob", "hashs", b"ecret", 0)
    assert not cache.has("bob", "hash", b"secret", 100)


def test_the_least_recently_used_password_is_forgotten_first() -> None:
    cache = VerifiedCache(2 * ENTRY_OCTETS, 100)
    cache.add("a", "h", b"p", 0)
    cache.add("b", "h", b"p", 0)
    assert cache.has("a", "h", b"p", 1)
    cache.add("c", "h", b"p", 1)
    assert not cache.has("b", "h", b"p", 1)
    assert cache.has("a", "h", b"p", 1)
    cache.resize(0, 100)
    assert len(cache) == 0
    cache.add("a", "h", b"p", 1)
    assert len(cache) == 0


# ── turns ──


def in_loop(scene: Callable[[], "asyncio.Future[None]"]) -> None:
    async def play() -> None:
        async with asyncio.timeout(20):
            await scene()

    asyncio.run(play())


def test_clients_take_turns_and_have_bounded_queues() -> None:
    order: list[str] = []

    async def scene() -> None:
        pool = HashPool(1, 100, 5)
        done = asyncio.Event()

        def answer(name: str) -> Callable[[bool | Exception], None]:
            def take(result: bool | Exception) -> None:
                assert result is True
                order.append(name)
                if len(order) == 9:
                    done.set()

            return take

        for _ in range(6):  # one runs at once, five wait
            pool.verify("attacker", "{PLAIN}x", b"x", "", answer("attacker"))
        with pytest.raises(Busy):
            pool.verify("attacker", "{PLAIN}x", b"x", "", answer("attacker"))
        for name in ("ann", "ann", "bob"):
            pool.verify(name, "{PLAIN}x", b"x", "", answer(name))
        assert pool.waiting == 8
        await done.wait()
        pool.close()

    in_loop(scene)  # type: ignore[arg-type]
    assert order == ["attacker", "attacker", "ann", "bob", "attacker", "ann", "attacker", "attacker", "attacker"]


def test_a_server_that_names_no_clients_has_the_room_of_all() -> None:
    async def scene() -> None:
        pool = HashPool(1, 10, 2)
        for _ in range(11):
            pool.verify("", "{PLAIN}x", b"x", "", lambda _: None)
        with pytest.raises(Busy):
            pool.verify("", "{PLAIN}x", b"x", "", lambda _: None)
        pool.close()

    in_loop(scene)  # type: ignore[arg-type]


def test_no_result_is_lost_when_threads_finish_together() -> None:
    async def scene() -> None:
        pool = HashPool(4, 10_000, 10_000)
        loop = asyncio.get_running_loop()
        for _ in range(50):
            left = 40
            done = loop.create_future()

            def answer(result: bool | Exception, done: "asyncio.Future[None]" = done) -> None:
                nonlocal left
                assert result is True
                left -= 1
                if not left:
                    done.set_result(None)

            for _ in range(left):
                pool.verify("", "{PLAIN}x", b"x", "", answer)
            await asyncio.wait_for(done, 10)
        pool.close()

    in_loop(scene)  # type: ignore[arg-type]


def test_all_queues_together_are_bounded() -> None:
    async def scene() -> None:
        pool = HashPool(1, 3, 5)
        for number in range(4):
            pool.verify(f"client {number}", "{PLAIN}x", b"x", "", lambda _: None)
        with pytest.raises(Busy):
            pool.verify("one more", "{PLAIN}x", b"x", "", lambda _: None)
        pool.close()

    in_loop(scene)  # type: ignore[arg-type]


# ── one path for every wrong login ──


def test_every_wrong_login_costs_exactly_one_hash(tmp_path: Path) -> None:
    directory = Directory.open(tmp_path / "d.sqlite", hasher=CHEAP)
    directory.add_domain("example.org")
    directory.add_account("bob@example.org", "secret")
    directory.add_account("eve@example.org", "secret")
    directory.set_disabled("eve@example.org", True)
    hashed: list[str] = []

    class Counting:
        """In place of the threads: notes what would be hashed."""

        def verify(
            self,
            client: str,
            stored: str,
            password: bytes,
            default: str,
            answer: Callable[[bool | Exception], None],
            *,
            user: str,
        ) -> None:
            hashed.append(stored)
            answer(passdb_module.Busy() if client == "flood" else stored == directory_hash and password == b"secret")

    account = directory.account("bob@example.org")
    assert account is not None
    directory_hash = account.password
    decoy = CHEAP.decoy()
    names = LoginNames(Template.parse("%Lu"), "", "")
    passdb = PassDb(
        blocks=[Block(EmbeddedDatabase(lambda: directory, "PLAIN"))],
        masters=[],
        master_separator="",
        names=names,
        pool=Counting(),  # type: ignore[arg-type]
        verified=VerifiedCache(1 << 20, 100),
        decoy=decoy,
        decoys=Decoys(),
        monotonic=lambda: 0.0,
        spawn=lambda work: pytest.fail("nothing waits here"),
        trouble=lambda *words: pytest.fail(str(words)),
    )
    verdicts: list[Verdict] = []
    for user, password, authzid in (
        ("bob@example.org", b"wrong", ""),
        ("nobody@example.org", b"wrong", ""),
        ("x" * 500, b"wrong", ""),
        ("eve@example.org", b"wrong", ""),
        ("bob@example.org", b"secret", "eve@example.org"),
    ):
        before = len(hashed)
        passdb.check(Credentials(user, password, authzid), Question("", remote="client"), verdicts.append)
        assert len(hashed) == before + 1
    assert [verdict.is_right for verdict in verdicts] == [False] * 5
    assert hashed.count(decoy) == 3
    verdicts.clear()
    passdb.check(Credentials("bob@example.org", b"secret"), Question("", remote="client"), verdicts.append)
    passdb.check(Credentials("bob@example.org", b"secret"), Question("", remote="client"), verdicts.append)
    assert [verdict.is_right for verdict in verdicts] == [True, True]
    assert len(hashed) == 6, "the second time it was remembered"
    passdb.check(Credentials("bob@example.org", b"wrong"), Question("", remote="flood"), verdicts.append)
    assert verdicts[-1].is_temporary
    directory.close()


# ── names ──


@pytest.mark.parametrize(
    ("form", "realm", "typed", "name"),
    [
        ("%Lu", "", "Bob@Example.ORG", "bob@example.org"),
        ("%Lu", "example.org", "Bob", "bob@example.org"),
        ("%Ln@example.net", "", "Bob@Example.ORG", "bob@example.net"),
        ("%n", "", "bob@example.org", "bob"),
        ("%Lu", "", "Bob@BÜCHER.example", "bob@xn--bcher-kva.example"),
    ],
)
def test_login_names_are_brought_into_one_form(form: str, realm: str, typed: str, name: str) -> None:
    assert LoginNames(Template.parse(form), realm, "").parse(typed) == name


def test_characters_can_be_restricted_as_in_dovecot() -> None:
    names = LoginNames(Template.parse("%Lu"), "", "abcdefghijklmnopqrstuvwxyz@.")
    assert names.parse("bob@example.org") == "bob@example.org"
    with pytest.raises(BadLoginName, match="0x20 \\(username: b b\\)"):
        names.parse("b b")


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_any_login_name_is_parsed_or_refused(typed: str) -> None:
    try:
        name = LoginNames(Template.parse("%Lu"), "example.org", "").parse(typed)
    except BadLoginName:
        return
    assert name == fold_address(name)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40), st.sampled_from(["example.org", "xn--", "ü.de", "a_b.c", "..", ""]))
def test_what_is_hosted_never_leaves_its_directory(local_part: str, domain: str) -> None:
    try:
        address = parse_address(f"{local_part}@{domain}")
    except BadName:
        return
    assert "/" not in address
    assert not any(part in ("", ".", "..") for part in address.split("@"))
    assert fold_address(address) == address
    assert parse_address(address) == address


def test_extensions_end_at_the_first_delimiter() -> None:
    assert without_extension("bob+a-b", "+-") == "bob"
    assert without_extension("bob", "+-") == ""
    assert without_extension("+bob", "+") == ""
    assert without_extension("-bob-x", "-") == "-bob"


# ── templates ──


def test_templates_know_their_variables_and_modifiers() -> None:
    values = user_values("Bob@Example.org", "imap", "/home/bob")
    assert Template.parse("%u|%n|%d|%h|%s|%%|%Lu|%Ud|%{user}|%L{domain}").fill(values) == (
        "Bob@Example.org|Bob|Example.org|/home/bob|imap|%|bob@example.org|EXAMPLE.ORG|Bob@Example.org|example.org"
    )
    assert Template.parse("%n@%d").fill(user_values("bob")) == "bob@"
    for bad in ("%x", "100%", "%{nonsense}", "% u"):
        with pytest.raises(BadTemplate):
            Template.parse(bad)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="%LUndu{}user x", max_size=20))
def test_any_template_is_parsed_or_refused(text: str) -> None:
    try:
        Template.parse(text).fill(user_values("bob@example.org"))
    except BadTemplate:
        return


@pytest.mark.parametrize(
    ("template", "expected"),
    # What Dovecot 2.3.19.1 makes of them (a static userdb, doveadm user).
    [
        ("%Lu", "some.body@mail.example.org"),
        ("%Un", "SOME.BODY"),
        ("%2n", "So"),
        ("%1.3n", "ome"),
        ("%-2.2n", "dy"),
        ("%-3n", "Som"),
        ("%Hu", "3e7eb27"),
        ("%2.256Hu", "27"),
        ("%2.8Nu", "03"),
        ("%Nu", "18c17b9b"),
        ("%Mu", "d1f2eae018c17b9b4165be79fece01a8"),
        ("%Dd", "Mail,dc=Example,dc=ORG"),
        ("%Rn", "ydoB.emoS"),
        ("%L{user}", "some.body@mail.example.org"),
        ("%1Mn", "4"),
        ("%2.2Mn", "64"),
        ("%5.200n", "Body"),
        ("%2.256Nu", "9b"),
        ("%LRn", "ydob.emos"),
        ("%4.16Mu", "eae018c17b9b4165"),
        ("%1.-1n", "ome.Bod"),
        ("%0.-2n", "Some.Bo"),
        ("%{domain}", "Mail.Example.ORG"),
        ("%Ld.x", "mail.example.org.x"),
        ("%3.64LHu", "007"),
        ("%TRu", "GRO.elpmaxE.liaM@ydoB.emoS"),
        ("%Eu", "Some.Body@Mail.Example.ORG"),
        ("%1.1n/%2.1n", "o/m"),
        ("%3.1000Nu", "21b"),
        ("%1.1000003Nu", "e5939"),
        ("%1.1000003Hu", "81824"),
    ],
)
def test_variables_are_filled_in_as_dovecot_does(template: str, expected: str) -> None:
    assert Template.parse(template).fill(user_values("Some.Body@Mail.Example.ORG")) == expected


@pytest.mark.parametrize("template", ["%Lq", "%{Lu}", "%{1.3n}", "%", "%5", "%L", "%{user", "%1.n"])
def test_a_template_that_dovecot_would_not_take_is_a_problem_of_the_configuration(template: str) -> None:
    with pytest.raises(BadTemplate):
        Template.parse(template)
