"""Processes with one peculiarity each, run by the real master beside the real control process.

`python -m tests.runtime.subjects DIR CLASS SETTING...` starts a sandbox with just these two.
"""

import asyncio
import os
import sys
from pathlib import Path

from posthouse.cli import launch, sandbox
from posthouse.config.configuration import Configuration
from posthouse.core.logline import Level, Message
from posthouse.runtime.process import ProcessMain
from posthouse.runtime.schema import CONTROL
from posthouse.runtime.spec import Jail, Link, ProcessSpec, Replacement, Workers
from posthouse.services.table import process


class Subject(ProcessMain):
    def say(self, words: str) -> None:
        self.context.emit(Message(Level.INFO, "subject", words))

    async def start(self) -> None:
        self.say(f"started, pid {os.getpid()}")

    async def reload(self, configuration: Configuration) -> None:
        await super().reload(configuration)
        self.say(f"reloaded, {configuration.main.text('mail_name')}")

    async def drain(self) -> None:
        self.say("draining")

    async def stop(self) -> None:
        self.say("stopped in order")


class FailsBeforeTheJail(Subject):
    def before_jail(self) -> None:
        raise OSError("no key")


class FailsToStart(Subject):
    async def start(self) -> None:
        raise ValueError("nothing to serve")


class NeverReady(Subject):
    async def start(self) -> None:
        await asyncio.sleep(3600)


class Stubborn(Subject):
    async def stop(self) -> None:
        await asyncio.sleep(3600)


class Deaf(Subject):
    """Its loop is blocked for good: only a signal that cannot be caught ends it."""

    async def start(self) -> None:
        import time

        asyncio.get_running_loop().call_later(0.3, lambda: time.sleep(3600))


class Talkative(Subject):
    async def start(self) -> None:
        print("to standard output", flush=True)
        os.write(2, b"to standard error \xff\nwithout an end of line")


class Buggy(Subject):
    """A callback and a task raise; the process goes on."""

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: 1 // 0)
        loop.call_later(0.1, lambda: self.say("still here"))


class Restarting(Subject):
    async def start(self) -> None:
        marker = Path(os.environ["SUBJECT_MARKER"])
        if not marker.exists():
            await asyncio.sleep(0)
            os.environ["SUBJECT_MARKER"] = ""
            asyncio.get_running_loop().call_later(0.1, self.context.request_restart, "the disk is back")
        await super().start()


class LingersWhenDrained(Subject):
    async def drain(self) -> None:
        self.say("draining")
        await asyncio.sleep(3600)


class RefusesANewName(Subject):
    async def start(self) -> None:
        if self.context.settings.text("mail_name") != "before":
            raise ValueError("another name")
        await super().start()


class InPlace(Subject):
    pass


def main() -> int:
    directory, name = Path(sys.argv[1]), sys.argv[2]
    launch.PROCESSES = (
        process("control"),
        ProcessSpec(
            "subject",
            f"tests.runtime.subjects:{name}",
            "smtpd_user",
            Workers.ONE,
            Jail.NETWORK_ONLY,
            Replacement.IN_PLACE if name == "InPlace" else Replacement.REPLACED,
            services=(),
            links=(Link(CONTROL),),
        ),
    )
    settings = dict(one.split("=", 1) for one in sys.argv[3:])
    return sandbox.run_system(directory, overrides=settings, on_facts=sandbox._print_json)


if __name__ == "__main__":
    sys.exit(main())
