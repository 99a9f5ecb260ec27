"""Password schemes against vectors made by other programs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.auth import crypt
from posthouse.auth.schemes import MAXIMAL_PASSWORD, Argon2Cost, Hasher, UnknownScheme, UnusablePassword, verify

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
