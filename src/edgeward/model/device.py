"""A device: an identity with a life, which outlives its certificates, and its presence at the hub."""

from datetime import datetime
from enum import StrEnum

import msgspec

from edgeward.model.authority import CertificateRecord


class Cause(StrEnum):
    """Why a session ended."""

    CLOSED = "closed"
    """The device closed it, or its connection broke."""
    SILENT = "silent"
    """No keepalive for a whole interval."""
    REPLACED = "replaced"
    """The same device connected again; the newest session wins."""
    REVOKED = "revoked"
    """Its certificate or the device was revoked."""
    EXPIRED = "expired"
    """Its certificate's time ended, and it had not come with a new one."""
    PROTOCOL = "protocol"
    """It broke the protocol: a frame too large, JSON that is none."""
    SHUTDOWN = "shutdown"
    """This server stopped."""
    UNKNOWN = "unknown"
    """The server died with the session open; found at the next start."""


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """Something in the history of a node: `event` is `online`, `offline`, `refused` or `clock`, `why` says more in words."""

    node: str
    at: datetime
    event: str
    why: str = ""
    address: str = ""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """What the store knows of a device. Blocked from `blocked_at` on, until a token made with --unblock lets it back."""

    name: str
    created_at: datetime
    blocked_at: datetime | None = None
    blocked_reason: str | None = None
    online_since: datetime | None = None
    offline_since: datetime | None = None
    offline_cause: Cause | None = None
    last_seen: datetime | None = None
    address: str | None = None
    connections: int = 0
    clock_skew_ms: int | None = None
    """How far its clock is ahead of ours, by its first keepalive on its last connection."""
    refused_at: datetime | None = None
    """When a connection in its name was last refused, and why."""
    refused_why: str | None = None


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A device and its current certificate, as `edgeward nodes` shows it."""

    device: Device
    certificate: CertificateRecord | None

    @property
    def state(self) -> str:
        """`revoked`, `online` or `offline`: derived, never stored."""
        if self.device.blocked_at is not None:
            return "revoked"
        return "online" if self.device.online_since is not None else "offline"

    @property
    def since(self) -> datetime:
        """Since when the state holds: a device that never connected is offline since it became known."""
        device = self.device
        moments = {"revoked": device.blocked_at, "online": device.online_since, "offline": device.offline_since}
        return moments[self.state] or device.created_at
