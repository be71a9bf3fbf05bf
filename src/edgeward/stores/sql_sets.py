"""Shared statements for many rows at once, as PostgreSQL likes them: one statement over arrays, for a hundredth of the round trips.

A set form is derived from the shared statement, so a rule that is changed there is changed here. It is used for rows that do not touch
each other (their keys differ), because a statement does not see what it does itself; others are run one by one.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeward.stores import sql, sql_queue, sql_replicas, sql_timeline
from edgeward.stores.rows import Parameters, Row


def _inlined(statement: str) -> str:
    """The statement with the columns of `u` for its parameters; their names are nobody else's."""
    return sql.PARAMETER.sub(r"u.p_\1", statement.replace("%", "%%"))


def _arrays(types: Mapping[str, str]) -> str:
    """What has one row for each of the parameters' values, numbered."""
    arrays = ", ".join(f"%({name})s::{kind}[]" for name, kind in types.items())
    return f"unnest({arrays}) WITH ORDINALITY AS u ({', '.join(f'p_{name}' for name in types)}, p_place)"


@dataclass(frozen=True, slots=True)
class Writing:
    """A statement that changes rows. `types`: of its parameters. `key`: what must differ from row to row; none where rows are only added.
    `text`: the set form where it cannot be derived, with `{arrays}`."""

    statement: str
    types: Mapping[str, str]
    key: tuple[str, ...] = ()
    text: str = ""

    @property
    def form(self) -> str:
        """The set form."""
        arrays = _arrays(self.types)
        if self.text:
            return self.text.format(arrays=arrays)
        text = _inlined(self.statement).strip()
        if text.startswith("UPDATE"):
            return text.replace("WHERE", f"FROM {arrays} WHERE", 1)
        inserted = re.sub(r"VALUES \((.*)\)$", r"SELECT \1 WHERE true", text, flags=re.DOTALL)
        return inserted.replace("WHERE", f"FROM {arrays} WHERE", 1) + " ORDER BY u.p_place"

    def apart(self, rows: Sequence[dict[str, Any]]) -> bool:
        """Whether the rows do not touch each other."""
        return not self.key or len({tuple([row[name] for name in self.key]) for row in rows}) == len(rows)


@dataclass(frozen=True, slots=True)
class Reading:
    """A statement that reads, asked for by many at the same time. `types`: of its parameters."""

    statement: str
    types: Mapping[str, str]

    @property
    def form(self) -> str:
        """The set form; the first column is the place of the row of parameters, from 1 on."""
        return f"SELECT u.p_place, found.* FROM {_arrays(self.types)}, LATERAL ({_inlined(self.statement)}) found"


def named(statement: str, row: Parameters) -> dict[str, Any]:
    """The parameters by name."""
    return row if isinstance(row, dict) else dict(zip(sql.parameters(statement), row, strict=True))


def columns(types: Mapping[str, str], rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """The parameters of a set form."""
    return {
        name: [None if row[name] is None else str(row[name]) for row in rows]  # an enumeration's word, too
        if kind == "text"
        else [row[name] for row in rows]
        for name, kind in types.items()
    }


def sorted_out(found: Sequence[Row], count: int) -> list[list[Row]]:
    """What a set form read, for each of `count` rows of parameters."""
    answers: list[list[Row]] = [[] for _ in range(count)]
    for row in found:
        answers[row[0] - 1].append(row[1:])
    return answers


_SESSION = {"name": "text", "at": "bigint", "address": "text", "epoch": "bigint", "replica": "text"}

WRITINGS = (
    Writing(sql.SEEN, {"name": "text", "at": "bigint"}, ("name",)),
    Writing(sql.FIRST_CONNECTION, {"issuer_id": "integer", "serial": "text", "at": "bigint"}, ("issuer_id", "serial")),
    Writing(sql_timeline.CONNECTED, _SESSION | {"times": "integer"}, ("name",)),
    Writing(sql_replicas.HOLD, _SESSION, ("name",)),
    Writing(sql_timeline.DISCONNECTED, {"name": "text", "at": "bigint", "cause": "text", "replica": "text"}, ("name",)),
    Writing(sql_timeline.ADD, {"node": "text", "at": "bigint", "event": "text", "why": "text", "address": "text"}),
    Writing(
        sql_timeline.TRIM,
        {"node": "text", "kept": "bigint"},
        ("node",),
        # the edge of each node is looked for once, not for each of its rows
        """
DELETE FROM timeline USING {arrays},
       LATERAL (SELECT n FROM timeline WHERE node = u.p_node ORDER BY n DESC LIMIT 1 OFFSET u.p_kept) edge
 WHERE timeline.node = u.p_node AND timeline.n <= edge.n""",
    ),
    Writing(sql_timeline.REFUSED, {"node": "text", "at": "bigint", "why": "text"}, ("node",)),
    Writing(sql_timeline.SKEW, {"node": "text", "skew": "bigint"}, ("node",)),
    Writing(
        sql.ADD_AUDIT,
        {
            "n": "bigint",
            "at": "bigint",
            "actor": "text",
            "action": "text",
            "object": "text",
            "facts": "text",
            "hash": "bytea",
        },
    ),
    Writing(
        sql.ISSUE,
        {"issuer_id": "integer", "serial": "text", "der": "bytea", "fingerprint": "bytea", "at": "bigint"},
        ("issuer_id", "serial"),
    ),
    Writing(sql.RECORD_USE, {"key_id": "text", "at": "bigint", "node": "text", "address": "text", "serial": "text"}),
)

READINGS = (
    Reading(sql.STANDING, {"key_id": "text", "node": "text", "spki_sha256": "bytea", "at": "bigint"}),
    Reading(sql_queue.WAITING, {"node": "text"}),
    Reading(sql.PRESENTED, {"fingerprint": "bytea", "at": "bigint"}),
)


@functools.cache
def _forms() -> tuple[dict[str, tuple[Writing, str]], dict[str, tuple[Reading, str]]]:
    return {one.statement: (one, one.form) for one in WRITINGS}, {one.statement: (one, one.form) for one in READINGS}


def writing(statement: str) -> tuple[Writing, str] | None:
    """A statement's set form."""
    return _forms()[0].get(statement)


def reading(statement: str) -> tuple[Reading, str] | None:
    """A read's set form."""
    return _forms()[1].get(statement)
