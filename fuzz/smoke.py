"""Targets without coverage and without atheris: for the tests, and to look at one input."""

from random import Random

from fuzz.limits import guarded
from fuzz.mutation import mutated
from fuzz.target import Target, committed_inputs, load


def replay(name: str, data: bytes) -> None:
    guarded(load(name).check)(data)


def smoke(name: str, inputs: int) -> None:
    """Every seed, then this many mutations of seeds and committed inputs, always the same ones."""
    target: Target = load(name)
    check = guarded(target.check)
    for seed in target.seeds:
        check(seed)
    random = Random(name)
    pool = [*target.seeds, *(path.read_bytes() for path in committed_inputs(name))]
    for _ in range(inputs):
        data = mutated(target, random.choice(pool), random, min(target.max_octets, 1000))
        try:
            check(data)
        except BaseException as error:
            error.add_note(f"fuzz target {name}, input {data!r}")
            raise
