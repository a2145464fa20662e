"""Which path the operations take.

``reference`` is the formulas as written, ``fast`` the same values, sooner. The choice belongs to the calling
context (``contextvars``), so threads and tasks do not disturb each other. It is read when an operation is
called; what autograd runs later for that call stays on the same path.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

from evalkit.errors import UsageError, nearest

PATHS = ("reference", "fast")

_path: ContextVar[str] = ContextVar("reference_models.ops.path", default="fast")


def current() -> str:
    """Name of the path that operations called here and now take."""
    return _path.get()


def is_fast() -> bool:
    """Whether operations called here and now take the fast path."""
    return _path.get() == "fast"


def use(path: str) -> AbstractContextManager[None]:
    """Context manager that makes operations called inside take ``path``.

    Args:
        path: ``reference`` or ``fast``.

    Raises:
        UsageError: There is no path of this name.
    """
    if path not in PATHS:
        raise UsageError(
            f"unknown path of the operations {path!r} (nearest: {nearest(str(path), list(PATHS))}); "
            "give 'fast' or 'reference'"
        )
    return _using(path)


@contextmanager
def _using(path: str) -> Iterator[None]:
    token = _path.set(path)
    try:
        yield
    finally:
        _path.reset(token)
