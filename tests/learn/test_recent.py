"""Results are kept by their bytes, the latest ones."""

from autotl.learn.recent import keep_recent


def test_the_latest_results_stay_within_the_limit():
    made = []

    @keep_recent(10, len)
    def make(size, letter="a"):
        made.append(size)
        return letter * size

    for size in (3, 4, 3, 5, 3, 4, 3, 5):  # 4 goes when 5 comes, since 3 was used after it; then 5 goes for 4
        assert make(size) == "a" * size
    assert made == [3, 4, 5, 4, 5]
    assert make(3, letter="b") == "bbb"
    assert made[-1] == 3


def test_the_last_result_stays_however_large_it_is():
    made = []

    @keep_recent(10, len)
    def make(size):
        made.append(size)
        return "a" * size

    assert [len(make(size)) for size in (2, 50, 50, 2, 50)] == [2, 50, 50, 2, 50]
    assert made == [2, 50, 2, 50]
