"""The audit chain: whatever is changed afterwards, the first record that is not as it was is named."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edgeward.model import audit
from edgeward.model.audit import AuditRecord, Event

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


def chain(length: int, **facts: Any) -> list[AuditRecord]:
    records: list[AuditRecord] = []
    previous = audit.GENESIS
    for n in range(1, length + 1):
        event = Event(
            at=NOON + timedelta(seconds=n),
            actor="operator:a",
            action="x.done",
            object=f"node:{n}",
            facts={"n": n} | facts,
        )
        records.append(audit.record(event, n, previous))
        previous = records[-1].hash
    return records


def test_a_chain_as_it_was_written_holds() -> None:
    assert audit.first_bad([]) is None
    assert audit.first_bad(chain(1)) is None
    assert audit.first_bad(iter(chain(50))) is None


EDITS: dict[str, Any] = {
    "at": lambda r: r.at + 1,
    "actor": lambda r: r.actor + " ",
    "action": lambda r: "x.undone",
    "object": lambda r: "node:0",
    "facts": lambda r: r.facts.replace("{", "{ "),
    "hash": lambda r: bytes(32),
    "n": lambda r: r.n + 100,
}


@pytest.mark.parametrize("field", EDITS)
@pytest.mark.parametrize("at", [1, 7, 10])
def test_t51_an_edited_record_is_named(field: str, at: int) -> None:
    records = chain(10)
    records[at - 1] = replace(records[at - 1], **{field: EDITS[field](records[at - 1])})
    assert audit.first_bad(records) == at


@pytest.mark.parametrize("at", [1, 7, 10])
def test_t51_a_deleted_record_is_missed(at: int) -> None:
    records = chain(10)
    del records[at - 1]
    assert audit.first_bad(records) == (at if at < 10 else None), "a cut tail is for the checkpoints to see"
    renumbered = [replace(r, n=n) for n, r in enumerate(records, 1)]
    assert audit.first_bad(renumbered) == (at if at < 10 else None)


def test_t51_an_inserted_a_repeated_and_a_swapped_record_are_named() -> None:
    records = chain(10)
    forged = audit.record(Event(at=NOON, actor="a", action="b", object="c", facts={}), 5, records[3].hash)
    assert audit.first_bad([*records[:4], forged, *records[4:]]) == 6
    shifted = [replace(r, n=n) for n, r in enumerate([*records[:4], forged, *records[4:]], 1)]
    assert audit.first_bad(shifted) == 6
    assert audit.first_bad([*records[:4], records[3], *records[4:]]) == 5
    assert audit.first_bad([*records[:4], records[5], records[4], *records[6:]]) == 5
    assert audit.first_bad([*records[:4], *chain(10, other=1)[4:]]) == 5, "the tail of another chain"


@given(
    st.dictionaries(
        st.text(max_size=10),
        st.none() | st.integers(-(2**53), 2**53) | st.text(max_size=20) | st.lists(st.text(max_size=5)),
        max_size=4,
    ),
    st.text(max_size=30),
)
def test_t51_no_field_can_pass_for_another(facts: Any, text: str) -> None:
    event = Event(at=NOON, actor=text, action="a", object="b", facts=facts)
    record = audit.record(event, 1, audit.GENESIS)
    assert "\n" not in record.facts
    assert audit.first_bad([record]) is None
    moved = replace(event, actor=text + "a", action="")
    assert audit.record(moved, 1, audit.GENESIS).hash != record.hash


def test_facts_are_canonical() -> None:
    one = Event(at=NOON, actor="a", action="b", object="c", facts={"z": 1, "a": "ü", "list": ["x"]})
    other = replace(one, facts={"list": ["x"], "a": "ü", "z": 1})
    assert audit.record(one, 1, audit.GENESIS) == audit.record(other, 1, audit.GENESIS)
    assert audit.record(one, 1, audit.GENESIS).facts == '{"a":"ü","list":["x"],"z":1}'


def test_the_hash_is_what_the_documentation_says() -> None:
    record = audit.record(Event(at=NOON, actor="a", action="b", object="c", facts={"d": 1}), 1, audit.GENESIS)
    text = b'[1,1795435200000,"a","b","c","{\\"d\\":1}"]'
    assert record.hash == hashlib.sha256(text + bytes(32)).digest()
