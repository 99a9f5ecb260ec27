"""Bearer tokens: asked about at a real HTTP server, or signed and checked here."""

import base64
import hashlib
import hmac
import imaplib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from posthouse.auth.databases.configured import files, query_files, uses_network
from posthouse.runtime.certificate_files import CertificateFiles
from posthouse.runtime.certificates import make
from posthouse.runtime.ipc import Peer
from posthouse.runtime.schema import (
    AUTH_LOGIN,
    AuthChallenge,
    Authenticate,
    AuthFailure,
    AuthSuccess,
    ContinueAuth,
    Record,
)
from tests.queue.asynchronous import asynchronous
from tests.running import RunningSystem
from tests.services.auth.token_server import HttpServer, tokens
from tests.services.auth.world import AuthWorld, auth_running, plain

TERMS = """
scope = imap
issuers = https://op.example https://op2.example
client_id = client
client_secret = secret
timeout_msecs = 500
pass_attrs = userdb_scope=%{oauth2:scope}
"""
MODES = {
    "tokeninfo": "tokeninfo_url = {url}/info?token=\n",
    "get": "introspection_url = {url}/get?token=\nintrospection_mode = get\n",
    "auth": "introspection_url = {url}/auth\nintrospection_mode = auth\n",
    "post": "introspection_url = {url}/post\nintrospection_mode = post\n",
}


@pytest.fixture(scope="module")
def server() -> Iterator[HttpServer]:
    with HttpServer(tokens) as running:
        yield running


def chain(directory: Path, text: str) -> dict[str, str]:
    path = directory / "dovecot-oauth2.conf.ext"
    path.write_text(text)
    return {
        "passdb/1/driver": "oauth2",
        "passdb/1/args": str(path),
        "userdb/1/driver": "static",
        "userdb/1/args": "home=/x",
        "auth_mechanisms": "plain xoauth2 oauthbearer",
        "auth_verbose": "yes",
    }


def bearer(token: str, user: str = "bob@example.org") -> Authenticate:
    response = f"n,a={user},\x01auth=Bearer {token}\x01\x01".encode()
    return Authenticate(1, "OAUTHBEARER", response, "imap", "192.0.2.7", "192.0.2.1", True, "s1")


def xoauth2(token: str, user: str = "bob@example.org") -> Authenticate:
    response = f"user={user}\x01auth=Bearer {token}\x01\x01".encode()
    return Authenticate(2, "XOAUTH2", response, "imap", "192.0.2.7", "192.0.2.1", True, "s1")


async def outcome(login: Peer, request: Authenticate) -> Record:
    answer = await login.call(request)
    if isinstance(answer, AuthChallenge):
        answer = await login.call(ContinueAuth(request.session, b"\x01"))
    return answer


async def refused(login: Peer, request: Authenticate, world: AuthWorld) -> None:
    answer = await outcome(login, request)
    assert isinstance(answer, AuthFailure), request
    assert not answer.temporary, (request, world.log())


async def put_off(login: Peer, request: Authenticate) -> None:
    answer = await outcome(login, request)
    assert isinstance(answer, AuthFailure), request
    assert answer.temporary, request


@pytest.mark.parametrize("mode", MODES)
def test_a_server_is_asked(tmp_path: Path, server: HttpServer, mode: str) -> None:
    @asynchronous
    async def test() -> None:
        values = chain(tmp_path, MODES[mode].format(url=server.url) + TERMS)
        assert uses_network(values)
        async with auth_running(tmp_path, {}, values) as world:
            login = world.peer(AUTH_LOGIN, "login")
            for request in (bearer("good"), xoauth2("good"), plain("bob@example.org", "good"), bearer("good", "")):
                answer = await outcome(login, request)
                assert isinstance(answer, AuthSuccess), (request, world.log())
                assert answer.user == "bob@example.org"
            for token in ("bad", "other", "narrow", "stranger", "inactive", "nobodys"):
                await refused(login, bearer(token), world)
                await refused(login, xoauth2(token), world)
                await refused(login, plain("bob@example.org", token), world)
            asked = len(server.asked)
            for token in ("", "a b", "good\r\nX: y", "a" * 20000):
                await refused(login, plain("bob@example.org", token), world)
            assert len(server.asked) == asked
            for token in ("redirect", "broken", "rubbish", "list", "deep", "huge", "slow"):
                await put_off(login, bearer(token))
                await put_off(login, plain("bob@example.org", token))
            assert not any("/elsewhere" in one.target for one in server.asked)
            assert isinstance(await outcome(login, bearer("good")), AuthSuccess)
            assert not any("token=good" in line for line in world.log())

    test()


@pytest.mark.parametrize("forces", ["no", "yes"])
def test_tokeninfo_first_and_introspection_for_what_it_does_not_say(
    tmp_path: Path, server: HttpServer, forces: str
) -> None:
    text = f"tokeninfo_url = {server.url}/info?token=\nintrospection_url = {server.url}/auth\n"

    @asynchronous
    async def test() -> None:
        values = chain(tmp_path, text + TERMS + f"force_introspection = {forces}\n")
        async with auth_running(tmp_path, {}, values) as world:
            login = world.peer(AUTH_LOGIN, "login")
            began = len(server.asked)
            assert isinstance(await outcome(login, bearer("good")), AuthSuccess), world.log()
            targets = [one.target for one in server.asked[began:]]
            assert targets == ["/info?token=good", *(["/auth"] if forces == "yes" else [])]
            began = len(server.asked)
            await refused(login, bearer("info-only"), world)
            assert [one.target for one in server.asked[began:]] == ["/info?token=info-only", "/auth"]

    test()


def test_a_wrong_client_secret_is_nobodys_wrong_token(tmp_path: Path, server: HttpServer) -> None:
    text = MODES["post"].format(url=server.url) + TERMS.replace("= secret", "= changed")

    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path, {}, chain(tmp_path, text)) as world:
            await put_off(world.peer(AUTH_LOGIN, "login"), bearer("good"))
            assert any("the server says 401" in line for line in world.log())

    test()


def test_while_the_server_is_away_logins_wait(tmp_path: Path) -> None:
    with HttpServer(tokens) as gone:
        url = gone.url
    text = MODES["auth"].format(url=url) + TERMS

    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path, {}, chain(tmp_path, text)) as world:
            await put_off(world.peer(AUTH_LOGIN, "login"), bearer("good"))
            assert any(f"{url}/auth" in line for line in world.log())

    test()


def test_over_https_the_certificate_counts(tmp_path: Path) -> None:
    make(tmp_path / "tls", ("localhost",))
    tls = CertificateFiles.within(tmp_path / "tls")

    @asynchronous
    async def test() -> None:
        with HttpServer(tokens, tls) as server:
            text = MODES["auth"].format(url=server.url) + TERMS
            for name, more, is_right in (
                ("a", "", False),
                ("b", f"tls_ca_cert_file = {tls.authority}\n", True),
                ("c", "tls_allow_invalid_cert = yes\n", True),
            ):
                directory = tmp_path / name
                directory.mkdir()
                async with auth_running(directory, {}, chain(directory, text + more)) as world:
                    login = world.peer(AUTH_LOGIN, "login")
                    if is_right:
                        assert isinstance(await outcome(login, bearer("good")), AuthSuccess), world.log()
                    else:
                        await put_off(login, bearer("good"))
                        assert any("certificate verify failed" in line for line in world.log())

    test()


@pytest.mark.foreign
def test_a_jailed_auth_asks_the_server(
    tmp_path: Path, server: HttpServer, keys: Path, new_sandbox: Callable[..., RunningSystem]
) -> None:
    values = chain(tmp_path, MODES["auth"].format(url=server.url) + TERMS)
    local = tmp_path / "local.conf.ext"
    local.write_text(LOCAL.format(keys=keys) + TERMS)
    values |= {"passdb/2/driver": "oauth2", "passdb/2/args": str(local), "disable_plaintext_auth": "no"}
    values["userdb/1/args"] = "allow_all_users=yes"
    system = new_sandbox(*(f"dovecot/{name}={value}" for name, value in values.items()))
    for token, is_right in (("good", True), (signed(), True), ("bad", False)):
        with imaplib.IMAP4(*system.endpoint("imap"), timeout=20) as client:
            said = f"user=bob@example.org\x01auth=Bearer {token}\x01\x01".encode()
            if is_right:
                assert client.authenticate("XOAUTH2", lambda _, said=said: said)[0] == "OK"
                assert client.select("INBOX")[0] == "OK"
            else:
                answers = iter((said, b""))
                with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
                    client.authenticate("XOAUTH2", lambda _, answers=answers: next(answers))


# ── signed tokens ──

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
SECRET = b"0123456789abcdef0123456789abcdef"
KEYS: dict[str, Any] = {"RS256": RSA, "PS256": RSA, "ES256": EC, "EdDSA": ED, "HS256": SECRET}
LOCAL = "introspection_mode = local\nlocal_validation_key_dict = fs:posix:prefix={keys}/\n"


def public(key: Any) -> bytes:
    found: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return found


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    for algorithm, key in KEYS.items():
        for azp, kid in (("default", "default"), ("mail%2fapp", "k%2f1")):
            path = tmp_path / "keys" / azp / algorithm / kid
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(base64.b64encode(key) + b"\n" if isinstance(key, bytes) else public(key))
    return tmp_path / "keys"


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    found = {
        "sub": "1", "email": "bob@example.org", "scope": "imap", "iss": "https://op2.example", "aud": ["client", "x"],
        "exp": now + 100, "iat": now, "nbf": now, **changes,
    }  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}


def signed(algorithm: str = "ES256", header: dict[str, Any] | None = None, key: Any = None, **changes: Any) -> str:
    return jwt.encode(claims(**changes), key or KEYS[algorithm], algorithm, header)


def handmade(header: dict[str, Any], key: bytes, **changes: Any) -> str:
    """What no library signs."""
    parts = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in (header, claims(**changes))]
    mark = hmac.new(key, b".".join(parts), hashlib.sha256).digest() if key else b"x"
    return b".".join((*parts, base64.urlsafe_b64encode(mark).rstrip(b"="))).decode()


def test_signed_tokens_need_no_network(tmp_path: Path, keys: Path) -> None:
    values = chain(tmp_path, LOCAL.format(keys=keys) + TERMS)
    assert not uses_network(values)
    assert str(keys) in files(values)
    assert query_files(values) == [str(tmp_path / "dovecot-oauth2.conf.ext")]


@pytest.mark.parametrize("algorithm", KEYS)
def test_signed_tokens_are_checked_here(tmp_path: Path, keys: Path, algorithm: str) -> None:
    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path, {}, chain(tmp_path, LOCAL.format(keys=keys) + TERMS)) as world:
            login = world.peer(AUTH_LOGIN, "login")
            for token in (signed(algorithm), signed(algorithm, {"kid": "k/1"}, azp="mail/app")):
                for request in (bearer(token), xoauth2(token), plain("bob@example.org", token)):
                    answer = await outcome(login, request)
                    assert isinstance(answer, AuthSuccess), (request, world.log())
            token = signed(algorithm)
            head, body, mark = token.split(".")
            for bad in (
                f"{head}.{body}.{mark[:-6]}AAAAAA",
                f"{head}.{body}.",
                f"{head}.{body}",
                f"{body}.{head}.{mark}",
            ):
                await refused(login, bearer(bad), world)

    test()


OTHER_RSA = rsa.generate_private_key(65537, 2048)
BAD: dict[str, Callable[[], str]] = {
    "expired": lambda: signed(exp=int(time.time()) - 60),
    "not yet": lambda: signed(nbf=int(time.time()) + 60),
    "of tomorrow": lambda: signed(iat=int(time.time()) + 86400),
    "without end": lambda: signed(exp=None),
    "without subject": lambda: signed(sub=None),
    "an end that is no number": lambda: signed(exp="soon"),
    "of another issuer": lambda: signed(iss="https://evil.example"),
    "of no issuer": lambda: signed(iss=None),
    "for another audience": lambda: signed(aud="other"),
    "without scope": lambda: signed(scope="email"),
    "of another user": lambda: signed(email="ann@example.org"),
    "of nobody": lambda: signed(email=None),
    "of a list": lambda: signed(email=["bob@example.org", "ann@example.org"]),
    "with another key": lambda: signed("RS256", key=OTHER_RSA),
    "with a key that is not there": lambda: signed(header={"kid": "other"}),
    "with a key elsewhere": lambda: signed(header={"kid": "../../default/ES256/default"}),
    "with the directory above": lambda: signed(header={"kid": ".."}, azp=".."),
    "with a kid that is no text": lambda: handmade({"alg": "HS256", "kid": 1}, SECRET),
    "with an azp that is no text": lambda: signed(azp={"a": 1}),
    "none": lambda: handmade({"alg": "none"}, b""),
    "None": lambda: handmade({"alg": "NoNe"}, b""),
    "without algorithm": lambda: handmade({"typ": "JWT"}, SECRET),
    "with a public key as secret": lambda: handmade({"alg": "HS256"}, public(RSA)),
    "with critical extensions": lambda: handmade({"alg": "HS256", "crit": ["x"], "x": 1}, SECRET),
    "with its own key": lambda: handmade({"alg": "HS256", "jwk": {"kty": "oct", "k": "AAAA"}}, b"\0\0\0"),
}


def test_no_other_token_lets_in(tmp_path: Path, keys: Path) -> None:
    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path, {}, chain(tmp_path, LOCAL.format(keys=keys) + TERMS)) as world:
            login = world.peer(AUTH_LOGIN, "login")
            for name, make in BAD.items():
                answer = await outcome(login, bearer(make()))
                assert isinstance(answer, AuthFailure), name
                assert not answer.temporary, (name, world.log()[-2:])
            # The clocks of two machines differ a little.
            for changes in ({"exp": int(time.time()) - 10}, {"nbf": int(time.time()) + 10}):
                answer = await outcome(login, bearer(signed("ES256", **changes)))
                assert isinstance(answer, AuthSuccess), world.log()

    test()


def test_a_key_that_cannot_be_read_is_nobodys_bad_token(tmp_path: Path, keys: Path) -> None:
    (keys / "default/ES256/default").write_bytes(b"rubbish")
    # A public key where a secret belongs is the oldest trick; an administrator's mistake must not make it work.
    (keys / "default/HS256/default").write_bytes(public(RSA))

    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path, {}, chain(tmp_path, LOCAL.format(keys=keys) + TERMS)) as world:
            login = world.peer(AUTH_LOGIN, "login")
            await put_off(login, bearer(signed()))
            await put_off(login, bearer(handmade({"alg": "HS256"}, public(RSA))))
            (keys / "default/ES256/default").write_bytes(public(EC) + b"\n")
            assert isinstance(await outcome(login, bearer(signed())), AuthSuccess), world.log()

    test()
