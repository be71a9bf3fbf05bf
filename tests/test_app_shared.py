"""Addresses of what replicas share: refused when they are none, and shown without their secrets."""

from pathlib import Path

import pytest

from edgeward import app_shared, config
from edgeward.client import Client
from edgeward.errors import UsageError
from tests.support.server import free_port, server

SECRET = "hunter2"


def shared(tmp_path: Path, database: str, bus: str | None = None) -> app_shared.Sharing | None:
    return app_shared.sharing(database, bus, config.Config(), {}, tmp_path, 0)


@pytest.mark.parametrize("database", [f"postgresql://u:{SECRET}[@h/d", f"mysql://u:{SECRET}@h/d", SECRET])
def test_an_address_that_is_none_is_refused_and_not_quoted(tmp_path: Path, database: str) -> None:
    with pytest.raises(UsageError, match="database") as caught:
        shared(tmp_path, database)
    assert SECRET not in str(caught.value)


def test_every_address_of_a_bus_is_looked_at(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bus"):
        shared(tmp_path, "postgresql://h/d", f"nats://a,http://u:{SECRET}@b")


def test_what_is_shown_has_no_secrets(tmp_path: Path) -> None:
    found = shared(
        tmp_path, f"postgresql://u:{SECRET}@[::1]:5432/d?password={SECRET}", f"nats://u:{SECRET}@a,nats://b:4222"
    )
    assert found is not None
    assert found.shown["database"] == "postgresql://[::1]:5432/d"
    assert found.shown["bus"] == "nats://a,nats://b:4222"


@pytest.mark.parametrize(
    ("address", "secret"),
    [
        (None, False),
        ("postgresql://u@h/d", False),
        (f"postgresql://u:{SECRET}@h/d", True),
        (f"postgresql://h/d?password={SECRET}", True),
        (f"nats://a,nats://u:{SECRET}@b", True),
        (f"postgresql://u:{SECRET}[@h/d", True),
        ("@/run/secrets/database", False),
    ],
)
def test_a_secret_in_an_address_is_noticed(address: str | None, secret: bool) -> None:
    assert app_shared.has_password(address) is secret


@pytest.mark.parametrize("url", ["https://h:99999", "https://[::1", "http://h", "h:10010", "https://h/path"])
def test_a_url_that_is_no_servers_is_a_mistake_of_who_typed_it(url: str) -> None:
    with pytest.raises(UsageError, match="https://HOST:10010"):
        Client(server=url, operator="alice")


def test_a_database_that_is_not_there_is_said_to_be_that() -> None:
    with server(start=False) as one:
        passphrase = one.directory / "passphrase"
        passphrase.write_text("correct horse battery\n")
        passphrase.chmod(0o600)
        said = one.home.run(
            "up",
            "--data",
            one.data,
            "--database",
            f"postgresql://127.0.0.1:{free_port()}/x",
            "--passphrase-file",
            passphrase,
        )
    assert said.status == 69
    assert "Connection refused" in said.err and "\\t" not in said.err
    assert "that the database runs" in said.err
