from autotl.execution.protocol import Job
from autotl.execution.watch import PATIENCE_SECONDS
from autotl.search.patience import PAUSES, Patience


def job(**payload):
    return Job("a", 1, "module:function", payload)


def test_patience_grows_with_the_pauses_of_its_kind_of_job():
    patience = Patience()
    patience.note(job(kind="trial"), PATIENCE_SECONDS)
    patience.note(job(kind="trial"), 1.0)
    assert patience.of(job(kind="trial")) == PAUSES * PATIENCE_SECONDS
    assert patience.of(job(kind="final")) == PATIENCE_SECONDS


def test_short_pauses_do_not_make_it_impatient():
    patience = Patience()
    patience.note(job(), 0.001)
    assert patience.of(job()) == PATIENCE_SECONDS
