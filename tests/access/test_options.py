"""Settings of dovecot.conf become what sessions are told."""

import pytest

from posthouse.access.imap.options import ImapOptions
from posthouse.access.pop3.options import Pop3Options
from posthouse.config.parameter import DOVECOT, BadValue, Settings
from posthouse.core.identifiers import Uid, UidValidity


def test_defaults_are_dovecots() -> None:
    imap = ImapOptions.from_settings(Settings(DOVECOT, {}, {}))
    assert (imap.limits.line, imap.idle_notify_s, imap.separator) == (65536, 120.0, ".")
    pop3 = Pop3Options.from_settings(Settings(DOVECOT, {}, {}))
    assert pop3.uidl(Uid(1), UidValidity(255)) == b"00000001000000ff"
    assert pop3.mark_seen


def test_settings_are_used() -> None:
    values = {
        "imap_max_line_length": "128 k",
        "imap_max_message_size": "1 M",
        "imap_idle_notify_interval": "29 mins",
        "imap_logout_format": "bytes=%i/%o",
        "pop3_uidl_format": "%u",
        "pop3_no_flag_updates": "yes",
    }
    settings = Settings(DOVECOT, values, {})
    imap = ImapOptions.from_settings(settings)
    assert (imap.limits.line, imap.limits.message, imap.idle_notify_s) == (131072, 1 << 20, 1740.0)
    assert imap.logout_format == "bytes=%i/%o"
    pop3 = Pop3Options.from_settings(settings)
    assert pop3.uidl(Uid(7), UidValidity(1)) == b"7"
    assert not pop3.mark_seen


def test_a_format_that_would_share_ids_is_refused() -> None:
    with pytest.raises(BadValue):
        Pop3Options.from_settings(Settings(DOVECOT, {"pop3_uidl_format": "%f"}, {}))
