"""What can go wrong, as a person sees it: the rule, what was given, what to do next.

Every error of autotl is one of these. The command line turns `exit_code` into the process's exit code, which is a
contract (docs/architecture.md); a worker sends `kind` with a failed trial, which decides what the driver does.
"""


class AutotlError(Exception):
    """The base of all errors that are explained to the user instead of shown as a traceback."""

    exit_code = 1
    kind = "runtime"


class UsageError(AutotlError):
    """The request itself is wrong: an unknown name, an impossible option, a faulty search-space file."""

    exit_code = 2
    kind = "usage"


class DataError(AutotlError):
    """The data set cannot be used as it is."""

    exit_code = 3
    kind = "data"


class NoTrialError(AutotlError):
    """The search ended without a single completed trial."""

    exit_code = 4
    kind = "no_trial"


class ParityError(AutotlError):
    """A saved model does not compute what the trained one computed."""

    exit_code = 5
    kind = "parity"


class PluginError(AutotlError):
    """A plugin is missing, broken, duplicated or breaks its contract."""

    kind = "plugin"


class TrialError(AutotlError):
    """A trial's configuration cannot be trained; the search goes on without it."""

    kind = "invalid"


class Interrupted(AutotlError):  # noqa: N818 - it is no fault
    """The user stopped the run; what had finished is saved."""

    exit_code = 130
    kind = "interrupted"
