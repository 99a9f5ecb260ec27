"""Configuration files that Debian ships, unchanged."""

from pathlib import Path

import pytest

from posthouse.config import known, maincf
from posthouse.config.configuration import Problem
from posthouse.config.dovecotconf import Parser
from posthouse.config.loading import dovecot_default, load
from posthouse.config.parameter import DOVECOT, MAIN

POSTFIX = Path("/usr/share/postfix")
DOVECOT_CONF = Path("/etc/dovecot/dovecot.conf")
pytestmark = pytest.mark.foreign


@pytest.mark.skipif(not POSTFIX.is_dir(), reason="needs Debian's postfix")
@pytest.mark.parametrize("name", ["main.cf.dist", "main.cf.debian", "main.cf.tls"])
def test_debians_main_cf_files_parse_and_every_name_is_known(name: str) -> None:
    if not (POSTFIX / name).exists():
        pytest.skip(f"this postfix has no {name}")
    problems: list[Problem] = []
    # Commented examples too: "#name = value" is what administrators uncomment.
    text = (
        (POSTFIX / name)
        .read_text()
        .replace("#soft_bounce", "soft_bounce")
        .replace("#relayhost = $my", "relayhost = $my")
    )
    settings = maincf.parse(text, name, problems)
    assert not problems
    known.complete()
    assert [one.name for one in settings if one.name not in MAIN.params and one.name not in MAIN.known] == []


@pytest.mark.skipif(not (POSTFIX / "master.cf.dist").exists(), reason="needs Debian's postfix")
def test_debians_master_cf_loads_without_an_error(tmp_path: Path) -> None:
    (tmp_path / "main.cf").write_text("compatibility_level = 3.6\n")
    (tmp_path / "master.cf").write_text((POSTFIX / "master.cf.dist").read_text())
    configuration = load(str(tmp_path))
    assert [str(one) for one in configuration.problems if one.severity == "error"] == []
    assert len(configuration.master) > 25


@pytest.mark.skipif(not DOVECOT_CONF.exists(), reason="needs Debian's dovecot-core")
def test_debians_dovecot_conf_parses_and_every_setting_is_known() -> None:
    problems: list[Problem] = []
    parser = Parser(problems, default=dovecot_default)
    parser.parse_file(str(DOVECOT_CONF))
    assert not problems
    known.complete()
    assert parser.settings
    assert [name for name in parser.settings if known.find(DOVECOT, name) is None] == []
