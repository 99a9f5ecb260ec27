"""Chains of passdb and userdb blocks."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from posthouse.auth.databases.chain import Block, Outcome, Rule, authenticate, look_up
from posthouse.auth.databases.lookup import DatabaseError, PassFound, Question
from posthouse.auth.databases.simple import PasswdFileDatabase, StaticDatabase, parse_fields

QUESTION = Question("bob", "imap", "192.0.2.7", mechanism="PLAIN")


class Fake:
    """`password` None: nobody is here; an exception: it cannot be asked."""

    default_scheme = "PLAIN"

    def __init__(self, name: str, password: str | Exception | None, **fields: str) -> None:
        self.name = name
        self._password = password
        self._fields = fields

    async def password(self, question: Question) -> PassFound | None:
        if isinstance(self._password, Exception):
            raise self._password
        return None if self._password is None else PassFound(self._password, self._fields)

    async def fields(self, question: Question) -> Mapping[str, str] | None:
        if isinstance(self._password, Exception):
            raise self._password
        return None if self._password is None else self._fields

    def close(self) -> None: ...


DOWN = DatabaseError("down")


def ask(*blocks: Block[Any], password: str = "right", question: Question = QUESTION) -> Outcome:
    class Shown:
        async def find(self, database: Any, question: Question) -> PassFound | None:
            found: PassFound | None = await database.password(question)
            return found

        async def verify(self, found: PassFound, default_scheme: str) -> bool:
            assert default_scheme == "PLAIN"
            return found.stored == password

    return asyncio.run(authenticate(blocks, question, Shown(), lambda *_: None))


def test_the_first_that_knows_the_password_decides() -> None:
    empty, other, right = Fake("a", None), Fake("b", "other"), Fake("c", "right")
    assert ask(Block(empty), Block(other), Block(right)).is_right
    outcome = ask(Block(empty), Block(other))
    assert (outcome.is_right, outcome.is_temporary, outcome.reason, outcome.database) == (
        False,
        False,
        "Password mismatch",
        "b",
    )
    assert ask(Block(empty)).reason == "unknown user"


def test_a_database_that_is_down_is_never_a_rejection_and_never_a_login() -> None:
    down = Fake("a", DOWN)
    assert ask(Block(down)).is_temporary
    assert ask(Block(down), Block(Fake("b", "other"))).is_temporary
    assert ask(Block(down), Block(Fake("b", "right"))).is_right
    for rule in Rule:
        outcome = ask(Block(down, on_trouble=rule))
        assert (outcome.is_right, outcome.is_temporary) == (False, True)
    assert ask(Block(down, is_deny=True), Block(Fake("b", "right"))).is_temporary


def test_deny_refuses_whoever_stands_there() -> None:
    assert not ask(Block(Fake("deny", ""), is_deny=True), Block(Fake("b", "right"))).is_right
    assert ask(Block(Fake("deny", None), is_deny=True), Block(Fake("b", "right"))).is_right


@pytest.mark.parametrize(
    ("fields", "is_right"),
    [
        ({"allow_nets": "192.0.2.0/24,::1"}, True),
        ({"allow_nets": "198.51.100.0/24"}, False),
        ({"allow_nets": "rubbish"}, False),
        ({"nologin": "y"}, False),
        ({"nologin": "no"}, True),
    ],
)
def test_fields_that_say_who_may(fields: dict[str, str], is_right: bool) -> None:
    assert ask(Block(Fake("a", "right", **fields))).is_right is is_right


def test_an_empty_password_lets_nobody_in_unless_that_is_said() -> None:
    assert not ask(Block(Fake("a", "")), password="").is_right
    assert ask(Block(Fake("a", "", nopassword="y"))).is_right
    assert ask(Block(Fake("a", "x", nopassword="y"))).is_temporary, "both is a mistake"


def test_proxying_is_not_done_silently_here() -> None:
    assert ask(Block(Fake("a", "right", proxy="y", host="192.0.2.9"))).is_temporary


def test_rules_and_skips_are_followed() -> None:
    right, wrong = Fake("r", "right"), Fake("w", "other")
    assert not ask(Block(wrong, on_failure=Rule.RETURN_FAIL), Block(right)).is_right
    assert not ask(Block(right, on_success=Rule.CONTINUE), Block(wrong)).is_right
    assert ask(Block(right, on_success=Rule.CONTINUE_OK), Block(wrong)).is_right
    assert not ask(Block(right, on_success=Rule.CONTINUE_OK), Block(wrong, on_failure=Rule.CONTINUE_FAIL)).is_right
    assert not ask(Block(right, skip="unauthenticated")).is_right
    assert not ask(Block(right, mechanisms=frozenset({"LOGIN"}))).is_right


def test_fields_have_defaults_and_what_overrides_them() -> None:
    fields = parse_fields("a=%n b=2", "x")
    block = Block(Fake("a", "right", b="3", c="4"), default_fields=fields, override_fields=parse_fields("c=%Us", "x"))
    assert ask(block).fields == {"a": "bob", "b": "3", "c": "IMAP"}


def test_user_databases_are_asked_until_one_knows_the_user() -> None:
    async def find(*blocks: Block[Any]) -> Mapping[str, str] | None:
        return await look_up(blocks, QUESTION, lambda *_: None)

    down, empty, known = Fake("d", DOWN), Fake("e", None), Fake("k", "", uid="89")
    assert asyncio.run(find(Block(empty), Block(known))) == {"uid": "89"}
    assert asyncio.run(find(Block(empty))) is None
    assert asyncio.run(find(Block(down), Block(known))) == {"uid": "89"}
    with pytest.raises(DatabaseError):
        asyncio.run(find(Block(down), Block(empty)))
    static = StaticDatabase("uid=1000 home=/mail/%d/%n allow_all_users=yes", "x")
    assert asyncio.run(find(Block(static))) == {"uid": "1000", "home": "/mail//bob"}


def test_a_passwd_file_is_read_again_when_it_changes() -> None:
    versions = [b"# users\nbob:{PLAIN}right:89:90::/mail/bob::userdb_quota_rule=*:storage=1G allow_nets=192.0.2.0/24\n"]
    database = PasswdFileDatabase(
        "scheme=PLAIN username_format=%n /etc/users", "x", lambda _: versions[-1], lambda _: len(versions)
    )
    found = asyncio.run(database.password(Question("bob@example.org")))
    assert found == PassFound("{PLAIN}right", {"userdb_quota_rule": "*:storage=1G", "allow_nets": "192.0.2.0/24"})
    fields = asyncio.run(database.fields(Question("bob@example.org")))
    assert fields is not None
    assert (fields["uid"], fields["gid"], fields["home"], fields["quota_rule"]) == (
        "89",
        "90",
        "/mail/bob",
        "*:storage=1G",
    )
    assert asyncio.run(database.password(Question("eve"))) is None
    versions.append(b"eve:x\n")
    assert asyncio.run(database.password(Question("eve"))) == PassFound("x", {})


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\r"])
def test_only_a_line_feed_begins_another_line_of_a_passwd_file(separator: str) -> None:
    content = f"bob:x:1:1:Bob{separator}root:{{PLAIN}}mine:0:0::::\n".encode()
    database = PasswdFileDatabase("/x", "x", lambda _: content, lambda _: 0)
    assert asyncio.run(database.password(Question("root"))) is None
    assert asyncio.run(database.password(Question("bob"))) is not None
