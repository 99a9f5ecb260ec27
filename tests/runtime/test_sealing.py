"""Nobody but who has the key can make or change a sealed answer."""

import pytest

from posthouse.core.address import Address
from posthouse.runtime.schema import Expansion, Resolution
from posthouse.runtime.sealing import SealedAnswer, new_key, seal, unseal

ROUTE = Resolution("relay", "relay", "[192.0.2.1]", Address("u", "example.test"))
ANSWER = SealedAnswer(12.5, Address("u", "example.test"), Expansion((Address("u", "example.test"),)), (ROUTE,))


def test_what_was_sealed_comes_out_again() -> None:
    key = new_key()
    assert unseal(key, seal(key, ANSWER)) == ANSWER


def test_another_key_opens_nothing() -> None:
    assert unseal(new_key(), seal(new_key(), ANSWER)) is None


def test_no_octet_can_be_changed_added_or_left_out() -> None:
    key = new_key()
    sealed = seal(key, ANSWER)
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 1
        assert unseal(key, bytes(changed)) is None
        assert unseal(key, sealed[:at] + sealed[at + 1 :]) is None
    assert unseal(key, sealed + b"\0") is None


@pytest.mark.parametrize("rubbish", [b"", b"x", bytes(16), bytes(100)])
def test_rubbish_is_nothing(rubbish: bytes) -> None:
    assert unseal(new_key(), rubbish) is None
