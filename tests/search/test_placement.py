"""Which slot a job goes to, and which slots get none."""

from autotl.execution.protocol import Job, SlotInfo
from autotl.search.affinity import Affinity
from autotl.search.placement import Placement
from autotl.search.quarantine import Quarantine


def slot(name, node="", busy=None, pid=1):
    return SlotInfo(name, "gpu:0", 1, busy, pid, node=node)


def job(*needs, job_id="a"):
    return Job(job_id, 1, "module:function", {}, needs)


A, B, C = slot("a", "north"), slot("b", "north"), slot("c", "south")


def test_a_job_goes_where_most_of_its_needs_were_met():
    affinity = Affinity()
    affinity.meet(job("store", "graph"), B, pid=1)
    affinity.meet(job("store"), C, pid=1)
    assert affinity.best(job("store", "graph"), [C, B]) == "b"
    assert affinity.best(job("store", "graph"), [A, C]) == "c"
    assert affinity.best(job("other"), [A, B, C]) == "a"


def test_the_machine_counts_where_the_process_knows_nothing():
    affinity = Affinity()
    affinity.meet(job("store"), C, pid=1)
    assert affinity.best(job("store"), [A, slot("d", "south")]) == "d"


def test_a_fresh_process_has_met_nothing():
    affinity = Affinity()
    affinity.meet(job("graph"), A, pid=1)
    affinity.meet(job("graph"), B, pid=1)
    assert affinity.best(job("graph"), [slot("a", "north", pid=2), B]) == "b"
    affinity.meet(job("other"), slot("a", "north", pid=2), pid=2)
    assert affinity.best(job("graph"), [slot("a", "north", pid=2), B]) == "b"


def test_what_is_made_for_the_first_time_is_left_to_one_job():
    affinity = Affinity()
    maker, other = job("store", job_id="maker"), job("store", job_id="other")
    affinity.begin(maker)
    affinity.begin(other)
    assert affinity.is_made_elsewhere(other)
    assert not affinity.is_made_elsewhere(maker)
    affinity.end(other)
    assert affinity.is_made_elsewhere(other)
    affinity.meet(maker, A, pid=1)
    assert not affinity.is_made_elsewhere(other)
    affinity.begin(job("store", job_id="third"))
    assert not affinity.is_made_elsewhere(other)


def test_a_maker_that_fails_leaves_the_making_to_others():
    affinity = Affinity()
    affinity.begin(job("store", job_id="maker"))
    affinity.end(job("store", job_id="maker"))
    assert not affinity.is_made_elsewhere(job("store", job_id="other"))


def test_two_jobs_that_break_in_a_row_close_their_slot():
    quarantine = Quarantine()
    assert not quarantine.blame("a", "one", [A, B])
    assert quarantine.blame("a", "two", [A, B])
    assert quarantine.usable([A, B]) == [B]


def test_a_job_that_ends_well_in_between_clears_its_slot():
    quarantine = Quarantine()
    quarantine.blame("a", "one", [A, B])
    quarantine.clear("a")
    assert not quarantine.blame("a", "two", [A, B])


def test_one_job_that_breaks_again_and_again_closes_none():
    quarantine = Quarantine()
    assert not any(quarantine.blame("a", "deadly", [A, B]) for _ in range(3))


def test_the_last_slot_is_never_closed():
    quarantine = Quarantine()
    for name in ("one", "two", "three"):
        assert not quarantine.blame("a", name, [A])
    assert [quarantine.blame("a", "four", [A, B]), quarantine.blame("b", "one", [A, B])] == [True, False]
    assert not quarantine.blame("b", "two", [A, B])
    assert quarantine.usable([A, B]) == [B]
    assert quarantine.usable([A]) == [A], "the others have gone, and a bad slot is better than none"


def test_another_try_stays_on_its_slot_unless_that_is_to_blame():
    placement = Placement()
    assert placement.again(job(), "b", set(), [A, B]) == "b"
    assert placement.again(job(), "b", {"b"}, [A, B]) == "a"
    assert placement.again(job(), "b", {"b"}, [slot("a", busy="other"), B]) is None
    assert placement.again(job(), "b", {"a", "b"}, [slot("a", busy="other"), B]) == "b"
    assert placement.again(job(), "b", set(), [slot("b", busy="other")]) is None
    assert placement.again(job(), "b", set(), []) is None


def test_a_job_that_must_run_alone_waits_for_its_machine_and_keeps_it():
    placement = Placement(alone={"a": "north"})
    assert placement.again(job(), "a", set(), [A, slot("b", "north", busy="other"), C]) is None
    assert placement.free([A, B, C]) == [C]
    assert placement.again(job(), "a", set(), [A, B, C]) == "a"
    assert placement.again(job(), "a", {"a", "b"}, [A, B, C]) == "a"


def test_a_machine_that_has_gone_keeps_nobody_waiting():
    placement = Placement(alone={"a": "north"})
    assert placement.again(job(), "a", set(), [C]) == "c"
    assert placement.free([A, C]) == [A, C]
