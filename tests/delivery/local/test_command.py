"""Delivery commands."""

import time
from pathlib import Path

import pytest

from posthouse.delivery import command, environment
from posthouse.delivery.protocol import Outcome


def run(text: str, message: bytes = b"Subject: x\n\nbody\n", limit_s: float = 20, **more: object) -> Outcome:
    settings: dict[str, object] = {"shell": "", "directory": "/", "environment": {"PATH": environment.PATH}}
    settings |= more
    return command.run(text, message=message, time_limit_s=limit_s, output_limit=200, **settings)  # type: ignore[arg-type]


def test_the_message_is_on_standard_input(tmp_path: Path) -> None:
    result = run(f"cat > {tmp_path}/out")
    assert (result.dsn, result.words) == ("2.0.0", f"delivered to command: cat > {tmp_path}/out")
    assert (tmp_path / "out").read_bytes() == b"Subject: x\n\nbody\n"


def test_a_large_message_and_a_large_answer_do_not_wait_for_each_other() -> None:
    assert run("cat; exit 0", b"x" * 3_000_000).dsn == "2.0.0"
    assert run("true", b"x" * 3_000_000).dsn == "2.0.0"


@pytest.mark.parametrize(
    ("text", "dsn", "words"),
    [
        ("exit 75", "4.3.0", "temporary failure"),
        ("echo no such user; exit 67", "5.1.1", "user unknown. Command output: no such user"),
        ("exit 77", "5.7.0", "permission denied"),
        ("exit 1", "5.3.0", 'Command died with status 1: "exit 1"'),
        ("echo why; exit 3", "5.3.0", 'Command died with status 3: "echo why; exit 3". Command output: why'),
        ("kill -9 $$", "5.3.0", 'Command died with signal 9: "kill -9 $$"'),
        ("echo 4.2.1 mailbox busy; exit 75", "4.2.1", "mailbox busy"),
        ("echo 5.2.1 mailbox gone; exit 75", "4.2.1", "mailbox gone"),
        ("/nonexistent/program", "4.3.5", 'cannot run command: "/nonexistent/program": No such file or directory'),
    ],
)
def test_exit_codes_mean_what_they_mean_for_postfix(text: str, dsn: str, words: str) -> None:
    assert run(text) == Outcome(dsn, words)


def test_a_command_that_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    started = time.monotonic()
    result = run(f"sh -c 'sleep 60; touch {tmp_path}/late' & sleep 60", limit_s=0.3)
    assert result.dsn == "5.3.0"
    assert result.words.startswith("Command time limit exceeded: ")
    assert time.monotonic() - started < 20


def test_output_is_kept_up_to_a_limit_and_made_printable() -> None:
    result = run("printf 'a\\033b\\n'; yes | head -c 100000; exit 70")
    assert result.words.startswith("internal software error. Command output: a b")
    assert len(result.words) < 300


def test_a_shell_is_used_only_where_one_is_needed() -> None:
    assert command.arguments("/usr/bin/procmail -f- -a x", "") == ["/usr/bin/procmail", "-f-", "-a", "x"]
    assert command.arguments('procmail -a "$EXTENSION"', "")[:2] == ["/bin/sh", "-c"]
    assert command.arguments("exec true", "")[0] == "/bin/sh"
    assert command.arguments("true", "/usr/bin/rsh -r") == ["/usr/bin/rsh", "-r", "-c", "true"]


def test_the_environment_tells_about_the_message() -> None:
    facts = environment.of_message(
        sender="a@example.org",
        recipient="u+x@example.net",
        original="",
        local="u+x",
        extension="x",
        domain="example.net",
        user="u",
        home="/home/u",
        shell="/bin/sh",
    )
    assert facts["ORIGINAL_RECIPIENT"] == "u+x@example.net"
    assert facts["LOGNAME"] == "u"
    assert environment.exported(["TZ", "A=b", "MISSING"], {"TZ": "UTC"}) == {"TZ": "UTC", "A": "b"}
