"""A worker that cannot be started, because memory, processes or its ports are not to be had just now, is tried again until it can be."""

import asyncio
import errno
import os
import socket
import sys
from pathlib import Path

import pytest

from edgeward import app_workers
from edgeward.app_workers import Crew
from edgeward.transports import tcp


def test_a_worker_that_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """First there is no second port, then no program, then a program that ends at once."""
    shares, refusals = tcp.shares, iter([False, True])

    def none_left(address: str, port: int, backlog: int) -> list[socket.socket]:
        if next(refusals, False):
            raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))
        return shares(address, port, backlog)

    async def story() -> None:
        stopped = asyncio.Event()
        crew = Crew(
            data=tmp_path, workers=2, address="127.0.0.1", https_port=0, hub_port=0, backlog=16, options=(), environment={}
        )  # fmt: skip
        worker = app_workers._Worker(1, crew, (0, 0), tmp_path, stopped)
        keeping = asyncio.create_task(worker.keep())

        async def told(words: str) -> None:
            while words not in caplog.text:
                assert not keeping.done(), "nobody would start it again"
                await asyncio.sleep(0.01)

        async with asyncio.timeout(60):
            await told("worker 1 cannot be started: cannot listen on 127.0.0.1:0: ")
            await told("worker 1 cannot be started: [Errno 2]")
            monkeypatch.setattr(sys, "executable", "/bin/false")
            await told("worker 1 ended with status 1; it is started again")
            stopped.set()
            await keeping
            worker.listen_no_more()

    monkeypatch.setattr(tcp, "shares", none_left)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    asyncio.run(story())
