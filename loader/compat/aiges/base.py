"""`WrapperBase` and its metaclass: what wrappers of the SDK flavour derive from.

Every method is optional here. Refuses to know the host: run() is local_run.py, schema() is schema.py.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar, Self

from loader.compat.aiges import local_run, schema
from loader.compat.aiges.dto import Response, SessionCreateResponse
from loader.compat.aiges.streaming import SessionManager

__all__ = ["Metaclass", "WrapperBase"]

MAPPED = ("call", "sub", "route", "call_type")


class Metaclass(type):
    """Collects what a wrapper declares, in `__mappings__`."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any], **said: Any) -> Metaclass:
        """The class, with `__mappings__`."""
        made = super().__new__(cls, name, bases, body, **said)
        declared = schema.fields_of(getattr(made, "requestCls", None), getattr(made, "responseCls", None))
        mappings: dict[str, Any] = {
            "inputs": declared.inputs,
            "accepts": declared.accepts,
            "params": declared.params,
        }
        mappings |= {word: getattr(made, word) for word in MAPPED if hasattr(made, word)}
        made.__mappings__ = mappings  # type: ignore[attr-defined]
        return made


class WrapperBase(metaclass=Metaclass):
    """Derive `Wrapper` from it."""

    serviceId: ClassVar[Any] = ""
    version: ClassVar[Any] = ""
    config: Any = {}  # noqa: RUF012  what run() passes to wrapperInit: a published name
    requestCls: Any = None
    responseCls: Any = None

    # As where an author's own __init__ does not call this one.
    legacy = True
    is_aipaas = True
    keep_schema_default_value = True
    inputs_test_values: dict[str, Any]
    params_test_values: dict[str, Any]
    respData: list[Any]
    session: SessionManager
    _schema: Any

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """The object, with what its methods need before any __init__."""
        made = super().__new__(cls)
        made.inputs_test_values, made.params_test_values = {}, {}
        made.respData = []
        made.session = SessionManager()
        made._schema = None
        return made

    def __init__(
        self,
        legacy: bool = True,
        is_aipaas: bool = True,
        keep_schema_default_value: bool = True,
        *_: Any,
        **said: Any,
    ) -> None:
        self.legacy = legacy
        self.is_aipaas = is_aipaas
        self.keep_schema_default_value = keep_schema_default_value
        vars(self).update(said)

    # ---- what an author may define; the adapter calls only what was

    def wrapperInit(self, config: Any) -> int:  # noqa: ARG002  published names, here and below
        """Loads what the engine needs."""
        return 0

    def wrapperFini(self) -> int:
        """Frees it."""
        return 0

    def wrapperLoadRes(self, reqData: Any, resId: Any) -> int:  # noqa: ARG002
        """Takes a personal resource."""
        return 0

    def wrapperUnloadRes(self, resId: Any) -> int:  # noqa: ARG002
        """Drops it."""
        return 0

    def wrapperOnceExec(self, params: Any, reqData: Any, usrTag: str = "", persId: Any = 0) -> Response:
        """One request, one response."""
        raise NotImplementedError("define wrapperOnceExec(self, params, reqData, usrTag, persId)")

    def wrapperOnceExecAsync(self, params: Any, reqData: Any, sid: str, persId: Any = 0) -> int:
        """The same, with the response by callback."""
        raise NotImplementedError("define wrapperOnceExecAsync(self, params, reqData, sid, persId)")

    def wrapperError(self, ret: int) -> str:  # noqa: ARG002
        """The text of an error code."""
        return ""

    def wrapperCreate(
        self,
        params: Any,  # noqa: ARG002
        sid: str,  # noqa: ARG002
        persId: Any = 0,  # noqa: ARG002
        usrTag: str = "",  # noqa: ARG002
    ) -> SessionCreateResponse | None:
        """Opens a session."""
        return None

    def wrapperWrite(self, handle: str, datas: Any) -> int:  # noqa: ARG002
        """One package of input."""
        return 0

    def wrapperRead(self, handle: str) -> Any:  # noqa: ARG002
        """What there is of results."""
        return []

    def wrapperDestroy(self, handle: str) -> int:  # noqa: ARG002
        """Ends a session."""
        return 0

    def wrapperTestFunc(self, data: Any, respData: Any) -> None:
        """Nothing: it has to exist."""

    def response_err(self, code: int) -> Response:
        """A response with an error code: some wrappers ask themselves for it."""
        return Response().response_err(code)

    # ---- for its author, without a server

    def run(self, stream: bool = False) -> Any:
        """Calls every function once, with the test values of the declared fields; True: all is well."""
        return self.run_stream() if stream else self.run_once()

    def run_once(self) -> bool:
        """wrapperInit, wrapperOnceExec, and a look at what it returns."""
        return local_run.run_once(self)

    def run_stream(self) -> bool:
        """wrapperInit, wrapperCreate, wrapperWrite, and results until END."""
        return local_run.run_stream(self)

    def check_resp(self, resp: Any) -> bool:
        """The response is as AIGES wants it; what is not, is logged."""
        return local_run.check_response(self, resp)

    def schema(self) -> str:
        """The schema as JSON text, which is printed too."""
        text = self.schema_legacy() if self.legacy else self.schema_v2()
        print(text)  # noqa: T201  that is what people call it for
        return text

    def schema_v2(self) -> str:
        """The schema in its second form."""
        return self._schema_text(legacy=False)

    def schema_legacy(self) -> str:
        """The schema in its first form."""
        return self._schema_text(legacy=True)

    def gradio(self) -> None:
        """Nothing: what AIGES shows with gradio, the loader's HTTP port shows at /swagger."""
        print("gradio is not part of this: the loader's HTTP port has a page to try the wrapper")  # noqa: T201

    # What an author's own `run_once` asks: some copied the one of AIGES and changed it.

    def _parse_inputs(self) -> tuple[dict[str, Any], dict[str, Any]]:
        inputs = schema.fields_of(self.requestCls, None).inputs
        self.inputs_test_values.update({one.key: one.test_value for one in inputs})
        return schema.kinds_of(inputs), schema.payload_of(inputs)

    def _parse_outputs(self) -> tuple[dict[str, Any], dict[str, Any]]:
        accepts = schema.fields_of(None, self.responseCls).accepts
        return schema.kinds_of(accepts), schema.payload_of(accepts)

    def _parse_params(self) -> tuple[dict[str, Any], list[str]]:
        params = schema.fields_of(self.requestCls, None).params
        self.params_test_values.update({one.key: one.test_value for one in params})
        required = [one.key for one in params if getattr(one, "required", False)]
        return schema.parameters_of(params), required

    def _schema_text(self, *, legacy: bool) -> str:
        self._schema = schema.schema_of(type(self), legacy=legacy, is_aipaas=self.is_aipaas)
        return json.dumps(self._schema, indent=4, ensure_ascii=False, default=str)
