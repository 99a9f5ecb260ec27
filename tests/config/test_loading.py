"""A configuration directory, right and wrong."""

from pathlib import Path

import pytest

from posthouse.config import known
from posthouse.config.configuration import Configuration
from posthouse.config.loading import load
from posthouse.config.parameter import DOVECOT, MAIN
from posthouse.config.parameters.general import MYDESTINATION, MYNETWORKS, RELAY_DOMAINS
from posthouse.config.parameters.master import AUTH_USER, LOGIN_USER

MASTER = "smtp inet n - n - - smtpd\nqmgr unix n - n 300 1 qmgr\n"


def write(directory: Path, main: str, master: str = MASTER, dovecot: str | None = None) -> str:
    (directory / "main.cf").write_text(main)
    (directory / "master.cf").write_text(master)
    if dovecot is not None:
        (directory / "dovecot.conf").write_text(dovecot)
    return str(directory)


def problems(configuration: Configuration, severity: str = "error") -> list[str]:
    prefix = configuration.directory + "/"
    return [str(one).removeprefix(prefix) for one in configuration.problems if one.severity == severity]


def test_names_are_computed_from_each_other(tmp_path: Path) -> None:
    configuration = load(write(tmp_path, "myhostname = mail.example.org\n"))
    settings = configuration.main
    assert settings.text("mydomain") == "example.org"
    assert settings[MYDESTINATION] == ("mail.example.org", "localhost.example.org", "localhost")
    assert settings.text("config_directory") == str(tmp_path)
    assert not configuration.problems


def test_mynetworks_follows_the_interfaces_and_the_style(tmp_path: Path) -> None:
    text = "inet_interfaces = loopback-only\ninet_protocols = ipv4\nmynetworks_style = "
    for style, expected in (("host", "127.0.0.1/32"), ("subnet", "127.0.0.0/8"), ("class", "127.0.0.0/8")):
        assert load(write(tmp_path, text + style + "\n")).main[MYNETWORKS] == (expected,)


def test_the_compatibility_level_chooses_the_defaults(tmp_path: Path) -> None:
    assert load(write(tmp_path, "")).main[RELAY_DOMAINS]
    assert load(write(tmp_path, "compatibility_level = 3.6\n")).main[RELAY_DOMAINS] == ()


def test_overrides_count_more_than_the_file(tmp_path: Path) -> None:
    directory = write(tmp_path, "myhostname = a.example\n", dovecot="ssl = yes\n")
    configuration = load(directory, {"myhostname": "b.example", "dovecot/ssl": "no", "message_size_limit": "many"})
    assert configuration.main.text("myhostname") == "b.example"
    assert configuration.dovecot.raw_text("ssl") == "no"
    assert problems(configuration) == [
        "--set message_size_limit: error: message_size_limit = many: "
        "a size such as 10240000, 500k or 50M is expected, not 'many'"
    ]


def test_every_problem_is_named_with_its_line_and_a_suggestion(tmp_path: Path) -> None:
    main = (
        "myhostnme = mail.example.org\nmessage_size_limit = huge\nsmtpd_nonsense\n"
        "inet_interfaces = $a${\nmynetworks_style = sometimes\n"
    )
    master = "smtp inet n - n - - smptd\nbroken\n587 inet n - n - - smtpd\n -o message_size_limit=-1\n"
    configuration = load(write(tmp_path, main, master, "ssl = yes\nprotocls = imap\nservice x {\n"))
    errors = problems(configuration)
    assert any(one.startswith("main.cf:2: error: message_size_limit = huge") for one in errors)
    assert any(one.startswith('main.cf:3: error: missing "="') for one in errors)
    assert any(one.startswith("main.cf:4: error: ") for one in errors)
    assert any(one.startswith("main.cf:5: error: ") and "host, subnet, class" in one for one in errors)
    assert any(one.startswith("master.cf:1: error: ") and one.endswith("did you mean smtpd?") for one in errors)
    assert any(one.startswith("master.cf:2: error: ") for one in errors)
    assert any(one.startswith("master.cf:3: error: 587: -o message_size_limit") for one in errors)
    assert any(one.startswith("dovecot.conf:2: error: ") and one.endswith("did you mean protocols?") for one in errors)
    assert any(one.startswith("dovecot.conf:3: error: ") and "never closed" in one for one in errors)
    (unused,) = problems(configuration, "warning")
    assert unused == ("main.cf:1: warning: unused parameter: myhostnme=mail.example.org; did you mean myhostname?")


def test_a_circle_of_names_is_an_error(tmp_path: Path) -> None:
    configuration = load(write(tmp_path, "mydomain = $myhostname\nmyhostname = mail.$mydomain\n"))
    assert any("circle" in one for one in problems(configuration))


def test_names_of_the_administrators_own_are_no_problem_when_used(tmp_path: Path) -> None:
    main = (
        "own = example.org\nmydestination = $own\n"
        "smtpd_restriction_classes = strict, lax\nstrict = reject\nlax = permit\n"
        "slow_destination_concurrency_limit = 1\nvirtual_alias_maps = mysql:accounts\naccounts_hosts = localhost\n"
        "from_master = x\n"
    )
    master = MASTER + "slow unix - - n - - smtp\n587 inet n - n - - smtpd -o mydestination=$from_master\n"
    configuration = load(write(tmp_path, main, master))
    assert not [one for one in configuration.problems if "unused" in one.what]


def test_what_is_known_but_does_not_work_is_named(tmp_path: Path) -> None:
    configuration = load(write(tmp_path, "max_use = 20\nsoft_bounce_x = 1\npostscreen_greet_action = enforce\n"))
    warnings = problems(configuration, "warning")
    assert any(one.startswith("main.cf:1: warning: max_use has no effect here: ") for one in warnings)
    assert any(one.startswith("main.cf:3: warning: postscreen_greet_action is not supported yet") for one in warnings)


def test_missing_files_are_problems_not_exceptions(tmp_path: Path) -> None:
    errors = problems(load(str(tmp_path)))
    assert [one.split(":")[0] for one in errors] == ["main.cf", "master.cf"]


def test_a_configuration_travels_as_text(tmp_path: Path) -> None:
    configuration = load(write(tmp_path, "myhostname = mail.example.org\n", dovecot="listen = *\n"))
    copy = Configuration.unpack(configuration.pack())
    assert copy.main.text("mydomain") == "example.org"
    assert copy.dovecot.values == {"listen": "*"}


def test_every_name_of_the_peers_is_in_exactly_one_state() -> None:
    known.complete()
    known.complete()
    for registry, names in ((MAIN, known.postfix_names()), (DOVECOT, known.dovecot_names())):
        for name in names:
            assert (name in registry.params) != (name in registry.known), name
        for one in registry.known.values():
            assert one.state in (known.NO_EFFECT, known.NOT_SUPPORTED)
            assert one.reason


def test_all_of_postfixs_own_names_are_known() -> None:
    known.complete()
    assert len(known.postfix_names()) > 930
    for name in (
        "smtpd_recipient_restrictions",
        "postscreen_dnsbl_sites",
        "lmtp_tls_policy_maps",
        "2bounce_notice_recipient",
    ):
        assert name in MAIN.params or name in MAIN.known


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("service/stats/unix_listener/\\svar\\sx/mode", "service/*/unix_listener/*/mode"),
        ("passdb/1/driver", "passdb/*/driver"),
        ("protocol/imap/mail_plugins", "mail_plugins"),
        ("local/10.0.0.0\\s8/protocol/imap/ssl_cert", "ssl_cert"),
        ("plugin/quota_rule2", "plugin/*"),
        ("service/auth/nonsense", None),
        ("mail_plgins", None),
    ],
)
def test_settings_in_blocks_are_recognised(name: str, found: str | None) -> None:
    known.complete()
    assert known.find(DOVECOT, name) == found


def test_mechanisms_that_cannot_be_offered_are_named(tmp_path: Path) -> None:
    (tmp_path / "main.cf").write_text("")
    (tmp_path / "master.cf").write_text("")
    (tmp_path / "dovecot.conf").write_text("auth_mechanisms = plain scram-sha-265 gssapi xoauth2\n")
    said = [str(one) for one in load(str(tmp_path)).problems]
    assert any("scram-sha-265 is not supported and not offered; " in one and "scram-sha-256" in one for one in said)
    assert any("gssapi is not supported" in one for one in said)
    assert any("xoauth2 need a passdb with driver = oauth2" in one for one in said)


def test_users_of_dovecot_count_unless_they_own_what_others_must_not(tmp_path: Path) -> None:
    def loaded(main: str, dovecot: str) -> tuple[str, str, list[str]]:
        (tmp_path / "main.cf").write_text(main)
        (tmp_path / "master.cf").write_text("")
        (tmp_path / "dovecot.conf").write_text(dovecot)
        found = load(str(tmp_path))
        return found.main[LOGIN_USER], found.main[AUTH_USER], [str(one) for one in found.problems]

    assert loaded("", "")[:2] == ("ph-login", "ph-auth")
    both = "default_login_user = nobody\ndefault_internal_user = daemon\n"
    assert loaded("", both)[:2] == ("nobody", "daemon")
    assert loaded("login_user = bin\n", both)[:2] == ("bin", "daemon")
    login, auth, said = loaded("virtual_user = nobody\nmail_owner = daemon\n", both)
    assert (login, auth) == ("ph-login", "ph-auth")
    assert any("default_login_user = nobody is not used: that user owns the mail" in one for one in said)
    assert any("default_internal_user = daemon is not used: that user owns the queue" in one for one in said)
    login, auth, said = loaded("", "default_login_user = nobody\ndefault_internal_user = nobody\n")
    assert (login, auth) == ("nobody", "ph-auth")
    assert loaded("", "default_login_user = root\n")[0] == "ph-login"
    assert loaded("", "default_login_user = no-such-user\n")[0] == "ph-login"
