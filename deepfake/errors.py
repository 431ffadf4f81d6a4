"""The errors a user can cause; each is shown as one line, without a traceback."""

from collections.abc import Iterator


def error_line(err: BaseException) -> str:
    """An error as one line for a table."""
    return f"{type(err).__name__}: {err}".splitlines()[0]


def chain_of(err: BaseException | None) -> Iterator[BaseException]:
    """An error and those that led to it, newest first, each once even if the chain is a ring."""
    seen: set[int] = set()
    while err is not None and id(err) not in seen:
        seen.add(id(err))
        yield err
        err = err.__cause__ or err.__context__


class UserError(ValueError):
    """Something the user gave is wrong; the text names the file, key or value, and the mend."""


class DecodeError(RuntimeError):
    """A video or image could not be read; the text names the file and where reading broke."""


class SomeFailed(RuntimeError):
    """Some inputs failed while all others were done and written; the text counts them and says where."""


class Stopped(RuntimeError):
    """The job could not go on, but what it did is kept; the text says why and how to resume."""
