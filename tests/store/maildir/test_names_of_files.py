from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.core.identifiers import DeliveryId
from posthouse.store.interface import InvalidName
from posthouse.store.maildir import layout, subscriptions
from posthouse.store.maildir.keywords import parse_keywords
from posthouse.store.maildir.names import (
    NameSource,
    arrival_time,
    base_of,
    delivery_of,
    file_size,
    letters_of,
    wire_size,
)
from posthouse.store.maildir.quota import parse_maildirsize
from posthouse.store.maildir.uidlist import BadUidList, parse_uidlist
from posthouse.store.naming import canonical

bounded = settings(max_examples=300, deadline=None)


def test_parts_of_a_file_name() -> None:
    name = "1795440186.4bXyZ1abcdz0.3.1.host,S=12,W=13:2,FSa"
    assert base_of(name) == "1795440186.4bXyZ1abcdz0.3.1.host,S=12,W=13"
    assert letters_of(name) == "FSa"
    assert (file_size(name), wire_size(name)) == (12, 13)
    assert arrival_time(name) == 1795440186
    assert delivery_of(base_of(name)) == ("4bXyZ1abcdz0.3.1", 1795440186)


def test_names_of_others_are_understood_as_far_as_they_go() -> None:
    assert letters_of("x") == letters_of("x:1,S") == ""
    assert file_size("1.M2P3.host,S=x") is None
    assert wire_size("1.M2P3.host,S=5") is None
    assert delivery_of("1795440186.M123P456.host") is None
    assert arrival_time("cur") == 0


def test_a_delivery_is_found_in_its_name_and_new_names_differ() -> None:
    source = NameSource()
    delivery = DeliveryId("4bXyZ1abcdz0.3.1")
    assert delivery_of(source.of_delivery(delivery, 1795440186.5, 12, 13)) == (delivery, 1795440186)
    names = {source.new(1795440186.5, ",S=1,W=2") for _ in range(1000)}
    assert len(names) == 1000
    assert all(delivery_of(name) is None and "/" not in name and ":" not in name for name in names)


@bounded
@given(st.text(max_size=60))
def test_any_file_name_can_be_read(name: str) -> None:
    base = base_of(name)
    assert ":" not in base
    letters_of(name)
    arrival_time(name)
    delivery_of(base)
    assert (file_size(name) or 0) >= 0
    assert (wire_size(name) or 0) >= 0


def test_a_uid_list_of_dovecot() -> None:
    found = parse_uidlist(
        "3 V1795440186 N8 Gb8cdf61e393e046b4841000083ecc375\n"
        "2 :1.a.host,S=3:2,S\n5 W77 S70 :2.b.host\nnonsense\n6 :bad/name\n7 G0123 :3.c.host\n"
    )
    assert (found.uid_validity, found.uid_next) == (1795440186, 8)
    assert found.uids == {"1.a.host,S=3": 2, "2.b.host": 5, "3.c.host": 7}
    assert found.wire_sizes == {"2.b.host": 77}


def test_a_uid_list_of_courier_and_of_old_dovecot() -> None:
    found = parse_uidlist("1 1234 5\n1 1.a.host\n4 2.b.host:2,S\n")
    assert (found.uid_validity, found.uid_next) == (1234, 5)
    assert found.uids == {"1.a.host": 1, "2.b.host": 4}


def test_uids_that_do_not_ascend_end_the_list() -> None:
    found = parse_uidlist("3 V1 N9\n5 :a\n4 :b\n6 :c\n")
    assert found.uids == {"a": 5}


_LINES = st.sampled_from(
    [
        "3 V1 N2",
        "1 2 3",
        "1 :a",
        "2 :b",
        "2 W5 :c",
        "3 V",
        "x",
        "",
        "9 :d:2,S",
        "4294967296 :e",
        "-1 :f",
        "\u0663 :g",
        "1 Wx :h",
    ]
)


@bounded
@given(st.one_of(st.text(max_size=200), st.lists(_LINES, max_size=8).map("\n".join)))
def test_any_text_is_a_uid_list_or_is_refused(text: str) -> None:
    try:
        found = parse_uidlist(text)
    except BadUidList:
        return
    uids = list(found.uids.values())
    assert all(0 < uid < found.uid_next <= 0xFFFFFFFF for uid in uids)
    assert len(set(uids)) == len(uids)


@bounded
@given(st.text(max_size=200))
def test_any_text_is_a_keyword_list(text: str) -> None:
    names = parse_keywords(text)
    assert len(names) <= 26
    assert all(name.isascii() and " " not in name for name in names)


def test_keyword_lines_have_numbers() -> None:
    assert parse_keywords("0 Work\n2 $Label\nx y\n99 z\n1\n") == ["Work", "", "$Label"]


@bounded
@given(st.text(alphabet="0123456789 -SC,\nx\u0663", max_size=60))
def test_any_text_is_a_maildirsize_or_is_counted_anew(text: str) -> None:
    found = parse_maildirsize(text)
    assert found is None or all(number >= 0 for number in found)


def test_maildirsize_lines_add_up() -> None:
    assert parse_maildirsize("1000S,10C\n100 2\n50 1\n-20 -1\n") == (1000, 130, 2)
    assert parse_maildirsize("1000S\n-5 1\n") is None
    assert parse_maildirsize("1000S\nx\n") is None


@bounded
@given(st.text(max_size=40))
def test_every_name_of_a_mailbox_that_has_a_directory_comes_back_from_it(name: str) -> None:
    try:
        known = canonical(name)
        entry = layout.entry_of(known)
    except InvalidName:
        return
    assert "/" not in entry
    assert layout.name_of(entry) == known if entry else known == "INBOX"


@bounded
@given(st.text(max_size=40))
def test_any_directory_name_is_a_mailbox_or_none(entry: str) -> None:
    layout.name_of(entry)


@bounded
@given(st.lists(st.text(max_size=20), max_size=5), st.booleans())
def test_subscriptions_come_back_in_both_versions(names: list[str], version_2: bool) -> None:
    good: list[str] = []
    for name in names:
        try:
            known = canonical(name)
            layout.entry_of(known)
        except InvalidName:
            continue
        if known not in good:
            good.append(known)
    assert subscriptions.parse(subscriptions.render(good, version_2)) == good


@bounded
@given(st.text(max_size=100))
def test_any_text_is_a_list_of_subscriptions(text: str) -> None:
    for name in subscriptions.parse(text):
        assert canonical(name) == name
