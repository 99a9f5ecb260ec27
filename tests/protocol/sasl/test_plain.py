"""PLAIN and LOGIN, our server against our client and against anything."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.protocol.sasl.known import CLIENT_MECHANISMS, SERVER_MECHANISMS
from posthouse.protocol.sasl.mechanism import Challenge, Credentials, SaslError, Surroundings
from posthouse.protocol.sasl.plain import LoginServer, PlainClient, PlainServer

AROUND = Surroundings("nonce")


@pytest.mark.parametrize("name", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("takes_initial", [True, False])
def test_client_and_server_understand_each_other(name: str, takes_initial: bool) -> None:
    client, server = CLIENT_MECHANISMS[name]("bob@example.org", "pässword"), SERVER_MECHANISMS[name].make(AROUND)
    said = server.step(client.initial() if takes_initial else None)
    for _ in range(4):
        if isinstance(said, Credentials):
            break
        assert isinstance(said, Challenge)
        said = server.step(client.step(said.data))
    assert said == Credentials("bob@example.org", "pässword".encode())


def test_plain_carries_an_authorization_identity() -> None:
    message = PlainClient("bob", "secret", "ann").initial()
    assert message == b"ann\0bob\0secret"
    assert PlainServer(AROUND).step(message) == Credentials("bob", b"secret", "ann")


def test_login_takes_the_name_as_initial_response() -> None:
    server = LoginServer(AROUND)
    assert server.step(b"bob") == Challenge(b"Password:")
    assert server.step(b"secret") == Credentials("bob", b"secret")


BAD_PLAIN = [
    *(b"", b"bob", b"bob\0secret", b"a\0b\0c\0d", b"\0\0secret", b"\0b\xff\0secret"),
    *(b"\0" + b"x" * 1025 + b"\0s", b"\0bob\0" + b"x" * 1025, b"x" * 1025 + b"\0bob\0secret"),
]


@pytest.mark.parametrize("message", BAD_PLAIN)
def test_what_is_no_plain_message_is_refused(message: bytes) -> None:
    with pytest.raises(SaslError):
        PlainServer(AROUND).step(message)


@pytest.mark.parametrize("responses", [[b""], [b"x" * 1025], [b"bob", b"a\0b"], [b"b\xff"], [b"root\0"]])
def test_what_is_no_login_message_is_refused(responses: list[bytes]) -> None:
    server = LoginServer(AROUND)
    for response in responses[:-1]:
        server.step(response)
    with pytest.raises(SaslError):
        server.step(responses[-1])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["PLAIN", "LOGIN"]), st.lists(st.binary(max_size=40), min_size=1, max_size=4))
def test_any_response_is_understood_or_refused(name: str, responses: list[bytes]) -> None:
    server = SERVER_MECHANISMS[name].make(AROUND)
    for response in responses:
        try:
            said = server.step(response)
        except SaslError:
            return
        if isinstance(said, Credentials):
            assert said.authcid
            assert b"\0" not in said.password
            return
