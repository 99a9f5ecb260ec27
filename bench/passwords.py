"""The users' password as both sides store it."""

from functools import cache

from bench.server import PASSWORD
from posthouse.auth.schemes import Hasher


@cache
def stored(scheme: str) -> str:
    """PLAIN, so that a login costs no hash, or ARGON2ID, which a cache of right passwords saves."""
    if scheme == "PLAIN":
        return f"{{PLAIN}}{PASSWORD}"
    if scheme == "ARGON2ID":
        return Hasher().hash(PASSWORD)
    raise ValueError(f"no scheme of the benchmark: {scheme}")
