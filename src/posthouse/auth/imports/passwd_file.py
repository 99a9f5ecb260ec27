"""Dovecot's passwd-file: user:password:uid:gid:gecos:home:shell:extra fields."""

from typing import Final

from posthouse.auth.imports.harvest import FoundAccount, Harvest, Skipped, account
from posthouse.auth.names import fold_address

MAXIMAL_LINE: Final = 8192


def read(octets: bytes, *, default_scheme: str, domain: str) -> Harvest:
    """`domain` completes names without one."""
    found = Harvest()
    seen: set[str] = set()
    for number, raw in enumerate(octets.split(b"\n"), 1):
        if not raw.strip() or raw.startswith(b"#"):
            continue
        where = f"line {number}"
        try:
            line = raw.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError:
            found.skipped.append(Skipped(where, "not UTF-8"))
            continue
        if len(raw) > MAXIMAL_LINE:
            found.skipped.append(Skipped(where, f"longer than {MAXIMAL_LINE} octets"))
            continue
        parts = line.split(":", 7)
        parts += [""] * (8 - len(parts))
        name, stored, home = parts[0].strip(), parts[1], parts[5]
        if not name or any(character.isspace() for character in name):
            found.skipped.append(Skipped(where, "white space in the name" if name else "no name"))
            continue
        address = name if "@" in name or not domain else f"{name}@{domain}"
        if fold_address(address) in seen:
            found.skipped.append(Skipped(address, f"{where}: named before; the first one counts"))
            continue
        seen.add(fold_address(address))
        extra = {
            key: value if equals else "yes" for key, equals, value in (one.partition("=") for one in parts[7].split())
        }
        user = {key.removeprefix("userdb_"): value for key, value in extra.items() if key.startswith("userdb_")}
        one = account(address, stored, default_scheme, extra, {"home": home, **user})
        if isinstance(one, FoundAccount):
            found.accounts.append(one)
        else:
            found.skipped.append(Skipped(one.what, f"{where}: {one.why}"))
    return found
