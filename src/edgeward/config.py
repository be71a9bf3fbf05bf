"""The configuration: `DATA/edgeward.toml` read into frozen values. Only `app` and `cli` see it.

Every member has a default; an unknown member or a number that makes no sense is an error, because a misspelt limit is no limit.
"""

import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edgeward.errors import BadName, UsageError
from edgeward.pki import names
from edgeward.pki.profile import Profile, default_profiles

FILE = "edgeward.toml"

Port = Annotated[int, Meta(ge=0, le=65535)]
"""0: any free one."""
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Rate = Annotated[float, Meta(ge=1, le=1e9)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Span = Annotated[float, Meta(ge=0, le=53_000_000)]
"""Minutes, hours or days; a hundred years in minutes at most. `pki.profile` has the rules."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class Authority(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[authority]`: the CA that is made on first start. Changes after that have no effect on it."""

    name: str = ""
    """Common name of the CA; empty: `Edgeward CA` and eight random hex digits, so that two authorities never share a name."""
    lifetime_days: Annotated[int, Meta(ge=1, le=36525)] = 3652
    trust_domain: str = "edgeward.internal"
    """The authority part of the SPIFFE URI in device and operator certificates. A name with a dot: RFC 5280 section 4.2.1.6 wants it
    fully qualified; `internal` is reserved for private use."""


class Listen(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[listen]`: where the servers listen. Command line options go before these."""

    address: str = ""
    """An IP address; empty: every address of this machine, IPv4 and IPv6."""
    https_port: Port = 10002
    hub_port: Port = 10000
    quic_port: Port | None = None
    """UDP, usually 10001: the hub over QUIC, for Edgeward's own agents. Absent: not served. Needs the extra `quic`."""
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    """Processes that share the ports; several need a database that they share."""
    api_port: Port | None = None
    """Of the administrative API for operators elsewhere, over mutual TLS; none: only the socket in the data directory."""
    backlog: Count = 4096


class Enrolment(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[enrolment]`: the server on port 10002."""

    renewal_grace_hours: Annotated[float, Meta(ge=0, le=87_600)] = 0
    """For how long after its end a certificate may still renew itself."""
    csr_limit: Count = 64 * 1024
    """Octets of a request body."""


class Limits(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[limits]`: against floods. A limit never blocks an address for longer than it is exceeded."""

    handshakes: Count = 4096
    """Connections, in all, that have not finished their TLS handshake."""
    handshakes_per_address: Count = 512
    requests_per_second: Rate = 5000
    """Requests a second from one address, on port 10002."""
    handshake_seconds: Seconds = 10
    header_seconds: Seconds = 30
    body_seconds: Seconds = 30
    idle_seconds: Seconds = 75


class HubSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[hub]`: the server on port 10000."""

    keepalive_seconds: Seconds = 30
    """A node that sends no keepalive for so long is offline. Real edges send one every 15 seconds."""
    message_limit: Count = 32 * 1024 * 1024
    node_limit: Count = 100_000
    messages_per_second: Rate = 60
    """From one node; it is read more slowly beyond."""


class Delivery(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[delivery]`: messages to nodes."""

    queue_messages: Count = 1000
    """That may wait for one node."""
    queue_octets: Count = 64 * 1024 * 1024
    lifetime_hours: Annotated[float, Meta(gt=0, le=8760)] = 24
    """For which a message is tried, unless its sender says less."""
    retry_seconds: Seconds = 5
    sends: Annotated[int, Meta(ge=1, le=1000)] = 5
    """How often a message is sent before it is given up for a while."""
    receipt_hours: Annotated[float, Meta(gt=0, le=8760)] = 24
    """For which it is known what became of a message, and its id recognised."""
    receipts: Count = 200_000


class StoreSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[store]`: where rows and keys are."""

    database: str = ""
    """`postgresql://…` that several replicas share, or `@FILE` with it; empty: SQLite in the data directory."""


class BusSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[bus]`: how replicas tell each other what happened."""

    url: str = ""
    """`nats://…`, several with commas, or `@FILE`; empty: the database's own NOTIFY."""
    credentials: str = ""
    """A NATS credentials file."""


class ProfileChange(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[profiles.NAME]`: what differs from the built-in profile of that name."""

    lifetime_days: Span | None = None
    lifetime_minutes: Span | None = None
    backdate_minutes: Span | None = None
    common_name: str | None = None
    organization: str | None = None
    uri: str | None = None
    key_algorithms: list[str] | None = None


class Config(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    advertise: list[str] | None = None
    """The names and addresses that clients dial; when it is there, it goes before what the store remembers."""
    authority: Authority = Authority()
    listen: Listen = Listen()
    enrolment: Enrolment = Enrolment()
    limits: Limits = Limits()
    hub: HubSection = HubSection()
    delivery: Delivery = Delivery()
    store: StoreSection = StoreSection()
    bus: BusSection = BusSection()
    profiles: dict[str, ProfileChange] = {}

    def resolved_profiles(self) -> dict[str, Profile]:
        """The built-in profiles with the changes of the file. Raises `UsageError` for an unknown name or rules that contradict."""
        try:
            names.dns_name(self.authority.trust_domain)
        except BadName as error:
            raise UsageError(problem=f"[authority] trust_domain: {error}") from error
        resolved = default_profiles()
        resolved["ca"] = _changed(resolved["ca"], ProfileChange(lifetime_days=self.authority.lifetime_days))
        for name, change in self.profiles.items():
            if name not in resolved:
                raise UsageError(problem=f"[profiles.{name}]: there are the profiles {', '.join(sorted(resolved))}")
            resolved[name] = _changed(resolved[name], change)
        return resolved


def _changed(profile: Profile, change: ProfileChange) -> Profile:
    lifetime = profile.lifetime
    if change.lifetime_days is not None or change.lifetime_minutes is not None:
        lifetime = timedelta(days=change.lifetime_days or 0, minutes=change.lifetime_minutes or 0)
    backdate = profile.backdate if change.backdate_minutes is None else timedelta(minutes=change.backdate_minutes)
    algorithms = profile.key_algorithms if change.key_algorithms is None else frozenset(change.key_algorithms)
    return Profile(
        name=profile.name,
        common_name=profile.common_name if change.common_name is None else change.common_name,
        organization=profile.organization if change.organization is None else change.organization,
        uri=profile.uri if change.uri is None else change.uri,
        purposes=profile.purposes,
        key_algorithms=algorithms,
        lifetime=lifetime,
        backdate=backdate,
        ca=profile.ca,
        path_length=profile.path_length,
    )


def load(path: Path) -> Config:
    """The configuration in the file `path`; the defaults when there is none. Raises `UsageError` that names the place."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise UsageError(problem=f"cannot read {path}: {error.strerror}") from error
    try:
        return msgspec.convert(tomllib.loads(text.decode()), type=Config, strict=True)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise UsageError(problem=f"{path}: {error}") from error
