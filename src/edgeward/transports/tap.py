"""The handshake messages of a TLS connection, as OpenSSL reads and writes them, decrypted.

Python offers this by a private hook, `SSLContext._msg_callback` (there since 3.8, used by its own tests), which is confined to this file;
`tests/doctor/test_tap.py` fails when it changes. It tells of messages and alerts, never of keys or of application data.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

HANDSHAKE, ALERT = 22, 21
MAX_HEARD = 512 * 1024
"""Octets of messages that are kept of one connection."""


Message: TypeAlias = Callable[[Any, str, Any, Any, Any, bytes], None]
"""Called for each message with the `SSLObject`, `read` or `write`, the version, the record type, the kind, and the octets."""


def listen(context: ssl.SSLContext, message: Message) -> ssl.SSLContext:
    """`context`, changed so that `message` hears every message of its connections."""
    listening: Any = context
    listening._msg_callback = message
    return context


@dataclass(slots=True)
class Tap:
    """What was heard, in order: (sender, record type, octets). One context, one connection."""

    heard: list[tuple[str, int, bytes]] = field(default_factory=list)
    size: int = 0

    def on(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """Listen to the one connection that will be made with `context`."""
        return listen(context, self._message)

    def _message(
        self, _tls: object, direction: str, _version: object, content: object, _kind: object, data: bytes
    ) -> None:
        kind = int(getattr(content, "value", content))  # type: ignore[call-overload]
        if kind in (HANDSHAKE, ALERT) and self.size + len(data) <= MAX_HEARD:
            self.size += len(data)
            self.heard.append(("client" if direction == "write" else "server", kind, bytes(data)))
