import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autotl.runs.directory import create_run
from autotl.runs.events import append_event, read_events, read_new_events

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def run(tmp_path):
    return create_run(tmp_path / "run", {})


def test_a_new_run_has_no_events(run):
    assert read_events(run) == []


def test_events_come_back_in_order_with_their_time(run):
    append_event(run, "trial_started", trial=7, slot="cpu-0")
    append_event(run, "trial_finished", trial=7, score=0.5)
    first, second = read_events(run)
    assert first.items() >= {"kind": "trial_started", "trial": 7, "slot": "cpu-0"}.items()
    assert second.items() >= {"kind": "trial_finished", "trial": 7, "score": 0.5}.items()
    assert datetime.fromisoformat(first["time"]) <= datetime.fromisoformat(second["time"])
    assert datetime.fromisoformat(first["time"]).tzinfo is not None


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=values)
def test_any_json_comes_back_unchanged(run, value):
    append_event(run, "kind", value=value)
    assert read_events(run)[-1]["value"] == value


def test_numbers_that_are_not_finite_are_written_as_words(run):
    append_event(run, "report", value=float("nan"), extra={"losses": [float("inf"), (float("-inf"), 1.0)]})

    def refuse(constant):
        raise AssertionError(constant)

    event = json.loads(run.events_path.read_text(), parse_constant=refuse)
    assert event["value"] == "NaN"
    assert event["extra"] == {"losses": ["Infinity", ["-Infinity", 1.0]]}


@pytest.mark.parametrize("lost", [1, 2, 20, 60])
def test_a_torn_last_line_is_passed_over_and_harms_no_later_event(run, lost):
    append_event(run, "whole")
    append_event(run, "torn", text="x" * 50)
    content = run.events_path.read_bytes()
    run.events_path.write_bytes(content[:-lost])
    kept = ["whole", "torn"] if lost == 1 else ["whole"]
    assert [event["kind"] for event in read_events(run)] == kept
    append_event(run, "later")
    assert [event["kind"] for event in read_events(run)] == [*kept, "later"]


def test_writers_at_the_same_time_do_not_mix_their_events(run):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: append_event(run, "event", number=number, text="x" * 5000), range(200)))
    assert sorted(event["number"] for event in read_events(run)) == list(range(200))


def test_what_is_new_is_read_from_where_the_last_reader_stopped(run):
    assert read_new_events(run, 0) == ([], 0)
    offset, seen = 0, []
    for number in range(5):
        append_event(run, "event", number=number)
        new, offset = read_new_events(run, offset)
        seen.append([event["number"] for event in new])
    assert seen == [[0], [1], [2], [3], [4]]
    assert read_new_events(run, offset) == ([], offset) == ([], run.events_path.stat().st_size)


def test_half_a_line_is_read_when_it_is_whole(run):
    append_event(run, "first")
    append_event(run, "second", text="x" * 50)
    content = run.events_path.read_bytes()
    found = []
    offset = 0
    for length in (len(content) - 30, len(content) - 1, len(content)):
        run.events_path.write_bytes(content[:length])
        new, offset = read_new_events(run, offset)
        found.append([event["kind"] for event in new])
    assert found == [["first"], ["second"], []]


def test_a_torn_line_is_passed_over_by_a_reader_who_had_waited_for_its_end(run):
    append_event(run, "whole")
    with run.events_path.open("a") as log:
        log.write('{"kind": "torn", ')
    _, offset = read_new_events(run, 0)
    append_event(run, "later")
    new, offset = read_new_events(run, offset)
    assert [event["kind"] for event in new] == ["later"]
    assert read_new_events(run, offset)[0] == []
