"""The maildrop, with everything strangers may put there."""

import asyncio
import errno
import os
from pathlib import Path

from posthouse.queue.fileops import FileOps
from posthouse.queue.maildrop import MAGIC, Drop, format_drop, leave
from tests.queue.asynchronous import asynchronous
from tests.queue.rig import HOST, Rig, running

DATA = format_drop(Drop("joe", ["alice@example.test", "root"], content=b"Subject: x\n\nhi\n"))


@asynchronous
async def test_a_left_file_is_noticed_at_once_and_becomes_a_message(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        box, local = await rig.agent("mailbox"), await rig.agent("local")
        maildrop = tmp_path / "spool/maildrop"
        leave(str(maildrop), DATA)
        await rig.until(lambda: any("removed" in line for line in rig.log))
        assert not list(maildrop.iterdir())
        (job,) = box.jobs
        assert str(job.sender) == f"joe@{HOST}"
        assert str(local.jobs[0].recipients[0].address) == f"root@{HOST}"
        queue_id = job.queue_id
        assert f"pickup: {queue_id}: uid={os.getuid()} from=<joe@{HOST}>" in rig.log
        assert any(line.startswith(f"cleanup: {queue_id}: message-id=<") for line in rig.log)
        assert b"Received: by" in box.contents[0]


@asynchronous
async def test_what_was_left_while_the_system_was_stopped_is_taken_at_start(tmp_path: Path) -> None:
    (tmp_path / "spool/maildrop").mkdir(parents=True)
    for _ in range(20):
        leave(str(tmp_path / "spool/maildrop"), DATA)
    async with running(tmp_path, {"maildrop_scan_limit": "7"}) as rig:
        await rig.agent("mailbox")
        await rig.agent("local")
        await rig.until(lambda: sum("removed" in line for line in rig.log) == 20)


@asynchronous
async def test_only_complete_regular_files_with_one_link_and_the_right_group_are_taken(tmp_path: Path) -> None:
    maildrop = tmp_path / "spool/maildrop"
    maildrop.mkdir(parents=True)
    (tmp_path / "secret").write_bytes(DATA)
    os.symlink(tmp_path / "secret", maildrop / "symlink")
    os.link(tmp_path / "secret", maildrop / "hardlink")
    os.mkfifo(maildrop / "fifo")
    (maildrop / "directory").mkdir()
    (maildrop / ".partial").write_bytes(DATA)
    (maildrop / "rubbish").write_bytes(b"\0\1\2")
    expected = 5
    if os.getuid() == 0:
        (maildrop / "moved-in").write_bytes(DATA)
        os.chown(maildrop / "moved-in", 12345, 12345)
        expected += 1
    async with running(tmp_path) as rig:
        box = await rig.agent("mailbox")
        await rig.agent("local")
        await rig.until(lambda: sum(line.startswith("pickup: warning") for line in rig.log) == expected)
        leave(str(maildrop), DATA)
        await rig.until(lambda: len(box.jobs) == 1)
        assert (maildrop / "hardlink").exists()
        assert (maildrop / ".partial").exists()
        # Each is said once, however often the directory is looked at.
        assert sum(line.startswith("pickup: warning") for line in rig.log) == expected


@asynchronous
async def test_a_failing_lookup_leaves_the_file_for_later(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        rig.tables.failing = True
        await rig.agent("mailbox")
        maildrop = tmp_path / "spool/maildrop"
        leave(str(maildrop), DATA)
        await rig.until(lambda: bool(rig.tables.asked))
        rig.tables.failing = False
        assert len(list(maildrop.iterdir())) == 1
        rig.process.pickup.wake()
        await rig.until(lambda: not list(maildrop.iterdir()))


@asynchronous
async def test_a_crash_between_journal_and_removal_does_not_send_it_twice(tmp_path: Path) -> None:
    rig = await Rig(tmp_path).start()
    maildrop = tmp_path / "spool/maildrop"

    class Unremovable(FileOps):
        def unlink(self, path: str) -> None:
            if "/maildrop/" in path:
                raise OSError(errno.EIO, "no")
            super().unlink(path)

    rig.process.ledger.ops = Unremovable()
    name = leave(str(maildrop), DATA)
    await rig.until(lambda: any("the maildrop cannot be changed" in line for line in rig.log))
    rig.process.pickup.wake()
    await rig.until(lambda: sum("the maildrop cannot be changed" in line for line in rig.log) == 2)
    assert sum("cleanup" in line for line in rig.log) == 1
    await rig.crash()
    assert (maildrop / name).exists()
    async with running(tmp_path) as again:
        box = await again.agent("mailbox")
        await again.agent("local")
        await again.until(lambda: any("removed" in line for line in again.log))
        assert not list(maildrop.iterdir())
        assert len(box.jobs) == 1


@asynchronous
async def test_a_message_whose_file_stays_waits_and_goes_when_the_file_is_gone(tmp_path: Path) -> None:
    """Neither may the index give it out meanwhile, nor may it be forgotten there."""
    async with running(tmp_path) as rig:
        box = await rig.agent("mailbox")
        await rig.agent("local")
        broken = True

        class SometimesUnremovable(FileOps):
            def unlink(self, path: str) -> None:
                if broken and "/maildrop/" in path:
                    raise OSError(errno.EIO, "no")
                super().unlink(path)

        rig.process.ledger.ops = SometimesUnremovable()
        leave(str(tmp_path / "spool/maildrop"), DATA)
        await rig.until(lambda: any("the maildrop cannot be changed" in line for line in rig.log))
        for _ in range(3):
            await rig.process.housekeeping.checkpoint(everything=True)
            asked = asyncio.Event()
            rig.process.manager.expedite("", asked.set)
            await asked.wait()
        assert box.jobs == []
        broken = False
        rig.process.pickup.wake()
        await rig.until(lambda: any("removed" in line for line in rig.log))
        assert len(box.jobs) == 1


@asynchronous
async def test_octets_that_are_no_utf8_stop_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        box = await rig.agent("mailbox")
        maildrop = tmp_path / "spool/maildrop"
        for name, lines in (
            ("bad-envelope", b"from j\xe9\nto alice@example.test\n"),
            ("bad-name", b"from j\nto a@example.test\nfullname \xff\n"),
        ):
            (tmp_path / name).write_bytes(MAGIC + lines + b"\nSubject: x\n\nhi\n")
            (tmp_path / name).rename(maildrop / name)  # whole at once, as postdrop leaves them
        for content in (b"Message-Id: <\xe9\xff@x>\nSubject: \xff\n\n\xfe\n", b"Subject: good\n\nhi\n"):
            leave(str(maildrop), format_drop(Drop("joe", ["alice@example.test"], content=content)))
        await rig.until(lambda: sum("removed" in line for line in rig.log) == 2)
        await rig.until(lambda: sum("not UTF-8" in line for line in rig.log) == 2)
        assert len(box.jobs) == 2
        assert any("message-id=<\\xe9\\xff@x>" in line for line in rig.log)
        assert any(b"Message-Id: <\xe9\xff@x>" in content for content in box.contents)
        assert rig.problems == []


@asynchronous
async def test_a_large_file_gets_a_file_of_its_own(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        box = await rig.agent("mailbox")
        body = b"0123456789\n" * 100_000
        leave(
            str(tmp_path / "spool/maildrop"),
            format_drop(Drop("joe", ["a@example.test"], content=b"Subject: x\n\n" + body)),
        )
        await rig.until(lambda: any("removed" in line for line in rig.log))
        assert box.contents[0].endswith(body.replace(b"\n", b"\r\n"))
        assert box.jobs[0].content == b""


@asynchronous
async def test_a_forbidden_octet_is_refused_as_it_is_by_smtp(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        box = await rig.agent("mailbox")
        content = b"Subject: x\n\na\0b\n"
        leave(str(tmp_path / "spool/maildrop"), format_drop(Drop("joe", ["alice@example.test"], content=content)))
        await rig.until(lambda: any("disallowed character" in line for line in rig.log))
        assert not any(b"a\0b" in one for one in box.contents)
