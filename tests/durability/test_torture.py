"""A short run of the torture, so that it stays in order; `make torture` is the real one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from torture.injection import EVERYBODY, SHORT_WRITE, Calls, Injection
from torture.plan import FAULTS, plan
from torture.rounds import Torture

SEED = 7
ROUNDS = 12


@pytest.mark.timeout(600)
def test_nothing_acknowledged_is_lost_or_doubled_in_a_short_torture(open_directory: Path) -> None:
    torture = Torture(open_directory, SEED)
    try:
        failed = torture.run(0, ROUNDS)
    finally:
        torture.close()
    assert not failed, torture.last_line()
    assert torture.rounds == ROUNDS
    assert torture.operations > ROUNDS * 5, "there was no load to speak of"


def test_every_kind_of_fault_leads_a_round_before_one_comes_again() -> None:
    leads = [{event.fault for event in plan(3, number, FAULTS).events} for number in range(len(FAULTS))]
    assert set().union(*leads) == set(FAULTS)


def test_a_plan_follows_from_its_seed() -> None:
    assert plan(5, 17, FAULTS) == plan(5, 17, FAULTS)
    assert plan(5, 17, FAULTS) != plan(6, 17, FAULTS)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the faults in system calls need gcc")
@pytest.mark.parametrize(
    ("calls", "action"),
    [
        (Calls.WRITE, "os.write(f, b'x')"),
        (Calls.WRITE, "os.pwritev(f, [b'x'], 0)"),
        (Calls.FLUSH, "os.fsync(f)"),
        (Calls.FLUSH, "os.fdatasync(f)"),
        (Calls.FLUSH, "by_kernel(f)"),
        (Calls.SYNCFS, "libc.syncfs(f) and (_ for _ in ()).throw(OSError(ctypes.get_errno(), ''))"),
        (Calls.CREATE, "os.open('new', os.O_CREAT | os.O_WRONLY)"),
        (Calls.CREATE, "os.link('file', 'other')"),
        (Calls.RENAME, "os.rename('file', 'other')"),
        (Calls.UNLINK, "os.unlink('file')"),
        (Calls.TRUNCATE, "os.ftruncate(f, 0)"),
        (Calls.WRITE, "sqlite()"),
    ],
)
def test_each_call_that_is_made_to_fail_fails(tmp_path: Path, calls: Calls, action: str) -> None:
    program = f"""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
f = os.open('file', os.O_CREAT | os.O_RDWR)
def sqlite():
    import apsw
    try:
        apsw.Connection('db').execute('create table t(x)')
    except apsw.Error as error:
        raise OSError(5, str(error)) from error
def by_kernel(f):
    import asyncio
    from posthouse.runtime.kernel_flush import KernelFlush
    async def flush():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        assert KernelFlush.open(loop).flush(f, done.set_result)
        if (error := await done) is not None:
            raise error
    asyncio.run(flush())
print('ready', flush=True)
input()
try:
    {action}
    print('went well')
except OSError as error:
    print('failed', error.errno)
"""
    injection = Injection(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        text=True,
        env={**os.environ, **injection.environment},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    injection.arm([process.pid], calls, 5)
    answer, _ = process.communicate("go\n", timeout=30)
    assert answer == "failed 5\n"
    assert injection.disarm() >= 1


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the faults in system calls need gcc")
def test_short_writes_and_a_shifted_clock(tmp_path: Path) -> None:
    injection = Injection(tmp_path)
    injection.arm([EVERYBODY], Calls.WRITE, SHORT_WRITE)
    injection.shift_clock(86_400)
    program = """
import os, time
f = os.open('file', os.O_CREAT | os.O_RDWR)
print(os.pwrite(f, b'0123456789', 0), time.time())
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={**os.environ, **injection.environment},
    )
    written, now = done.stdout.split()
    assert written == "5"
    assert float(now) > (tmp_path / "file").stat().st_mtime + 80_000
