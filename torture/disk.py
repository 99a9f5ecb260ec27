"""A small ext4 of its own, which can be full, and can lose what was not flushed."""

import os
import subprocess
import time
from pathlib import Path
from typing import Final

DISK_MB: Final = 512
_SNAPSHOT_LIMIT_S: Final = 10.0
_UNMOUNT_LIMIT_S: Final = 10.0


class Disk:
    """Mounted at `path`; without root just the directory."""

    def __init__(self, path: Path, image: Path) -> None:
        self.path = path
        self._is_full = False
        self._image = image
        self._snapshot = image.with_name(image.name + ".then")
        path.mkdir(parents=True, exist_ok=True)
        self.is_own = False
        if os.geteuid() != 0:
            return
        with open(image, "wb") as file:
            file.truncate(DISK_MB << 20)
        try:
            subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-I", "256", str(image)], check=True, capture_output=True)
            self._mount()
        except (OSError, subprocess.CalledProcessError):
            return
        self.is_own = True
        path.chmod(0o755)

    def fill(self) -> None:
        """Take every free block."""
        self._is_full = True
        with open(self.path / "filler", "wb", buffering=0) as file:
            step = 16 << 20
            at = 0
            while step >= 4096:
                try:
                    os.posix_fallocate(file.fileno(), at, step)
                    at += step
                except OSError:
                    step //= 2

    def relieve(self) -> None:
        self._is_full = False
        (self.path / "filler").unlink(missing_ok=True)

    # ── loss of power ──

    def remember(self) -> None:
        """Copy what the device holds now: every write that has reached it, and none that still lies in the page cache.

        Nobody may be writing. A copy during which the kernel wrote is thrown away: it would mix two moments.
        """
        give_up = time.monotonic() + _SNAPSHOT_LIMIT_S
        while time.monotonic() < give_up:
            before = self._writes()
            subprocess.run(["cp", "--sparse=always", str(self._image), str(self._snapshot)], check=True)
            if self._writes() == before and before[1] == 0:
                return
        raise TimeoutError(f"{self._image}: the kernel does not stop writing")

    def go_back(self) -> None:
        """The device as it was remembered, through the recovery of its file system. Nobody may use the old one."""
        give_up = time.monotonic() + _UNMOUNT_LIMIT_S
        while subprocess.run(["umount", str(self.path)], check=False, capture_output=True).returncode:
            if time.monotonic() > give_up:
                raise TimeoutError(f"{self.path} is in use")
            time.sleep(0.02)
        self._snapshot.replace(self._image)
        self._mount()
        if not self._is_full:
            self.relieve()  # the cut may have brought it back

    def _mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.path)], check=True, capture_output=True)

    def _writes(self) -> tuple[int, int]:
        """How many writes the device has completed, and how many are under way (block/stat.rst)."""
        number = os.stat(self.path).st_dev
        numbers = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat").read_text().split()
        return int(numbers[4]), int(numbers[8])

    def close(self) -> None:
        if self.is_own:
            subprocess.run(["umount", "-l", str(self.path)], check=False, capture_output=True)
