"""postmap and postalias as administrators use them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

POSTMAP = "/usr/sbin/postmap"


def run(module: str, directory: Path, *arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    (directory / "main.cf").write_text("compatibility_level = 3.6\n")
    command = [sys.executable, "-m", f"posthouse.cli.{module}", "-c", str(directory), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, input=given)


def test_a_table_is_built_asked_and_listed(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("A@b one\nc two words\nbroken\n")
    built = run("postmap", tmp_path, f"{tmp_path}/m")
    assert built.returncode == 0
    assert "line 3: expected format" in built.stderr
    assert (tmp_path / "m.lmdb").exists()
    assert run("postmap", tmp_path, "-q", "a@B", f"lmdb:{tmp_path}/m").stdout == "one\n"
    assert run("postmap", tmp_path, "-s", f"{tmp_path}/m").stdout == "a@b\tone\nc\ttwo words\n"
    absent = run("postmap", tmp_path, "-q", "x", f"lmdb:{tmp_path}/m")
    assert (absent.returncode, absent.stdout) == (1, "")


def test_keys_come_from_standard_input(tmp_path: Path) -> None:
    asked = run("postmap", tmp_path, "-q", "-", "inline:{a=1,b=2}", given="a\nx\nb\n")
    assert (asked.returncode, asked.stdout) == (0, "a\t1\nb\t2\n")


def test_hash_needs_no_building_but_is_checked(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("a one\n")
    assert run("postmap", tmp_path, f"hash:{tmp_path}/m").returncode == 0
    assert run("postmap", tmp_path, f"hash:{tmp_path}/absent").returncode == 1
    assert run("postmap", tmp_path, f"hash:{tmp_path}/m", "-q", "A").stdout == "one\n"


def test_a_table_we_do_not_have_is_fatal(tmp_path: Path) -> None:
    for arguments in (("ldap:/x",), ("-q", "a", "ldap:/x"), ("-s", "static:x")):
        assert run("postmap", tmp_path, *arguments).returncode == 1
    assert run("postmap", tmp_path).returncode == 64


def test_postalias_reads_alias_files(tmp_path: Path) -> None:
    (tmp_path / "aliases").write_text("Root: bob,\n  eve\n")
    assert run("postalias", tmp_path, f"lmdb:{tmp_path}/aliases").returncode == 0
    assert run("postalias", tmp_path, "-q", "root", f"lmdb:{tmp_path}/aliases").stdout == "bob,  eve\n"
    assert run("postalias", tmp_path, "-q", "root", f"hash:{tmp_path}/aliases").stdout == "bob,  eve\n"


@pytest.mark.foreign
@pytest.mark.skipif(not os.path.exists(POSTMAP), reason="Debian's postfix is not installed")
def test_postfix_reads_what_we_built(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("key value\n")
    run("postmap", tmp_path, f"lmdb:{tmp_path}/m")
    asked = subprocess.run(
        [POSTMAP, "-c", tmp_path, "-q", "key", f"lmdb:{tmp_path}/m"], check=False, capture_output=True, text=True
    )
    if "unsupported dictionary type" in asked.stderr:
        pytest.skip("this postfix has no lmdb")
    assert asked.stdout == "value\n", asked.stderr
