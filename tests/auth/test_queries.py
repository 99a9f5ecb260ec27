"""Query files: what becomes a parameter, and that a name never becomes SQL."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.auth.databases.lookup import BadDatabase, Question
from posthouse.auth.databases.queries import compile_query, parse_connect, parse_query_file
from posthouse.auth.databases.sql import SqliteDriver

VALUES = Question("O'Brien@Example.org", "imap", "192.0.2.1").values()


@pytest.mark.parametrize(
    ("query", "text", "bound"),
    [
        ("SELECT a FROM t WHERE u = '%u'", "SELECT a FROM t WHERE u = ?", ["O'Brien@Example.org"]),
        ('SELECT a FROM t WHERE u = "%Ln"', "SELECT a FROM t WHERE u = ?", ["o'brien"]),
        ("WHERE u = '%n' AND d = '%d'", "WHERE u = ? AND d = ?", ["O'Brien", "Example.org"]),
        ("WHERE a = '%n@%d' OR b = %{rip}", "WHERE a = ? OR b = ?", ["O'Brien@Example.org", "192.0.2.1"]),
        ("SELECT '/home/%d/%n' AS home", "SELECT ? AS home", ["/home/Example.org/O'Brien"]),
        ("SELECT concat('*:bytes=', q) AS quota_rule", "SELECT concat('*:bytes=', q) AS quota_rule", []),
        ("WHERE a LIKE 'x%%' AND u = '%u'", "WHERE a LIKE 'x%' AND u = ?", ["O'Brien@Example.org"]),
        ("WHERE a LIKE '%%%u%%'", "WHERE a LIKE ?", ["%O'Brien@Example.org%"]),
        ("WHERE a = 'it''s %s'", "WHERE a = ?", ["it's imap"]),
        ("SELECT 5 %% 3", "SELECT 5 % 3", []),
        ("SELECT a -- '%u' is the name", "SELECT a -- '%u' is the name", []),
    ],
)
def test_strings_with_variables_are_parameters(query: str, text: str, bound: list[str]) -> None:
    made = compile_query(query, lambda _: "?")
    assert (made.text, made.bound(VALUES)) == (text, bound)


def test_a_driver_that_reads_percent_signs_itself_gets_two() -> None:
    made = compile_query("WHERE a LIKE 'x%%' AND u = '%u'", lambda _: "%s", doubles_percent=True)
    assert made.text == "WHERE a LIKE 'x%%' AND u = %s"
    assert compile_query("a = '%u' AND b = '%n'", lambda number: f"${number}").text == "a = $1 AND b = $2"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_no_name_finds_another_row(name: str) -> None:
    """With a real database: whatever the name is, only its own row comes."""
    import apsw

    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE t(u TEXT, p TEXT)")
    connection.execute("INSERT INTO t VALUES('victim', 'secret')")
    query = SqliteDriver("/x", "test").compile("SELECT p FROM t WHERE u = '%u'")
    found = connection.execute(query.text, tuple(query.bound(Question(name).values()))).fetchall()
    assert found == ([("secret",)] if name == "victim" else [])


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80))
def test_no_query_breaks_the_compiler(text: str) -> None:
    try:
        compile_query(text, lambda _: "?").bound(VALUES)
    except BadDatabase:
        pass


def test_a_query_file_is_read_as_dovecot_reads_it() -> None:
    text = (
        "# comment\ndriver = mysql\nconnect = host=localhost dbname=mail user=mail password='it\\'s'\n\n"
        "default_pass_scheme=MD5-CRYPT\npassword_query = SELECT password \\\n  FROM mailbox \\\n"
        "  WHERE username = '%u'\n"
    )
    found = parse_query_file(text, "x.conf")
    assert found["password_query"] == "SELECT password FROM mailbox WHERE username = '%u'"
    assert found["default_pass_scheme"] == "MD5-CRYPT"
    assert parse_connect(found["connect"], "x.conf")["password"] == ["it's"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("driver mysql", "x.conf:1: neither"),
        ("\npasword_query = x", "x.conf:2: unknown setting pasword_query"),
        ("driver = \\", "ends in the middle"),
    ],
)
def test_a_broken_query_file_says_where(text: str, words: str) -> None:
    with pytest.raises(BadDatabase, match=words):
        parse_query_file(text, "x.conf")
