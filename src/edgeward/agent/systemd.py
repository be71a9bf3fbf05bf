"""What systemd is told (sd_notify(3)): that the service is ready, what it does, that it lives. Nothing without `NOTIFY_SOCKET`."""

import contextlib
import os
import socket


class Systemd:
    """The notification socket of this service, if it was started by systemd with `Type=notify`."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        environment = dict(os.environ) if environment is None else environment
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        interval = environment.get("WATCHDOG_USEC", "")
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog = int(interval) / 2_000_000 if interval.isdigit() and mine and self._address else None
        """Seconds between two `WATCHDOG=1`: half of what systemd allows; None when it does not watch."""

    def tell(self, *lines: str) -> None:
        """Send `READY=1`, `STATUS=…`, `WATCHDOG=1`, `STOPPING=1`. A socket that does not answer is no reason to stop."""
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify,
        ):
            notify.setblocking(False)
            notify.sendto("\n".join(lines).encode(), self._address)
