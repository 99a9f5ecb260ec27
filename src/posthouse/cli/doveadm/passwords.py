"""doveadm pw: make and check hashes. It asks nobody."""

from typing import Final

from posthouse.auth.schemes import SCHEMES, UnknownScheme, UnusablePassword, make, verify
from posthouse.cli.doveadm.accounts import ask_password
from posthouse.cli.doveadm.call import Call
from posthouse.cli.doveadm.endings import EX_USAGE, OK, Ended, Fatal

DEFAULT_SCHEME: Final = "CRYPT"
"""As Dovecot's; its method is bcrypt."""


def pw(call: Call) -> int:
    if call.has("l"):
        call.out.write(" ".join(SCHEMES) + " \n")
        return OK
    if call.has("t"):
        return _test(call)
    name = call.value("s", DEFAULT_SCHEME).upper()
    if name.partition(".")[0] not in SCHEMES:
        raise Fatal(f"Unknown scheme: {name}")
    password = call.value("p") if call.has("p") else _asked()
    octets = password.encode("utf-8", "surrogateescape")
    try:
        stored = make(name, octets, call.value("u"), rounds=_rounds(call))
        if call.has("V") and not verify(stored, octets, name, call.value("u")):
            raise Fatal("reverse password verification check failed: Password mismatch")
    except (UnusablePassword, UnknownScheme) as error:
        raise Fatal(str(error)) from error
    call.out.write(stored + (" (verified)" if call.has("V") else "") + "\n")
    return OK


def _test(call: Call) -> int:
    stored = call.value("t")
    password = call.value("p") if call.has("p") else ask_password("Enter password to verify: ")
    try:
        octets = password.encode("utf-8", "surrogateescape")
        is_right = verify(stored, octets, call.value("s", DEFAULT_SCHEME).upper(), call.value("u"))
    except UnknownScheme as error:
        raise Fatal(f"reverse password verification check failed: {error}") from error
    if not is_right:
        raise Fatal("reverse password verification check failed: Password mismatch")
    call.out.write(f"{stored} (verified)\n")
    return OK


def _rounds(call: Call) -> int:
    if not call.has("r"):
        return 0
    try:
        return int(call.value("r"))
    except ValueError as error:
        raise Ended(EX_USAGE, "Fatal: -r: a number is expected") from error


def _asked() -> str:
    password = ask_password("Enter new password: ")
    if password != ask_password("Retype new password: "):
        raise Fatal("Passwords don't match!")
    return password
