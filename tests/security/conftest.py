"""Who the tests run the system as: separate users (root only), or one unprivileged caller."""

import os
import pwd
import shutil
import sys
from pathlib import Path

import pytest

from posthouse.cli import layout

SEPARATE_USERS = {
    "control_user": "games",
    "auth_user": "man",
    "tables_user": "lp",
    "mail_owner": "news",
    "virtual_user": "mail",
    "smtp_user": "uucp",
    "smtpd_user": "proxy",
    "login_user": "list",
}
"""Users that every Debian has and no process uses: the tests make none of their own."""
SETTINGS = tuple(f"{name}={user}" for name, user in SEPARATE_USERS.items())
REPOSITORY = Path(__file__).parents[2]


def readable_python() -> tuple[list[str], dict[str, str]]:
    """An interpreter that service users can read, and the environment with which it finds our packages: our own, or (if
    that lies below somebody's home) the system's of the same version."""
    if not layout.unreadable_code():
        return [sys.executable], {"PYTHONPATH": str(REPOSITORY)}
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    system = shutil.which(version, path="/usr/bin:/usr/local/bin")
    packages = [one for one in sys.path if one.endswith("site-packages") and not layout.unreachable(one)]
    if system is None or not packages or layout.unreachable(str(REPOSITORY)):
        pytest.skip(f"no {version} that service users could read; nor may they read {layout.unreadable_code()}")
    return [system], {"PYTHONPATH": ":".join([str(REPOSITORY), str(REPOSITORY / "src"), *packages])}


def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: only root can give each process a user of its own")
    for user in SEPARATE_USERS.values():
        try:
            pwd.getpwnam(user)
        except KeyError:
            pytest.skip(f"this system has no user {user}")
