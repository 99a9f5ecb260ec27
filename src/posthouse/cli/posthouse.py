"""NAME
    posthouse - the command of the mail system
SYNOPSIS
    posthouse [-c DIR] COMMAND [arguments]
DESCRIPTION
    init, start, stop, reload, status and check run the system; domain, user, app-password, alias and import manage
    the directory of accounts; sandbox and run start a whole system in one directory. -c names the configuration
    directory, as Postfix's commands do, before or behind the command; MAIL_CONFIG in the environment does the same.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import Final

COMMANDS: Final = {
    "init": "directories, users and a default configuration",
    "start": "start the system",
    "stop": "stop it in order",
    "reload": "read the configuration again; connections stay",
    "status": "is it running?",
    "check": "name everything that is wrong with the configuration",
    "logrotate": "begin new log files",
    "domain": "domains of the embedded directory",
    "user": "accounts of the embedded directory",
    "app-password": "application passwords of its accounts",
    "alias": "aliases of the embedded directory",
    "doveadm": "what Dovecot's administrators type daily",
    "import": "accounts from a passwd-file, PostfixAdmin or Dovecot's SQL",
    "sandbox": "a whole system in one directory, on free ports",
    "run": "a sandbox in ./run, with a first message and the log",
    "version": "print the version",
}
MODULES: Final = {"app-password": "app_password", "import": "import_accounts"}
"""Where the name is no module's."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script."""
    sys.exit(dispatch(list(sys.argv[1:] if arguments is None else arguments)))


def dispatch(arguments: list[str]) -> int:
    directory, rest = _take_directory(arguments)
    name = rest.pop(0) if rest else "help"
    if name in ("version", "--version", "-V"):
        from posthouse import __version__

        print(f"posthouse {__version__}")
        return 0
    if name in ("help", "--help", "-h"):
        print(_usage())
        return 0
    if name not in COMMANDS:
        print(f"posthouse: there is no command {name!r}\n\n{_usage()}", file=sys.stderr)
        return 64  # EX_USAGE
    # One module per command, imported only when it is asked for: the others would cost start-up time.
    module = importlib.import_module(f"posthouse.cli.{MODULES.get(name, name)}")
    if name == "check" and rest:
        print(f"posthouse check: unexpected argument {rest[0]!r}", file=sys.stderr)
        return 64
    result: int = module.run(directory) if name == "check" else module.run(directory, rest)
    return result


def _take_directory(arguments: list[str]) -> tuple[str, list[str]]:
    """-c DIR, wherever it stands."""
    from posthouse.config.loading import default_directory

    rest: list[str] = []
    directory = ""
    waiting = iter(arguments)
    for one in waiting:
        if one == "-c":
            directory = next(waiting, "")
            if not directory:
                print("posthouse: -c needs a directory", file=sys.stderr)
                raise SystemExit(64)
        elif one == "--":
            rest.extend(waiting)
        else:
            rest.append(one)
    return directory or default_directory(), rest


def _usage() -> str:
    lines = [f"  {name:<12} {what}" for name, what in COMMANDS.items()]
    return "posthouse [-c DIR] COMMAND [arguments]\n\n" + "\n".join(lines)


if __name__ == "__main__":
    main()
