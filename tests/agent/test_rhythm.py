"""When an edge does what. No test here waits: time and dice are arguments."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some
from msgspec import Raw

from edgeward.agent.messages import acknowledgement
from edgeward.agent.rhythm import HEARTBEAT, SETTLED, Backoff, Pulse, Renewal
from edgeward.model import message

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
YEAR = timedelta(days=365)


def highest(_low: float, high: float) -> float:
    return high


def lowest(low: float, _high: float) -> float:
    return low


def test_waits_double_from_one_second_to_thirty_and_stay_there():
    backoff = Backoff(dice=highest)
    assert [backoff.wait() for _ in range(8)] == [1, 2, 4, 8, 16, 30, 30, 30]
    backoff.reset()
    assert backoff.wait() == 1


def test_a_fleet_spreads_out_over_half_of_each_wait():
    backoff = Backoff(dice=lowest)
    assert [backoff.wait() for _ in range(7)] == [0.5, 1, 2, 4, 8, 15, 15]


def test_a_wait_after_very_many_failures_is_still_the_longest():
    backoff = Backoff(dice=highest)
    for _ in range(5000):
        last = backoff.wait()
    assert last == 30


@given(some.floats(0, 1), some.timedeltas(timedelta(minutes=1), timedelta(days=36500)))
def test_renewal_comes_between_70_and_90_percent_of_the_life(part, life):
    renewal = Renewal(dice=lambda low, high: low + part * (high - low))
    renewal.begin(NOW, NOW + life)
    assert NOW + 0.699 * life < renewal.at < NOW + 0.901 * life


def test_the_moment_is_drawn_anew_for_each_certificate():
    drawn = iter([0.7, 0.9])
    renewal = Renewal(dice=lambda low, high: next(drawn))
    renewal.begin(NOW, NOW + YEAR)
    first = renewal.at
    renewal.begin(NOW, NOW + YEAR)
    assert (first, renewal.at) == (NOW + 0.7 * YEAR, NOW + 0.9 * YEAR)


def test_a_failed_renewal_is_tried_again_ever_more_rarely_but_within_the_hour():
    renewal = Renewal(dice=highest)
    renewal.begin(NOW, NOW + YEAR)
    time, waits = 0.0, []
    for _ in range(14):
        waits.append(renewal.failed(renewal.at, time))
        assert renewal.seconds_left(renewal.at, time) == waits[-1]
        time += waits[-1]
        assert renewal.seconds_left(renewal.at, time) == 0
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600]


def test_a_short_lived_certificate_is_tried_again_within_its_life():
    renewal = Renewal(dice=highest)
    renewal.begin(NOW, NOW + timedelta(seconds=120))
    assert [renewal.failed(NOW, 0.0) for _ in range(10)][-1] == 2


def test_the_renewal_of_an_expired_certificate_is_tried_ever_more_rarely_and_never_given_up():
    renewal = Renewal(dice=highest)
    renewal.begin(NOW - timedelta(seconds=120), NOW)
    waits = [renewal.failed(NOW, 0.0) for _ in range(12)]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]


@pytest.mark.parametrize("jump", [-10 * YEAR, -timedelta(hours=1), timedelta(hours=1), 10 * YEAR])
def test_a_clock_that_jumps_after_a_failure_makes_no_pause_longer_and_loses_no_renewal(jump):
    renewal = Renewal(dice=highest)
    renewal.begin(NOW, NOW + YEAR)
    before = (
        renewal.at + timedelta(days=1) + max(jump, timedelta(0)) * -1
    )  # the clock is wrong when the attempt fails …
    wait = renewal.failed(before + jump, time=100.0)
    assert renewal.seconds_left(renewal.at + timedelta(days=1), time=100.0 + wait) == 0  # … and right when it is due
    assert renewal.seconds_left(NOW + timedelta(days=1), 1e9) > 0, "a moment that has not come is waited for"


def test_a_renewal_that_is_overdue_is_due_now():
    renewal = Renewal(dice=highest)
    renewal.begin(NOW - YEAR, NOW)
    assert renewal.seconds_left(NOW, 5.0) == 0
    assert renewal.seconds_left(NOW + YEAR, 5.0) == 0
    assert renewal.seconds_left(NOW - YEAR, 5.0) == pytest.approx(0.9 * YEAR.total_seconds())


def test_a_sign_of_life_goes_out_at_once_and_then_every_15_seconds():
    pulse = Pulse(opened_at=100.0)
    assert pulse.next_beat == 100.0
    for beat in range(10):
        now = 100.0 + beat * HEARTBEAT
        assert pulse.next_beat == now
        assert pulse.beat(now)
        pulse.heard(now + 0.1)


def test_t38_a_hub_that_answers_nothing_is_given_up_at_the_second_beat_after_its_last_word():
    pulse = Pulse(opened_at=0.0)
    assert pulse.beat(0.0)
    pulse.heard(0.1)
    assert pulse.beat(15.0)
    assert not pulse.beat(30.0)


def test_t38_a_hub_that_never_answered_is_given_up_at_the_second_beat():
    pulse = Pulse(opened_at=0.0)
    assert pulse.beat(0.0)
    assert not pulse.beat(15.0)


def test_a_connection_counts_as_good_after_a_keepalive_interval():
    pulse = Pulse(opened_at=50.0)
    assert not pulse.settled(50.0 + SETTLED - 0.1)
    assert pulse.settled(50.0 + SETTLED)


# ---------------------------------------------------------------------------------------------------------------- answers


def received(**fields):
    fields = {
        "operation": "update",
        "resource": "default/configmap/cm1",
        "source": "edgecontroller",
        "group": "resource",
        **fields,
    }
    return message.make(Raw(b"{}"), msg_id="m-1", now=NOW, **fields)


def test_a_resource_is_acknowledged_as_a_real_edge_does_it():
    answer = acknowledgement(received(), msg_id="a-1", now=NOW)
    assert message.encode(answer) == (
        b'{"header":{"msg_id":"a-1","parent_msg_id":"m-1","timestamp":1795435200000},'
        b'"route":{"source":"edgecontroller","group":"resource","operation":"response","resource":"default/configmap/cm1"},'
        b'"content":"OK"}\n'
    )


@pytest.mark.parametrize("operation", ["insert", "update", "delete", "patch", "anything"])
def test_every_operation_on_a_resource_is_acknowledged(operation):
    assert acknowledgement(received(operation=operation), msg_id="a", now=NOW)


@pytest.mark.parametrize(
    "fields",
    [
        {"operation": "response"},
        {"operation": "error"},
        {"operation": "keepalive"},
        {"group": "user"},
        {"group": "twin"},
        {"group": ""},
    ],
)
def test_answers_and_messages_for_others_are_not_acknowledged(fields):
    assert acknowledgement(received(**fields), msg_id="a", now=NOW) is None


def test_the_answer_to_a_question_of_ours_is_not_acknowledged():
    answer = message.response_to(received(), Raw(b"{}"), msg_id="m-2", now=NOW)
    again = message.Message(header=answer.header, route=received().route)
    assert acknowledgement(again, msg_id="a", now=NOW) is None
