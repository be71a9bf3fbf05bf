"""A process that opens an authority on each database it is told of: `python -m tests.faults.starting DIRECTORY`, addresses on stdin, pins
on stdout."""

import asyncio
import sys
from pathlib import Path

from edgeward import app

if __name__ == "__main__":
    environment = {"EDGEWARD_PASSPHRASE": "correct horse", "HOME": sys.argv[1]}
    for n, line in enumerate(sys.stdin):
        data = Path(sys.argv[1]) / f"data-{n}"
        shown = asyncio.run(
            app.offline_call(data, environment | {"EDGEWARD_DATABASE": line.strip()}, "GET", "/v1/ca", None)
        )
        print(shown["pin"], flush=True)
