"""crypt(3) of the C library, without the interpreter's lock held while it computes.

A pure Python SHA-512 crypt stops every other thread for its duration; libcrypt does not, and it knows every
scheme that /etc/shadow of this machine may hold. Where the library is missing, libpass computes the same hashes.
"""

import ctypes
import hmac
from collections.abc import Callable
from typing import Any, Final

_DATA_OCTETS: Final = 32768
"""sizeof(struct crypt_data) in libxcrypt, which crypt_rn demands."""


def _load() -> Callable[[bytes, bytes, Any, int], bytes | None] | None:
    for name in ("libcrypt.so.1", "libcrypt.so.2"):
        try:
            function = ctypes.CDLL(name).crypt_rn
        except (OSError, AttributeError):
            continue
        function.restype = ctypes.c_char_p
        function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int)
        return function
    return None


_crypt_rn: Final = _load()
_PYTHON_METHODS: Final = {b"$1$": "md5_crypt", b"$5$": "sha256_crypt", b"$6$": "sha512_crypt"}


def _python_method(setting: bytes) -> Any:  # libpass has no types
    """None if there is none. Loaded when it is needed, which on a Linux with libcrypt is never: two megabytes."""
    name = _PYTHON_METHODS.get(setting[:3])
    if name is None:
        return None
    from passlib import hash as methods

    return getattr(methods, name)


class CannotCrypt(ValueError):
    """No such hash method here, or a setting that is none."""


def verify(password: bytes, stored: bytes) -> bool:
    """Whether `stored` is the hash of this password; its own method, cost and salt are used."""
    if b"\0" in password or b"\0" in stored:
        return False
    if _crypt_rn is not None:
        data = ctypes.create_string_buffer(_DATA_OCTETS)
        result = _crypt_rn(password, stored, data, _DATA_OCTETS)
        if result is None or result.startswith(b"*"):
            raise CannotCrypt(f"crypt does not know the method {_method(stored)} or the hash is malformed")
        return hmac.compare_digest(result, stored)
    if (method := _python_method(stored)) is not None:
        try:
            return bool(method.verify(password, stored))
        except (ValueError, TypeError) as error:
            raise CannotCrypt(f"a malformed {_method(stored)} hash") from error
    raise CannotCrypt(f"crypt does not know the method {_method(stored)}")


def make(password: bytes, setting: bytes) -> bytes:
    """The hash of a new password; `setting` is method, cost and salt. Raises CannotCrypt."""
    if b"\0" in password:
        raise CannotCrypt("a password with NUL")
    if _crypt_rn is not None:
        data = ctypes.create_string_buffer(_DATA_OCTETS)
        result = _crypt_rn(password, setting, data, _DATA_OCTETS)
        if result is None or result.startswith(b"*"):
            raise CannotCrypt(f"crypt does not know the method {_method(setting)}")
        return result
    if (method := _python_method(setting)) is not None:
        return str(method.hash(password)).encode()
    raise CannotCrypt(f"crypt does not know the method {_method(setting)}")


def _method(stored: bytes) -> str:
    """Names the method without any of the hash."""
    return stored[: stored.find(b"$", 1) + 1].decode("ascii", "replace") if stored[:1] == b"$" else "of this hash"
