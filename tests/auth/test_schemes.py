"""Password schemes against vectors made by other programs."""

import hmac
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.auth import crypt, digests, schemes
from posthouse.auth.schemes import (
    MAXIMAL_PASSWORD,
    SCHEMES,
    Argon2Cost,
    Hasher,
    UnknownScheme,
    UnusablePassword,
    is_weak,
    make,
    split,
    verify,
)

CHEAP = Hasher(Argon2Cost(memory_octets=64 << 10, passes=1))

VECTORS = [
    # openssl passwd -6, -5 and -1
    (
        "{SHA512-CRYPT}$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnI"
        "FNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
        "Hello world!",
    ),
    ("{SHA256-CRYPT}$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5", "Hello world!"),
    # From Ulrich Drepper's specification of SHA-crypt.
    (
        "{SHA512-CRYPT}$6$rounds=1400$anotherlongsalts$POfYwTEok97VWcjxIiSOjiykti.o/pQs.wPvMxQ6Fm7I6IoYN3CmLs66x9t0oSwb"
        "tEW7o7UmJEiDwGqd8p4ur1",
        "a very much longer text to encrypt.  This one even stretches over morethan one line.",
    ),
    ("{MD5-CRYPT}$1$5pZSV9va$azfrPr6af3Fc7dLblQXVa0", "password"),
    # doveadm pw -s BLF-CRYPT -r 5, and a vector of OpenBSD's
    ("{BLF-CRYPT}$2y$05$ElI1AY8/1tlyjsvkcSFEWOhuv5teBJndon9uXa0CvOcsyG8.Whgvm", "U*U"),
    ("{BLF-CRYPT}$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"),
    # doveadm pw -s ARGON2ID, and the argon2 program of the reference implementation
    (
        "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$bdAg27x0k9FQoveqfd8+SQ$0R7FukDW9ugPJNWDht8U0thkZZ3RQwSG7q8ymUHxBVs",
        "password",
    ),
    ("{ARGON2ID}$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password"),
    ("{PLAIN}secret", "secret"),
    ("{plain}secret", "secret"),
    ("{PLAIN}пароль", "пароль"),
]


@pytest.mark.parametrize(("stored", "password"), VECTORS)
def test_hashes_of_other_programs_are_understood(stored: str, password: str) -> None:
    assert verify(stored, password.encode(), "")
    assert not verify(stored, password.encode() + b"x", "")
    assert not verify(stored, b"", "")


@pytest.mark.parametrize("index", [0, 1, 2, 3])
def test_without_the_c_library_the_same_passwords_are_right(index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypt, "_crypt_rn", None)
    stored, password = VECTORS[index]
    assert verify(stored, password.encode(), "")
    assert not verify(stored, b"wrong", "")


def test_the_default_scheme_is_for_hashes_without_one() -> None:
    assert verify("secret", b"secret", "PLAIN")
    assert verify("$1$5pZSV9va$azfrPr6af3Fc7dLblQXVa0", b"password", "md5-crypt")
    with pytest.raises(UnknownScheme):
        verify("secret", b"secret", "")


@pytest.mark.parametrize(
    "stored",
    [
        "{ROT13}frperg",
        "{SHA512-CRYPT}secret",
        "{SHA512-CRYPT}",
        "{ARGON2ID}$argon2id$v=19$m=1,t=0,p=0$$",
        "{ARGON2ID}x",
        "{BLF-CRYPT}$2y$99$x",
        "{MD5-CRYPT}$6$a$b",
        "{}x",
    ],
)
def test_what_cannot_be_checked_is_never_right_and_says_so_without_the_hash(stored: str) -> None:
    with pytest.raises(UnknownScheme) as caught:
        verify(stored, b"secret", "")
    value = stored.partition("}")[2]
    assert not value or len(value) < 6 or value not in str(caught.value)


def test_a_new_hash_is_argon2id_of_the_configured_cost_and_salted() -> None:
    first, other = CHEAP.hash("secret"), CHEAP.hash("secret")
    assert first.startswith("{ARGON2ID}$argon2id$v=19$m=64,t=1,p=1$")
    assert first != other
    assert verify(first, b"secret", "")
    assert not verify(first, b"Secret", "")


@pytest.mark.parametrize("password", ["", "a\0b", "a\nb", "x" * (MAXIMAL_PASSWORD + 1)])
def test_passwords_that_no_client_can_send_are_not_set(password: str) -> None:
    with pytest.raises(UnusablePassword):
        CHEAP.hash(password)


def test_a_huge_password_is_wrong_without_being_hashed() -> None:
    assert not verify(CHEAP.hash("secret"), b"x" * 10_000_000, "")


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=80), st.binary(max_size=80), st.sampled_from(["", "PLAIN", "MD5-CRYPT", "ARGON2ID"]))
def test_nothing_in_the_database_breaks_the_check(stored: str, password: bytes, default: str) -> None:
    for text in (stored, "{PLAIN}" + stored, "{ARGON2ID}" + stored, "{BLF-CRYPT}" + stored, "{MD5-CRYPT}$1$" + stored):
        try:
            verify(text, password, default)
        except UnknownScheme:
            continue


DOVEADM = json.loads((Path(__file__).parents[1] / "data/doveadm-pw.json").read_text())["vectors"]
USER = "user@example.test"


@pytest.mark.parametrize("vector", DOVEADM, ids=lambda one: f"{one['scheme']}-{len(one['password'])}")
def test_what_doveadm_pw_makes_is_right_for_its_password_and_no_other(vector: dict[str, str]) -> None:
    stored, password = vector["stored"], vector["password"].encode()
    assert verify(stored, password, "", USER)
    for wrong in (password + b"x", password[:-1], b"", b"x" + password):
        if vector["scheme"] != "DES-CRYPT" or wrong[:8] != password[:8]:  # it sees eight octets
            assert not verify(stored, wrong, "", USER)
    # The scheme may also come from default_pass_scheme.
    name, value = split(stored, "")
    assert verify(value, password, name, USER)


def test_every_scheme_that_doveadm_lists_is_known() -> None:
    # doveadm pw makes a PLAIN-TRUNC that it does not take itself: it has no length in front.
    assert {one["scheme"].partition(".")[0] for one in DOVEADM} | {"PLAIN-TRUNC"} == set(SCHEMES)


@pytest.mark.parametrize("name", [*SCHEMES, "SHA256.HEX", "SSHA.B64", "PLAIN.HEX", "CRAM-MD5.B64"])
def test_what_we_make_is_right_too(name: str) -> None:
    stored = make(name, b"s3cret", USER, Argon2Cost(64 << 10, 1), 4 if name == "BLF-CRYPT" else 0)
    assert stored.startswith("{" + name + "}")
    assert verify(stored, b"s3cret", "", USER)
    assert not verify(stored, b"s3creT", "", USER)


def test_digest_md5_is_about_one_user() -> None:
    stored = make("DIGEST-MD5", b"secret", USER)
    assert not verify(stored, b"secret", "", "other@example.test")


@pytest.mark.parametrize(
    ("stored", "password", "expected"),
    [
        # As databases have them: md5() in hexadecimal, and crypt in columns named MD5.
        ("{MD5}5ebe2294ecd0e0f08eab7690d2a6ee69", b"secret", True),
        ("{PLAIN-MD5}5EBE2294ECD0E0F08EAB7690D2A6EE69", b"secret", True),
        ("{LDAP-MD5}5ebe2294ecd0e0f08eab7690d2a6ee69", b"secret", True),
        ("{SHA1}e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4", b"secret", True),
        ("{PLAIN-TRUNC}8-password", b"password", True),
        ("{PLAIN-TRUNC}8-password", b"passwordlonger", True),
        ("{PLAIN-TRUNC}10-password", b"passwordlonger", False),
        # yescrypt, as /etc/shadow of Debian 12 has it
        ("{CRYPT}$y$j9T$F5Jx5fExrKuPp53xLKQ..1$GmcwIgvdUC9qLWcKCi6gklUa1dM3ziD43YxYNURLKy0", b"secret", True),
    ],
)
def test_other_spellings(stored: str, password: bytes, expected: bool) -> None:
    assert verify(stored, password, "") is expected


@pytest.mark.parametrize(
    "stored",
    [
        "{SSHA}AAAA",
        "{SHA256}!!!",
        "{SHA256}AAAA",
        "{CRAM-MD5}zz",
        "{SCRAM-SHA-256}4096,a,b",
        "{SCRAM-SHA-1}99999999999,AA==,AA==,AA==",
        "{PBKDF2}$1$salt$999999999$285282227264652c5c2881af9f4872bd84cf9863",
        "{OTP}sha1 99999 seed 0011223344556677",
        "{PLAIN-TRUNC}password",
        "{MD5}secret",
        "{DES-CRYPT}!",
        "{SHA256.ROT13}x",
    ],
)
def test_broken_values_say_so(stored: str) -> None:
    with pytest.raises(UnknownScheme):
        verify(stored, b"secret", "", USER)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_hmac_md5_from_its_state_is_hmac_md5(password: bytes, message: bytes) -> None:
    assert digests.hmac_md5(digests.hmac_md5_context(password), message) == hmac.digest(password, message, "md5")


@pytest.mark.parametrize(
    ("name", "expected"),
    # RFC 2289 appendix C: "This is a test." with the seed TeSt, after 99 steps.
    [("md4", "C5E612776E6C237A"), ("md5", "50FE1962C4965880"), ("sha1", "87FEC7768B73CCF9")],
)
def test_one_time_passwords_of_the_rfc(name: str, expected: str) -> None:
    assert digests.otp(name, 99, b"TeSt", b"This is a test.").hex().upper() == expected


@pytest.mark.parametrize(
    ("stored", "weak"),
    [
        ("{PLAIN}x", True),
        ("{MD5-CRYPT}$1$a$b", True),
        ("{SSHA512}x", True),
        ("{CRYPT}$1$a$b", True),
        ("{CRYPT}abcdefghijklm", True),
        ("{CRYPT}$y$j9T$x", False),
        ("{SHA512-CRYPT}$6$a$b", False),
        ("{ARGON2ID}x", False),
    ],
)
def test_which_hashes_should_be_made_anew(stored: str, weak: bool) -> None:
    assert is_weak(stored, "") is weak


@pytest.mark.parametrize("scheme", ["ARGON2ID", "BLF-CRYPT", "SHA256-CRYPT", "SHA512-CRYPT"])
def test_what_is_taken_without_computing_it_is_such_a_hash(scheme: str) -> None:
    stored = make(scheme, b"secret")
    assert schemes._ORDINARY.fullmatch(stored)
    assert Hasher().checked(stored) == stored
    for broken in (stored[:-1], stored + "x", stored.replace("$", "", 1), stored[:-2] + "!!"):
        assert not schemes._ORDINARY.fullmatch(broken)
