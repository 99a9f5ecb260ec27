"""Queue processes to be killed, forked from one process that has imported everything.

python -m tests.queue.victim reads lines: "start DIR OUTPUT CRASH_AT" is answered with a pid, "status PID" with the
signal that ended it, or 0 while it lives.
"""

import asyncio
import os
import sys
from pathlib import Path

from posthouse.runtime import crashpoints
from tests.queue.rig import Rig

SETTINGS = {
    "queue_segment_size": "64k",
    "queue_checkpoint_interval": "0.1s",
    "minimal_backoff_time": "300s",
    "queue_run_delay": "300s",
    "queue_spare_segments": "1",
    "queue_large_message_size": "50k",
}


async def live(directory: Path) -> None:
    rig = await Rig(directory, SETTINGS).start()
    print("ready", flush=True)
    while True:
        await asyncio.sleep(0.05)
        for line in rig.log:
            print(line, flush=True)
        rig.lines.clear()


def child(directory: str, output: str, crash_at: str) -> None:
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    crashpoints.arm(crash_at)
    asyncio.run(live(Path(directory)))


def main() -> None:
    for line in sys.stdin:
        command, *words = line.split()
        if command == "start":
            pid = os.fork()
            if pid == 0:
                child(words[0], words[1], words[2] if len(words) > 2 else "")
                os._exit(0)
            print(pid, flush=True)
        else:
            done, status = os.waitpid(int(words[0]), os.WNOHANG)
            print((os.WTERMSIG(status) or 255) if done else 0, flush=True)


if __name__ == "__main__":
    main()
