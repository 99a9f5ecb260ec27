"""Other servers ask Posthouse whether a password is right: Debian's Postfix and Dovecot's doveadm."""

import os
import smtplib
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interop.test_postfix_peer import Peer, free_port
from tests.running import RunningSystem

pytestmark = pytest.mark.foreign
NewSandbox = Callable[..., RunningSystem]


@pytest.fixture
def auth_socket(new_sandbox: NewSandbox, tmp_path: Path) -> tuple[RunningSystem, str]:
    path = str(tmp_path / "auth")
    escaped = path.replace("/", "\\s")
    return new_sandbox(f"dovecot/service/auth/unix_listener/{escaped}/mode=0666"), path


def test_doveadm_auth_test_is_told_what_is_right(
    auth_socket: tuple[RunningSystem, str], foreign: Callable[[str], str]
) -> None:
    _, path = auth_socket
    doveadm = foreign("doveadm")

    def ask(user: str, password: str) -> str:
        command = [doveadm, "auth", "test", "-a", path, "-x", "service=imap", user, password]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        return done.stdout

    assert "auth succeeded" in ask("alice@example.test", "wonderland")
    assert "user=alice@example.test" in ask("alice@example.test", "wonderland")
    assert "auth failed" in ask("alice@example.test", "wrong")
    assert "auth failed" in ask("nobody@example.test", "wonderland")


@pytest.mark.skipif(os.getuid() != 0, reason="Debian's Postfix starts as root only")
def test_postfix_logs_its_users_in_here(
    auth_socket: tuple[RunningSystem, str], tmp_path_factory: pytest.TempPathFactory, foreign: Callable[[str], str]
) -> None:
    foreign("postfix")
    _, path = auth_socket
    for directory in Path(path).parents:
        if directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o011)  # Postfix's smtpd runs as its own user
    peer = Peer(tmp_path_factory.mktemp("peer"), free_port())
    sasl = {
        "smtpd_sasl_auth_enable": "yes",
        "smtpd_sasl_type": "dovecot",
        "smtpd_sasl_path": path,
        "smtpd_tls_auth_only": "no",
        "mynetworks": "192.0.2.0/24",
    }
    peer.start(1, extra=sasl)
    try:
        with smtplib.SMTP("127.0.0.1", peer.port, timeout=30) as client:
            client.ehlo("client.example")
            assert set(client.esmtp_features["auth"].split()) == {"PLAIN", "LOGIN"}
            assert client.mail("a@b.example")[0] == 250
            assert client.rcpt("far@elsewhere.example")[0] >= 400, "no relay without a login"
            client.rset()
            with pytest.raises(smtplib.SMTPAuthenticationError):
                client.login("alice@example.test", "wrong")
            assert client.login("alice@example.test", "wonderland")[0] == 235
            assert client.mail("a@b.example")[0] == 250
            assert client.rcpt("far@elsewhere.example")[0] == 250
        give_up = time.monotonic() + 20
        while "sasl_username=alice@example.test" not in peer.log():
            assert time.monotonic() < give_up, peer.log()
            time.sleep(0.1)
    finally:
        peer.postfix("stop")


@pytest.mark.parametrize(
    "lines",
    [
        b"AUTH\t1\tPLAIN\tservice=smtp\n",
        b"VERSION\t2\t0\n",
        b"VERSION\tx\t0\n",
        b"VERSION\t1\t1\nCPID\t1\nAUTH\tx\tPLAIN\tservice=smtp\n",
        b"VERSION\t1\t1\nAUTH\t1\tPLAIN\n",
        b"VERSION\t1\t1\nAUTH\t1\tPLAIN\tservice=smtp\tresp=***\n",
        b"VERSION\t1\t1\n\xff\xfe\n",
        b"x" * 20_000,
    ],
    ids=range(8),
)
def test_who_does_not_speak_the_protocol_is_cut_off_and_others_are_not(
    auth_socket: tuple[RunningSystem, str], lines: bytes
) -> None:
    system, path = auth_socket
    system.expect_log(r"a client of service auth was cut off")
    good = socket.socket(socket.AF_UNIX)
    good.connect(path)
    good.settimeout(10)
    with socket.socket(socket.AF_UNIX) as bad:
        bad.settimeout(10)
        bad.connect(path)
        bad.sendall(lines)
        received = b""
        while data := bad.recv(4096):
            received += data
        assert b"OK" not in received.partition(b"DONE\n")[2]
    good.sendall(b"VERSION\t1\t1\nCPID\t9\nAUTH\t7\tLOGIN\tservice=smtp\tnologin\n")
    answers = b""
    while b"CONT\t7\t" not in answers:
        answers += good.recv(4096)
    assert answers.endswith(b"CONT\t7\tVXNlcm5hbWU6\n")
    good.sendall(b"CONT\t7\tYWxpY2VAZXhhbXBsZS50ZXN0\n")
    assert good.recv(4096) == b"CONT\t7\tUGFzc3dvcmQ6\n"
    good.sendall(b"CONT\t7\td29uZGVybGFuZA==\n")
    assert good.recv(4096) == b"OK\t7\tuser=alice@example.test\n"
    good.close()


def test_a_listener_that_is_new_in_the_file_is_there_after_a_reload(new_sandbox: NewSandbox, tmp_path: Path) -> None:
    system = new_sandbox()
    path = tmp_path / "auth"
    block = f"service auth {{\n  unix_listener {path} {{\n    mode = 0666\n  }}\n}}\n"
    settings = Path(system.configuration, "dovecot.conf")
    before = settings.read_text()
    pid = system.processes()["auth 0"]
    with system.imap() as session:
        settings.write_text(before + block)
        system.reload()
        system.wait_until(lambda: system.processes().get("auth 0", pid) != pid, "another auth process")
        system.wait_until(path.exists, "the socket")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(path))
            client.sendall(
                b"VERSION\t1\t2\nCPID\t1\nAUTH\t1\tPLAIN\tservice=smtp\tresp=AGFsaWNlQGV4YW1wbGUudGVzdAB3b25kZXJsYW5k\n"
            )
            received = b""
            while b"\tuser=" not in received:
                data = client.recv(4096)
                assert data
                received += data
            assert b"OK\t1\tuser=alice@example.test" in received
        # Sessions go on, and new ones begin, with the other process.
        assert session.noop()[0] == "OK"
        with system.imap() as another:
            assert another.noop()[0] == "OK"
    pid = system.processes()["auth 0"]
    settings.write_text(before)
    system.reload()
    system.wait_until(lambda: system.processes().get("auth 0", pid) != pid, "another auth process")


@pytest.fixture
def sockets(new_sandbox: NewSandbox, tmp_path: Path) -> tuple[RunningSystem, Path]:
    """auth-master for root, auth-userdb with Dovecot's mode for everybody about himself."""
    modes = {"auth-master": "0600", "auth-userdb": "0666", "other-userdb": "0777"}
    settings = []
    for name, mode in modes.items():
        escaped = str(tmp_path / name).replace("/", "\\s")
        settings.append(f"dovecot/service/auth/unix_listener/{escaped}/mode={mode}")
    listed = tmp_path / "users"
    listed.write_text("".join(f"{name}@example.test:{{PLAIN}}{name}:7777:7777::::\n" for name in ("alice", "bob")))
    listed.chmod(0o644)
    for kind in ("passdb", "userdb"):
        settings += [f"dovecot/{kind}/1/driver=passwd-file", f"dovecot/{kind}/1/args={listed}"]
    system = new_sandbox(*settings)
    system.expect_log("uid=7777, but mailboxes are opened with uid")
    return system, tmp_path


def doveadm(path: Path, *arguments: str, program: str) -> str:
    command = [program, "-c", "/dev/null", *arguments]
    at = {"user": 4, "auth": 5}[arguments[0]] + (arguments[1] == "cache")
    command[at:at] = ["-a", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


def test_doveadm_looks_users_up(sockets: tuple[RunningSystem, Path], foreign: Callable[[str], str]) -> None:
    _, directory = sockets
    program = foreign("doveadm")
    master, userdb = directory / "auth-master", directory / "other-userdb"
    known = doveadm(userdb, "user", "alice@example.test", program=program)
    assert "uid\t7777\n" in known
    assert "/vmail/example.test/alice/Maildir" in known
    assert "doesn't exist" in doveadm(userdb, "user", "nobody@example.test", program=program)
    listed = doveadm(master, "user", "*", program=program)
    assert listed.split() == ["alice@example.test", "bob@example.test"]
    assert doveadm(master, "user", "b*", program=program).split() == ["bob@example.test"]
    said = doveadm(master, "auth", "lookup", "alice@example.test", program=program)
    assert said == "passdb: alice@example.test\n  user      : alice@example.test\n", "and nothing about the password"
    assert "doesn't exist" in doveadm(master, "auth", "lookup", "nobody@example.test", program=program)
    assert "0 cache entries flushed" in doveadm(master, "auth", "cache", "flush", program=program)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to be somebody else")
def test_a_userdb_socket_of_mode_0666_tells_everybody_about_himself_only(
    sockets: tuple[RunningSystem, Path],
) -> None:
    _, directory = sockets

    def ask(path: Path, uid: int) -> bytes:
        script = (
            "import os,socket,sys; os.setuid(int(sys.argv[2])); s=socket.socket(socket.AF_UNIX); s.settimeout(20);"
            "s.connect(sys.argv[1]); s.sendall(b'VERSION\\t1\\t0\\nUSER\\t1\\talice@example.test\\tservice=x\\n');"
            "d=b''\nwhile d.count(b'\\n') < 3: d+=s.recv(4096)\nprint(d.decode().splitlines()[2])"
        )
        done = subprocess.run(["/usr/bin/python3", "-c", script, str(path), str(uid)], capture_output=True, timeout=30)
        return done.stdout

    for parent in directory.parents:
        if parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    directory.chmod(0o755)
    assert ask(directory / "auth-userdb", 0).startswith(b"USER\t1\talice@example.test\tuid=")
    assert ask(directory / "auth-userdb", 7777).startswith(b"USER\t1\t")
    assert ask(directory / "auth-userdb", 7778).startswith(b"FAIL\t1\treason=no permission")
    assert ask(directory / "other-userdb", 7778).startswith(b"USER\t1\t")
    assert ask(directory / "auth-master", 7777) == b"", "its mode keeps others away"
