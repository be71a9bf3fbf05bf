"""Modules that need a library which `pip install edgeward` alone does not bring: loaded by name, when somebody asks for what they do."""

import importlib
from types import ModuleType

from edgeward.errors import ExtraMissing

EXTRAS = {
    "edgeward.transports.quic_server": "quic",
    "edgeward.agent.over_quic": "quic",
    "edgeward.stores.postgres": "postgres",
    "edgeward.bus.postgres": "postgres",
    "edgeward.bus.nats": "nats",
}
"""The module, and the extra of pyproject.toml that has its library."""


def load(module: str) -> ModuleType:
    """The module of that name. Raises `ExtraMissing` when its library is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if module not in EXTRAS or (error.name or "").startswith("edgeward"):
            raise
        raise ExtraMissing(module=error.name, extra=EXTRAS[module]) from error
