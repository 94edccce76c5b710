"""Two who write letters: whatever is read when, everything arrives once and in order."""

import json

from hypothesis import given
from hypothesis import strategies as st

from autotl.execution.mail import Mail


def post(place, mail):
    if mail.has_news():
        letter = mail.letter()
        place[0] = json.loads(json.dumps(letter))
        mail.wrote(letter)


@given(st.lists(st.sampled_from(["say here", "say there", "post here", "post there", "read here", "read there"])))
def test_everything_arrives_once_and_in_order(steps):
    here, there, from_here, from_there = Mail(), Mail(), [None], [None]
    said = {"here": [], "there": []}
    heard = {"here": [], "there": []}
    for number, step in enumerate([*steps, "post here", "read there", "post there", "read here"]):
        action, side = step.split()
        mail, own, other = (here, from_here, from_there) if side == "here" else (there, from_there, from_here)
        if action == "say":
            mail.say(number)
            said[side].append(number)
        elif action == "post":
            post(own, mail)
        else:
            heard[side] += mail.read(other[0])
    assert (heard["there"], heard["here"]) == (said["here"], said["there"])


def test_what_has_arrived_is_not_written_again():
    here, there, from_here, from_there = Mail(), Mail(), [None], [None]
    here.say({"job": 1})
    post(from_here, here)
    there.read(from_here[0])
    post(from_there, there)
    here.read(from_there[0])
    assert not here.has_news()
    here.say({"job": 2})
    assert here.letter() == {"first": 1, "items": [{"job": 2}], "received": 0}


def test_a_letter_that_could_not_be_written_is_written_again():
    mail = Mail()
    mail.say("stop")
    mail.letter()
    assert mail.has_news()
