"""One target under atheris, for a given time: `python -m fuzz.worker NAME SECONDS WORK_DIRECTORY`.

libFuzzer ends the process at the first finding and leaves the input as `crash-…`, `timeout-…` or `oom-…` in the work
directory; `campaign` takes it from there.
"""

import sys
from pathlib import Path
from random import Random
from typing import Final

import atheris

from fuzz.limits import guarded
from fuzz.mutation import mutated
from fuzz.target import CORPUS, load

HANG_S: Final = 90
"""Wall clock: for what never comes back, so that the limit in `limits` cannot be asked."""
RSS_MIB: Final = 1200


def main() -> None:
    name, seconds, work = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    with atheris.instrument_imports(include=["posthouse"]):
        target = load(name)
    corpus = work / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number:02}").write_bytes(seed)
    dictionary = work / "words"
    quoted = ("".join(f"\\x{octet:02x}" for octet in word) for word in target.words)
    dictionary.write_text("".join(f'"{word}"\n' for word in quoted))

    def mutate(data: bytes, limit: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.5:
            return bytes(atheris.Mutate(data, limit))
        return mutated(target, data, random, limit)

    # Not what was found: until it is repaired it would end every process at once.
    directories = [str(path) for path in (corpus, CORPUS / name) if path.is_dir()]
    atheris.Setup(
        [
            "fuzz",
            *directories,
            f"-max_total_time={seconds}",
            f"-max_len={target.max_octets}",
            f"-timeout={HANG_S}",
            f"-rss_limit_mb={RSS_MIB}",
            f"-dict={dictionary}",
            f"-artifact_prefix={work}/",
            "-len_control=30",
            "-print_final_stats=1",
            "-verbosity=1",
        ],
        guarded(target.check),
        custom_mutator=mutate,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
