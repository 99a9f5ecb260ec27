"""Class, transport, nexthop and recipient of an address."""

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from posthouse.tables.table import TableError
from tests.routing.conftest import World

MakeWorld = Callable[..., World]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("bob@ours.example", "local local:h.ours.example bob@ours.example"),
        ("bob@OURS.example.", "local local:h.ours.example bob@OURS.example"),
        ("bob@[127.0.0.1]", "local local:h.ours.example bob@[127.0.0.1]"),
        ("bob@[IPv6:::1]", "local local:h.ours.example bob@[IPv6:::1]"),
        ("u@boxes.example", "virtual_mailbox virtual:boxes.example u@boxes.example"),
        ("u@relayed.example", "relay relay:relayed.example u@relayed.example"),
        ("u@sub.relayed.example", "relay relay:sub.relayed.example u@sub.relayed.example"),
        ("u@elsewhere.example", "default smtp:elsewhere.example u@elsewhere.example"),
        ("u@[192.0.2.1]", "default smtp:[192.0.2.1] u@[192.0.2.1]"),
        ("u@aliased.example", "virtual_alias error:5.1.1 User unknown in virtual alias table u@aliased.example"),
        # Routing operators before a domain of ours: what is left decides, as for any address.
        ("u%elsewhere.example@ours.example", "default smtp:elsewhere.example u@elsewhere.example"),
        ("u@elsewhere.example@ours.example", "default smtp:elsewhere.example u@elsewhere.example"),
        ("elsewhere.example!u@ours.example", "default smtp:elsewhere.example u@elsewhere.example"),
        ("a%b%ours.example@localhost", "default smtp:b a@b"),
        ("@one,@two:bob@ours.example", "local local:h.ours.example bob@ours.example"),
        # Before a domain that is not: the next host may read them as a route, so it is nobody's class.
        ("u%elsewhere.example@relayed.example", "default relay:relayed.example u%elsewhere.example@relayed.example"),
        ("x!u@boxes.example", "default virtual:boxes.example x!u@boxes.example"),
        ("a@b@aliased.example", "default error:5.1.1 User unknown in virtual alias table a@b@aliased.example"),
    ],
)
def test_addresses_go_where_postfix_sends_them(world: MakeWorld, address: str, expected: str) -> None:
    assert world().route(address) == expected


def test_a_bare_name_belongs_to_myorigin(world: MakeWorld) -> None:
    assert world(myorigin="ours.example").resolve("bob").recipient.domain == "ours.example"


def test_the_null_address_is_mailer_daemon_here(world: MakeWorld) -> None:
    found = world().resolve("")
    assert (found.recipient.local_part, found.recipient.domain) == ("MAILER-DAEMON", "h.ours.example")


@pytest.mark.parametrize("address", ["u@a..b", "u@192.0.2.1", "u@[nonsense]", "u@-x.example", "-f@ours.example"])
def test_what_is_no_address_is_refused_for_good(world: MakeWorld, address: str) -> None:
    reply = world().resolve(address).error_reply
    assert reply is not None
    assert reply.code == 501


@pytest.mark.parametrize(
    ("address", "known"),
    [
        ("bob@ours.example", True),
        ("BOB@localhost", True),
        ("bob+x@ours.example", True),
        ("eve@ours.example", False),
        ("u@boxes.example", True),
        ("u+x@boxes.example", True),
        ("eve@boxes.example", False),
        ("anybody@relayed.example", True),
        ("anybody@elsewhere.example", True),
        ("eve@aliased.example", False),
        ("info@aliased.example", True),
        ("info@boxes.example", True),
        ("info@ours.example", True),
    ],
)
def test_recipients_exist_if_their_class_s_tables_or_virtual_aliases_say_so(
    world: MakeWorld, address: str, known: bool
) -> None:
    maps = "inline:{info@aliased.example=x, info@boxes.example=x, info=x}"
    assert world(virtual_alias_maps=maps, recipient_delimiter="+-").resolve(address).known is known


def test_relay_recipients_are_checked_when_there_is_a_table(world: MakeWorld) -> None:
    maps = "inline:{bob@relayed.example=x, @sub.relayed.example=x}"
    found = world(relay_recipient_maps=maps)
    assert [
        found.resolve(one).known for one in ("bob@relayed.example", "eve@relayed.example", "x@sub.relayed.example")
    ] == [
        True,
        False,
        True,
    ]


def test_an_alias_that_exists_is_no_error_and_an_unknown_one_is(world: MakeWorld) -> None:
    found = world(virtual_alias_maps="inline:{info@aliased.example=x}")
    assert found.resolve("info@aliased.example").error_reply is None
    assert str(found.resolve("eve@aliased.example").error_reply) == "550 5.1.1 User unknown in virtual alias table"


def test_the_path_of_a_mailbox_comes_from_its_table(world: MakeWorld) -> None:
    assert world().resolve("U@Boxes.Example").mailbox == "boxes/u/"


@pytest.mark.parametrize(
    ("value", "address", "expected"),
    [
        ("inline:{elsewhere.example=smtp:[mx.example]:2525}", "u@elsewhere.example", "smtp:[mx.example]:2525"),
        ("inline:{elsewhere.example=:[mx.example]}", "u@elsewhere.example", "smtp:[mx.example]"),
        ("inline:{elsewhere.example=lmtp:}", "u@elsewhere.example", "lmtp:elsewhere.example"),
        ("inline:{.elsewhere.example=smtp:x}", "u@a.elsewhere.example", "smtp:x"),
        ("inline:{.elsewhere.example=smtp:x}", "u@elsewhere.example", "smtp:elsewhere.example"),
        ("inline:{*=smtp:x}", "u@boxes.example", "smtp:x"),
        ("inline:{u@boxes.example=lmtp:unix:/run/l}", "u+y@boxes.example", "lmtp:unix:/run/l"),
        ("inline:{bob@ours.example=:}", "bob@ours.example", "local:h.ours.example"),
        ("regexp:{{/^u@/ smtp:r}}", "u@elsewhere.example", "smtp:r"),
        ("inline:{bücher.example=smtp:x}", "u@xn--bcher-kva.example", "smtp:x"),
    ],
)
def test_transport_maps_come_before_everything(world: MakeWorld, value: str, address: str, expected: str) -> None:
    found = world(transport_maps=value, recipient_delimiter="+", relayhost="[never.example]" * 0).resolve(address)
    assert f"{found.transport}:{found.nexthop}" == expected


def test_the_error_transport_answers_with_its_text(world: MakeWorld) -> None:
    found = world(
        transport_maps="inline:{{a.example=error:5.7.1 go away}, {b.example=retry:4.3.2 later}, c.example=error}"
    )
    assert str(found.resolve("u@a.example").error_reply) == "550 5.7.1 go away"
    assert str(found.resolve("u@b.example").error_reply) == "450 4.3.2 later"
    assert str(found.resolve("u@c.example").error_reply) == "550 5.0.0 Address is undeliverable"


def test_a_relayhost_gets_what_is_not_ours(world: MakeWorld) -> None:
    found = world(relayhost="[smart.example]:587", relay_transport="relay", virtual_transport="lmtp:unix:/x")
    assert found.route("u@elsewhere.example").startswith("default smtp:[smart.example]:587 ")
    assert found.route("u@relayed.example").startswith("relay relay:[smart.example]:587 ")
    assert found.route("bob@ours.example").startswith("local local:h.ours.example ")
    assert found.route("u@boxes.example").startswith("virtual_mailbox lmtp:unix:/x ")


def test_the_sender_may_choose_the_relayhost_and_the_transport(world: MakeWorld) -> None:
    found = world(
        relayhost="[smart.example]",
        sender_dependent_relayhost_maps="inline:{bob@ours.example=[bobs.example], @x.example=[xs.example], "
        "eve@x.example=DUNNO, {<>=[nulls.example]}}",
        sender_dependent_default_transport_maps="inline:{@t.example=slow:}",
    )
    assert found.router.depends_on_sender
    routes = [
        found.route("u@e.example", one).split()[1]
        for one in ("bob@ours.example", "a@x.example", "eve@x.example", "a@t.example")
    ]
    assert routes == ["smtp:[bobs.example]", "smtp:[xs.example]", "smtp:[smart.example]", "slow:[smart.example]"]
    assert found.route("u@e.example").split()[1] == "smtp:[nulls.example]"


def test_relocated_users_bounce_with_their_new_address(world: MakeWorld) -> None:
    reply = world(relocated_maps="inline:{bob@ours.example=bob@new.example}").resolve("bob@ours.example").error_reply
    assert str(reply) == "550 5.1.6 User has moved to bob@new.example"


@pytest.mark.parametrize(
    "broken",
    [
        {"mydestination": "fail:x"},
        {"virtual_mailbox_domains": "fail:x"},
        {"virtual_mailbox_maps": "fail:x"},
        {"virtual_mailbox_maps": "", "virtual_mailbox_domains": "/no/such/file"},
        {"transport_maps": "fail:x"},
        {"relocated_maps": "fail:x"},
        {"virtual_alias_maps": "fail:x", "virtual_mailbox_maps": "inline:{q=x}"},
    ],
)
def test_a_table_that_fails_is_a_temporary_failure_never_unknown(world: MakeWorld, broken: dict[str, str]) -> None:
    with pytest.raises(TableError):
        world(**broken).resolve("u@boxes.example")


ROUTES = st.text(alphabet=st.sampled_from('abu@!%.:,[]-+"\\ \x00é'), max_size=40)


@settings(max_examples=300, deadline=None)
@given(ROUTES, st.sampled_from(["", "@ours.example", "@boxes.example", "@relayed.example", "@[127.0.0.1]"]))
@example("evil.example!victim", "@relayed.example")
@example("victim%evil.example", "@relayed.example")
@example("a@", "@ours.example")
def test_no_address_breaks_resolution_or_makes_us_a_relay(local_part: str, domain: str) -> None:
    found = World().resolve(local_part + domain)
    assert found.recipient.domain
    if found.address_class in ("relay", "virtual_mailbox", "virtual_alias"):
        assert not set(found.recipient.local_part) & set("@!%")
    if found.address_class == "local":
        assert "@" not in found.recipient.local_part
