"""Each map type answers as Postfix's does."""

import os
import subprocess
from pathlib import Path

import pytest

from posthouse.tables.lmdb_file import write_lmdb
from posthouse.tables.table import TableError
from tests.tables.conftest import Shelf

POSTMAP = "/usr/sbin/postmap"


def test_texthash_folds_the_key(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "m").write_text("a@b  one\n")
    table = shelf.tables().open(f"texthash:{tmp_path}/m")
    assert table.lookup("A@B") == "one"
    assert table.lookup("c") is None


def test_hash_is_read_from_the_source_beside_the_database(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "m").write_text("a one\n")
    assert shelf.tables().open(f"proxy:hash:{tmp_path}/m").lookup("a") == "one"


def test_a_source_younger_than_its_database_is_named(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "m").write_text("a one\n")
    (tmp_path / "m.db").write_bytes(b"")
    os.utime(tmp_path / "m.db", (1, 1))
    assert shelf.tables().open(f"hash:{tmp_path}/m").lookup("a") == "one"
    assert "is older than" in shelf.warnings[0]


def test_alias_files_have_their_own_syntax(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "aliases").write_text("Root: bob, eve\n")
    name = f"hash:{tmp_path}/aliases"
    assert shelf.tables(name).open(name).lookup("root") == "bob, eve"


def test_a_changed_file_is_noticed_within_a_second(shelf: Shelf, tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_text("a one\n")
    table = shelf.tables().open(f"texthash:{path}")
    assert table.lookup("a") == "one"
    (tmp_path / "new").write_text("a two\n")
    (tmp_path / "new").rename(path)
    assert table.lookup("a") == "one"
    shelf.time_s += 1
    assert table.lookup("a") == "two"


def test_a_version_that_cannot_be_read_leaves_the_old_one_and_is_named_once(shelf: Shelf, tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_text("a one\n")
    table = shelf.tables().open(f"texthash:{path}")
    assert table.lookup("a") == "one"
    path.unlink()
    for _ in range(3):
        shelf.time_s += 1
        assert table.lookup("a") == "one"
    assert len(shelf.warnings) == 1
    assert "stays in use" in shelf.warnings[0]


def test_a_table_that_was_never_readable_is_a_temporary_failure(shelf: Shelf, tmp_path: Path) -> None:
    table = shelf.tables().open(f"texthash:{tmp_path}/absent")
    with pytest.raises(TableError):
        table.lookup("a")
    (tmp_path / "absent").write_text("a one\n")
    shelf.time_s += 1
    assert table.lookup("a") == "one"


def test_an_unknown_type_is_a_temporary_failure(shelf: Shelf) -> None:
    with pytest.raises(TableError):
        shelf.tables().open("ldap:/etc/x").lookup("a")
    assert shelf.warnings == ["unsupported dictionary type: ldap"]


def test_inline_static_and_fail(shelf: Shelf) -> None:
    tables = shelf.tables()
    inline = tables.open("inline:{a=b, {C = two words}}")
    assert (inline.lookup("A"), inline.lookup("c"), inline.lookup("d")) == ("b", "two words", None)
    assert tables.open("static:{x y}").lookup("any") == "x y"
    assert tables.open("static:z").lookup("any") == "z"
    with pytest.raises(TableError):
        tables.open("fail:on purpose").lookup("a")


def test_pipes_and_unions(shelf: Shelf) -> None:
    tables = shelf.tables()
    assert tables.open("pipemap:{inline:{a=b},inline:{b=c}}").lookup("a") == "c"
    assert tables.open("pipemap:{inline:{a=x},inline:{b=c}}").lookup("a") is None
    assert tables.open("unionmap:{inline:{a=b},inline:{a=c},inline:{d=e}}").lookup("a") == "b,c"
    assert tables.open("randmap:{one}").lookup("a") == "one"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", "seven"),
        ("192.0.2.8", "net"),
        ("192.0.3.1", "other"),
        ("2001:db8::1", "six"),
        ("10.1.2.3", None),
        ("no address", None),
    ],
)
def test_cidr_takes_the_first_network_that_matches(
    shelf: Shelf, tmp_path: Path, address: str, expected: str | None
) -> None:
    text = "192.0.2.7 seven\n192.0.2.0/24 net\n192.0.2.8 never\n192.0.0.0/16 other\n[2001:db8::]/32 six\n1.2.3.4/24 x\n"
    (tmp_path / "m").write_text(text)
    table = shelf.tables().open(f"cidr:{tmp_path}/m")
    assert table.lookup(address) == expected
    assert table.lookup("1.2.3.4") is None
    assert "line 6" in shelf.warnings[0]


def test_cidr_knows_conditions_and_negation(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "m").write_text("if 10.0.0.0/8\n!10.1.0.0/16 outside\n10.1.1.0/24 inside\nendif\n")
    table = shelf.tables().open(f"cidr:{tmp_path}/m")
    assert [table.lookup(one) for one in ("10.2.0.1", "10.1.1.1", "10.1.2.1", "11.0.0.1")] == [
        "outside",
        "inside",
        None,
        None,
    ]
    assert shelf.tables().open("cidr:{{127.0.0.0/8 yes}}").lookup("127.0.0.1") == "yes"


def test_unix_passwd_reads_the_file(shelf: Shelf) -> None:
    root = shelf.tables().open("unix:passwd.byname").lookup("root")
    assert root is not None
    assert root.startswith("root:")


def test_lmdb_is_postfix_s_format_in_both_directions(shelf: Shelf, tmp_path: Path) -> None:
    write_lmdb(f"{tmp_path}/m.lmdb", [("a@b", "one"), ("long", "x" * 3000)])
    table = shelf.tables().open(f"lmdb:{tmp_path}/m")
    assert (table.lookup("A@B"), table.lookup("none")) == ("one", None)
    assert table.lookup("long") == "x" * 3000
    write_lmdb(f"{tmp_path}/m.lmdb", [("a@b", "two")])
    shelf.time_s += 1
    assert table.lookup("a@b") == "two"


@pytest.mark.foreign
@pytest.mark.skipif(not os.path.exists(POSTMAP), reason="Debian's postfix is not installed")
def test_a_map_built_by_postmap_is_read_and_ours_is_read_by_postmap(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "main.cf").write_text("compatibility_level = 3.6\n")
    (tmp_path / "m").write_text("a@b one\nc two words\n")
    built = subprocess.run([POSTMAP, "-c", tmp_path, f"lmdb:{tmp_path}/m"], check=False, capture_output=True, text=True)
    if built.returncode:
        pytest.skip(f"postmap has no lmdb: {built.stderr}")
    table = shelf.tables().open(f"lmdb:{tmp_path}/m")
    assert (table.lookup("a@b"), table.lookup("c")) == ("one", "two words")
    write_lmdb(f"{tmp_path}/n.lmdb", [("k", "value")])
    asked = subprocess.run(
        [POSTMAP, "-c", tmp_path, "-q", "k", f"lmdb:{tmp_path}/n"], check=False, capture_output=True, text=True
    )
    assert asked.stdout == "value\n", asked.stderr
