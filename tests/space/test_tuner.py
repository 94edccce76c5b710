"""The translation of KerasTuner's hyperparameters, held against KerasTuner's own."""

import json
import math

import optuna
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autotl.heads.replay import declaration, is_allowed
from autotl.space.tuner import ask, count, default_parameters, is_active, merge, parameter_names, value_at

pytestmark = pytest.mark.keras  # keras_tuner imports Keras

FEW = settings(max_examples=60, deadline=None)
samplings = st.sampled_from(["linear", "log", "reverse_log"])


@pytest.fixture(autouse=True, scope="module")
def keras_is_there():
    """Hypothesis does not like it when an import draws random numbers within an example."""
    import keras_tuner  # noqa: F401


def hp_types():
    from keras_tuner.engine import hyperparameters

    return hyperparameters


@st.composite
def whole_numbers(draw):
    low = draw(st.integers(1, 50))
    high = low + draw(st.integers(0, 400))
    sampling = draw(samplings)
    step = draw(st.none() | st.integers(1 if sampling == "linear" else 2, 7))
    default = draw(st.none() | st.integers(low, high))
    return hp_types().Int("n", low, high, step=step, sampling=sampling, default=default)


@st.composite
def real_numbers(draw):
    low = draw(st.floats(1e-5, 10.0))
    high = low * draw(st.floats(1.0, 1e3))
    sampling = draw(samplings)
    step = draw(st.none() | (st.floats(1e-2, 5.0) if sampling == "linear" else st.floats(1.1, 10.0)))
    assume(step is None or sampling != "linear" or (high - low) / step < 1e4)
    default = draw(st.none() | st.just(low) | st.just(high))
    return hp_types().Float("x", low, high, step=step, sampling=sampling, default=default)


@st.composite
def choices(draw):
    options = draw(
        st.lists(st.integers(-9, 9), min_size=1, max_size=5, unique=True)
        | st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=5, unique=True)
        | st.lists(st.sampled_from(["relu", "selu", "gelu"]), min_size=1, unique=True)
    )
    return hp_types().Choice("c", options, default=draw(st.none() | st.sampled_from(options)))


def booleans():
    return st.booleans().map(lambda default: hp_types().Boolean("b", default=default))


def described(hyperparameter):
    """As it arrives at the driver: through JSON."""
    return json.loads(json.dumps(declaration(hyperparameter)))


def a_trial(seed=0, fixed=None):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    if fixed is not None:
        study.enqueue_trial(fixed)
    return study.ask()


@FEW
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_every_value_is_one_that_kerastuner_could_have_drawn(data, seed):
    hyperparameter = data.draw(st.one_of(whole_numbers(), real_numbers(), choices(), booleans()))
    (value,) = ask([described(hyperparameter)], a_trial(seed)).values()
    assert is_allowed(declaration(hyperparameter), value)
    assert type(value) is type(hyperparameter.default)
    if getattr(hyperparameter, "step", None) is not None:
        low, high = hyperparameter.min_value, hyperparameter.max_value
        possible = [hyperparameter._get_value_by_index(index) for index in range(hyperparameter._get_n_values())]
        inside = [min(max(item, low), high) for item in possible]  # a step may end a rounding error outside
        assert value in [type(value)(item) for item in inside]
    assert ask([described(hyperparameter)], a_trial(seed)) == {hyperparameter.name: value}


@FEW
@given(hyperparameter=st.one_of(whole_numbers(), real_numbers()))
def test_steps_are_counted_and_placed_as_in_kerastuner(hyperparameter):
    if hyperparameter.step is None:
        return
    mine = described(hyperparameter)
    assert count(mine) == hyperparameter._get_n_values()
    for index in {0, count(mine) // 2, count(mine) - 1}:
        assert value_at(mine, index) == hyperparameter._get_value_by_index(index)


@FEW
@given(hyperparameter=st.one_of(whole_numbers(), real_numbers()), share=st.floats(0.0, 0.999))
def test_a_reversed_range_without_steps_has_the_values_of_kerastuner(hyperparameter, share):
    if hyperparameter.step is not None or hyperparameter.sampling != "reverse_log":
        return
    trial = a_trial(fixed={hyperparameter.name: share})
    (value,) = ask([described(hyperparameter)], trial).values()
    drawn = hyperparameter.prob_to_value(share)  # a rounding error may put it just outside
    expected = min(max(drawn, hyperparameter.min_value), hyperparameter.max_value)
    assert value == pytest.approx(expected, rel=1e-9)


@FEW
@given(data=st.data())
def test_the_defaults_of_a_study_are_the_defaults_of_kerastuner(data):
    hyperparameter = data.draw(st.one_of(whole_numbers(), real_numbers(), choices(), booleans()))
    mine = described(hyperparameter)
    trial = a_trial(fixed=default_parameters([mine], "m."))
    (value,) = ask([mine], trial, "m.").values()
    if getattr(hyperparameter, "step", None) is None or isinstance(hyperparameter.default, str | bool):
        assert value == pytest.approx(hyperparameter.default)
    else:  # a default between two steps becomes the nearer one
        steps = [value_at(mine, index) for index in range(count(mine))]
        best = min(abs(step - hyperparameter.default) for step in steps)
        assert abs(value - hyperparameter.default) <= best + 1.0 * isinstance(value, int) + 1e-9


def test_a_logarithmic_step_multiplies():
    kt = hp_types()
    whole = described(kt.Int("batch", 2, 32, step=2, sampling="log"))
    assert [value_at(whole, index) for index in range(count(whole))] == [2, 4, 8, 16, 32]
    values = {ask([whole], a_trial(seed))["batch"] for seed in range(60)}
    assert values == {2, 4, 8, 16, 32}
    real = described(kt.Float("rate", 1e-3, 10, step=10, sampling="log"))
    assert count(real) == 5


def test_neighbouring_values_of_a_numeric_choice_are_neighbours_for_the_sampler():
    kt = hp_types()
    trial = a_trial()
    ask([described(kt.Choice("units", [8, 16, 32])), described(kt.Choice("kind", ["a", "b"]))], trial)
    assert isinstance(trial.distributions["units"], optuna.distributions.IntDistribution)
    assert isinstance(trial.distributions["kind"], optuna.distributions.CategoricalDistribution)


def test_a_fixed_value_is_not_asked_for():
    trial = a_trial()
    assert ask([described(hp_types().Fixed("seed", 7))], trial) == {"seed": 7}
    assert trial.params == {}


def conditional():
    """Two kinds of layers that both have `units`, in ranges that one study could not keep under one name."""
    import keras_tuner

    hp = keras_tuner.HyperParameters()
    hp.Choice("kind", ["dense", "conv"])
    with hp.conditional_scope("kind", ["dense"]):
        hp.Choice("units", ["wide", "narrow"])
    with hp.conditional_scope("kind", ["conv"]):
        hp.Choice("units", [3, 5])
        hp.Boolean("deep")
        with hp.conditional_scope("deep", [True]):
            hp.Int("depth", 2, 4)
    return [json.loads(json.dumps(declaration(item))) for item in hp.space]


@pytest.mark.parametrize("kind", ["dense", "conv"])
@pytest.mark.parametrize("deep", [False, True])
def test_only_what_its_parents_allow_is_asked_for(kind, deep):
    declarations = conditional()
    trial = a_trial(fixed={"kind": kind, "deep if kind=conv": deep})
    values = ask(declarations, trial)
    assert ("deep" in values) == (kind == "conv")
    assert ("depth" in values) == (kind == "conv" and deep)
    assert values["units"] in (["wide", "narrow"] if kind == "dense" else [3, 5])
    assert len(trial.params) == len(values)


def test_one_name_under_two_conditions_is_two_parameters_of_one_study():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(1))
    for _ in range(12):  # a sampler refuses one name with two lists of choices
        trial = study.ask()
        ask(conditional(), trial, "head.")
        study.tell(trial, 0.0)
    names = {name for trial in study.trials for name in trial.params}
    assert {"head.units if kind=dense", "head.units if kind=conv"} <= names


def test_a_range_that_depends_on_another_value_is_a_parameter_of_its_own():
    kt = hp_types()
    one, two = described(kt.Int("units", 1, 4)), described(kt.Int("units", 1, 64))
    known = merge([one], [two, one])
    assert known == [one, two]
    assert parameter_names(known) == ["units", "units #2"]
    assert ask(known, a_trial(3))["units"] <= 4
    values = [ask(known, a_trial(seed), wanted=[two])["units"] for seed in range(10)]
    assert max(values) > 4


def test_a_declaration_is_active_when_all_its_parents_agree():
    declared = {"conditions": [{"name": "a", "values": [1, 2]}, {"name": "b", "values": [True]}]}
    assert is_active(declared, {"a": 2, "b": True})
    assert not is_active(declared, {"a": 3, "b": True})
    assert not is_active(declared, {"a": 2})


def test_counting_is_kind_to_rounding_as_kerastuner_is():
    declared = described(hp_types().Float("x", 1e-3, 1.0, step=10, sampling="log"))
    assert math.isclose(value_at(declared, count(declared) - 1), 1.0)
