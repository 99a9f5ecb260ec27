"""Delivery to system users, through the process's own socket and its real children."""

import asyncio
import fcntl
import mailbox
import os
import pwd
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from posthouse.core.address import Address
from posthouse.core.result import DeliveryStatus

from .conftest import CONTENT, DOMAIN, House

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root (deliveries to other users)")


def bodies(path: Path) -> list[str]:
    box = mailbox.mbox(path, create=False)
    try:
        return [one.get_payload() for one in box]
    finally:
        box.close()


def test_mail_reaches_the_mailbox_of_the_user(house: House) -> None:
    (result,) = house.deliver()
    assert (result.status, result.dsn, result.text) == (DeliveryStatus.SENT, "2.0.0", "delivered to mailbox")
    text = house.mailbox.read_text()
    name = house.user.pw_name
    assert text.startswith("From sender@example.com  ")
    head = text.split("\n")[1:5]
    assert head == [
        "Return-Path: <sender@example.com>",
        f"X-Original-To: {name}@{DOMAIN}",
        f"Delivered-To: {name}@{DOMAIN}",
        "X-Posthouse-Delivery: 4bXyzTest.0.1",
    ]
    assert bodies(house.mailbox) == ["Hello\n>From here\n"]
    facts = house.mailbox.stat()
    assert facts.st_uid == house.user.pw_uid
    assert stat.S_IMODE(facts.st_mode) == 0o600
    (line,) = house.words()
    assert line.startswith(f"4bXyzTest: to=<{name}@{DOMAIN}>, relay=local, delay=")
    assert line.endswith(", dsn=2.0.0, status=sent (delivered to mailbox)")


def test_the_extension_of_an_address_does_not_change_the_mailbox(house: House) -> None:
    (result,) = house.deliver(house.recipient(house.user.pw_name.upper() + "+lists"))
    assert result.status is DeliveryStatus.SENT
    assert len(bodies(house.mailbox)) == 1


def test_a_delivery_that_may_have_happened_happens_once(house: House) -> None:
    for maybe in (False, True, True):
        (result,) = house.deliver(maybe_delivered=maybe)
        assert result.status is DeliveryStatus.SENT
    assert len(bodies(house.mailbox)) == 1
    whole = house.mailbox.read_bytes()
    house.mailbox.write_bytes(whole[:-20])
    house.deliver(maybe_delivered=True)
    assert house.mailbox.read_bytes() == whole


def test_an_unknown_user_is_refused_for_good(house: House) -> None:
    for name in ("no-such-user-here", "no-such-user-here+x", "with space", "$(id)", "ümlaut"):
        (result,) = house.deliver(house.recipient(name))
        assert (result.status, result.dsn) == (DeliveryStatus.BOUNCED, "5.1.1")
        assert result.text == f'unknown user: "{name}"'


def test_a_home_mailbox_may_be_a_file_or_a_maildir(house: House) -> None:
    house.settings["home_mailbox"] = "Mailbox"
    assert house.deliver()[0].text == "delivered to mailbox"
    assert len(bodies(house.home / "Mailbox")) == 1
    house.settings["home_mailbox"] = "Maildir/"
    assert house.deliver()[0].text == "delivered to maildir"
    assert house.deliver(maybe_delivered=True)[0].text == "delivered to maildir"
    (file,) = (house.home / "Maildir" / "new").iterdir()
    assert file.stat().st_uid == house.user.pw_uid
    assert not house.mailbox.exists()


def test_a_spool_directory_with_a_slash_holds_maildirs(house: House) -> None:
    house.settings["mail_spool_directory"] += "/"
    assert house.deliver()[0].text == "delivered to maildir"
    assert len(list((house.mailbox / "new").iterdir())) == 1


def test_a_large_message_comes_as_a_file(house: House) -> None:
    content = CONTENT + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 40_000
    job = house.job(content=content)
    assert house.deliver_jobs([job], as_file=True)[0][0].status is DeliveryStatus.SENT
    assert len(bodies(house.mailbox)[0]) > 2_800_000
    job = house.job(house.recipient(mailbox=""), content=CONTENT + b"z" * 100_000)
    assert house.deliver_jobs([job])[0][0].status is DeliveryStatus.SENT


def test_many_at_once_lose_nothing(house: House) -> None:
    house.settings |= {"deliver_lock_attempts": "1000", "deliver_lock_delay": "0.01s", "local_child_limit": "4"}
    jobs = [house.job(house.recipient(index=number)) for number in range(20)]
    results = house.deliver_jobs(jobs)
    assert all(one[0].status is DeliveryStatus.SENT for one in results)
    assert len(bodies(house.mailbox)) == 20


def test_a_foreign_lock_makes_mail_wait(house: House) -> None:
    lock = Path(f"{house.mailbox}.lock")
    lock.write_text("")
    (result,) = house.deliver()
    assert (result.status, result.dsn) == (DeliveryStatus.DEFERRED, "4.2.0")
    assert result.text == (
        f"cannot update mailbox {house.mailbox} for user {house.user.pw_name}. "
        f"unable to create lock file {lock}: File exists"
    )
    lock.unlink()
    assert house.deliver()[0].status is DeliveryStatus.SENT


def children_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def waiting_for(forker: int, mailbox_file: Path) -> list[int]:
    """Children that have the mailbox open: they wait for its lock."""
    found = []
    for pid in children_of(forker):
        try:
            files = {os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir()}
        except OSError:
            continue
        if str(mailbox_file) in files:
            found.append(pid)
    return found


@pytest.fixture
def locked(house: House) -> Iterator[Callable[[], None]]:
    """The mailbox is locked by another program, until the returned function is called."""
    house.settings |= {
        "deliver_lock_attempts": "1000",
        "deliver_lock_delay": "0.02s",
        "mailbox_delivery_lock": "fcntl",
    }
    house.mailbox.touch(0o600)
    os.chown(house.mailbox, house.user.pw_uid, house.user.pw_gid)
    file = house.mailbox.open("r+b")
    fcntl.lockf(file, fcntl.LOCK_EX)
    yield file.close
    file.close()


def kill_a_waiting_child(forker: int, mailbox_file: Path) -> None:
    until(lambda: waiting_for(forker, mailbox_file))
    (pid,) = waiting_for(forker, mailbox_file)
    os.kill(pid, signal.SIGKILL)
    until(lambda: pid not in children_of(forker))


def test_a_killed_child_costs_neither_the_message_nor_a_second_copy(house: House, locked: Callable[[], None]) -> None:
    def kill_then_unlock(forker: int) -> None:
        kill_a_waiting_child(forker, house.mailbox)
        locked()

    ((result,),) = house.deliver_jobs([house.job()], meanwhile=kill_then_unlock)
    assert result.status is DeliveryStatus.SENT
    assert len(bodies(house.mailbox)) == 1


@pytest.mark.usefixtures("locked")
def test_children_that_keep_dying_make_mail_wait(house: House) -> None:
    def kill_twice(forker: int) -> None:
        kill_a_waiting_child(forker, house.mailbox)
        kill_a_waiting_child(forker, house.mailbox)

    ((result,),) = house.deliver_jobs([house.job()], meanwhile=kill_twice)
    assert (result.status, result.dsn) == (DeliveryStatus.DEFERRED, "4.3.0")
    assert "was lost" in result.text


def test_the_size_limit_is_kept(house: House) -> None:
    assert house.deliver()[0].status is DeliveryStatus.SENT
    house.settings["mailbox_size_limit"] = str(house.mailbox.stat().st_size + 50)
    (result,) = house.deliver()
    assert (result.status, result.dsn) == (DeliveryStatus.BOUNCED, "5.2.2")
    assert len(bodies(house.mailbox)) == 1


@pytest.mark.parametrize("kind", ["symlink", "hard link", "fifo"])
def test_a_trap_in_place_of_the_mailbox_is_not_written(house: House, kind: str) -> None:
    victim = house.spool / "victim"
    victim.write_text("precious\n")
    if kind == "symlink":
        house.mailbox.symlink_to(victim)
    elif kind == "hard link":
        house.mailbox.hardlink_to(victim)
    else:
        os.mkfifo(house.mailbox)
    (result,) = house.deliver()
    assert (result.status, result.dsn) == (DeliveryStatus.DEFERRED, "4.2.0")
    assert victim.read_text() == "precious\n"


def test_a_mailbox_command_takes_the_mail(house: House) -> None:
    out = house.home / "out"
    house.settings["mailbox_command"] = f'cat > {out}; echo "$USER $EXTENSION $SENDER $HOME" >> {out}; id -u >> {out}'
    (result,) = house.deliver(house.recipient(f"{house.user.pw_name}+ext"))
    assert result.text.startswith(f"delivered to command: cat > {out}")
    lines = out.read_text().splitlines()
    assert lines[0].startswith("From sender@example.com  ")
    assert lines[-2:] == [f"{house.user.pw_name} ext sender@example.com {house.home}", str(house.user.pw_uid)]


def test_a_command_that_fails_says_why(house: House) -> None:
    house.settings["mailbox_command"] = "echo later; exit 75"
    (result,) = house.deliver()
    assert (result.status, result.dsn) == (DeliveryStatus.DEFERRED, "4.3.0")
    assert result.text == "temporary failure. Command output: later"
    house.settings["mailbox_command"] = "sleep 60"
    house.settings["command_time_limit"] = "1s"
    assert house.deliver()[0].text == 'Command time limit exceeded: "sleep 60"'


# ── .forward ──


def test_a_forward_file_redirects(house: House) -> None:
    house.write_forward("a@example.com, b\n")
    (result,) = house.deliver()
    assert result.status is DeliveryStatus.REDIRECTED
    assert result.redirect == (Address("a", "example.com"), Address("b", ""))
    assert not house.mailbox.exists()
    assert house.words()[0].endswith("status=sent (forwarded as 4bXyzTest)")


def test_a_forward_file_may_keep_a_copy(house: House) -> None:
    for own in (f"\\{house.user.pw_name}", house.user.pw_name, f"{house.user.pw_name}@{DOMAIN}"):
        house.write_forward(f"{own}\na@example.com\n")
        (result,) = house.deliver()
        assert result.redirect == (Address("a", "example.com"),)
        assert len(bodies(house.mailbox)) == 1
        house.mailbox.unlink()


def test_a_forward_file_may_name_files_and_commands(house: House) -> None:
    file, out = house.home / "archive", house.home / "out"
    house.write_forward(f'{file}, "|cat > {out}", {house.home}/Folder/\n')
    (result,) = house.deliver()
    assert result.status is DeliveryStatus.SENT
    assert f"delivered to file: {file}" in result.text
    assert f"delivered to command: cat > {out}" in result.text
    assert len(bodies(file)) == 1
    assert out.stat().st_uid == file.stat().st_uid == house.user.pw_uid
    assert len(list((house.home / "Folder" / "new").iterdir())) == 1


def test_a_failing_target_is_tried_again_without_second_copies(house: House) -> None:
    house.write_forward(f'\\{house.user.pw_name}, "|exit 75"\n')
    assert house.deliver()[0].status is DeliveryStatus.DEFERRED
    house.write_forward(f'\\{house.user.pw_name}, "|exit 0"\n')
    assert house.deliver()[0].status is DeliveryStatus.SENT
    assert len(bodies(house.mailbox)) == 1


def test_an_extension_has_its_own_forward_file(house: House) -> None:
    special = house.home / ".forward+lists"
    special.write_text("lists@example.com\n")
    special.chmod(0o644)
    os.chown(special, house.user.pw_uid, house.user.pw_gid)
    (result,) = house.deliver(house.recipient(f"{house.user.pw_name}+lists"))
    assert result.redirect == (Address("lists", "example.com"),)
    assert house.deliver()[0].text == "delivered to mailbox"


@pytest.mark.parametrize("trap", ["symlink", "hard link", "group-writable", "nonsense", "empty", "comments"])
def test_a_forward_file_that_cannot_be_trusted_is_passed_over(house: House, trap: str) -> None:
    house.write_forward({"nonsense": '"|', "empty": "", "comments": "# nobody\n"}.get(trap, "thief@example.com\n"))
    if trap == "symlink":
        house.forward.rename(house.home / "real")
        house.forward.symlink_to(house.home / "real")
    elif trap == "hard link":
        (house.home / "second").hardlink_to(house.forward)
    elif trap == "group-writable":
        house.forward.chmod(0o664)
    (result,) = house.deliver()
    assert (result.status, result.text) == (DeliveryStatus.SENT, "delivered to mailbox")
    assert any("it is not used" in one for one in house.words()) == (trap not in ("empty", "comments"))


def test_a_forward_file_that_cannot_be_read_makes_mail_wait(house: House) -> None:
    house.write_forward("a@example.com\n" * 10_000)
    assert house.deliver()[0].status is DeliveryStatus.DEFERRED


def test_restrictions_on_commands_and_files_hold(house: House) -> None:
    house.settings |= {"allow_mail_to_commands": "alias", "allow_mail_to_files": ""}
    house.write_forward('"|true"\n')
    assert house.deliver()[0].text == "mail to command is restricted"
    house.write_forward("/tmp/x\n")
    assert house.deliver()[0].text == "mail to file is restricted"
    assert house.deliver(house.recipient(mailbox="|exit 0"))[0].text == "delivered to command: exit 0"


def test_a_circle_of_forwards_ends(house: House) -> None:
    content = f"Delivered-To: {house.user.pw_name}@{DOMAIN}\r\n".encode() + CONTENT
    (result,) = house.deliver(content=content)
    assert (result.status, result.dsn) == (DeliveryStatus.BOUNCED, "5.4.6")
    job = house.job(content=content)
    assert house.deliver_jobs([job], as_file=True)[0][0].dsn == "5.4.6"


def test_a_home_that_is_not_there_makes_mail_wait_if_asked(house: House) -> None:
    house.home.rmdir()
    assert house.deliver()[0].status is DeliveryStatus.SENT
    house.settings["require_home_directory"] = "yes"
    assert house.deliver()[0].status is DeliveryStatus.DEFERRED
    house.home.mkdir()


# ── what aliases name ──


def test_an_alias_may_name_a_file_a_command_and_a_list(house: House) -> None:
    public = house.spool.parent / "public"
    public.mkdir()
    public.chmod(0o777)
    listing = public / "list"
    listing.write_text("a@example.com\n# b@example.com\nc\n")
    results = house.deliver(
        house.recipient("one", f"{public}/file", 0),
        house.recipient("two", f"|cat > {public}/out", 1),
        house.recipient("three", f":include:{listing}", 2),
        house.recipient("four", f":include:{public}/missing", 3),
        house.recipient("five", "/dev/null", 4),
    )
    assert [one.index for one in results] == [0, 1, 2, 3, 4]
    assert results[0].text == f"delivered to file: {public}/file"
    assert results[1].status is DeliveryStatus.SENT
    assert results[2].redirect == (Address("a", "example.com"), Address("c", ""))
    assert results[3].status is DeliveryStatus.DEFERRED
    assert results[4].text == "delivered to file: /dev/null"
    owner = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.geteuid()
    assert (public / "file").stat().st_uid == (public / "out").stat().st_uid == owner


def test_a_list_may_not_run_commands(house: House) -> None:
    listing = house.spool.parent / "list"
    listing.write_text('"|touch /tmp/x"\n')
    (result,) = house.deliver(house.recipient("list", f":include:{listing}"))
    assert (result.status, result.dsn) == (DeliveryStatus.BOUNCED, "5.2.0")


# ── rights ──


@as_root
@pytest.mark.root
def test_children_have_the_recipients_rights_and_no_others(house: House) -> None:
    out = house.home / "status"
    house.settings["mailbox_command"] = f"cat /proc/self/status > {out}; ls -l /proc/$$/fd >> {out}"
    house.deliver()
    facts = dict(line.split(":\t", 1) for line in out.read_text().splitlines() if ":\t" in line)
    uid, gid = house.user.pw_uid, house.user.pw_gid
    assert facts["Uid"].split() == [str(uid)] * 4
    assert facts["Gid"].split() == [str(gid)] * 4
    assert set(facts["Groups"].split()) <= {str(one) for one in os.getgrouplist(house.user.pw_name, gid)}
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(facts[name], 16) == 0
    assert "socket:" not in out.read_text()


@as_root
@pytest.mark.root
def test_roots_own_forward_runs_commands_as_nobody(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    public = house.spool.parent / "public"
    public.mkdir()
    public.chmod(0o777)
    root = pwd.struct_passwd(("root", "x", 0, 0, "root", str(house.home), "/bin/sh"))
    real = pwd.getpwnam
    monkeypatch.setattr(pwd, "getpwnam", lambda name: root if name == "root" else real(name))
    os.chown(house.home, 0, 0)
    house.forward.write_text(f'\\root, "|id -un > {public}/out"\n')
    house.forward.chmod(0o644)
    (result,) = house.deliver(house.recipient("root"))
    assert result.status is DeliveryStatus.SENT
    assert (public / "out").read_text() == "nobody\n"
    assert (house.spool / "root").stat().st_uid == 0


@as_root
@pytest.mark.root
def test_a_mailbox_of_somebody_else_is_left_alone(house: House) -> None:
    house.mailbox.write_text("")
    house.mailbox.chmod(0o666)
    (result,) = house.deliver()
    assert result.status is DeliveryStatus.DEFERRED
    assert "is owned by uid 0" in result.text
    house.settings["strict_mailbox_ownership"] = "no"
    assert house.deliver()[0].status is DeliveryStatus.SENT


@as_root
@pytest.mark.root
def test_without_root_mail_for_others_waits(house: House) -> None:
    """In a process that has become the test's user."""
    script = textwrap.dedent(
        f"""
        import os, sys
        sys.path.insert(0, {str(Path(__file__).parents[3])!r})
        import posthouse.services.local, tests.services.local.conftest as kit, pwd, pathlib, tempfile
        kit.known.complete()  # while the interpreter's own files can be read
        user = pwd.getpwnam({house.user.pw_name!r})
        os.setgroups([]); os.setresgid(*[user.pw_gid] * 3); os.setresuid(*[user.pw_uid] * 3)
        base = pathlib.Path(tempfile.mkdtemp())
        house = kit.House(base, user)
        own, = house.deliver()
        other, = house.deliver(house.recipient("nobody"))
        print(own.status.value, other.status.value, other.dsn, other.text)
        print((house.mailbox).stat().st_uid == user.pw_uid)
        import shutil; shutil.rmtree(base)
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == (
        "sent deferred 4.3.5 mail for nobody cannot be delivered: the mail system was not started by root\nTrue\n"
    ), done.stderr


def test_a_delivery_that_waits_for_a_lock_is_not_made_after_its_queue_is_gone(house: House) -> None:
    """The new queue gives it out again, and that attempt looks before it writes."""
    house.settings |= {"deliver_lock_attempts": "100"}
    lock = Path(f"{house.mailbox}.lock")

    async def scenario() -> None:
        async with house.started() as (process, registered):
            first = await registered.get()
            lock.write_text("1")
            question = asyncio.ensure_future(house._ask(first, house.job(), False))
            while not process._jobs:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)  # the child has met the lock
            first.close()
            second = await registered.get()
            again = asyncio.ensure_future(house._ask(second, house.job(maybe_delivered=True), False))
            await asyncio.sleep(0.2)
            lock.unlink()
            assert [one.dsn for one in await again] == ["2.0.0"]
            await asyncio.sleep(0.3)
            await asyncio.gather(question, return_exceptions=True)

    asyncio.run(asyncio.wait_for(scenario(), 30))
    assert house.mailbox.read_bytes().count(b"X-Posthouse-Delivery") == 1


def test_what_could_not_be_taken_back_is_uncertain(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue then tells the next attempt to look first."""
    child = "posthouse.delivery.mbox"

    def left_behind(*_: object, **__: object) -> bool:
        raise sys.modules[child].LeftBehind("Input/output error")

    monkeypatch.setattr(f"{child}.append", left_behind)
    (result,) = house.deliver()
    assert (result.dsn, result.is_uncertain) == ("4.3.0", True)
    assert "Input/output error" in result.text
