"""What goes wrong, in the codes of AIGES: those of its HTTP faces, and ours among its own.

Knows no request. Which of our errors has which code is one table for every face of AIGES: codes.py.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from loader.gateway.aiges.codes import CODES, CRASH

if TYPE_CHECKING:
    from loader.errors import LoaderError

NO_DATA: Final = 10009
SESSION_TIMEOUT: Final = 10019
INACTIVE: Final = 10101
INVALID: Final = 10106
NO_LICENCE: Final = 10110
TIMEOUT: Final = 10114
NOT_FOUND: Final = 10404
CALL_FAILED: Final = 10002  # of a one-shot call whose loader cannot be reached
READ_FAILED: Final = 10200  # the same of a session

OUT_OF_REACH: Final = ("CONNECTION_FAILED", "REGISTRY_UNREACHABLE")  # the client's own: no loader answered


class Fault(Enum):
    """What is wrong with a body: the code of a POST, and of a WebSocket frame."""

    JSON = (10000, 10160)
    BASE64 = (10001, 10161)
    MAPPING = (10001, 10163)


class AigesError(Exception):
    """One error as a client of AIGES hears it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class BadBodyError(ValueError):
    """A body or frame that cannot be read; says key and value."""

    def __init__(self, fault: Fault, text: str) -> None:
        super().__init__(text)
        self.fault = fault

    def told(self, *, is_session: bool) -> AigesError:
        """The same in the codes of the face."""
        return AigesError(self.fault.value[is_session], str(self))


def told(error: LoaderError, *, is_session: bool, is_open: bool = False) -> AigesError:
    """An error of a call or a session; `is_open`: the session was open before."""
    if _is_aiges_code(error.engine_code):
        return AigesError(error.engine_code, error.engine_message)
    if error.name in OUT_OF_REACH:
        return AigesError(READ_FAILED if is_session else CALL_FAILED, error.message)
    code = CODES.get(error.name, (CRASH, CRASH))[not is_session]
    text = error.message or error.engine_message or (type(error).__doc__ or error.name)
    if error.engine_code:
        text = f"{error.engine_message};code={error.engine_code}"
    elif code == NO_LICENCE:
        text = f"service license not enough: {text}"  # AIGES's own text first: clients show it
    # Another node cannot go on with a session that was open here.
    return AigesError(SESSION_TIMEOUT if code == NO_LICENCE and is_open else code, text)


def _is_aiges_code(code: int) -> bool:
    """Codes that an AIGES engine says itself: the adapters pass them with their text."""
    return 10901 <= code <= 10910 or 30001 <= code <= 30003
