import threading
from collections.abc import Iterator

import pytest

from avfusion.media.read_ahead import read_ahead


def test_items_come_in_order_each_made_while_the_one_before_it_is_used() -> None:
    made = [threading.Event() for _ in range(4)]

    def items() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    for expected, number in enumerate(read_ahead(items())):
        assert number == expected
        if number < 3:
            assert made[number + 1].wait(30)
        assert not any(event.is_set() for event in made[number + 2 :]), "one ahead, not more"
    assert number == 3


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("damaged")

    ahead = read_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="damaged"):
        next(ahead)


def test_whoever_stops_early_leaves_no_thread_and_closes_the_source() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.set()

    before = threading.active_count()
    ahead = read_ahead(items())
    assert [next(ahead), next(ahead)] == [0, 1]
    ahead.close()
    del ahead
    assert closed.is_set()
    assert threading.active_count() == before
