import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from autotl.cli.live import open_view, plain_line
from autotl.cli.progress import Progress, advance
from autotl.cli.screen import draw

CONFIG = {"recipe": "probe", "backbone": "vgg16", "pooling": "avg", "head": "linear", "penalty": 1e-4}


def trial(number, **more):
    return {
        "event": "trial", "number": number, "stage": "probe", "state": "complete", "score": 0.9, "accuracy": 0.6,
        "seconds": 1.2, "config": CONFIG, "error": None, "best": False, **more,
    }  # fmt: skip


SEARCH = [
    {"event": "phase", "phase": "data", "detail": "checking photos"},
    *({"event": "progress", "done": done, "total": 100} for done in range(0, 101)),
    {"event": "note", "message": "100 images [bold]in[/bold] 2 classes"},
    {"event": "plan", "trials": 4, "seconds": 90.0},
    {"event": "phase", "phase": "probe", "detail": "4 trials over vgg16"},
    {"event": "epoch", "number": 1, "step": 0, "value": 1.1},
    trial(1, best=True),
    {"event": "eta", "seconds": 40.0},
    trial(2, state="failed", score=None, accuracy=None, error="ValueError: bad [red]shape\nand more"),
    {"event": "something new", "value": 1},
    {"event": "epoch", "number": 3, "step": 2, "value": 0.7},
]


def picture(events, width=100, now=10.0):
    state = Progress(started=0.0)
    for event in events:
        state = advance(state, event, now)
    console = Console(width=width, record=True, force_terminal=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(draw(state, now, "log_loss"))
    return console.export_text()


def test_the_picture_shows_phase_trials_best_and_time_to_go():
    text = picture(SEARCH)
    assert "probe  4 trials over vgg16  10 s, about 40 s to go" in text
    assert "2 of 4 trials (1 failed)" in text
    assert "best of probe  trial 1: log-loss 0.9000, accuracy 0.600, vgg16" in text
    assert "ValueError: bad [red]shape" in text and "and more" not in text
    assert "[bold]in[/bold]" in text, "user data is no markup"
    assert "trial 3, step 2: 0.7000" in text


def test_the_picture_keeps_the_last_trials_only():
    text = picture([*SEARCH, *(trial(number) for number in range(4, 20))])
    assert [int(row) for row in re.findall(r"^ +(\d+) +complete", text, re.MULTILINE)] == list(range(12, 20))


@pytest.mark.parametrize("width", [20, 40, 200])
def test_the_picture_fits_any_terminal(width):
    assert max(len(line) for line in picture(SEARCH, width).splitlines()) <= width


@given(st.lists(st.sampled_from(SEARCH)))
def test_any_order_of_events_can_be_shown(events):
    assert picture(events) is not None
    assert all(line is None or line for line in (plain_line(event, None) for event in events))


def test_a_pipe_gets_a_line_for_each_event_and_a_quarter_of_the_progress(capsys):
    with open_view(is_quiet=False, metric="log_loss") as on_event:
        for event in SEARCH:
            on_event(event)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "data: checking photos",
        "  25 of 100",
        "  50 of 100",
        "  75 of 100",
        "  100 of 100",
        "note: 100 images [bold]in[/bold] 2 classes",
        "plan: 4 trials, about 1 min 30 s",
        "probe: 4 trials over vgg16",
        "  trial 1, step 0: 1.1000",
        "trial 1 (probe) complete, log-loss 0.9000, accuracy 0.600, 1.2 s, vgg16 avg linear penalty 0.0001"
        " * best so far",
        "trial 2 (probe) failed, 1.2 s, vgg16 avg linear penalty 0.0001, error: ValueError: bad [red]shape",
        "  trial 3, step 2: 0.7000",
    ]


def test_quiet_is_quiet(capsys):
    with open_view(is_quiet=True, metric=None) as on_event:
        for event in SEARCH:
            on_event(event)
    assert capsys.readouterr() == ("", "")


def test_control_characters_of_user_data_do_not_reach_the_terminal(capsys):
    with open_view(is_quiet=False, metric=None) as on_event:
        on_event({"event": "note", "message": "\x1b[2Jcleared"})
    assert "\x1b" not in capsys.readouterr().err
    assert "\x1b[2J" not in picture([{"event": "note", "message": "\x1b[2Jcleared"}])
