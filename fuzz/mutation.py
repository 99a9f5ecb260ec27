"""Mutations that know units (lines, pieces) and words of a language, and one that repeats a piece many times: what is
not linear shows itself there."""

from collections.abc import Callable
from random import Random
from typing import Final

from fuzz.target import Target

_NUMBERS: Final = (b"0", b"1", b"-1", b"255", b"65536", b"2147483648", b"4294967296", b"99999999999999999999")
_MAXIMAL_UNITS: Final = 400


def mutated(target: Target, data: bytes, random: Random, limit: int) -> bytes:
    for _ in range(random.choice((1, 1, 2, 3, 5))):
        data = random.choice(_STEPS)(target, data, random, limit)[:limit]
    return data


def _units(target: Target, data: bytes) -> list[bytes]:
    pieces = data.split(target.separator, _MAXIMAL_UNITS)
    return [*(piece + target.separator for piece in pieces[:-1]), pieces[-1]]


def _insert_word(target: Target, data: bytes, random: Random, limit: int) -> bytes:
    del limit
    at = random.randint(0, len(data))
    return data[:at] + random.choice(target.words or _NUMBERS) + data[at:]


def _replace_unit(target: Target, data: bytes, random: Random, limit: int) -> bytes:
    del limit
    units = _units(target, data)
    units[random.randrange(len(units))] = random.choice(target.words or _NUMBERS) + target.separator
    return b"".join(units)


def _repeat_unit(target: Target, data: bytes, random: Random, limit: int) -> bytes:
    del limit
    units = _units(target, data)
    units.insert(random.randint(0, len(units)), random.choice(units))
    return b"".join(units)


def _remove_unit(target: Target, data: bytes, random: Random, limit: int) -> bytes:
    del limit
    units = _units(target, data)
    del units[random.randrange(len(units))]
    return b"".join(units)


def _move_unit(target: Target, data: bytes, random: Random, limit: int) -> bytes:
    del limit
    units = _units(target, data)
    unit = units.pop(random.randrange(len(units)))
    units.insert(random.randint(0, len(units)), unit)
    return b"".join(units)


def _borrow_unit(target: Target, data: bytes, random: Random, limit: int) -> bytes:
    """A unit of a seed."""
    del limit
    units = _units(target, data)
    units.insert(random.randint(0, len(units)), random.choice(_units(target, random.choice(target.seeds))))
    return b"".join(units)


def _change_octet(target: Target, data: bytes, random: Random, limit: int) -> bytes:
    del target, limit
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes([random.choice((0, 10, 13, 32, 34, 92, 255, random.randrange(256)))]) + data[at + 1 :]


def _change_number(target: Target, data: bytes, random: Random, limit: int) -> bytes:
    del target, limit
    digits = [at for at, octet in enumerate(data[:2000]) if 48 <= octet <= 57]
    if not digits:
        return data
    at = random.choice(digits)
    return data[:at] + random.choice(_NUMBERS) + data[at + 1 :]


def _cut(target: Target, data: bytes, random: Random, limit: int) -> bytes:
    del target, limit
    start = random.randint(0, len(data))
    return data[:start] + data[start + random.randint(0, 40) :]


def _amplify(target: Target, data: bytes, random: Random, limit: int) -> bytes:
    """One short piece until the input is full."""
    del target
    if random.random() < 0.8 or not data:
        return data
    start = random.randrange(len(data))
    end = start + random.choice((1, 1, 2, 3, 5, 8, 16, 40))
    room = max(0, limit - len(data))
    return data[:end] + data[start:end] * (room // max(1, end - start)) + data[end:]


_STEPS: Final[tuple[Callable[[Target, bytes, Random, int], bytes], ...]] = (
    _insert_word,
    _insert_word,
    _replace_unit,
    _repeat_unit,
    _remove_unit,
    _move_unit,
    _borrow_unit,
    _change_octet,
    _change_number,
    _cut,
    _amplify,
)
