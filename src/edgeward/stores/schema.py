"""Brings a database to the present schema: Alembic's migrations, the same ones for every engine."""

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.ext.compiler import compiles

from edgeward.errors import StoreUnavailable

_MIGRATIONS = Path(__file__).parent / "migrations"

logging.getLogger("alembic").setLevel(logging.WARNING)  # its progress is nobody's concern when it goes well


@compiles(sqlalchemy.Text, "postgresql")
def _text(_type: sqlalchemy.Text, _compiler: Any, **_options: Any) -> str:
    """Text is compared octet by octet, as SQLite does, whatever the locale that a database was made with."""
    return 'TEXT COLLATE "C"'


def upgrade(connection: sqlalchemy.Connection) -> None:
    """Run what is missing, on this very connection, and commit it."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.commit()


def upgrade_sqlite(connection: sqlite3.Connection) -> None:
    """The same on a connection of the standard library's that begins no transaction by itself. Raises `StoreUnavailable` when the
    database is not ours."""
    engine = sqlalchemy.create_engine("sqlite://", creator=lambda: connection, poolclass=sqlalchemy.pool.StaticPool)
    sqlalchemy.event.listen(engine, "begin", lambda begun: begun.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.connect() as borrowed:
            upgrade(borrowed)
    except (sqlalchemy.exc.SQLAlchemyError, CommandError) as error:
        raise StoreUnavailable(why=f"the schema cannot be brought up to date: {_words(error)}") from error


def upgrade_postgres(connect: Callable[[], Any], lock: int) -> None:
    """The same on a PostgreSQL database, by one process at a time: `lock` is the advisory lock of who does it. `connect` gives a
    connection of the driver's. Raises `StoreUnavailable`."""
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=connect, poolclass=sqlalchemy.pool.NullPool)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("SET lock_timeout = '120s'")
            connection.exec_driver_sql("SET statement_timeout = 0")
            connection.exec_driver_sql(f"SELECT pg_advisory_lock({lock})")  # until this connection ends
            connection.commit()
            upgrade(connection)
    except (sqlalchemy.exc.SQLAlchemyError, CommandError) as error:
        raise StoreUnavailable(why=f"the schema cannot be brought up to date: {_words(error)}") from error


def _words(error: Exception) -> str:
    """The driver's own words, without the statement around them."""
    return str(getattr(error, "orig", None) or error)
