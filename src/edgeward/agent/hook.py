"""A program that runs when the certificate changes: a reload of whatever else on the device uses the pair.

It is a list of arguments and never meets a shell (T-60). It gets what it may want to know in its environment, has bounded time, and
what it says is bounded and logged. The keys of this process are files, and none is in its environment or its descriptors.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Mapping, Sequence

from edgeward.errors import HookFailed, printable

_log = logging.getLogger(__name__)

TIME = 60.0
"""Seconds that a hook may take; then it and its children are killed."""

_SAID = 2000
"""Octets of its output that are logged."""

_LAST_WORDS = 1.0
"""Seconds for which output is still read when it has ended, should something that it left behind hold on to it."""


class _Hook(asyncio.SubprocessProtocol):
    """What a hook says, the beginning kept and the rest thrown away, and when it ends."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.said = b""
        self.ended: asyncio.Future[None] = loop.create_future()
        self.silent: asyncio.Future[None] = loop.create_future()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.said += data[: _SAID - len(self.said)]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self.silent.set_result(None)

    def process_exited(self) -> None:
        self.ended.set_result(None)


async def run(command: Sequence[str], facts: Mapping[str, str], *, time: float = TIME) -> None:
    """Run `command` with `facts` added to this process's environment, and wait for its end, at most `time` seconds. Raises `HookFailed`.

    Its children end with it. A daemon that it starts in a session of its own goes on, and is not waited for.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ("NOTIFY_SOCKET", "WATCHDOG_USEC")}
    try:
        transport, hook = await asyncio.get_running_loop().subprocess_exec(
            _Hook,
            *command,
            env={**environment, **facts},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise HookFailed(command=command[0], why=getattr(error, "strerror", None) or str(error)) from error
    try:
        async with asyncio.timeout(time):
            await asyncio.shield(hook.ended)
    except TimeoutError as error:
        raise HookFailed(command=command[0], why=f"it took longer than {time:g} s and was killed") from error
    finally:  # also when we are stopped: what it left behind goes with it
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(transport.get_pid(), signal.SIGKILL)
        await hook.ended
        await asyncio.wait((hook.silent,), timeout=_LAST_WORDS)
        transport.close()
    for line in hook.said.decode("utf-8", "replace").splitlines():
        _log.info("%s: %s", printable(command[0]), printable(line, 500))
    if status := transport.get_returncode():
        raise HookFailed(command=command[0], why=f"it ended with status {status}")
    _log.info("the hook %s is done", printable(command[0]))
