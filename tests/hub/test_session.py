"""The session's table of transitions, and what follows from it, without any I/O."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward.hub import session as sessions
from edgeward.hub.session import (
    TABLE,
    Action,
    Answer,
    Close,
    Deliver,
    Ended,
    Event,
    Refresh,
    Report,
    Session,
    State,
    classify,
)
from edgeward.model import message as messages
from edgeward.model.device import Cause
from edgeward.model.message import Header, Message, Route

PAGE = Path(__file__).parents[2] / "docs" / "explain" / "session.md"


def message(operation: str, resource: str = "default/pod/x", source: str = "edged") -> Message:
    return Message(header=Header(msg_id="m"), route=Route(source=source, operation=operation, resource=resource))


def octets(*args: str) -> bytes:
    return messages.encode(message(*args))


def opened(**limits: float) -> Session:
    return Session("a", b"fingerprint", 0.0, **limits)


def test_every_state_has_a_line_for_every_event():
    assert set(TABLE) == set(itertools.product(State, Event))


def test_no_line_leads_back():
    order = list(State)
    assert all(order.index(after) >= order.index(before) for (before, _), (after, _) in TABLE.items())


def test_nothing_is_done_for_the_peer_once_the_end_is_decided():
    late = {action for (state, _), (_, action) in TABLE.items() if state is not State.OPEN}
    assert late == {Action.NOTHING, Action.END}


def test_a_keepalive_refreshes_and_is_not_delivered():
    session = opened()
    assert session.receive(octets("keepalive", "node", "websocket"), 7.0) == Refresh()
    assert session.heard == 7.0


def test_only_a_keepalive_refreshes():
    session = opened()
    for operation in ("update", "response", "ping", "query"):
        session.receive(octets(operation), 7.0)
    assert session.heard == 0.0


@pytest.mark.parametrize("operation", ["ping", "pong", "config"])
def test_control_messages_are_answered_and_not_delivered(operation):
    asked = message(operation)
    assert opened().receive(messages.encode(asked), 1.0) == Answer(asked)


def test_everything_else_is_delivered():
    sent = message("update")
    assert opened().receive(messages.encode(sent), 1.0) == Deliver(sent)


@pytest.mark.parametrize(
    ("resource", "event"),
    [
        ("node/b/default/pod/x", Event.TRESPASS),
        ("node/b/x", Event.TRESPASS),
        ("node/b/", Event.TRESPASS),
        ("node//x", Event.TRESPASS),
        ("node/A/x", Event.TRESPASS),
        ("node/a/default/pod/x", Event.MESSAGE),
        ("node/connection", Event.MESSAGE),
        ("node", Event.MESSAGE),
        ("nodes/b/x", Event.MESSAGE),
        ("default/node/b", Event.MESSAGE),
        ("", Event.MESSAGE),
    ],
)
def test_t43_resources_of_other_nodes_are_recognised(resource, event):
    assert classify("a", message("update", resource)) is event


def test_t43_a_trespass_is_dropped_and_reported_and_the_session_lives():
    session = opened()
    bad = message("update", "node/b/default/pod/x")
    assert session.receive(messages.encode(bad), 1.0) == Report(bad, "message about another node")
    assert session.state is State.OPEN


@pytest.mark.parametrize("source", sorted(sessions.CLOUD_MODULES))
def test_the_cloud_s_own_names_are_not_for_nodes(source):
    assert classify("a", message("update", "default/pod/x", source)) is Event.IMPOSTURE


@pytest.mark.parametrize("operation", ["response", "error"])
def test_an_answer_repeats_the_cloud_s_name_and_is_delivered(operation):
    assert classify("a", message(operation, "default/pod/x", "edgecontroller")) is Event.MESSAGE


def test_a_message_that_cannot_be_read_ends_the_session():
    session = opened()
    output = session.receive(b'{"header":{"msg_id":1}}', 1.0)
    assert isinstance(output, Close) and output.cause is Cause.PROTOCOL
    assert session.receive(octets("update"), 1.0) is None
    assert session.lost(2.0) == Ended(Cause.PROTOCOL)


@pytest.mark.parametrize("cause", [Cause.REVOKED, Cause.REPLACED, Cause.SHUTDOWN])
def test_the_first_cause_is_the_cause(cause):
    session = opened()
    assert session.close(cause, 1.0) == Close(cause)
    assert session.close(Cause.SILENT, 1.0) is None
    assert session.silence(1.0) is None
    assert session.lost(2.0, Cause.PROTOCOL) == Ended(cause)
    assert session.lost(2.0) is None


def test_a_connection_that_goes_away_ends_the_session_as_closed():
    assert opened().lost(1.0) == Ended(Cause.CLOSED)


def test_t42_a_real_edge_s_rate_is_never_held_up():
    session = opened()
    at = 0.0
    assert all(session.owed(at) == 0.0 for _ in range(60))  # its burst
    for _ in range(600):
        at += 1 / 30  # its rate
        assert session.owed(at) == 0.0


def test_t42_a_flood_is_held_up_for_as_long_as_it_takes():
    session = opened(rate=60.0, burst=120.0)
    waits = [session.owed(0.0) for _ in range(180)]
    assert not any(waits[:120])
    assert waits[-1] == pytest.approx(1.0)
    assert session.owed(2.0) == 0.0


events = st.sampled_from(
    [
        lambda s, at: s.receive(octets("keepalive"), at),
        lambda s, at: s.receive(octets("update"), at),
        lambda s, at: s.receive(octets("ping"), at),
        lambda s, at: s.receive(octets("update", "node/b/x"), at),
        lambda s, at: s.receive(b"{", at),
        lambda s, at: s.silence(at),
        lambda s, at: s.close(Cause.REVOKED, at),
        lambda s, at: s.lost(at),
    ]
)


@given(st.lists(events, max_size=12))
def test_whatever_happens_there_is_at_most_one_close_then_one_end_and_silence_in_between(happenings):
    session = opened()
    outputs = [output for at, happening in enumerate(happenings) if (output := happening(session, float(at)))]
    kinds = [type(output) for output in outputs]
    assert kinds.count(Close) <= 1 and kinds.count(Ended) <= 1
    decided = next((n for n, kind in enumerate(kinds) if kind in (Close, Ended)), len(kinds))
    assert all(kind is Ended for kind in kinds[decided + 1 :])
    if Ended in kinds:
        assert kinds[-1] is Ended and session.state is State.CLOSED


def test_the_page_shows_this_table():
    assert f"```mermaid\n{sessions.diagram()}\n```" in PAGE.read_text()
