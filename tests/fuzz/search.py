"""Fresh damage of the kept corpus, for a given time: what every check does, and `python -m tests.fuzz.search`.

Every run begins with a new number and says it when it finds something, with the bytes and the command that shows
it again. What was found is kept: `--keep` writes it into the corpus.
"""

from __future__ import annotations

import argparse
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from random import Random, SystemRandom
from typing import Final

from tests.fuzz.mutation import MUTATORS
from tests.fuzz.targets import TARGETS

CORPUS: Final = Path(__file__).parent / "corpus"
PEAK_BYTES_MAX: Final = 160_000_000
"""Memory that one input may take for a moment, the largest lawful lists of a frame as Python objects included."""
INPUT_MAX: Final = 1 << 20


class FoundError(AssertionError):
    """An input that shows a fault, and how to see it again."""


def corpus(target: str) -> list[Path]:
    return sorted((CORPUS / target).glob("*.bin"))


def chosen(kept: list[Path], random: Random) -> bytes:
    """One of them; those that take a while by their nature (`slow_`) seldom."""
    slow = [path for path in kept if path.stem.startswith("slow_")]
    others = [path for path in kept if path not in slow]
    return random.choice(slow if slow and random.random() < 0.02 else others).read_bytes()


def tried(target: str, data: bytes, said: str = "") -> None:
    """Run one input; turn whatever it raises into a `FoundError` that tells how to repeat it."""
    try:
        TARGETS[target](data)
    except Exception as error:
        text = data.hex()
        shown = text if len(text) < 2000 else text[:2000] + "..."
        raise FoundError(
            f"{target}: {type(error).__name__}: {error}\n{said}\ninput of {len(data)} bytes: {shown}\n"
            f"again with: python -m tests.fuzz.search {target} --hex {shown}"
        ) from error


def searched(target: str, seed: int, seconds: float, *, weigh_every: int = 50) -> int:
    """Damage inputs until the time is over; how many were tried. Every so often one is weighed."""
    random = Random(seed)
    kept = corpus(target)
    until_s = time.monotonic() + seconds
    count = 0
    while time.monotonic() < until_s:
        data = MUTATORS[target](chosen(kept, random), random)[:INPUT_MAX]
        said = (
            f"number {seed}, input {count}: python -m tests.fuzz.search {target} --seed {seed} --inputs {count + 1}"
        )
        if count % weigh_every == 0:
            peak = weighed(lambda data=data, said=said: tried(target, data, said))
            if peak > PEAK_BYTES_MAX:
                raise FoundError(f"{target}: {peak} bytes for an input of {len(data)} bytes\n{said}")
        else:
            tried(target, data, said)
        count += 1
    return count


def weighed(work: Callable[[], None]) -> int:
    """Bytes that the work takes at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def fresh() -> int:
    """A number that no run has had."""
    return SystemRandom().randrange(2**32)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.search", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--hex", help="run this one input")
    parser.add_argument("--file", type=Path, help="run the input in this file")
    parser.add_argument("--keep", metavar="NAME", help="write that input into the corpus under this name")
    parser.add_argument("--seed", type=int, default=None, help="begin with this number instead of a new one")
    parser.add_argument("--inputs", type=int, default=None, help="stop after so many")
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    data = bytes.fromhex(given.hex) if given.hex else given.file.read_bytes() if given.file else None
    if data is not None:
        if given.keep:
            (CORPUS / given.target / f"{given.keep}.bin").write_bytes(data)
        tried(given.target, data)
        print("no fault")
        return 0
    seed = fresh() if given.seed is None else given.seed
    if given.inputs is not None:
        random, kept = Random(seed), corpus(given.target)
        for _ in range(given.inputs):
            tried(given.target, MUTATORS[given.target](chosen(kept, random), random)[:INPUT_MAX])
        print("no fault")
        return 0
    count = searched(given.target, seed, given.seconds)
    print(f"{given.target}: {count} inputs of number {seed}, no fault")
    return 0


if __name__ == "__main__":
    sys.exit(main())
