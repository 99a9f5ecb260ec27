"""doveconf beside Debian's own, on the reference file and on one with every kind of block."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DATA = Path(__file__).parents[2] / "data"
FILES = {"reference": DATA / "reference/dovecot.conf", "rich": DATA / "doveconf/rich.conf"}
needs_dovecot = pytest.mark.skipif(shutil.which("doveconf", path="/usr/bin") is None, reason="needs Debian's doveconf")


def ours(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "posthouse.cli.doveconf", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def theirs(*arguments: object) -> str:
    command = ["/usr/bin/doveconf", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout


def without_header(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("# ")]


@needs_dovecot
@pytest.mark.parametrize("name", sorted(FILES))
def test_what_differs_from_the_defaults_is_printed_as_dovecot_does(name: str) -> None:
    done = ours("-c", FILES[name], "-n")
    assert done.returncode == 0, done.stderr
    assert without_header(done.stdout) == without_header(theirs("-c", FILES[name], "-n"))
    assert done.stdout.startswith("# Posthouse ")
    assert done.stdout == ours("-c", FILES[name]).stdout


@needs_dovecot
@pytest.mark.parametrize(
    "arguments",
    [
        ("-h", "mail_location", "ssl"),
        ("mail_location", "listen", "first_valid_uid"),
        ("-x", "ssl_cert"),
        ("-f", "protocol=imap", "mail_plugins", "mail_max_userip_connections"),
        ("-h", "log_timestamp"),
    ],
)
def test_single_settings_are_printed_as_dovecot_does(arguments: tuple[str, ...]) -> None:
    assert ours("-c", FILES["rich"], *arguments).stdout == theirs("-c", FILES["rich"], *arguments)


def test_a_block_is_printed_with_what_is_set_in_it() -> None:
    assert ours("-c", FILES["rich"], "service/auth").stdout == (
        "service auth {\n  unix_listener auth-userdb {\n    mode = 0600\n    user = nobody\n  }\n}\n"
    )
    assert ours("-c", FILES["rich"], "passdb").stdout.count("passdb {") == 2


def test_secrets_are_hidden_unless_asked_for(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("PRIVATE\n")
    file = tmp_path / "dovecot.conf"
    file.write_text(f"ssl_key = <{key}\nimapc_password = geheim\ndoveadm_api_key = topsecret\n")
    for mode in ("-n", "-a", "-N", "-S", "-x"):
        said = ours("-c", file, mode).stdout
        assert "geheim" not in said
        assert "topsecret" not in said
        assert "PRIVATE" not in said
    assert "imapc_password = geheim" in ours("-c", file, "-P").stdout
    assert "ssl_key = PRIVATE" in ours("-c", file, "-P", "-x").stdout


def test_all_settings_and_defaults_have_every_name_once() -> None:
    every = without_header(ours("-c", FILES["reference"], "-a").stdout)
    names = [line.partition(" = ")[0] for line in every if " = " in line and not line.startswith(" ")]
    assert len(names) == len(set(names)) > 300
    assert "protocols = pop3 imap" in every
    assert "protocols = imap pop3" in ours("-d").stdout.splitlines()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ssl = no\nmail_locaton = x\n", "line 2: Unknown setting: mail_locaton (did you mean mail_location?)"),
        ("protocol imap {\n", "line 1"),
        ("}\n", "line 1"),
    ],
)
def test_mistakes_of_the_file_are_named_with_their_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "dovecot.conf"
    file.write_text(text)
    done = ours("-c", file)
    assert done.returncode == 89
    assert done.stderr.startswith(f"doveconf: Fatal: Error in configuration file {file} ")
    assert words in done.stderr


def test_mistakes_of_the_caller(tmp_path: Path) -> None:
    assert ours("-c", FILES["rich"], "nonsense").returncode == 64
    assert ours("-z").returncode == 64
    assert ours("-c", tmp_path / "none").returncode == 89
    assert ours("-c", FILES["rich"], "-f", "lip=::1", "ssl").returncode == 64


def test_a_reader_that_leaves_early_gets_no_traceback() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m posthouse.cli.doveconf -d | head -1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
