"""The far end of a slot on a cluster, as Ray calls it: from several threads."""

import pytest

from autotl.execution.protocol import decode, encode
from autotl.execution.ray_actor import SlotActor

pytestmark = pytest.mark.process
DEADLINE_SECONDS = 20
JOB = {"job": {"id": "a", "attempt": 1, "target": "targets:echo", "payload": {}}}


@pytest.fixture
def call(fake_ray):
    """Calls `exchange` of an actor that was greeted, in a thread of its own; what it answers is a future."""
    handle = fake_ray.remote(SlotActor).options(scheduling_strategy="id of here").remote()
    answer_of(handle.greet.remote(encode({"id": "x", "threads": 1, "gpu_share": 0.0, "environment": {}})))

    def call(number, *commands, first=0, delivered=0, waits=True):
        fields = {"number": number, "first": first, "commands": commands, "delivered": delivered, "waits": waits}
        return handle.exchange.remote(encode(fields))

    yield call
    handle.end()


def answer_of(future):
    return decode(future.result(DEADLINE_SECONDS))


def kinds(answer):
    return [kind for kind, _ in answer["events"]]


def test_events_come_again_until_they_have_arrived_and_commands_are_carried_out_once(call):
    events, number = [], 0
    while "Finished" not in events:
        number += 1
        answer = answer_of(call(number, JOB))
        assert (answer["commands"], answer["first"]) == (1, 0)
        events = kinds(answer)
    assert events == ["Started", "Finished"]
    answer = answer_of(call(number + 1, first=1, delivered=1))
    assert (answer["first"], kinds(answer)) == (1, ["Finished"])
    answer = answer_of(call(number + 2, first=1, delivered=2, waits=False))
    assert (answer["commands"], answer["events"]) == (1, [])


def test_commands_are_confirmed_at_once_also_those_that_were_carried_out_before(call):
    for number in (1, 2):
        answer = answer_of(call(number, {"look": ["/nowhere"]}, delivered=1))
        assert (answer["commands"], answer["events"]) == (1, [])


def test_a_call_ends_the_waiting_of_the_one_before_and_a_late_one_waits_for_nothing(call):
    answer_of(call(2, {"import": "colorsys"}))
    waiting = call(3, first=1)
    newest = call(5, first=1)
    assert answer_of(waiting)["events"] == []
    assert answer_of(call(4, first=1))["events"] == []
    assert not newest.done()
    answer_of(call(6, first=1, waits=False))
    assert answer_of(newest)["events"] == []
