"""Parameters of MAIL and RCPT."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.core.reply import PermFail
from posthouse.protocol.smtp import replies
from posthouse.protocol.smtp.options import Options
from posthouse.protocol.smtp.parameters import (
    MailParameters,
    RcptParameters,
    decode_xtext,
    parse_mail_parameters,
    parse_rcpt_parameters,
)

MAIL = Options().mail_parameters
RCPT = Options().rcpt_parameters


def mail(text: str) -> MailParameters:
    return parse_mail_parameters(text, MAIL, replies.MAIL_SYNTAX)


def rcpt(text: str) -> RcptParameters:
    return parse_rcpt_parameters(text, RCPT, replies.RCPT_SYNTAX)


def code(text: str) -> str:
    with pytest.raises(PermFail) as failure:
        mail(text) if not text.startswith(("NOTIFY", "ORCPT")) else rcpt(text)
    return f"{failure.value.reply.code} {failure.value.reply.status}"


def test_all_parameters_of_mail() -> None:
    text = "size=1000 BODY=8bitmime SMTPUTF8 RET=hdrs ENVID=a+2Bb+20c AUTH=<>"
    assert mail(text) == MailParameters(1000, "8BITMIME", True, "HDRS", "a+b c")


def test_all_parameters_of_rcpt() -> None:
    assert rcpt("NOTIFY=SUCCESS,delay ORCPT=rfc822;Bob+40x@example.org") == RcptParameters(
        ("SUCCESS", "DELAY"), "Bob@x@example.org"
    )
    assert rcpt("NOTIFY=never").notify == ("NEVER",)
    assert rcpt(r"ORCPT=utf-8;gr\x{FC}ße@example.org").original == "grüße@example.org"
    assert rcpt("ORCPT=x400;abc").original == "x400;abc"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("SIZE=", "501 5.5.4"),
        ("SIZE=-1", "501 5.5.4"),
        ("SIZE=" + "9" * 21, "501 5.5.4"),
        ("SIZE=1 SIZE=2", "501 5.5.4"),
        ("BODY=BINARYMIME", "555 5.5.4"),
        ("SMTPUTF8=yes", "501 5.5.4"),
        ("RET=ALL", "501 5.5.4"),
        ("ENVID=", "501 5.5.4"),
        ("ENVID=a=b", "501 5.5.4"),
        ("ENVID=a+0D+0Ab", "501 5.5.4"),
        ("ENVID=" + "x" * 101, "501 5.5.4"),
        ("AUTH=a+zz", "501 5.5.4"),
        ("FOO=bar", "555 5.5.4"),
        ("=", "501 5.5.4"),
        ("NOTIFY=", "501 5.5.4"),
        ("NOTIFY=NEVER,DELAY", "501 5.5.4"),
        ("NOTIFY=DELAY,DELAY", "501 5.5.4"),
        ("NOTIFY=SOMETIMES", "501 5.5.4"),
        ("ORCPT=rfc822", "501 5.5.4"),
        ("ORCPT=rfc822;", "501 5.5.4"),
        ("ORCPT=rfc822;a+0Ab", "501 5.5.4"),
        ("ORCPT=utf-8;a\\x{110000}", "501 5.5.4"),
        ("ORCPT=utf-8;a\\x{D800}", "501 5.5.4"),
        ("ORCPT=rfc822;" + "x" * 500, "501 5.5.4"),
    ],
)
def test_bad_parameters_are_named(text: str, answer: str) -> None:
    assert code(text) == answer


def test_dsn_parameters_are_refused_where_dsn_is_not_offered() -> None:
    with pytest.raises(PermFail) as failure:
        parse_mail_parameters("RET=FULL", frozenset({"SIZE"}), replies.MAIL_SYNTAX)
    assert str(failure.value.reply) == "501 5.7.1 DSN support is disabled"


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_no_text_breaks_the_parsers(text: str) -> None:
    for parse in (mail, rcpt):
        for candidate in (text, f"ENVID={text}", f"ORCPT=rfc822;{text}", f"NOTIFY={text}"):
            try:
                parse(candidate)
            except PermFail:
                pass
    decoded = decode_xtext(text)
    assert decoded is None or decoded.isprintable()
