"""`posthouse init` on the machine itself: users, directories, start, accounts. Played in a mount namespace of its own,
so that the machine keeps nothing of it."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.security.conftest import needs_root, readable_python

_NAMESPACE = """\
mount -t tmpfs tmpfs {scratch} || exit 99
for directory in etc var run; do
    layer={scratch}/$directory
    mkdir -p $layer/upper $layer/work
    mount -t overlay overlay -o lowerdir=/$directory,upperdir=$layer/upper,workdir=$layer/work /$directory || exit 99
done
rm -rf /etc/posthouse /var/spool/posthouse /var/lib/posthouse /run/posthouse /var/vmail
set -e
"""
_STORY = """\
{posthouse} init --type internet --mailname example.org --link {scratch}/bin
{posthouse} domain add example.org
echo secret | {posthouse} user add alice@example.org
sed -i 's/^smtp        inet/127.0.0.1:{smtp} inet/; s/^submission  inet/127.0.0.1:{submission} inet/;
    s/^submissions inet/127.0.0.1:{submissions} inet/' /etc/posthouse/master.cf
sed -i 's/imap pop3//' /etc/posthouse/dovecot.conf
{posthouse} check
{posthouse} start
{posthouse} status
stat -c '%A %U %G %n' /var/spool/posthouse/maildrop /var/vmail /var/lib/posthouse/auth/directory.sqlite
{posthouse} user list
{posthouse} stop
cat /var/log/mail.log
"""


def play(tmp_path: Path, story: str) -> str:
    needs_root()
    if shutil.which("unshare") is None or shutil.which("useradd", path="/usr/sbin:/sbin") is None:
        pytest.skip("unshare (util-linux) and useradd (passwd) are needed")
    command, environment = readable_python()
    from tests.sandbox.test_service import free_port

    names = {
        "scratch": str(tmp_path),
        "posthouse": f"{command[0]} -m posthouse.cli.posthouse",
        **{name: str(free_port()) for name in ("smtp", "submission", "submissions")},
    }
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", (_NAMESPACE + story).format(**names)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=90,
    )
    if done.returncode == 99:
        pytest.skip(f"no overlay mounts here: {done.stderr}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def test_a_machine_becomes_a_mail_server(tmp_path: Path) -> None:
    told = play(tmp_path, _STORY)
    for user in ("ph-control", "ph-auth", "ph-tables", "ph-queue", "vmail", "ph-smtp", "ph-smtpd", "ph-login"):
        assert f"made the system user {user}" in told or has_user(user)
    assert "drwx-ws-wt ph-queue ph-queue /var/spool/posthouse/maildrop" in told
    assert "-rw------- ph-auth ph-auth /var/lib/posthouse/auth/directory.sqlite" in told
    assert "drwx------ vmail vmail /var/vmail" in told
    assert "is running: PID:" in told
    assert "alice@example.org" in told
    for process, user in (("smtpd", "ph-smtpd"), ("login", "ph-login"), ("queue", "ph-queue"), ("auth", "ph-auth")):
        assert f"{process} 0 ready" in told
        assert f"user {user}" in told
    assert "daemon started" in told
    assert "warning: " not in told
    assert "error: " not in told
