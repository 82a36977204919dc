"""The functions of an AIGES wrapper as sessions and calls use them, wherever it runs: in this process, or in one
that is reached by AIGES's plug-in protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from loader.compat.aiges.binding import Role
    from loader.wrapper import Error


class Calls(Protocol):
    """One wrapper. Everything from any thread."""

    @property
    def takes_dictionaries(self) -> bool:
        """Input nodes are dictionaries: a wrapper of the first generation."""

    def call(
        self, name: str, failed: int, values: Mapping[Role, Any], log: Callable[[str, int], None]
    ) -> Any:
        """What the function of that name returns.

        Raises: Error with the code `failed` where it fails; `log` gets what the caller does not.
        """

    def failed(self, failed: int, raised: BaseException, log: Callable[[str, int], None]) -> Error:
        """What its caller gets for an exception."""

    def refused(self, failed: int, code: int, otherwise: str = "") -> Error:
        """What its caller gets for a code that is not 0."""
