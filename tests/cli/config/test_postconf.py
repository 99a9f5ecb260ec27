"""postconf as a program, beside Postfix's own."""

import contextlib
import io
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from posthouse.cli import postconf

MAIN = """\
compatibility_level = 3.6
myhostname = mail.example.org
mydestination = $myhostname, localhost.$mydomain, localhost
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128
recipient_delimiter = +
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination reject
relayhost =
"""
MASTER = """\
# comment
smtp      inet  n       -       y       -       -       smtpd
relay     unix  -       -       y       -       -       smtp
        -o syslog_name=postfix/$service_name
maildrop  unix  -       n       n       -       -       pipe
  flags=DRXhu user=vmail argv=/usr/bin/maildrop -d ${recipient}
scalemail-backend unix -       n       n       -       2       pipe
  flags=R user=scalemail
"""
FOREIGN = shutil.which("postconf", path="/usr/sbin")
needs_postfix = pytest.mark.skipif(not FOREIGN, reason="needs Debian's postfix")


def ours(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in this process: its start is tested once, below."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        postconf.main(["-c", str(directory), *arguments])
    return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), out.getvalue(), err.getvalue())


def theirs(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(FOREIGN), "-c", str(directory), *arguments], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return configuration(tmp_path / "ours")


def configuration(path: Path) -> Path:
    path.mkdir()
    (path / "main.cf").write_text(MAIN)
    (path / "master.cf").write_text(MASTER)
    return path


PRINTING: list[tuple[str, ...]] = [
    ("-n", "mydestination", "relayhost"),
    ("-nf", "smtpd_relay_restrictions"),
    ("-x", "mydestination"),
    ("-h", "mydestination"),
    ("-hx", "mydomain"),
    ("-H", "mydestination", "mynetworks"),
    ("mail_spool_directory", "recipient_delimiter"),
    ("-o", "recipient_delimiter=-", "recipient_delimiter"),
    ("-M",),
    ("-M", "relay/unix"),
    ("-Mf", "relay"),
    ("-F", "smtp/inet"),
    ("-F", "smtp/inet/command"),
    ("-P",),
    ("-P", "relay/unix/syslog_name"),
]
CHANGING: list[tuple[str, ...]] = [
    ("-e", "myhostname = other.example.org", "relayhost = [smart.example.org]"),
    ("message_size_limit=1",),
    ("-#", "mynetworks"),
    ("-X", "mydestination", "relayhost"),
    ("-M", "smtps/inet=smtps inet n - y - - smtpd -o smtpd_tls_wrappermode=yes -o { mynetworks = a b }"),
    ("-Me", "smtp/inet=smtp inet n - y - - smtpd"),
    ("-M#", "relay/unix"),
    ("-MX", "maildrop/unix"),
    ("-P", "smtp/inet/smtpd_tls_security_level=encrypt"),
    ("-PX", "relay/unix/syslog_name"),
]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], tuple[str, str, str]]:
    """What Postfix prints and what files it leaves, by arguments. All at once: it may wait seconds for DNS."""
    base = tmp_path_factory.mktemp("theirs")

    def run(case: tuple[int, tuple[str, ...]]) -> tuple[str, str, str]:
        directory = configuration(base / str(case[0]))
        result = theirs(directory, *case[1])
        assert result.returncode == 0, result.stderr
        return result.stdout, (directory / "main.cf").read_text(), (directory / "master.cf").read_text()

    cases = [*PRINTING, *CHANGING]
    with ThreadPoolExecutor(len(cases)) as pool:
        return dict(zip(cases, pool.map(run, enumerate(cases)), strict=True))


@needs_postfix
@pytest.mark.foreign
@pytest.mark.parametrize("arguments", PRINTING)
def test_it_prints_what_postfix_prints(
    directory: Path, foreign: dict[tuple[str, ...], tuple[str, str, str]], arguments: tuple[str, ...]
) -> None:
    expected = foreign[arguments][0]
    assert expected
    assert ours(directory, *arguments).stdout == expected


@needs_postfix
@pytest.mark.foreign
@pytest.mark.parametrize("arguments", CHANGING)
def test_it_changes_files_as_postfix_does(
    directory: Path, foreign: dict[tuple[str, ...], tuple[str, str, str]], arguments: tuple[str, ...]
) -> None:
    assert ours(directory, *arguments).returncode == 0
    assert (directory / "main.cf").read_text() == foreign[arguments][1]
    assert (directory / "master.cf").read_text() == foreign[arguments][2]


def test_a_field_of_an_entry_can_be_changed(directory: Path) -> None:
    assert ours(directory, "-F", "smtp/inet/chroot=n").returncode == 0
    assert "smtp       inet  n       -       n       -       -       smtpd\n" in (directory / "master.cf").read_text()
    assert ours(directory, "-F", "smtp/inet/chroot=perhaps").returncode == 1


def test_the_version_is_ours(directory: Path) -> None:
    assert ours(directory, "-h", "mail_name").stdout == "Posthouse\n"
    assert ours(directory, "mail_version").stdout.startswith("mail_version = ")


def test_defaults_do_not_depend_on_the_file(directory: Path) -> None:
    assert ours(directory, "-d", "recipient_delimiter").stdout == "recipient_delimiter =\n"
    assert ours(directory, "-d", "max_use").stdout == "max_use = 100\n"


def test_all_parameters_are_printed_sorted(directory: Path) -> None:
    names = [line.partition(" ")[0] for line in ours(directory).stdout.splitlines()]
    assert names == sorted(names)
    assert len(names) > 950


def test_an_unknown_parameter_is_named(directory: Path) -> None:
    result = ours(directory, "nonsense")
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == "postconf: warning: nonsense: unknown parameter\n"


def test_an_unused_parameter_is_named(directory: Path) -> None:
    ours(directory, "-e", "smtpd_baner=x")
    result = ours(directory, "-n")
    assert "unused parameter: smtpd_baner=x" in result.stderr
    assert "smtpd_baner" not in result.stdout


@pytest.mark.parametrize(
    "arguments", [("-e", "a"), ("-e", "a=b\nc=d"), ("-Z",), ("-M#", "smtp"), ("-c", "/nowhere", "-n")]
)
def test_wrong_use_fails_and_changes_nothing(directory: Path, arguments: tuple[str, ...]) -> None:
    result = ours(directory, *arguments)
    assert result.returncode == 1
    assert result.stderr.startswith("postconf: fatal: ")
    assert (directory / "main.cf").read_text() == MAIN


def test_table_and_lock_types_are_listed(directory: Path) -> None:
    assert "hash" in ours(directory, "-m").stdout.split()
    assert ours(directory, "-l").stdout.split() == ["fcntl", "dotlock"]


def test_it_runs_as_a_program(directory: Path) -> None:
    command = [sys.executable, "-m", "posthouse.cli.postconf", "-c", str(directory), "-h", "myhostname"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "mail.example.org\n", "")
