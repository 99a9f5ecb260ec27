"""passdb and userdb on a real OpenLDAP: searched and bound to, on its socket, over TCP, StartTLS and ldaps."""

import hmac
import imaplib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from posthouse.auth.databases.configured import query_files, uses_network
from posthouse.auth.databases.ldap import LdapSettings, LdapUsers
from posthouse.auth.databases.ldap import Server as LdapServer
from posthouse.auth.databases.lookup import DatabaseError, Question
from posthouse.core.reply import TempFail
from posthouse.runtime.schema import (
    AUTH_LOGIN,
    AUTH_USERDB,
    AuthChallenge,
    Authenticate,
    AuthFailure,
    AuthSuccess,
    ContinueAuth,
    LookupUser,
    NoSuchUser,
    UserEntry,
)
from tests.queue.asynchronous import asynchronous
from tests.running import RunningSystem
from tests.services.auth.openldap import SLAPD, OpenLdap
from tests.services.auth.world import auth_running, plain

DOVECOTS_LDAP = Path("/usr/lib/dovecot/modules/auth/libauthdb_ldap.so")

pytestmark = [pytest.mark.foreign, pytest.mark.skipif(not SLAPD.exists(), reason="needs Debian's slapd")]

SEARCH = """
uris = {uris}
dn = cn=reader,dc=example,dc=org
dnpass = reader-secret
base = ou=people,dc=%Dd
scope = onelevel
pass_attrs = mail=user=%{{user}}, userPassword=password, =userdb_note=%{{ldap:cn}}/%{{ldap:title:none}}
pass_filter = (&(objectClass=posixAccount)(|(uid=%n)(mail=%u)))
user_attrs = homeDirectory=home=%$/mail, =uid=%{{ldap:uidNumber}}, gidNumber=gid, =quota_rule=*:bytes=1048576
user_filter = (&(objectClass=posixAccount)(|(uid=%n)(mail=%u)))
default_pass_scheme = PLAIN
"""
BIND = SEARCH + "auth_bind = yes\n"
USERDN = BIND + "auth_bind_userdn = uid=%n,ou=people,dc=%Dd\n"


@pytest.fixture(scope="module")
def openldap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenLdap]:
    server = OpenLdap(tmp_path_factory.mktemp("ldap") / "x")
    server.start()
    yield server
    server.stop()


def chain(directory: Path, text: str) -> dict[str, str]:
    path = directory / "dovecot-ldap.conf.ext"
    path.write_text(text)
    return {
        "passdb/1/driver": "ldap",
        "passdb/1/args": str(path),
        "userdb/1/driver": "ldap",
        "userdb/1/args": str(path),
        "auth_verbose": "yes",
    }


WRONG = [
    ("bob@example.org", "x"),
    ("nobody@example.org", "secret"),
    ("*@example.org", "ann-secret"),
    ("b*@example.org", "password"),
    ("x)(uid=ann@example.org", "ann-secret"),
    ("*)(uid=*@example.org", "ann-secret"),
    ("ann)(cn=*))(|(uid=*@example.org", "ann-secret"),
    ("ann\\@example.org", "ann-secret"),
    ("ann\\2a@example.org", "ann-secret"),
    ("ann,ou=people@example.org", "ann-secret"),
    ("ann+cn=Ann@example.org", "ann-secret"),
    ("x,uid=ann@example.org", "ann-secret"),
    ("ann@example.org,dc=com", "ann-secret"),
    ("ann@other.example", "ann-secret"),
    ("#616e6e@example.org", "ann-secret"),
]


@pytest.mark.parametrize("text", [SEARCH, BIND, USERDN], ids=["search", "bind", "userdn"])
def test_users_log_in_and_no_name_is_ldap(tmp_path: Path, openldap: OpenLdap, text: str) -> None:
    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path, {}, chain(tmp_path, text.format(uris=openldap.ldapi))) as world:
            login, users = world.peer(AUTH_LOGIN, "login"), world.peer(AUTH_USERDB, "queue")
            answer = await login.call(plain("bob@example.org", "password"))
            assert isinstance(answer, AuthSuccess), world.log()
            assert answer.user == "bob@example.org"
            assert isinstance(await login.call(plain("ann@example.org", "ann-secret")), AuthSuccess)
            # Whose name is full of what LDAP could take for syntax is a user like any other.
            odd = "a*b,c\\d@example.org"
            assert isinstance(await login.call(plain(odd, "odd-secret")), AuthSuccess), world.log()
            for user, password in WRONG:
                answer = await login.call(plain(user, password))
                assert isinstance(answer, AuthFailure), user
                assert not answer.temporary, (user, world.log())
            found = await users.call(LookupUser("bob@example.org", "lmtp"))
            assert isinstance(found, UserEntry)
            assert (found.home, found.uid, found.gid) == ("/var/vmail/bob/mail", 5000, 5001)
            assert found.quota_octets == 1 << 20
            for user in ("nobody@example.org", "*@example.org", "bob@other.example"):
                assert isinstance(await users.call(LookupUser(user, "lmtp")), NoSuchUser)

    test()


@pytest.mark.parametrize("text", [SEARCH, BIND, USERDN], ids=["search", "bind", "userdn"])
def test_an_empty_password_never_lets_in(tmp_path: Path, openldap: OpenLdap, text: str) -> None:
    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path, {}, chain(tmp_path, text.format(uris=openldap.ldapi))) as world:
            login = world.peer(AUTH_LOGIN, "login")
            for mechanism, response in (("PLAIN", b"\0bob@example.org\0"), ("PLAIN", b"\0@example.org\0")):
                request = Authenticate(1, mechanism, response, "imap", "192.0.2.7", "192.0.2.1", True, "s1")
                answer = await login.call(request)
                assert isinstance(answer, AuthFailure)

    test()


def test_a_master_acts_for_users_of_the_directory(tmp_path: Path, openldap: OpenLdap) -> None:
    (tmp_path / "masters").write_text("boss:{PLAIN}boss-secret\n")
    values = {
        **chain(tmp_path, BIND.format(uris=openldap.ldapi)),
        "passdb/2/driver": "passwd-file",
        "passdb/2/args": str(tmp_path / "masters"),
        "passdb/2/master": "yes",
        "passdb/2/pass": "yes",
        "auth_master_user_separator": "*",
        "auth_mechanisms": "plain cram-md5",
    }

    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path, {}, values) as world:
            login = world.peer(AUTH_LOGIN, "login")
            answer = await login.call(plain("bob@example.org*boss", "boss-secret"))
            assert isinstance(answer, AuthSuccess), world.log()
            assert answer.user == "bob@example.org"
            for user, password in (
                ("nobody@example.org*boss", "boss-secret"),
                ("bob@example.org*boss", "password"),
                ("bob@example.org", ""),
                ("bob@example.org", "boss-secret"),
            ):
                answer = await login.call(plain(user, password))
                assert isinstance(answer, AuthFailure), user
                assert not answer.temporary, (user, world.log())
            # A mechanism that needs what is stored gets nothing, and lets nobody in with nothing.
            request = Authenticate(9, "CRAM-MD5", None, "imap", "192.0.2.7", "192.0.2.1", True, "s1")
            for key in (b"", b"password"):
                challenge = await login.call(request)
                assert isinstance(challenge, AuthChallenge)
                digest = hmac.new(key, challenge.data, "md5").hexdigest().encode()
                answer = await login.call(ContinueAuth(9, b"bob@example.org " + digest))
                assert isinstance(answer, AuthFailure)
                assert not answer.protocol_error

    test()


def test_a_directory_may_say_who_is_denied(tmp_path: Path, openldap: OpenLdap) -> None:
    text = BIND.format(uris=openldap.ldapi) + "pass_filter = (&(objectClass=posixAccount)(uid=%n)(sn=Builder))\n"
    values = {
        **{name.replace("/1/", "/0/"): value for name, value in chain(tmp_path, text).items() if name[:6] == "passdb"},
        "passdb/0/deny": "yes",
        "passdb/1/driver": "static",
        "passdb/1/args": "password={PLAIN}x",
        "userdb/1/driver": "static",
    }

    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path, {}, values) as world:
            login = world.peer(AUTH_LOGIN, "login")
            assert isinstance(await login.call(plain("ann@example.org", "x")), AuthSuccess), world.log()
            answer = await login.call(plain("bob@example.org", "x"))
            assert isinstance(answer, AuthFailure)
            assert not answer.temporary

    test()


def test_a_name_that_is_not_unique_lets_nobody_in(tmp_path: Path, openldap: OpenLdap) -> None:
    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path, {}, chain(tmp_path, SEARCH.format(uris=openldap.ldapi))) as world:
            login = world.peer(AUTH_LOGIN, "login")
            answer = await login.call(plain("twin@example.org", "twin-secret"))
            assert isinstance(answer, AuthFailure)
            assert answer.temporary
            assert any("pass_filter returned multiple matches for twin@example.org" in line for line in world.log())

    test()


@pytest.mark.parametrize("kind", ["tcp", "starttls", "ldaps"])
@pytest.mark.parametrize("text", [SEARCH, BIND], ids=["search", "bind"])
def test_over_the_network(tmp_path: Path, openldap: OpenLdap, text: str, kind: str) -> None:
    more = {
        "tcp": "",
        "starttls": f"tls = yes\ntls_ca_cert_file = {openldap.tls.authority}\n",
        "ldaps": f"tls_ca_cert_file = {openldap.tls.authority}\n",
    }[kind]
    uri = f"ldaps://localhost:{openldap.tls_port}" if kind == "ldaps" else f"ldap://localhost:{openldap.port}"

    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path, {}, chain(tmp_path, text.format(uris=uri) + more)) as world:
            login = world.peer(AUTH_LOGIN, "login")
            assert isinstance(await login.call(plain("bob@example.org", "password")), AuthSuccess), world.log()
            answer = await login.call(plain("bob@example.org", "x"))
            assert isinstance(answer, AuthFailure)
            assert not answer.temporary

    test()


@pytest.mark.parametrize("kind", ["starttls", "ldaps"])
def test_a_certificate_of_an_unknown_authority_is_refused(tmp_path: Path, openldap: OpenLdap, kind: str) -> None:
    uri = f"ldaps://localhost:{openldap.tls_port}" if kind == "ldaps" else f"ldap://localhost:{openldap.port}"
    text = SEARCH.format(uris=uri) + ("tls = yes\n" if kind == "starttls" else "")

    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path / "a", {}, chain(tmp_path, text)) as world:
            answer = await world.peer(AUTH_LOGIN, "login").call(plain("bob@example.org", "password"))
            assert isinstance(answer, AuthFailure)
            assert answer.temporary
            assert any("certificate verify failed" in line for line in world.log()), world.log()
        unchecked = chain(tmp_path, text + "tls_require_cert = never\n")
        async with auth_running(tmp_path / "b", {}, unchecked) as world:
            answer = await world.peer(AUTH_LOGIN, "login").call(plain("bob@example.org", "password"))
            assert isinstance(answer, AuthSuccess), world.log()

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    test()


def test_a_jailed_auth_asks_it_over_starttls(
    tmp_path: Path, openldap: OpenLdap, new_sandbox: Callable[..., RunningSystem]
) -> None:
    text = BIND.format(uris=f"ldap://localhost:{openldap.port}")
    text += "user_attrs = =quota_rule=*:bytes=1048576\n"
    values = chain(tmp_path, text + f"tls = yes\ntls_ca_cert_file = {openldap.tls.authority}\n")
    assert uses_network(values)
    assert query_files(values) == [str(tmp_path / "dovecot-ldap.conf.ext"), str(openldap.tls.authority)]
    system = new_sandbox(
        *(f"dovecot/{name}={value}" for name, value in values.items()), "dovecot/disable_plaintext_auth=no"
    )
    host, port = system.endpoint("imap")
    with imaplib.IMAP4(host, port, timeout=20) as client:
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            client.login("bob@example.org", "wrong")
        assert client.login("bob@example.org", "password")[0] == "OK"
        assert client.append("INBOX", "", "", b"Subject: x\r\n\r\nhello\r\n")[0] == "OK"
        assert client.select("INBOX")[1] == [b"1"]


def test_a_socket_needs_no_network(tmp_path: Path, openldap: OpenLdap) -> None:
    assert not uses_network(chain(tmp_path, BIND.format(uris=openldap.ldapi)))


def test_the_next_server_is_asked_and_a_server_that_was_restarted_again(tmp_path: Path) -> None:
    server = OpenLdap(tmp_path / "ldap")
    text = BIND.format(uris=f"ldapi://%2Fnowhere {server.ldapi}")

    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path, {}, chain(tmp_path, text)) as world:
            login, users = world.peer(AUTH_LOGIN, "login"), world.peer(AUTH_USERDB, "queue")
            for _ in range(2):
                answer = await login.call(plain("bob@example.org", "password"))
                assert isinstance(answer, AuthFailure)
                assert answer.temporary
                with pytest.raises(TempFail):
                    await users.call(LookupUser("bob@example.org", "lmtp"))
                server.start()
                assert isinstance(await login.call(plain("bob@example.org", "password")), AuthSuccess), world.log()
                server.stop()
                server.start()
                assert isinstance(await login.call(plain("bob@example.org", "password")), AuthSuccess), world.log()
                server.stop()

    try:
        test()
    finally:
        server.stop()


CROWD = "".join(
    f"\ndn: uid=u{number},ou=people,dc=example,dc=org\nobjectClass: account\nobjectClass: posixAccount\n"
    f"uid: u{number}\ncn: u\nuidNumber: {number}\ngidNumber: 1\nhomeDirectory: /\n"
    for number in range(1, 1201)
)


def test_all_users_are_listed_however_many(tmp_path: Path) -> None:
    server = OpenLdap(tmp_path / "ldap", CROWD)
    server.start()
    text = SEARCH.format(uris=server.ldapi).replace("%Dd", "example,dc=org") + (
        "iterate_filter = (&(objectClass=posixAccount)(uid=u*))\niterate_attrs = =user=%{ldap:uid}@example.org\n"
    )

    @asynchronous
    async def test() -> None:
        ldap = LdapServer(LdapSettings("x", text, str), threads=1)
        try:
            found = await LdapUsers(ldap).users()
            assert len(found) == 1200
            assert set(found) == {f"u{number}@example.org" for number in range(1, 1201)}
            # And the connection is as good as before.
            assert await LdapUsers(ldap).fields(Question("bob@example.org")) is not None
        finally:
            ldap.close()
        for bad in (text + "base = dc=%Dd\n", text.replace("reader-secret", "x"), text + "base = dc=nowhere\n"):
            ldap = LdapServer(LdapSettings("x", bad, str), threads=1)
            with pytest.raises(DatabaseError):
                await LdapUsers(ldap).users()
            ldap.close()

    try:
        test()
    finally:
        server.stop()


DOVECOT = """
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/log
protocols =
ssl = no
default_internal_user = root
default_internal_group = root
passdb {{
  driver = ldap
  args = {path}
}}
userdb {{
  driver = ldap
  args = {path}
}}
"""
ATTRIBUTES = (
    "homeDirectory=home=%$/mail, =uid=%{ldap:uidNumber}, gidNumber=gid, =note=%{ldap:cn}/%{ldap:title:none}, cn, "
    "=empty, sn=sn2=<%$>, title=title, title=t2=x%$, =up=%U{ldap:cn}, mail=m, =dn=%{ldap_dn}, "
    "=quota_rule=*:bytes=1048576"
)


@pytest.mark.skipif(os.getuid() != 0 or not DOVECOTS_LDAP.exists(), reason="needs root and Debian's dovecot-ldap")
def test_dovecot_makes_the_same_fields_of_the_same_file(tmp_path: Path, openldap: OpenLdap) -> None:
    text = SEARCH.format(uris=openldap.ldapi) + f"user_attrs = {ATTRIBUTES}\n"
    path, configuration = tmp_path / "ldap.conf.ext", tmp_path / "dovecot.conf"
    path.write_text(text)
    configuration.write_text(DOVECOT.format(directory=tmp_path, path=path))
    dovecot = subprocess.Popen(["/usr/sbin/dovecot", "-F", "-c", configuration])

    def doveadm(*words: str) -> "subprocess.CompletedProcess[str]":
        command = ["doveadm", "-c", configuration, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    @asynchronous
    async def ours() -> None:
        server = LdapServer(LdapSettings("x", text, str), threads=1)
        for user in ("bob@example.org", "ann@example.org", "nobody@example.org", "x)(uid=ann@example.org"):
            said = doveadm("user", user)
            is_known = said.returncode == 0
            lines = said.stdout.splitlines()[1:] if is_known else []
            theirs = dict(line.split("\t", 1) for line in lines if line.strip())
            assert is_known == user.startswith(("bob", "ann"))
            # A row of doveadm's own: mail_location, which no server has set here.
            assert theirs.pop("mail", "") == ""
            assert (await LdapUsers(server).fields(Question(user)) or {}) == theirs, user
        server.close()

    try:
        until_s = time.monotonic() + 15
        while not (tmp_path / "run/auth-userdb").exists():
            assert time.monotonic() < until_s, (tmp_path / "log").read_text()
            time.sleep(0.05)
        assert "auth succeeded" in doveadm("auth", "test", "bob@example.org", "password").stdout
        assert "auth failed" in doveadm("auth", "test", "bob@example.org", "x").stdout
        ours()
    finally:
        dovecot.terminate()
        dovecot.wait(20)


def test_a_wrong_dnpass_is_nobodys_wrong_password(tmp_path: Path, openldap: OpenLdap) -> None:
    text = SEARCH.format(uris=openldap.ldapi).replace("reader-secret", "changed")

    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path, {}, chain(tmp_path, text)) as world:
            answer = await world.peer(AUTH_LOGIN, "login").call(plain("bob@example.org", "password"))
            assert isinstance(answer, AuthFailure)
            assert answer.temporary
            assert any("binding as dn = cn=reader" in line and "invalidCredentials" in line for line in world.log())
            assert not any("changed" in line for line in world.log())

    test()


@pytest.mark.parametrize(
    "said",
    [
        b"220 mail.example.org ESMTP\r\n",
        b"",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x30\x80\x02\x01\x01",
        b"\x30\x0c\x02\x01\x07\x61\x07\x0a\x01\x00\x04\x00\x04\x00",
        b"\x30\x05\x02\x01\x01\x61\x00",
    ],
)
def test_a_server_that_speaks_nonsense_is_not_believed(tmp_path: Path, said: bytes) -> None:
    path = str(tmp_path / "s")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(10)

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                client.recv(1000)
                client.sendall(said)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()

    @asynchronous
    async def test() -> None:
        text = USERDN.format(uris=f"ldapi://{path.replace('/', '%2F')}")
        async with auth_running(tmp_path, {}, chain(tmp_path, text)) as world:
            answer = await world.peer(AUTH_LOGIN, "login").call(plain("bob@example.org", "password"))
            assert isinstance(answer, AuthFailure)
            assert answer.temporary

    try:
        test()
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def test_a_silent_server_costs_its_time_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posthouse.auth.databases.ldap.ANSWER_TIMEOUT_S", 0.3)
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(10)

        @asynchronous
        async def test() -> None:
            text = USERDN.format(uris=f"ldapi://{path.replace('/', '%2F')}")
            async with auth_running(tmp_path, {}, chain(tmp_path, text)) as world:
                answer = await world.peer(AUTH_LOGIN, "login").call(plain("bob@example.org", "password"))
                assert isinstance(answer, AuthFailure)
                assert answer.temporary
                assert any("no answer" in line or "timed out" in line for line in world.log()), world.log()

        test()
