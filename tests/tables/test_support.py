"""What a configuration's tables need."""

import posthouse.config.parameters  # noqa: F401 - fills the registry
from posthouse.config.parameter import MAIN, Settings
from posthouse.tables.support import table_files, unsupported_tables


def main(**values: str) -> Settings:
    return Settings(MAIN, values, {"myhostname": "h.example", "compatibility_level": "3.6"})


def test_types_we_do_not_have_are_named_with_their_parameter() -> None:
    settings = main(
        transport_maps="hash:/etc/t, ldap:/etc/l",
        virtual_alias_maps="pipemap:{mysql:/etc/m, inline:{a=b}}",
        mynetworks="127.0.0.0/8 [::1]/128 nis:nets",
        relay_domains="a.example",
    )
    assert set(unsupported_tables(settings)) >= {
        ("transport_maps", "ldap:/etc/l"),
        ("virtual_alias_maps", "mysql:/etc/m"),
        ("mynetworks", "nis:nets"),
    }
    assert all(name != "relay_domains" for name, _ in unsupported_tables(settings))


def test_a_word_without_a_type_is_no_table() -> None:
    assert ("transport_maps", ":x") in unsupported_tables(main(transport_maps=":x", relay_domains="a"))


def test_the_files_of_all_tables_are_known() -> None:
    files = table_files(
        main(
            transport_maps="hash:/etc/t lmdb:/etc/u", virtual_alias_maps="unionmap:{texthash:/etc/v}", relay_domains="a"
        )
    )
    assert {"/etc/t", "/etc/u.lmdb", "/etc/v", "/etc/passwd"} <= set(files)
