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
"""Characters of its output that are logged."""


async def run(command: Sequence[str], facts: Mapping[str, str], *, time: float = TIME) -> None:
    """Run `command` with `facts` added to this process's environment, and wait for its end. Raises `HookFailed`."""
    environment = {name: value for name, value in os.environ.items() if name not in ("NOTIFY_SOCKET", "WATCHDOG_USEC")}
    try:
        process = await asyncio.create_subprocess_exec(
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
            said = await _read(process)
            status = await process.wait()
    except TimeoutError as error:
        raise HookFailed(command=command[0], why=f"it took longer than {time:g} s and was killed") from error
    finally:  # also when we are stopped: what it left behind goes with it
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    for line in said.splitlines():
        _log.info("%s: %s", printable(command[0]), printable(line, 500))
    if status != 0:
        raise HookFailed(command=command[0], why=f"it ended with status {status}")
    _log.info("the hook %s is done", printable(command[0]))


async def _read(process: asyncio.subprocess.Process) -> str:
    """What it says until it closes its output: the beginning is kept, the rest is thrown away."""
    kept = b""
    if process.stdout is not None:
        while piece := await process.stdout.read(4096):
            kept += piece[: _SAID - len(kept)]
    return kept.decode("utf-8", "replace")
