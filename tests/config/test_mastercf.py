"""Lines of master.cf."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.config import mastercf
from posthouse.config.configuration import MasterEntry, Problem

# As Debian installs it, comments shortened.
DEBIAN = """\
# service type  private unpriv  chroot  wakeup  maxproc command + args
smtp      inet  n       -       y       -       -       smtpd
#smtpd     pass  -       -       y       -       -       smtpd
#submission inet n       -       y       -       -       smtpd
#  -o syslog_name=postfix/submission
pickup    unix  n       -       y       60      1       pickup
cleanup   unix  n       -       y       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       y       1000?   1       tlsmgr
relay     unix  -       -       y       -       -       smtp
        -o syslog_name=postfix/$service_name
#       -o smtp_helo_timeout=5 -o smtp_connect_timeout=5
postlog   unix-dgram n  -       n       -       1       postlogd
maildrop  unix  -       n       n       -       -       pipe
  flags=DRXhu user=vmail argv=/usr/bin/maildrop -d ${recipient}
scalemail-backend unix -       n       n       -       2       pipe
  flags=R user=scalemail argv=/usr/lib/scalemail/bin/scalemail-store ${nexthop} ${user} ${extension}
"""


def parsed(text: str) -> tuple[tuple[MasterEntry, ...], list[str]]:
    problems: list[Problem] = []
    return mastercf.parse(text, "master.cf", problems), [str(one) for one in problems]


def test_debians_file_parses() -> None:
    entries, problems = parsed(DEBIAN)
    assert not problems
    by_name = {entry.endpoint: entry for entry in entries}
    assert by_name["relay"].options == {"syslog_name": "postfix/$service_name"}
    assert by_name["tlsmgr"].wakeup == "1000?"
    assert by_name["postlog"].kind == "unix-dgram"
    assert by_name["maildrop"].arguments == (
        "flags=DRXhu",
        "user=vmail",
        "argv=/usr/bin/maildrop",
        "-d",
        "${recipient}",
    )
    assert by_name["pickup"].at == "master.cf:6"


def test_options_are_understood_in_all_their_forms() -> None:
    (entry,), problems = parsed(
        "submission inet n - y - - smtpd -v\n -o syslog_name=postfix/submission\n"
        " -o { smtpd_client_restrictions = permit_sasl_authenticated, reject }\n -osmtpd_sasl_auth_enable=yes\n"
        " -o {mynetworks=}\n -o smtpd_milters=\n"
    )
    assert not problems
    assert entry.options == {
        "syslog_name": "postfix/submission",
        "smtpd_client_restrictions": "permit_sasl_authenticated, reject",
        "smtpd_sasl_auth_enable": "yes",
        "mynetworks": "",
        "smtpd_milters": "",
    }


def test_addresses_may_stand_before_the_port() -> None:
    entries, problems = parsed("127.0.0.1:10025 inet n - n - - smtpd\n[::1]:587 inet n - n - - smtpd\n")
    assert not problems
    assert [entry.endpoint for entry in entries] == ["127.0.0.1:10025", "[::1]:587"]


def test_the_last_of_two_entries_with_one_name_counts() -> None:
    entries, problems = parsed("smtp inet n - y - - smtpd\nsmtp unix - - y - - smtp\nsmtp inet n - y - 5 smtpd\n")
    assert [(entry.kind, entry.maxproc) for entry in entries] == [("unix", "-"), ("inet", "5")]
    assert "overriding" in problems[0]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("smtp inet n - y -", "maxproc"),
        ("smtp tcp n - y - - smtpd", "'tcp'"),
        ("smtp inet x - y - - smtpd", "private"),
        ("smtp inet n - y soon - smtpd", "wakeup"),
        ("smtp inet n - y - many smtpd", "maxproc"),
        ("smtp inet n - y - - smtpd -o", "-o"),
        ("smtp inet n - y - - smtpd -o myhostname", "name=value"),
        ("smtp inet n - y - - smtpd -o myhostname = a.example", "name=value"),
        ("smtp inet n - y - - smtpd -o myhostname= a.example", "white space"),
        ("smtp inet n - y - - smtpd -o { x = y", "without"),
        ("smtp inet n - y - - smtpd -Q", "-Q"),
    ],
)
def test_a_broken_line_is_named_and_the_others_count(line: str, word: str) -> None:
    entries, problems = parsed(f"{line}\nqmgr unix n - n 300 1 qmgr\n")
    assert [entry.endpoint for entry in entries] == ["qmgr"]
    assert len(problems) == 1
    assert problems[0].startswith("master.cf:1: error: ")
    assert word in problems[0]


@given(st.text(alphabet=st.sampled_from("smtp inet n-y?0{}= \n#o,$/"), max_size=120))
@settings(max_examples=300, deadline=None)
def test_any_text_gives_entries_and_problems(text: str) -> None:
    parsed("smtp inet n - y - - smtpd " + text)
    parsed(text)
