"""Who does the work on many requests: a process a core, each with a share, or this process when there are few."""

import asyncio
import contextlib
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, Protocol

from edgeward.cli.bench import Bench, Problem, Source, serve
from edgeward.errors import Unavailable

MANY = 256
"""Requests from which on processes of their own are worth their start."""


class Worker(Protocol):
    """Somebody with a share of the requests: the places in the whole that it is for."""

    share: range

    async def ask(self, question: str, argument: Any) -> Any:
        """The answer of `Bench`'s method `question`. Answers come in the order of the questions. Raises `Unavailable`."""
        ...


class Here:
    """A worker that is this process."""

    def __init__(self, share: range, sources: Sequence[Source]) -> None:
        self.share = share
        self._bench = Bench(sources)
        self._bench.read()

    async def ask(self, question: str, argument: Any) -> Any:
        """Done at once."""
        return getattr(self._bench, question)(argument)


class Beside:
    """A worker that is a process of its own, which ends when this one does."""

    def __init__(self, share: range, process: Any, pipe: Connection) -> None:
        self.share = share
        self._process = process
        self._pipe = pipe
        self._asked: deque[asyncio.Future[Any]] = deque()

    async def ask(self, question: str, argument: Any) -> Any:
        """Questions are short, so that they fit into the pipe while the other end is busy with an answer."""
        loop = asyncio.get_running_loop()
        if not self._asked:
            loop.add_reader(self._pipe.fileno(), self._heard)
        answer: asyncio.Future[Any] = loop.create_future()
        self._asked.append(answer)
        try:
            self._pipe.send((question, argument))
        except OSError as error:
            raise _gone() from error
        return await answer

    def _heard(self) -> None:
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
            while self._asked:
                _settle(self._asked.popleft(), _gone())
            return
        _settle(self._asked.popleft(), Unavailable(problem=answer.error) if isinstance(answer, Problem) else answer)
        if not self._asked:
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())

    def stop(self) -> None:
        """End it; what it was doing is not finished."""
        self._pipe.close()
        self._process.terminate()
        self._process.join()


def _settle(asked: asyncio.Future[Any], answer: Any) -> None:
    if asked.done():  # whoever asked has been cancelled
        return
    if isinstance(answer, Unavailable):
        asked.set_exception(answer)
    else:
        asked.set_result(answer)


def _gone() -> Unavailable:
    return Unavailable(problem="a process that signs has ended unexpectedly; run the same command again")


@contextlib.contextmanager
def working(sources: Sequence[Source], *, cores: int | None = None) -> Iterator[Sequence[Worker]]:
    """Workers who have begun to read their shares of `sources`. To be called before this process has threads, locks or a store open:
    where the system allows it, the others are copies of it."""
    count = cores or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if len(sources) < MANY or count < 2:
        yield [Here(range(len(sources)), sources)]
        return
    context: Any = multiprocessing.get_context("fork" if sys.platform.startswith("linux") else "spawn")
    begun: list[Beside] = []
    pipes: list[Connection] = []
    try:
        for number in range(count):
            share = range(number, len(sources), count)
            ours, theirs = context.Pipe()
            pipes.append(ours)
            others = tuple(pipes) if context.get_start_method() == "fork" else ()
            part = [sources[place] for place in share]
            process: Any = context.Process(target=serve, args=(theirs, others, part), daemon=True)
            process.start()
            theirs.close()
            begun.append(Beside(share, process, ours))
        yield begun
    finally:
        for worker in begun:
            worker.stop()
