"""What a delivery command learns about the message: the variables of local(8)."""

import os
from collections.abc import Iterable, Mapping
from typing import Final

PATH: Final = "/usr/bin:/bin:/usr/sbin:/sbin"


def exported(names: Iterable[str], source: Mapping[str, str]) -> dict[str, str]:
    """The words of export_environment: a name takes its value from our environment, name=value brings its own."""
    found: dict[str, str] = {}
    for word in names:
        name, equals, value = word.strip("{}").partition("=")
        if equals:
            found[name.strip()] = value.strip()
        elif name in source:
            found[name] = source[name]
    return found


def of_message(
    *,
    sender: str,
    recipient: str,
    original: str,
    local: str,
    extension: str,
    domain: str,
    user: str,
    home: str,
    shell: str,
) -> dict[str, str]:
    """NUL cannot occur in an environment; parsed addresses have none, but nobody should rely on it here."""
    facts = {
        "PATH": PATH,
        "SENDER": sender,
        "RECIPIENT": recipient,
        "ORIGINAL_RECIPIENT": original or recipient,
        "LOCAL": local,
        "EXTENSION": extension,
        "DOMAIN": domain,
        "USER": user,
        "LOGNAME": user,
        "HOME": home,
        "SHELL": shell,
    }
    return {name: value.replace("\0", "") for name, value in facts.items() if value or name in ("SENDER", "EXTENSION")}


def for_command(names: Iterable[str], **facts: str) -> dict[str, str]:
    return of_message(**facts) | exported(names, os.environ)
