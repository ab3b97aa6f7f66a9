"""Ways in which a persona's file gets damaged, for `bench.trust` and the tests."""

import random

WAYS = HEADER, NUMBERS, CUT, MOVED = "bits in the header", "bits in the numbers", "cut off", "bytes lost or moved"


def damaged(content: bytes, way: str, chance: random.Random) -> bytes:
    """A .safetensors file's bytes, damaged in one of WAYS."""
    changed, header = bytearray(content), int.from_bytes(content[:8], "little") + 8
    if way == CUT:
        return content[: chance.randrange(len(content))]
    if way == MOVED:
        at, size = chance.randrange(len(content) - 9), chance.randrange(1, 9)
        del changed[at : at + size]
        return bytes(changed + bytes(size * chance.randrange(2)))
    low, high = (0, header) if way == HEADER else (header, len(content))
    for _ in range(chance.randrange(1, 4)):
        changed[chance.randrange(low, high)] ^= 1 << chance.randrange(8)
    return bytes(changed)
