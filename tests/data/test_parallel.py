import threading

import pytest

from autotl.data.parallel import map_in_order


def test_results_come_in_order_and_few_are_ahead() -> None:
    started: list[int] = []

    def work(number: int) -> int:
        started.append(number)
        return -number

    results = map_in_order(work, range(1000), threads=2)
    assert next(results) == 0 and len(started) <= 8
    assert list(results) == [-number for number in range(1, 1000)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_threads_end_when_the_work_or_its_consumer_is_interrupted(error: type[BaseException]) -> None:
    before = threading.active_count()

    def work(number: int) -> int:
        if number == 5:
            raise error
        return number

    with pytest.raises(error):
        list(map_in_order(work, range(100), threads=2))
    with pytest.raises(error):
        for number in map_in_order(lambda number: number, range(100), threads=2):
            if number == 5:
                raise error
    assert threading.active_count() == before
