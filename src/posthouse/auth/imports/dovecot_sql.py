"""The users of a Dovecot query file: iterate_query names them, password_query and user_query are asked for each."""

from collections.abc import Mapping

from posthouse.auth.databases.lookup import Question
from posthouse.auth.imports.database import SourceDatabase
from posthouse.auth.imports.harvest import FoundAccount, Harvest, Skipped, Unreadable, account


def read(database: SourceDatabase, settings: Mapping[str, str]) -> Harvest:
    """Raises Unreadable."""
    missing = [name for name in ("iterate_query", "password_query") if name not in settings]
    if missing:
        raise Unreadable(
            f"{database.where}: {missing[0]} is not set; iterate_query lists the users, password_query and"
            " user_query describe each of them"
        )
    password_query = database.compile(settings["password_query"])
    user_query = database.compile(settings["user_query"]) if "user_query" in settings else None
    default_scheme = settings.get("default_pass_scheme", "CRYPT")
    found = Harvest()
    for row in database.rows(settings["iterate_query"]):
        name = row.get("user") or row.get("username") or ""
        if domain := row.get("domain"):
            name = name if "@" in name else f"{name}@{domain}"
        if not name:
            raise Unreadable(f"{database.where}: iterate_query must return a field named user, or username and domain")
        values = Question(name).values()
        passwords = database.rows(password_query, password_query.bound(values))
        if len(passwords) != 1:
            why = "password_query returns nothing" if not passwords else "password_query returns several rows"
            found.skipped.append(Skipped(name, why))
            continue
        fields = {key: value for key, value in passwords[0].items() if value is not None}
        user = {key.removeprefix("userdb_"): value for key, value in fields.items() if key.startswith("userdb_")}
        if user_query is not None:
            users = database.rows(user_query, user_query.bound(values))
            if len(users) == 1:
                user |= {key: value for key, value in users[0].items() if value is not None}
        one = account(fields.get("user", name), fields.get("password", ""), default_scheme, fields, user)
        if isinstance(one, FoundAccount):
            found.accounts.append(one)
        else:
            found.skipped.append(one)
    return found
