"""The language of dovecot.conf."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.config import dovecotconf
from posthouse.config.configuration import Problem
from posthouse.config.dovecotconf import Parser, blocks, for_protocol

FILE = """\
protocols = pop3 imap
listen = *
default_login_user=postfix
# 使用postfix 用户
disable_plaintext_auth = no
log_timestamp = "%Y-%m-%d %H:%M:%S "
mail_location = maildir:/var/vmail/%d/%u   # where mail is
ssl_cert = </etc/ssl/mail.pem
login_greeting = It's ready # now
mail_plugins = quota
protocol pop3 {
\tpop3_uidl_format = %08Xu%08Xv
\tmail_plugins = $mail_plugins zlib
}
auth_mechanisms = plain \\
  login

passdb {
\tdriver=sql
\targs = /etc/dovecot/dovecot-mysql.conf
}
passdb {
  driver = pam
}
userdb {
  driver = static
}
service auth {
\tunix_listener /var/spool/postfix/private/auth {
\t\tgroup = postfix
\t\tmode = 0660
\t}
}
service imap-login {
  inet_listener imap {
    port = 143
  }
}
namespace inbox {
  inbox = yes
  mailbox "Sent Messages" {
    special_use = \\Sent
  }
}
plugin {
  quota = maildir:User quota
}
plugin {
  quota_rule = *:storage=1G
}
"""


def parsed(text: str, **more: object) -> tuple[dict[str, str], list[str]]:
    problems: list[Problem] = []
    parser = Parser(problems, environment={"PLACE": "here"}, **more)  # type: ignore[arg-type]
    parser.parse_text(text, "dovecot.conf")
    return {name: one.value for name, one in parser.settings.items()}, [str(one) for one in problems]


def test_a_file_as_administrators_write_it() -> None:
    values, problems = parsed(FILE)
    assert not problems
    assert values["protocols"] == "pop3 imap"
    assert values["log_timestamp"] == "%Y-%m-%d %H:%M:%S "
    assert values["mail_location"] == "maildir:/var/vmail/%d/%u"
    assert values["ssl_cert"] == "</etc/ssl/mail.pem"
    assert values["login_greeting"] == "It's ready"
    assert values["auth_mechanisms"].split() == ["plain", "login"]
    assert values["protocol/pop3/mail_plugins"] == "quota zlib"
    assert values["service/imap-login/inet_listener/imap/port"] == "143"
    assert values["passdb/1/driver"] == "sql"
    assert values["passdb/2/driver"] == "pam"
    assert values["plugin/quota_rule"] == "*:storage=1G"
    assert values["plugin/quota"] == "maildir:User quota"


def test_blocks_can_be_taken_apart_again() -> None:
    values, _ = parsed(FILE)
    assert [inside["driver"] for _, inside in blocks(values, "passdb")] == ["sql", "pam"]
    assert blocks(values, "service/auth/unix_listener") == [
        ("/var/spool/postfix/private/auth", {"group": "postfix", "mode": "0660"})
    ]
    assert blocks(values, "namespace/inbox/mailbox") == [("Sent Messages", {"special_use": "\\Sent"})]


def test_a_protocol_sees_its_own_settings_over_the_general_ones() -> None:
    values, _ = parsed("mail_plugins = a\nprotocol imap {\n mail_plugins = b\n}\nprotocol !imap {\n x = y\n}\n")
    assert for_protocol(values, "imap") == {"mail_plugins": "b"}
    assert for_protocol(values, "pop3") == {"mail_plugins": "a", "x": "y"}


def test_variables_mean_what_was_set_before_or_the_default() -> None:
    values, _ = parsed("a = $b x\nb = 1\nc = $b $ENV:PLACE $unknown\n", default={"b": "default"}.get)
    assert values["a"] == "default x"
    assert values["c"] == "1 here $unknown"


def test_files_include_each_other(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "dovecot.conf").write_text(
        "a = 1\n!include conf.d/*.conf\n!include_try missing.conf\nprotocol imap {\n !include inner\n}\n"
    )
    (tmp_path / "conf.d" / "20.conf").write_text("a = 3\n")
    (tmp_path / "conf.d" / "10.conf").write_text("a = 2\nb = 2\n")
    (tmp_path / "inner").write_text("c = 3\n")
    problems: list[Problem] = []
    parser = Parser(problems)
    parser.parse_file(str(tmp_path / "dovecot.conf"))
    assert {name: one.value for name, one in parser.settings.items()} == {"b": "2", "a": "3", "protocol/imap/c": "3"}
    assert parser.settings["a"].at.endswith("20.conf:1")
    assert not problems


def test_a_circle_of_includes_and_a_missing_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("!include b\n!include nowhere\n")
    (tmp_path / "b").write_text("!include a\n")
    problems: list[Problem] = []
    Parser(problems).parse_file(str(tmp_path / "a"))
    assert any("too many files" in one.what for one in problems)
    assert any("nowhere" in one.what for one in problems)


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a = 1\n}\n", 2, "without a block"),
        ("service auth {\n a = 1\n", 1, "never closed"),
        ("\nnonsense\n", 2, "neither"),
        ("!import x\n", 1, "unknown directive"),
    ],
)
def test_every_broken_line_is_named(text: str, line: int, word: str) -> None:
    _, problems = parsed(text)
    assert problems
    assert problems[0].startswith(f"dovecot.conf:{line}: error: ")
    assert word in problems[0]


def test_a_slash_in_a_block_name_survives() -> None:
    assert dovecotconf.section_name("\\svar\\srun\\sx\\\\y") == "/var/run/x\\y"


def _unreadable(path: str) -> bytes:
    raise FileNotFoundError(2, "No such file or directory", path)


@given(st.text(alphabet=st.sampled_from("ab ={}\"'\\#$<!\n/"), max_size=120))
@settings(max_examples=300, deadline=None)
def test_any_text_gives_settings_and_problems(text: str) -> None:
    parsed(text, read=_unreadable)
    parsed("service x {\n" + text + "\n}\n!include " + text, read=_unreadable)
