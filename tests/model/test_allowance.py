from edgeward.model.allowance import Allowance


def test_a_burst_is_taken_and_what_follows_is_counted_until_there_is_room() -> None:
    allowance = Allowance(burst=3, rate=2)
    assert [allowance.take(100.0) for _ in range(5)] == [0, 0, 0, None, None]
    assert allowance.take(100.5) == 2
    assert allowance.take(100.5) is None
    assert allowance.take(101.0) == 1


def test_it_never_holds_more_than_its_burst() -> None:
    allowance = Allowance(burst=3, rate=2)
    allowance.take(0.0)
    assert [allowance.take(1e9) for _ in range(4)] == [0, 0, 0, None]


def test_a_clock_that_is_set_back_gives_nothing_and_locks_nobody_out() -> None:
    allowance = Allowance(burst=1, rate=1)
    assert allowance.take(1e9) == 0
    assert allowance.take(0.0) is None
    assert allowance.take(1.0) == 1
