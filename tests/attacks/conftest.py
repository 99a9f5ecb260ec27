"""One running system for each module; strangers are at 127.0.0.1, and nobody may relay."""

from collections.abc import Iterator

import pytest

from tests.attacks.wire import Recorder
from tests.conftest import _reachable
from tests.running import RunningSystem


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    """Where all outgoing mail would go."""
    peer = Recorder()
    yield peer
    peer.close()


@pytest.fixture(scope="module")
def settings() -> tuple[str, ...]:
    """More of main.cf; modules that need some override this."""
    return ()


@pytest.fixture(scope="module")
def system(
    tmp_path_factory: pytest.TempPathFactory, recorder: Recorder, settings: tuple[str, ...]
) -> Iterator[RunningSystem]:
    running = RunningSystem(
        _reachable(tmp_path_factory.mktemp("attacked")) / "box",
        "mynetworks=192.0.2.0/24",
        f"relayhost=[127.0.0.1]:{recorder.port}",
        "smtpd_peername_lookup=no",
        "disable_dns_lookups=yes",
        "dovecot/auth_failure_delay=0",
        *settings,
    )
    # Attackers provoke warnings; that is what warnings are for. Errors are not.
    running.expect_log(r"warning: ")
    yield running
    running.stop()
