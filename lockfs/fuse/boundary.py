"""Between pyfuse3 and lockfs: nothing but FUSEError gets out, because anything else would end the mount (N6)."""

from __future__ import annotations

import errno
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from pyfuse3 import FUSEError

from lockfs.core.errors import Conflict, WaitCycle

log = logging.getLogger("lockfs")

_FACTS: dict[type[Exception], int] = {Conflict: errno.EBUSY, WaitCycle: errno.EDEADLK}
"""Facts of the core that reach this far, as errnos (Q1, Q4)."""


class CountsErrors(Protocol):
    """Whoever counts handlers' bugs."""

    def count_error(self) -> None:
        """A handler failed unexpectedly."""


S = TypeVar("S", bound=CountsErrors)
P = ParamSpec("P")
T = TypeVar("T")


def guarded(
    handler: Callable[Concatenate[S, P], Awaitable[T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """A request handler that answers with an errno whatever happens; a bug is logged and costs this one operation."""

    @functools.wraps(handler)
    async def wrapper(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await handler(self, *args, **kwargs)
        except FUSEError:
            raise
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                log.error("out of descriptors operation=%s", handler.__name__)
            raise FUSEError(error.errno or errno.EIO) from None
        except Exception as error:
            number = _FACTS.get(type(error))
            if number is None:
                self.count_error()
                log.exception("handler failed operation=%s args=%r", handler.__name__, args)
                number = errno.EIO
            raise FUSEError(number) from None

    return wrapper
