"""The vectors of the RFCs, our client against our server, and everything that must be refused."""

import base64
import hashlib
import hmac
import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.protocol.sasl.digests import CramMd5Client, CramMd5Server, DigestMd5Server, parse_directives
from posthouse.protocol.sasl.known import CLIENT_MECHANISMS, SERVER_MECHANISMS, offered
from posthouse.protocol.sasl.mechanism import (
    Anonymous,
    Challenge,
    Claim,
    NeedSecret,
    Proven,
    Said,
    SaslError,
    ScramKeys,
    Surroundings,
    Token,
    Wrong,
)
from posthouse.protocol.sasl.saslprep import saslprep
from posthouse.protocol.sasl.scram import ScramClient, ScramServer, scram_keys
from posthouse.protocol.sasl.tokens import OauthBearerServer, Xoauth2Server
from posthouse.protocol.sasl.unproven import AnonymousServer, ExternalServer

HASHES = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}
SALT = b"0123456789abcdef"


def keys(name: str, password: str = "pencil", salt: bytes = SALT, rounds: int = 4096) -> ScramKeys:
    return scram_keys(HASHES[name], password.encode(), salt, rounds)


def server(name: str = "SCRAM-SHA-256", *, plus: bool = False, **around: object) -> ScramServer:
    return ScramServer(Surroundings("servernonce", **around), HASHES[name], name, is_plus=plus)  # type: ignore[arg-type]


# ── SCRAM ──


@pytest.mark.parametrize(
    ("name", "client_nonce", "server_nonce", "salt", "proof", "signature"),
    [
        (  # RFC 5802 s5
            "SCRAM-SHA-1",
            "fyko+d2lbbFgONRv9qkxdawL",
            "3rfcNHYJY1ZVvWVs7j",
            "QSXCR+Q6sek8bf92",
            b"v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            b"rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        ),
        (  # RFC 7677 s3
            "SCRAM-SHA-256",
            "rOprNGfwEbeRWgbNEkqO",
            "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            "W22ZaJ0SNY7soEsUEjb6gQ==",
            b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ),
    ],
)
def test_the_vectors_of_the_rfcs(
    name: str, client_nonce: str, server_nonce: str, salt: str, proof: bytes, signature: bytes
) -> None:
    client = ScramClient(HASHES[name], "user", "pencil", lambda: client_nonce)
    ours = ScramServer(Surroundings(server_nonce), HASHES[name], name, is_plus=False)
    first = client.initial()
    assert first == f"n,,n=user,r={client_nonce}".encode()
    assert ours.step(first) == NeedSecret("user", "", name)
    said = ours.secret(keys(name, salt=base64.b64decode(salt)))
    assert said == Challenge(f"r={client_nonce}{server_nonce},s={salt},i=4096".encode())
    final = client.step(said.data)
    assert final == f"c=biws,r={client_nonce}{server_nonce},p=".encode() + proof
    said = ours.step(final)
    assert said == Challenge(b"v=" + signature)
    assert not client.may_succeed
    assert client.step(said.data) == b""
    assert client.may_succeed
    assert ours.step(b"") == Proven()


def through(client: ScramClient, ours: ScramServer, known: ScramKeys) -> Said:
    said = ours.step(client.initial())
    assert isinstance(said, NeedSecret)
    challenge = ours.secret(known)
    assert isinstance(challenge, Challenge)
    said = ours.step(client.step(challenge.data))
    if isinstance(said, Challenge):
        said = ours.step(client.step(said.data))
    return said


@pytest.mark.parametrize("name", sorted(HASHES))
@pytest.mark.parametrize(
    ("user", "password"), [("bob@example.org", "pencil"), ("a=b,c", "x,=y"), ("jürgen", "Ⅸ\u00ad")]
)
def test_our_client_and_server_agree_or_do_not(name: str, user: str, password: str) -> None:
    known = keys(name, saslprep(password))
    assert through(ScramClient(HASHES[name], user, password), server(name), known) == Proven()
    assert through(ScramClient(HASHES[name], user, "other"), server(name), known) == Wrong()


def test_names_are_unescaped_and_prepared() -> None:
    assert server().step(b"n,a=ann=2Cx,n=b=3Db,r=abc") == NeedSecret("b=b", "ann,x", "SCRAM-SHA-256")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n,,",
        b"n,,n=bob",
        b"n,,r=abc,n=bob",
        b"n,,n=,r=abc",
        b"n,,n=b=20b,r=abc",
        b"n,,n=b\0b,r=abc",
        b"n,,n=b\xffb,r=abc",
        b"n,,n=bob,r=a\x00c",
        b"n,,m=ext,n=bob,r=abc",
        b"x,,n=bob,r=abc",
        b"p=tls-unique,,n=bob,r=abc",
        b"n,,n=\xe0\xb8\x81\xd8\xa7,r=abc",  # both directions
        b"n,,n=" + b"x" * 5000 + b",r=abc",
    ],
)
def test_what_is_no_first_message_is_refused(message: bytes) -> None:
    with pytest.raises(SaslError):
        server().step(message)


@pytest.mark.parametrize(
    "change",
    [
        lambda final: final.replace(b"c=biws", b"c=eSws"),  # another flag than at first
        lambda final: final.replace(b"servernonce", b"servernoncf"),
        lambda final: final.replace(b"c=biws,", b""),
        lambda final: final[:-8],
        lambda final: final.partition(b",p=")[0],
        lambda final: final + b",x=y",
        lambda _: b"",
    ],
)
def test_a_final_message_that_does_not_fit_is_no_login(change) -> None:  # type: ignore[no-untyped-def]
    client, ours = ScramClient("sha256", "bob", "pencil"), server()
    ours.step(client.initial())
    challenge = ours.secret(keys("SCRAM-SHA-256"))
    assert isinstance(challenge, Challenge)
    try:
        said = ours.step(change(client.step(challenge.data)))
    except SaslError:
        pass
    else:
        assert isinstance(said, Wrong)
    with pytest.raises(SaslError):
        ours.step(b"")


def bound(binding_type: str, binding: bytes, ours: ScramServer, flag: bytes = b"") -> Said:
    """A client that binds, written down anew."""
    gs2 = flag or b"p=" + binding_type.encode() + b",,"
    first = b"n=bob,r=clientnonce"
    said = ours.step(gs2 + first)
    if not isinstance(said, NeedSecret):
        return said
    known = keys("SCRAM-SHA-256")
    challenge = ours.secret(known)
    assert isinstance(challenge, Challenge)
    without = b"c=" + base64.b64encode(gs2 + binding) + b",r=clientnonceservernonce"
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", known.salt, known.rounds)
    key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(known.stored, b",".join((first, challenge.data, without)), "sha256")
    proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
    return ours.step(without + b",p=" + base64.b64encode(proof))


def test_channel_binding_ties_the_login_to_the_connection() -> None:
    bindings = {"tls-unique": b"this connection"}
    assert isinstance(bound("tls-unique", b"this connection", server(plus=True, bindings=bindings)), Challenge)
    assert isinstance(bound("tls-unique", b"another one", server(plus=True, bindings=bindings)), Wrong)
    with pytest.raises(SaslError, match="tls-exporter is not supported"):
        bound("tls-exporter", b"x", server(plus=True, bindings=bindings))
    with pytest.raises(SaslError, match="does not fit"):
        bound("", b"", server(plus=True, bindings=bindings), b"n,,")


def test_a_client_that_was_not_told_of_channel_binding_is_refused() -> None:
    assert isinstance(bound("", b"", server(bindings={"tls-unique": b"x"}), b"y,,"), Wrong)
    assert isinstance(bound("", b"", server(), b"y,,"), Challenge)


@pytest.mark.parametrize(
    "challenge",
    [b"", b"r=other,s=QSXC,i=4096", b"r=mine,s=QSXC,i=4096", b"r=minex,s=QSXC,i=99999999", b"r=minex,s=!,i=1", b"e=x"],
)
def test_our_client_believes_no_strange_server(challenge: bytes) -> None:
    client = ScramClient("sha1", "bob", "pencil", lambda: "mine")
    client.initial()
    if challenge:
        with pytest.raises(SaslError):
            client.step(challenge)
    assert not client.may_succeed


def test_our_client_notices_a_server_that_does_not_know_the_password() -> None:
    client = ScramClient("sha1", "bob", "pencil", lambda: "mine")
    client.step(b"r=minetheirs,s=QSXCR+Q6sek8bf92,i=4096")
    with pytest.raises(SaslError, match="does not know"):
        client.step(b"v=" + base64.b64encode(secrets.token_bytes(20)))
    assert not client.may_succeed


# ── CRAM-MD5, DIGEST-MD5 ──


def test_the_vector_of_rfc_2195() -> None:
    # RFC 2195 s3
    challenge = b"<1896.697170952@postoffice.reston.mci.net>"
    answer = CramMd5Client("tim", "tanstaaftanstaaf").step(challenge)
    assert answer == b"tim b913a602c7eda7a495b4e6e7334d3890"
    ours = CramMd5Server(Surroundings("1896.697170952", "postoffice.reston.mci.net"))
    assert ours.step(None) == Challenge(challenge)
    assert ours.step(answer) == NeedSecret("tim", "", "CRAM-MD5", challenge)
    assert ours.secret(hmac.digest(b"tanstaaftanstaaf", challenge, "md5")) == Proven()
    ours = CramMd5Server(Surroundings("x"))
    ours.step(answer)
    assert ours.secret(b"0" * 16) == Wrong()


@pytest.mark.parametrize("response", [b"", b"tim", b"tim " + b"x" * 32, b" " + b"0" * 32, b"t\0m " + b"0" * 32])
def test_what_is_no_cram_response_is_refused(response: bytes) -> None:
    with pytest.raises(SaslError):
        CramMd5Server(Surroundings("x")).step(response)


RESPONSE = (
    b'charset=utf-8,username="chris",realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",nc=00000001,'
    b'cnonce="OA6MHXh6VqTrRk",digest-uri="imap/elwood.innosoft.com",'
    b"response=d388dad90d4bbd760a152321f2143af7,qop=auth"
)


def digest_server() -> DigestMd5Server:
    ours = DigestMd5Server(Surroundings("OA6MG9tEQGm2hh", realms=("elwood.innosoft.com",)))
    challenge = ours.step(None)
    assert isinstance(challenge, Challenge)
    assert parse_directives(challenge.data)["realm"] == b"elwood.innosoft.com"
    return ours


def test_the_vector_of_rfc_2831() -> None:
    # RFC 2831 s4
    ours = digest_server()
    said = ours.step(RESPONSE)
    assert said == NeedSecret("chris@elwood.innosoft.com", "", "DIGEST-MD5", b"chris:elwood.innosoft.com:")
    assert isinstance(said, NeedSecret)
    secret = hashlib.md5(said.material + b"secret", usedforsecurity=False).digest()
    assert ours.secret(secret) == Challenge(b"rspauth=ea40f60335c427b5527b84dbabcdfffd")
    assert ours.step(b"") == Proven()
    ours = digest_server()
    ours.step(RESPONSE)
    assert ours.secret(b"0" * 16) == Wrong()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'nonce="OA6MG9tEQGm2hh",', b'nonce="OA6MG9tEQGm2hi",'),
        (b'nonce="OA6MG9tEQGm2hh",', b""),
        (b"nc=00000001", b"nc=00000002"),
        (b"qop=auth", b"qop=auth-conf"),
        (b'username="chris"', b'username=""'),
        (b'username="chris"', b'username="chris",username="ann"'),
        (b'username="chris"', b'username="chris'),
        (b",response=d388dad90d4bbd760a152321f2143af7", b""),
        (b"charset=utf-8", b"x" * 5000 + b"=y"),
    ],
)
def test_what_is_no_digest_response_is_refused(old: bytes, new: bytes) -> None:
    assert old in RESPONSE
    with pytest.raises(SaslError):
        digest_server().step(RESPONSE.replace(old, new))


def test_names_are_latin_1_unless_the_client_says_otherwise() -> None:
    said = digest_server().step(RESPONSE.replace(b"charset=utf-8,", b"").replace(b"chris", b"j\xfcrgen"))
    assert isinstance(said, NeedSecret)
    assert said.authcid == "jürgen@elwood.innosoft.com"
    assert said.material.startswith(b"j\xfcrgen:")


# ── tokens, certificates, nobody ──


def test_tokens_in_both_dresses() -> None:
    around = Surroundings("x")
    assert Xoauth2Server(around).step(b"user=bob@example.org\1auth=Bearer ya29.vF9dft4\1\1") == Token(
        "bob@example.org", "ya29.vF9dft4"
    )
    # RFC 7628 s4.1
    assert OauthBearerServer(around).step(
        b"n,a=user@example.com,\1host=server.example.com\1port=143\1"
        b"auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\1\1"
    ) == Token("user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==")
    assert OauthBearerServer(around).step(b"n,,\1auth=bearer x\1\1") == Token("", "x")
    ours = Xoauth2Server(around)
    assert ours.step(None) == Challenge(b"")
    ours.step(b"user=bob\1auth=Bearer x\1\1")
    assert ours.step(b"") == Wrong(), "the answer to a refusal"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"user=bob",
        b"user=bob\1\1",
        b"user=\1auth=Bearer x\1\1",
        b"user=bob\1auth=Basic x\1\1",
        b"user=bob\1auth=Bearer \1\1",
    ],
)
def test_what_is_no_token_is_refused(message: bytes) -> None:
    with pytest.raises(SaslError):
        Xoauth2Server(Surroundings("x")).step(message)
    with pytest.raises(SaslError):
        OauthBearerServer(Surroundings("x")).step(message.replace(b"user=", b"n,a="))


def test_external_takes_the_name_of_the_certificate() -> None:
    ours = ExternalServer(Surroundings("x", certified="bob"))
    assert ours.step(None) == Challenge(b"")
    assert ours.step(b"") == Claim("bob", "")
    assert ExternalServer(Surroundings("x", certified="bob")).step(b"ann") == Claim("bob", "ann")
    assert isinstance(ExternalServer(Surroundings("x")).step(b"bob"), Wrong)


def test_anonymous_leaves_a_trace() -> None:
    assert AnonymousServer(Surroundings("x")).step(b"sirhc") == Anonymous("sirhc")
    with pytest.raises(SaslError):
        AnonymousServer(Surroundings("x")).step(b"x" * 2000)


# ── the list ──


def test_only_what_works_on_a_connection_is_offered() -> None:
    names = ("plain", "scram-sha-256", "scram-sha-256-plus", "xoauth2", "external", "nonsense", "PLAIN")
    assert offered(names, knows_tokens=False) == ["PLAIN", "SCRAM-SHA-256"]
    assert offered(names, knows_tokens=True, has_bindings=True, certified="bob") == [
        "PLAIN",
        "SCRAM-SHA-256",
        "SCRAM-SHA-256-PLUS",
        "XOAUTH2",
        "EXTERNAL",
    ]


@pytest.mark.parametrize(
    ("text", "prepared"),
    [("I\u00adX", "IX"), ("user", "user"), ("USER", "USER"), ("\u00aa", "a"), ("\u2168", "IX"), ("a\u00a0b", "a b")],
)
def test_saslprep_as_its_rfc_shows(text: str, prepared: str) -> None:
    # RFC 4013 s3
    assert saslprep(text) == prepared


@pytest.mark.parametrize("text", ["\u0007", "\u0627\u0031", "\ue000", "\ufdd0"])
def test_saslprep_refuses(text: str) -> None:
    with pytest.raises(SaslError):
        saslprep(text)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(sorted(SERVER_MECHANISMS)), st.lists(st.binary(max_size=60), min_size=1, max_size=4))
def test_any_response_is_understood_or_refused(name: str, responses: list[bytes]) -> None:
    ours = SERVER_MECHANISMS[name].make(Surroundings("nonce", bindings={"tls-unique": b"x"}, certified="bob"))
    for response in responses:
        try:
            said = ours.step(response)
            if isinstance(said, NeedSecret):
                secret = keys(name.removesuffix("-PLUS"), rounds=1) if "SCRAM" in name else b"d" * 16
                said = ours.secret(secret)  # type: ignore[attr-defined]
        except SaslError:
            return
        assert not isinstance(said, Proven)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(CLIENT_MECHANISMS)), st.lists(st.binary(max_size=60), min_size=1, max_size=4))
def test_any_challenge_is_answered_or_refused(name: str, challenges: list[bytes]) -> None:
    client = CLIENT_MECHANISMS[name]("bob", "secret")
    client.initial()
    for challenge in challenges:
        try:
            client.step(challenge)
        except SaslError:
            return
