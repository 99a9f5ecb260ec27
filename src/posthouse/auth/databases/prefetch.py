"""userdb driver = prefetch: what the password query said already, in its userdb_* columns.

There is something to take only at a login; for everybody else (a delivery) the next userdb is asked.
"""

from collections.abc import Mapping

from posthouse.auth.databases.lookup import Question


class PrefetchDatabase:
    name = "prefetch"
    is_immediate = True

    async def fields(self, question: Question) -> Mapping[str, str] | None:
        return dict(question.prefetched) if question.prefetched else None

    def close(self) -> None:
        pass


def prefetched(fields: Mapping[str, str]) -> dict[str, str]:
    """Of the fields of a password database."""
    return {name.removeprefix("userdb_"): value for name, value in fields.items() if name.startswith("userdb_")}
