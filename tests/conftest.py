"""Fixtures that every test may use."""

import base64
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.postgres import Cluster, cluster

signal.signal(signal.SIGINT, signal.default_int_handler)
"""A shell that runs the tests in the background has it ignored, and every program that they start and interrupt would inherit that."""

VECTORS = Path(__file__).parent / "vectors"


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            k: base64.b64decode(v) if k.endswith("_der") and isinstance(v, str) else _decoded(v)
            for k, v in value.items()
        }
    return [_decoded(one) for one in value] if isinstance(value, list) else value


@pytest.fixture(scope="session")
def kubeedge() -> dict[str, Any]:
    """Vectors made by a real KubeEdge; members that end in `_der` are octets. Their provenance is in tests/vectors/README.md."""
    decoded: dict[str, Any] = _decoded(json.loads((VECTORS / "kubeedge.json").read_text()))
    return decoded


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL that these tests share; a test that stops it takes one of its own."""
    with cluster() as one:
        yield one
