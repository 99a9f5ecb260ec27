"""Sockets between processes: a place per worker, an owner per client group, modes that hold from the first moment."""

import os
import socket
import stat
from pathlib import Path

import pytest

from posthouse.runtime import sockets
from posthouse.runtime.schema import CONTROL, MAILBOX_HANDOVER, QUEUE_ADMIN, QUEUE_SHOW
from posthouse.services.table import PROCESSES


def test_the_table_becomes_sockets(tmp_path: Path) -> None:
    plans = sockets.plan(PROCESSES, {spec.name: None for spec in PROCESSES}, (QUEUE_ADMIN,), (QUEUE_SHOW,), CONTROL)
    workers = {spec.name: 2 if spec.name == "mailbox" else 1 for spec in PROCESSES}
    made = sockets.make_sockets(str(tmp_path / "run"), plans, workers)
    for worker in (0, 1):
        handover = tmp_path / f"run/mailbox.{worker}/{MAILBOX_HANDOVER.name}.login"
        assert stat.S_ISSOCK(handover.stat().st_mode)
        assert handover.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "run/queue.0/show.cli").stat().st_mode & 0o777 == 0o666
    assert (tmp_path / "run/queue.0/admin.cli").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "run/queue.0").stat().st_mode & 0o777 == 0o711
    assert not (tmp_path / "run/queue.0/intake.login").exists()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "run/control.0/control.master"))
    for one in made.values():
        for _, sock in one:
            sock.close()


def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    sockets.make_socket(path, None, 0o600).close()
    again = sockets.make_socket(path, None, 0o600)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    again.close()


def test_a_name_too_long_for_the_kernel_is_explained(tmp_path: Path) -> None:
    with pytest.raises(sockets.RunDirectoryError, match="shorter name"):
        sockets.make_socket(str(tmp_path / ("x" * 120)), None, 0o600)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_socket_belongs_to_the_client(tmp_path: Path) -> None:
    made = sockets.make_socket(str(tmp_path / "sock"), sockets.Owner(12345, 12345), 0o600)
    facts = (tmp_path / "sock").stat()
    assert (facts.st_uid, facts.st_gid) == (12345, 12345)
    made.close()
