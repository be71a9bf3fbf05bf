"""What the administrative API is a face of: the services of a running authority, handed in by the composition root."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from edgeward.hub.serve import Hub
from edgeward.services.authorities import Authorities
from edgeward.services.failures import Failures
from edgeward.services.migration import Migration
from edgeward.services.operators import Operators
from edgeward.services.registrar import Registrar
from edgeward.services.revoker import Revoker
from edgeward.services.standing import StandingTokens
from edgeward.services.tokens import Tokens
from edgeward.stores.port import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What the API is a face of."""

    store: Store
    authorities: Authorities
    registrar: Registrar
    tokens: Tokens
    revoker: Revoker
    hub: Hub
    operators: Operators
    migration: Migration
    standing: StandingTokens
    failures: Failures
    reload: Callable[[], Awaitable[tuple[str, ...]]]
    """Re-issue the server certificate if its names changed and serve it; its names now."""
    describe: Callable[[], dict[str, Any]]
    """Facts about the running server: version, addresses, since when."""
    now: Callable[[], datetime]
    new_id: Callable[[], str]
