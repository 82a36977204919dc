"""`Wrapper().run()`: a wrapper tried by its author, without a server, and a look at what it returns.

Calls the wrapper as the host does, through the same bindings; knows no host.
"""

from __future__ import annotations

import queue
import sys
from types import ModuleType
from typing import Any, Final

from loader.compat.aiges import constants, convert
from loader.compat.aiges.binding import Role
from loader.compat.aiges.dto import DataListCls
from loader.compat.aiges.logs import getLogger
from loader.compat.aiges.receivers import RECEIVERS

logger = getLogger(name="aiges")

TAG: Final = "test-111111"
RESULT_LIMIT_S: Final = 60.0


class _Collected:
    """Results of a session as they are called back."""

    def __init__(self) -> None:
        self.responses: queue.Queue[Any] = queue.Queue()

    def on_response(self, response: object) -> int:
        """Keeps it."""
        self.responses.put(response)
        return 0

    def on_failure(self, raised: BaseException) -> None:  # noqa: ARG002  its thread shows it
        """The run ends with an error."""
        self.responses.put(-1)

    def on_meter(self, key: str, count: float) -> None:
        """Shows it."""
        logger.info("metric %s: %s", key, count)

    def on_trace(self, key: str, value: str) -> None:
        """Shows it."""
        logger.info("trace %s: %s", key, value)


class _Runner:
    def __init__(self, wrapper: Any) -> None:
        from loader.compat.aiges.author import find_author

        author = find_author(_module_of(type(wrapper)))
        if author is None:
            raise TypeError(f"{type(wrapper).__name__} defines neither wrapperOnceExec nor wrapperCreate")
        author.adopt(wrapper)
        self.author = author
        self.wrapper = wrapper
        self.declared = wrapper.__mappings__

    def init(self) -> None:
        self.call("wrapperInit", {Role.CONFIG: convert.texts_of(self.wrapper.config or {})})

    def call(self, name: str, values: dict[Role, Any]) -> Any:
        returned = self.author.bindings[name](values) if self.author.has(name) else None
        logger.info("%s returned %.200r", name, returned)
        code = convert.outcome_of(returned).code if name != "wrapperCreate" else convert.code_of(returned)
        if code:
            text = self.author.refused(1, code)
            raise RuntimeError(f"{name} failed: {text}")
        return returned

    def request(self) -> DataListCls:
        request = DataListCls()
        for one in self.declared["inputs"]:
            value = one.test_value
            data = value.encode() if isinstance(value, str) else bytes(value)
            request.list.append(convert.make_input(one.key, data, one.data_type, constants.DataOnce, {}))
        return request

    def params(self) -> dict[str, str]:
        given = {one.key: convert.text_of(one.test_value) for one in self.declared["params"]}
        return given | {"sid": TAG}

    def values(self) -> dict[Role, Any]:
        return {
            Role.PARAMS: self.params(), Role.DATA: self.request(), Role.TAG: TAG, Role.SID: TAG,
            Role.PERSONAL: 0, Role.RESULTS: [], Role.IDS: [], Role.ID_COUNT: 0, Role.ERROR: [0],
        }  # fmt: skip


def _module_of(class_: type) -> ModuleType:
    """A module that holds the class and what stands around it."""
    module = ModuleType(class_.__module__)
    vars(module).update(vars(sys.modules[class_.__module__]) | {"Wrapper": class_})
    return module


def run_once(wrapper: Any) -> bool:
    """wrapperInit, wrapperOnceExec with the declared test values, and a look at the response."""
    runner = _Runner(wrapper)
    runner.init()
    response = runner.call("wrapperOnceExec", runner.values())
    is_good = check_response(wrapper, response)
    _say("the response is as it has to be" if is_good else "the response is not as it has to be: see above")
    return is_good


def run_stream(wrapper: Any) -> bool:
    """A session: the declared test values as one last package, then results until END."""
    runner, collected = _Runner(wrapper), _Collected()
    runner.init()
    RECEIVERS.add(TAG, collected)
    try:
        values = runner.values()
        returned = runner.call("wrapperCreate", values)
        values[Role.HANDLE] = getattr(returned, "handle", returned)
        for node in values[Role.DATA].list:
            node.status = constants.DataEnd
        runner.call("wrapperWrite", values)
        is_good = _results(runner, collected, values)
        runner.call("wrapperDestroy", values)
    finally:
        RECEIVERS.remove(collected, TAG)
    return is_good


def _results(runner: _Runner, collected: _Collected, values: dict[Role, Any]) -> bool:
    from loader.compat.aiges.engine import reads_by_default

    is_read = reads_by_default(runner.author)
    while True:
        try:
            response = (
                runner.call("wrapperRead", values)
                if is_read
                else collected.responses.get(True, RESULT_LIMIT_S)
            )
        except queue.Empty:
            _say(f"no result in {RESULT_LIMIT_S:g} s: does every path of the wrapper end with callback?")
            return False
        outcome = convert.outcome_of(response, values[Role.RESULTS])
        for node in outcome.nodes:
            _say(f"result {node.key}: {len(node.data)} bytes, status {node.status}")
        if outcome.code:
            _say(f"the result has error code {outcome.code}")
            return False
        if outcome.is_final:
            return True


def check_response(wrapper: Any, response: Any) -> bool:
    """The response of a one-shot call is as AIGES wants it; what is not, is logged."""
    if convert.is_response(response) and convert.code_of(response):
        _say(f"error code {convert.code_of(response)}: {wrapper.wrapperError(convert.code_of(response))}")
        return True
    try:
        outcome = convert.outcome_of(response)
    except TypeError as error:
        logger.error("%s", error)
        return False
    wrongs = [] if outcome.nodes else ["the response is empty"]
    accepts = {one.key: one.data_type for one in wrapper.__mappings__["accepts"]}
    keys = [node.key for node in outcome.nodes]
    wrongs += [
        f"the key {key} is there more than once" for key in {one for one in keys if keys.count(one) > 1}
    ]
    for node in outcome.nodes:
        wrongs += _wrongs_of(node, accepts)
    for wrong in wrongs:
        logger.error("%s", wrong)
    return not wrongs


def _wrongs_of(node: convert.Node, accepts: dict[str, int]) -> list[str]:
    wrongs = []
    if node.status != constants.DataOnce:
        wrongs.append(
            f"the status of {node.key} is {node.status}: a one-shot result has {constants.DataOnce}"
        )
    if accepts and node.key not in accepts:
        wrongs.append(f"the key {node.key} is not declared in responseCls")
    if node.key in accepts and node.kind != accepts[node.key]:
        wrongs.append(f"the type of {node.key} is {node.kind}, declared is {accepts[node.key]}")
    return wrongs


def _say(text: str) -> None:
    print(text)  # noqa: T201  somebody sits in front of it
