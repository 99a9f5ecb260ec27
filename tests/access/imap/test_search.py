"""SEARCH: every key, character sets, decoding, nesting."""

import pytest

from posthouse.store.interface import Store
from tests.access.wire import ImapWire


def found(wire: ImapWire, keys: str | bytes) -> list[int]:
    octets = keys if isinstance(keys, bytes) else keys.encode()
    [line, answer] = wire.say(b"SEARCH " + octets)
    assert answer == "OK Search completed."
    assert line.startswith("* SEARCH")
    return [int(number) for number in line.split()[2:]]


@pytest.mark.parametrize(
    ("keys", "numbers"),
    [
        ("ALL", [1, 2, 3, 4, 5]),
        ("2:3", [2, 3]),
        ("5,1", [1, 5]),
        ("*", [5]),
        ("UID 4:*", [4, 5]),
        ("UID 77", []),
        ("SEEN", [1]),
        ("UNSEEN", [2, 3, 4, 5]),
        ("FLAGGED", [2]),
        ("UNFLAGGED", [1, 3, 4, 5]),
        ("DELETED", [3]),
        ("UNDELETED", [1, 2, 4, 5]),
        ("ANSWERED", []),
        ("UNANSWERED UNDRAFT", [1, 2, 3, 4, 5]),
        ("KEYWORD Work", [4]),
        ("UNKEYWORD work", [1, 2, 3, 5]),
        ("RECENT", [1, 2, 3, 4, 5]),
        ("NEW", [2, 3, 4, 5]),
        ("OLD", []),
        ("BEFORE 12-Sep-2001", [1, 2]),
        ("ON 12-Sep-2001", [3]),
        ("SINCE 12-Sep-2001", [3, 4, 5]),
        ("SENTBEFORE 12-Sep-2001", [1, 2]),
        ('SENTON "12-Sep-2001"', [3]),
        ("SENTSINCE 13-Sep-2001", [4, 5]),
        ("LARGER 10", [1, 2, 3, 4, 5]),
        ("SMALLER 10", []),
        ("FROM alice", [1, 2, 3, 4, 5]),
        ("TO BOB@example", [1, 2, 3, 4, 5]),
        ("CC x", []),
        ("BCC x", []),
        ('SUBJECT "message 4"', [4]),
        ("HEADER Message-ID <2@", [2]),
        ('HEADER Message-ID ""', [1, 2, 3, 4, 5]),
        ('HEADER X-None ""', []),
        ('BODY "body 5"', [5]),
        ("BODY alice", []),
        ("TEXT ALICE", [1, 2, 3, 4, 5]),
        ('TEXT "This is body 2"', [2]),
        ("NOT SEEN", [2, 3, 4, 5]),
        ("NOT NOT SEEN", [1]),
        ("OR SEEN FLAGGED", [1, 2]),
        ("OR SEEN OR FLAGGED DELETED", [1, 2, 3]),
        ("(SEEN) (ALL)", [1]),
        ("OR (SEEN ALL) (NOT (1:4))", [1, 5]),
        ('CHARSET UTF-8 SUBJECT "MESSAGE"', [1, 2, 3, 4, 5]),
        ("charset us-ascii 1", [1]),
        ("1:3 UNSEEN UNDELETED", [2]),
    ],
)
def test_keys(selected: ImapWire, keys: str, numbers: list[int]) -> None:
    assert found(selected, keys) == numbers


def test_uid_search_answers_uids(selected: ImapWire, store: Store) -> None:
    store.open("INBOX").expunge([1], None)  # type: ignore[list-item]
    selected.say("NOOP")
    assert selected.say("UID SEARCH 1:2") == ["* SEARCH 2 3", "OK Search completed."]
    assert selected.say("UID SEARCH KEYWORD none") == ["* SEARCH", "OK Search completed."]


def test_text_is_found_whatever_its_encoding(imap: ImapWire, store: Store) -> None:
    inbox = store.open("INBOX")
    contents = [
        b"Subject: =?gb2312?B?xOO6ww==?=\r\n\r\nx\r\n",
        b"Subject: x\r\nContent-Type: text/plain; charset=gb18030\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        b"xOO6ww==\r\n",
        "Subject: 你好\r\n\r\nx\r\n".encode(),
        b"Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html; charset=utf-8"
        b"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=E4=BD=A0=\r\n=E5=A5=BD\r\n--b--\r\n",
        b"Subject: x\r\nContent-Type: application/octet-stream\r\n\r\n\xe4\xbd\xa0\xe5\xa5\xbd\r\n",
    ]
    for content in contents:
        inbox.append(content, frozenset(), 0.0, None)
    imap.say("SELECT INBOX")
    needle = "你好".encode()
    literal = b"{%d+}\r\n%b" % (len(needle), needle)
    assert found(imap, b"CHARSET UTF-8 SUBJECT " + literal) == [1, 3]
    assert found(imap, b"CHARSET UTF-8 BODY " + literal) == [2, 4]
    assert found(imap, b"CHARSET UTF-8 TEXT " + literal) == [1, 2, 3, 4]
    assert found(imap, b'SUBJECT "' + needle + b'"') == [1, 3]


def test_unknown_character_sets_are_named(selected: ImapWire) -> None:
    expected = ["NO [BADCHARSET (UTF-8 US-ASCII)] Unknown charset"]
    assert selected.say("SEARCH CHARSET KOI8-R ALL") == expected
    assert selected.say(b'SEARCH CHARSET UTF-8 SUBJECT "\xff\xfe"') == expected
    assert selected.say(b'SEARCH CHARSET US-ASCII SUBJECT "\xc3\xa4"') == expected


@pytest.mark.parametrize(
    "keys",
    [
        "",
        "FOO",
        "9",
        "1:9",
        "(ALL",
        "ALL)",
        "()",
        "NOT",
        "OR ALL",
        "SUBJECT",
        "BEFORE yesterday",
        "ON 31-Feb-2001",
        "LARGER x",
        "LARGER 99999999999999999999",
        "KEYWORD",
        "CHARSET",
        "(" * 1000,
        "NOT " * 1000 + "ALL",
        "(" * 60 + "ALL" + ")" * 60,
        "ALL " * 6000,
    ],
)
def test_wrong_keys_are_bad(selected: ImapWire, keys: str) -> None:
    assert selected.say(f"SEARCH {keys}")[-1].startswith("BAD ")


def test_a_long_chain_of_or_is_fine(selected: ImapWire) -> None:
    keys = "".join(f"OR HEADER Message-ID {number}@ " for number in range(500)) + "SEEN"
    assert found(selected, keys) == [1, 2, 3, 4, 5]


def test_keys_may_contain_literals(selected: ImapWire) -> None:
    assert selected.send(b"a SEARCH SUBJECT {9}\r\n") == b"+ OK\r\n"
    assert selected.send(b"message 2 UNSEEN\r\n") == b"* SEARCH 2\r\na OK Search completed.\r\n"
