"""A process of its own that races others for a token: `python -m tests.stores.racing URL KEY_ID USES RACERS SEED`. Prints who won."""

import asyncio
import sys

from msgspec.structs import replace

from edgeward.errors import TokenSpent
from edgeward.stores.postgres import open_store
from tests.support.rows import admission, new_record, new_token, use_of


async def race(url: str, key_id: str, uses: int, racers: int, seed: int) -> None:
    store = open_store(url)
    token = replace(new_token(pattern="*", uses=uses), key_id=key_id)
    records = [new_record(f"edge-{seed}-{n}", token=key_id, serial=f"{seed:x}{n:04x}") for n in range(racers)]
    sys.stdin.read()  # everybody is ready
    results = await asyncio.gather(
        *(store.plan(r, admission(use=use_of(token, r), uses=uses, new_name_only=True)) for r in records),
        return_exceptions=True,
    )
    for record, result in zip(records, results, strict=True):
        assert result is None or isinstance(result, TokenSpent), result
        if result is None:
            print(record.serial)
    await store.close()


if __name__ == "__main__":
    asyncio.run(race(sys.argv[1], sys.argv[2], *(int(one) for one in sys.argv[3:])))
