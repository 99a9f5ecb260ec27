"""Restrictions one by one, and lists."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import posthouse.config.parameters  # noqa: F401 - fills the registry
from posthouse.config.parameter import MAIN, Settings
from posthouse.core.address import Address
from posthouse.core.reply import LOCAL_ERROR, Reply, TempFail
from posthouse.policy import Facts, Policy, Unanswered, unsupported_restrictions
from posthouse.policy.lists import KNOWN, is_open_relay, parse_list
from posthouse.policy.names import is_fully_qualified, is_name
from posthouse.runtime.schema import Resolution, Resolve

OURS = Resolution("virtual_mailbox", "virtual", "example.test", Address("a", "example.test"))


def values(**main: str) -> Settings:
    return Settings(MAIN, {"compatibility_level": "3.6", **main}, {"myhostname": "mail.example.test"})


def facts(**changes: object) -> Facts:
    made = Facts("client.example", "192.0.2.1", "client.example", helo="client.example")
    made.sender, made.recipient = Address("s", "example.org"), Address("a", "example.test")
    made.resolution = OURS
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def at_rcpt(restrictions: str, **changes: object) -> str:
    settings_ = values(
        smtpd_relay_restrictions="permit_auth_destination, reject", smtpd_recipient_restrictions=restrictions
    )
    return str(Policy(settings_).at_rcpt(facts(**changes)))


@pytest.mark.parametrize(
    ("restrictions", "changes", "expected"),
    [
        ("", {}, "None"),
        ("permit, reject", {}, "None"),
        ("reject", {}, "554 5.7.1 <a@example.test>: Recipient address rejected: Access denied"),
        ("defer", {}, "450 4.3.2 <a@example.test>: Recipient address rejected: Try again later"),
        ("permit_mynetworks, reject", {"is_in_mynetworks": True}, "None"),
        ("permit_inet_interfaces, reject", {"is_own_address": True}, "None"),
        ("permit_sasl_authenticated, reject", {"sasl_username": "u"}, "None"),
        ("permit_auth_destination, reject", {}, "None"),
        ("reject_plaintext_session", {"is_encrypted": True}, "None"),
        (
            "reject_non_fqdn_sender",
            {"sender": Address("s", "org")},
            "504 5.5.2 <s@org>: Sender address rejected: need fully-qualified address",
        ),
        ("reject_non_fqdn_sender", {"sender": None}, "None"),
        ("reject_non_fqdn_sender", {"sender": Address("s", "[192.0.2.1]")}, "None"),
        (
            "reject_non_fqdn_recipient",
            {"recipient": Address("a", "")},
            "504 5.5.2 <a>: Recipient address rejected: need fully-qualified address",
        ),
        (
            "reject_non_fqdn_helo_hostname",
            {"helo": "localhost"},
            "504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname",
        ),
        ("reject_non_fqdn_helo_hostname", {"helo": "[192.0.2.1]"}, "None"),
        ("reject_non_fqdn_hostname", {"helo": ""}, "None"),
        (
            "reject_invalid_helo_hostname",
            {"helo": "a..b"},
            "501 5.5.2 <a..b>: Helo command rejected: Invalid name",
        ),
        ("reject_invalid_helo_hostname", {"helo": "[IPv6:::1]"}, "None"),
        (
            "reject_unknown_client_hostname",
            {"client_name": "unknown"},
            "450 4.7.1 Client host rejected: cannot find your hostname, [192.0.2.1]",
        ),
        (
            "reject_unknown_reverse_client_hostname",
            {"reverse_name": "unknown"},
            "450 4.7.1 Client host rejected: cannot find your reverse hostname, [192.0.2.1]",
        ),
        (
            "reject_unauth_pipelining",
            {"is_sent_ahead": True},
            "503 5.5.0 <a@example.test>: Recipient address rejected: Improper use of SMTP command pipelining",
        ),
        ("REJECT_Unauth_Destination", {}, "None"),
        ("frobnicate", {}, "451 4.3.5 Server configuration error"),
        ("check_client_access hash:/x, permit", {}, "451 4.3.5 Server configuration error"),
        ("{ check_client_access hash:/x }, permit", {}, "451 4.3.5 Server configuration error"),
        ("reject_rbl_client zen.example, permit", {}, "451 4.3.5 Server configuration error"),
        ("hash:/etc/access", {}, "451 4.3.5 Server configuration error"),
        ("permit, frobnicate", {}, "None"),
    ],
)
def test_each_restriction(restrictions: str, changes: dict[str, object], expected: str) -> None:
    assert at_rcpt(restrictions, **changes) == expected


def unknown(address_class: str, **changes: object) -> str:
    gone = Resolution(address_class, "x", "y", Address("a", "example.test"), known=False)
    return at_rcpt("", resolution=gone, **changes)


def test_unknown_recipients_by_class() -> None:
    for address_class, table in (
        ("local", "local recipient table"),
        ("relay", "relay recipient table"),
        ("virtual_alias", "virtual alias table"),
        ("virtual_mailbox", "virtual mailbox table"),
    ):
        assert unknown(address_class) == (
            f"550 5.1.1 <a@example.test>: Recipient address rejected: User unknown in {table}"
        )


def test_codes_and_words_for_unknown_recipients_are_settings() -> None:
    gone = facts(resolution=Resolution("local", "local", "", Address("a", "example.test"), known=False))
    settings_ = values(unknown_local_recipient_reject_code="450", show_user_unknown_table_name="no")
    assert (
        str(Policy(settings_).at_rcpt(gone)) == "450 4.1.1 <a@example.test>: Recipient address rejected: User unknown"
    )
    assert Policy(values(smtpd_reject_unlisted_recipient="no")).at_rcpt(gone) is None


def test_an_undeliverable_route_is_refused_with_its_reason() -> None:
    moved = Resolution(
        "local", "error", "", Address("a", "x"), error_reply=Reply.of(550, "5.1.6", "User has moved to b@y")
    )
    assert at_rcpt("", resolution=moved) == (
        "550 5.1.6 <a@example.test>: Recipient address rejected: User has moved to b@y"
    )


def test_unlisted_senders_are_refused_if_asked_for() -> None:
    policy = Policy(values(smtpd_reject_unlisted_sender="yes"))
    asked = facts(sender=Address("nobody", "example.test"))
    with pytest.raises(Unanswered) as question:
        policy.at_rcpt(asked)
    assert question.value.request == Resolve(Address("nobody", "example.test"))
    asked.answers[question.value.request] = Resolution("local", "local", "", Address("nobody"), known=False)
    assert str(policy.at_rcpt(asked)) == (
        "550 5.1.0 <nobody@example.test>: Sender address rejected: User unknown in local recipient table"
    )


def test_what_nobody_answers_is_deferred() -> None:
    policy = Policy(values())
    asked = facts(resolution=None)
    with pytest.raises(Unanswered) as question:
        policy.at_rcpt(asked)
    asked.answers[question.value.request] = TempFail(LOCAL_ERROR)
    assert str(policy.at_rcpt(asked)) == "451 4.3.0 <a@example.test>: Temporary lookup failure"


@pytest.mark.parametrize("address_class", ["default", "local", "virtual_mailbox", "virtual_alias", "relay", "nonsense"])
def test_only_our_classes_are_ours(address_class: str) -> None:
    policy = Policy(values())
    answer = policy.at_rcpt(facts(resolution=Resolution(address_class, "t", "n", Address("a", "x"))))
    assert (answer is None) == (address_class in ("local", "virtual_mailbox", "virtual_alias", "relay"))


def test_relay_lists_come_first_or_last_as_set() -> None:
    remote = facts(resolution=Resolution("default", "smtp", "x", Address("a", "x")))
    lists = {"smtpd_relay_restrictions": "reject_unauth_destination", "smtpd_recipient_restrictions": "defer"}
    assert str(Policy(values(**lists)).at_rcpt(remote)).startswith("554 ")
    last = values(**lists, smtpd_relay_before_recipient_restrictions="no")
    assert str(Policy(last).at_rcpt(remote)).startswith("450 ")


def test_no_list_of_restrictions_is_an_open_relay() -> None:
    assert is_open_relay(values(smtpd_relay_restrictions="", smtpd_recipient_restrictions="permit_mynetworks"))
    assert is_open_relay(Settings(MAIN, {}, {}))  # compatibility level 0 has no relay restrictions
    assert not is_open_relay(values())
    open_ = Policy(values(smtpd_relay_restrictions="permit_mynetworks", smtpd_recipient_restrictions=""))
    remote = facts(resolution=Resolution("default", "smtp", "x", Address("a", "x")))
    assert str(open_.at_rcpt(remote)).startswith("454 4.7.1 ")


def test_what_is_not_supported_is_named() -> None:
    settings_ = values(
        smtpd_client_restrictions="permit_mynetworks, reject_rbl_client zen.example",
        smtpd_recipient_restrictions="check_policy_service unix:private/policy, frobnicate",
    )
    assert unsupported_restrictions(settings_) == [
        ("smtpd_client_restrictions", "reject_rbl_client"),
        ("smtpd_recipient_restrictions", "check_policy_service"),
        ("smtpd_recipient_restrictions", "frobnicate"),
    ]
    assert unsupported_restrictions(values()) == []


def test_arguments_are_not_taken_for_restrictions() -> None:
    entries = parse_list(("check_helo_access", "hash:/a", "permit", "reject_rbl_client", "permit", "reject"))
    assert [(entry.name, entry.argument) for entry in entries] == [
        ("check_helo_access", "hash:/a"),
        ("permit", ""),
        ("reject_rbl_client", "permit"),
        ("reject", ""),
    ]


@pytest.mark.parametrize("name", ["example.org", "a-b.example", "x_y.example", "localhost", "bücher.example", "a1"])
def test_names(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "a..b", "-a.b", "a-.b", "1.2.3.4", "a b", "a.b.", "x" * 64, "a/b", "[1.2.3.4]"]
)
def test_no_names(name: str) -> None:
    assert not is_name(name)


def test_a_final_dot_is_part_of_a_qualified_name() -> None:
    assert is_fully_qualified("example.org.")
    assert not is_fully_qualified("localhost")


@given(st.lists(st.one_of(st.sampled_from([*KNOWN, "hash:/x", "{", "frob"]), st.text(max_size=10)), max_size=8))
@settings(max_examples=300, deadline=None)
def test_no_list_relays_for_strangers(words: list[str]) -> None:
    """Whatever somebody writes into smtpd_recipient_restrictions, relaying stays where the relay list put it."""
    policy = Policy(values())
    policy._recipient = (policy._recipient[0], parse_list(tuple(words)))
    remote = facts(resolution=Resolution("default", "smtp", "x", Address("a", "x")))
    try:
        answer = policy.at_rcpt(remote)
    except Unanswered:
        return
    assert answer is not None
    assert answer.code >= 400
