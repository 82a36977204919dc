"""The messages of AIGES's plug-in protocol, and of gRPC's health service, by their field numbers.

In a descriptor pool of their own: whoever uses AIGES's generated code in this process may load it beside them.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {
    "string": _Field.TYPE_STRING, "bytes": _Field.TYPE_BYTES, "int32": _Field.TYPE_INT32,
    "uint32": _Field.TYPE_UINT32, "uint64": _Field.TYPE_UINT64,
}  # fmt: skip
_NODE: Final = {
    "key": (1, "string"), "len": (2, "uint64"), "type": (3, "uint32"), "status": (4, "uint32"),
    "desc": (5, "map"), "data": (6, "bytes"),
}  # fmt: skip

# package -> message -> field -> (number, type); [T] is repeated T, map is from string to string.
_MESSAGES: Final[dict[str, dict[str, dict[str, tuple[int, str]]]]] = {
    "aiges": {
        "RequestData": _NODE,
        "ResponseData": _NODE,
        "InitRequest": {"config": (1, "map")},
        "Ret": {"ret": (1, "int32")},
        "Request": {"tag": (1, "string"), "params": (2, "map"), "list": (3, "[RequestData]")},
        "Response": {"tag": (1, "string"), "ret": (2, "int32"), "list": (3, "[ResponseData]")},
        "SvcId": {"serviceId": (1, "string")},
        "Schema": {"data": (1, "string")},
        "CreateRequest": {"params": (1, "map"), "sid": (2, "string"), "tag": (3, "string")},
        "Handle": {"handle": (1, "string"), "err_code": (2, "int32")},
        "WriteMessage": {"req": (1, "Request"), "handle": (2, "string"), "sid": (3, "string")},
    },
    # An enum and an int32 are the same on the wire.
    "grpc.health.v1": {
        "HealthCheckRequest": {"service": (1, "string")}, "HealthCheckResponse": {"status": (1, "int32")},
    },
    "plugin": {"Empty": {}, "StdioData": {"channel": (1, "int32"), "data": (2, "bytes")}},
}  # fmt: skip


class Method(NamedTuple):
    """One RPC."""

    path: str
    asks: str
    answers: str


INIT: Final = Method("/aiges.WrapperService/wrapperInit", "aiges.InitRequest", "aiges.Ret")
EXEC: Final = Method("/aiges.WrapperService/wrapperOnceExec", "aiges.Request", "aiges.Response")
SCHEMA: Final = Method("/aiges.WrapperService/wrapperSchema", "aiges.SvcId", "aiges.Schema")
CREATE: Final = Method("/aiges.WrapperService/wrapperCreate", "aiges.CreateRequest", "aiges.Handle")
WRITE: Final = Method("/aiges.WrapperService/wrapperWrite", "aiges.WriteMessage", "aiges.Ret")
DESTROY: Final = Method("/aiges.WrapperService/wrapperDestroy", "aiges.Handle", "aiges.Ret")
COMMUNICATE: Final = Method("/aiges.WrapperService/communicate", "aiges.Request", "aiges.Response")
HEALTH: Final = Method(
    "/grpc.health.v1.Health/Check", "grpc.health.v1.HealthCheckRequest", "grpc.health.v1.HealthCheckResponse"
)
STDIO: Final = Method("/plugin.GRPCStdio/StreamStdio", "plugin.Empty", "plugin.StdioData")
SHUTDOWN: Final = Method("/plugin.GRPCController/Shutdown", "plugin.Empty", "plugin.Empty")


def _add_message(file: Any, name: str, fields: dict[str, tuple[int, str]]) -> None:
    message = file.message_type.add(name=name)
    for field_name, (number, kind) in fields.items():
        field = message.field.add(name=field_name, number=number, label=_Field.LABEL_OPTIONAL)
        if kind == "map":
            _make_map(message, file.package, field)
            continue
        if kind.startswith("["):
            field.label, kind = _Field.LABEL_REPEATED, kind[1:-1]
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
        else:
            field.type, field.type_name = _Field.TYPE_MESSAGE, f".{file.package}.{kind}"


def _make_map(message: Any, package: str, field: Any) -> None:
    entry = message.nested_type.add(name=f"{field.name.title()}Entry")
    entry.options.map_entry = True
    for number, name in ((1, "key"), (2, "value")):
        entry.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_STRING)
    field.label, field.type = _Field.LABEL_REPEATED, _Field.TYPE_MESSAGE
    field.type_name = f".{package}.{message.name}.{entry.name}"


def _make_pool() -> Any:
    pool = descriptor_pool.DescriptorPool()
    for package, messages in _MESSAGES.items():
        file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
        for name, fields in messages.items():
            _add_message(file, name, fields)
        pool.Add(file)
    return pool


POOL: Final = _make_pool()


def message(name: str) -> Any:
    """The class of a message, by its full name."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))


InitRequest = message("aiges.InitRequest")
Request = message("aiges.Request")
SvcId = message("aiges.SvcId")
CreateRequest = message("aiges.CreateRequest")
Handle = message("aiges.Handle")
WriteMessage = message("aiges.WriteMessage")
HealthCheckRequest = message("grpc.health.v1.HealthCheckRequest")
Empty = message("plugin.Empty")
