"""Budgets of the delivered model: how they are written, what is measured for them, and what is not tried."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotl.errors import NoTrialError, UsageError
from autotl.runs.events import read_events
from autotl.search.measuring import image_sizes, keep_to_budget
from autotl.search.model_budget import EVENT, Measured, ModelBudget, read_measured, recall
from autotl.search.past import Past
from autotl.search.quantities import megabytes, milliseconds, parse_bytes, parse_milliseconds
from autotl.search.request import SearchRequest, check_request, command_line
from autotl.search.stages import StageRun
from autotl.search.storage import open_storage
from autotl.search.study import open_study

SPACE = """
[[stage]]
name = "probe"
recipe = "probe"
trials = 12
evaluation = "holdout"
[stage.parameters]
backbone = { choice = ["vgg16", "resnet50"] }
image_size = { choice = [32, 64, 128] }
penalty = { log = [1e-5, 1e-3] }
"""
PLAIN = Measured("net", 32, None, 10.0, 12.0, 4_000_000, 1_000_000, (100, 200), 10)


@pytest.mark.parametrize(
    ("text", "expected"), [("20ms", 20.0), ("0.5 s", 500.0), (" 1.5MS ", 1.5), ("2s", 2000.0), ("0.001ms", 0.001)]
)
def test_latencies_are_read_with_their_unit(text, expected):
    assert parse_milliseconds(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10MB", 10**7), ("9.5MiB", int(9.5 * 2**20)), ("800 kb", 800_000), ("123 bytes", 123), ("1GB", 10**9), ("7B", 7)],
)
def test_sizes_are_read_with_their_unit(text, expected):
    assert parse_bytes(text) == expected


@pytest.mark.parametrize(
    "text", ["", "20", "ms", "-5ms", "0ms", "20 m", "1e3ms", "20msec", "٢٠ms", "nan ms", "20ms 3s"]
)
def test_what_is_no_latency_is_refused_with_the_rule(text):
    with pytest.raises(UsageError, match=r"like 20ms or 0\.5s"):
        parse_milliseconds(text)


@given(st.text(max_size=30))
def test_any_text_is_a_size_or_an_error_in_words(text):
    for parse in (parse_bytes, parse_milliseconds):
        try:
            assert parse(text) > 0
        except UsageError as error:
            assert repr(text) in str(error)


@given(st.integers(1, 10**12))
def test_what_the_command_of_a_search_says_is_read_back(count):
    assert parse_bytes(f"{count}bytes") == count
    assert parse_milliseconds(f"{count / 1000:.3f}ms") == count / 1000


def test_figures_are_shown_with_three_digits():
    assert (milliseconds(3.4217), milliseconds(1234.5)) == ("3.42 ms", "1234 ms")
    assert (megabytes(14_292_403), megabytes(800_400)) == ("14.29 MB", "800.4 kB")


def test_the_command_repeats_the_budgets_and_an_ensemble_has_none():
    request = SearchRequest("photos", latency_milliseconds=20.0, max_bytes=10**7, deploy="litert:int8")
    assert "--latency-budget 20ms --max-size 10000000bytes --deploy litert:int8" in command_line(request)
    with pytest.raises(UsageError, match="--ensemble"):
        check_request(replace(request, ensemble=True))


def test_a_network_is_over_its_limits_by_a_share():
    budget = ModelBudget(8.0, 5_000_000)
    config = {"backbone": "net", "image_size": 32}
    assert budget.excess(config) == {}  # nobody knows it
    budget.note(PLAIN)
    assert budget.excess(config) == {"latency": 0.25}
    assert budget.excess({**config, "image_size": 64}) == {"latency": 0.25}  # at least as much
    assert budget.excess({**config, "image_size": 16}) == {}
    budget.note(replace(PLAIN, problem="no converter knows it"))
    assert budget.excess(config) == {"deploy": 1.0}


@pytest.mark.parametrize(
    ("head", "weights"),
    [
        ({}, 0),
        ({"pooling": "both"}, 200 * 12),
        ({"taps": "all"}, 100 * 12),
        ({"taps": "last2", "pooling": "both"}, 400 * 12),
        ({"head": "mlp", "width": 50, "depth": 2}, 201 * 50 + 51 * 50 + 51 * 10 - 201 * 10),
    ],
)
def test_a_larger_head_has_its_bytes(head, weights):
    assert PLAIN.bytes_with(head) == PLAIN.bytes + 4 * weights
    assert replace(PLAIN, deploy="litert:int8").bytes_with(head) == PLAIN.bytes + weights


def test_what_was_measured_is_read_back():
    budget = ModelBudget(8.0)
    recall(budget, [{"kind": "phase"}, {"kind": EVENT, "time": "now", **PLAIN.to_json()}])
    assert budget.measured == {("net", 32): PLAIN} == {("net", 32): read_measured(PLAIN.to_json())}


class Retargeted:
    """An executor with other targets in the place of what it is given."""

    def __init__(self, executor):
        self.executor = executor

    def submit(self, job, slot_id):
        fake = "cost" if job.id.startswith("measure") else "score_by_size"
        self.executor.submit(replace(job, target=f"search_targets:{fake}"), slot_id)

    def __getattr__(self, name):
        return getattr(self.executor, name)


@pytest.fixture
def checked(make_context, make_space, targets_importable):
    """A search with budgets whose networks cost what `search_targets.cost` says."""

    def make(**request):
        context = make_context(make_space(SPACE), **request)
        context.dispatcher.executor = Retargeted(context.dispatcher.executor)
        return context

    return make


def measured(context):
    events = [event for event in read_events(context.run) if event["kind"] == EVENT]
    return {(event["backbone"], event["image_size"]): event["p50_milliseconds"] for event in events}


def test_without_a_budget_nothing_is_measured(checked):
    context = checked()
    keep_to_budget(context)
    assert (measured(context), list(context.backbones)) == ({}, ["resnet50", "vgg16"])


def test_networks_over_the_budget_leave_and_larger_sizes_of_the_others_are_measured(checked, told):
    context = checked(latency_milliseconds=10.0)
    assert image_sizes(context, "vgg16") == [32, 64, 128]
    keep_to_budget(context)
    # the first look at resnet50 was disturbed, the second one counts; at 128 px it is over, and stays a candidate
    assert measured(context) == {
        ("vgg16", 32): 32.0, ("resnet50", 32): 3.2, ("resnet50", 64): 6.4, ("resnet50", 128): 12.8
    }  # fmt: skip
    assert list(context.backbones) == ["resnet50"]
    notes = [event["message"] for event in told if event["event"] == "note"]
    assert notes == ["left out, over the budget of 10 ms: vgg16 at 32 px: 32 ms, 40.00 MB"]


def test_a_search_that_is_gone_on_with_measures_nothing_again(checked):
    context = checked(latency_milliseconds=10.0)
    keep_to_budget(context)
    before = read_events(context.run)
    again = checked(latency_milliseconds=10.0)
    again.past = Past(events=tuple(before))
    keep_to_budget(again)
    assert read_events(again.run) == before
    assert (list(again.backbones), len(again.model_budget.measured)) == (["resnet50"], 4)


def test_where_no_network_holds_each_is_named_with_its_figures(checked):
    context = checked(max_bytes=10**6)
    with pytest.raises(NoTrialError) as caught:
        keep_to_budget(context)
    assert caught.value.exit_code == 4
    for words in ("1.00 MB", "vgg16 at 32 px: 32 ms, 40.00 MB", "resnet50 at 32 px: 103 ms, 40.00 MB"):
        assert words in str(caught.value)


def test_a_network_that_cannot_be_deployed_leaves_with_the_reason_and_otherwise_stays(checked, make_space):
    space = make_space(SPACE.replace('"vgg16"', '"xception"').replace("[32, 64, 128]", "[96]"))
    for deploy, left in (("litert:int8", ["resnet50"]), (None, ["resnet50", "xception"])):
        context = checked(max_bytes=10**9, deploy=deploy)
        names = {name: record for name, record in context.backbones.items() if name == "resnet50"}
        from autotl.search.plan import resolve_backbones

        context.space = space
        context.plugins = replace(context.plugins, backbones={**names, **resolve_backbones(["xception"])})
        keep_to_budget(context)
        assert list(context.backbones) == left


def test_configurations_over_the_budget_are_not_run_and_the_sampler_hears_of_them(checked):
    context = checked(latency_milliseconds=10.0, seed=1)
    keep_to_budget(context)
    stage = context.space.stages[0]
    study = open_study(open_storage(context.run.study_path), stage, "log_loss", seed=1)
    results = StageRun(context, stage, study, list(context.backbones), {}, 12).run()
    assert len(results) == 12
    assert {result["config"]["image_size"] for result in results} == {32, 64}  # 128 would have scored best
    violated = [trial.constraints for trial in study.get_trials() if trial.constraints]
    assert violated and all(each == {"latency": pytest.approx(0.28)} for each in violated)
    kinds = [event["kind"] for event in read_events(context.run)]
    assert kinds.count("over_budget") == len(violated)
    assert kinds.count("submitted") == 12 + len(measured(context)) + 3  # three of them were looked at twice
