"""The messages of AIGES clients in a descriptor pool of their own, written from their field numbers."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Field = descriptor_pb2.FieldDescriptorProto
SCALARS = {
    "string": Field.TYPE_STRING,
    "bytes": Field.TYPE_BYTES,
    "int32": Field.TYPE_INT32,
}


def _add_message(
    file: descriptor_pb2.FileDescriptorProto, name: str, fields: dict[str, tuple[int, str]]
) -> None:
    """`fields`: name → (number, type); types are scalars, messages, "enum", or "[T]" and "map"."""
    message = file.message_type.add(name=name)
    for field_name, (number, kind) in fields.items():
        field = message.field.add(name=field_name, number=number, label=Field.LABEL_OPTIONAL)
        if kind == "map":
            _add_map(message, file.package, field)
            continue
        if kind.startswith("["):
            field.label, kind = Field.LABEL_REPEATED, kind[1:-1]
        if kind in SCALARS:
            field.type = SCALARS[kind]
        else:
            field.type, field.type_name = Field.TYPE_MESSAGE, f".{file.package}.{kind}"


def _add_map(message: Any, package: str, field: Any) -> None:
    entry = message.nested_type.add(name=f"{field.name.title().replace('_', '')}Entry")
    entry.options.map_entry = True
    for number, name in ((1, "key"), (2, "value")):
        entry.field.add(name=name, number=number, label=Field.LABEL_OPTIONAL, type=Field.TYPE_STRING)
    field.label, field.type = Field.LABEL_REPEATED, Field.TYPE_MESSAGE
    field.type_name = f".{package}.{message.name}.{entry.name}"


def _pool() -> descriptor_pool.DescriptorPool:
    xsf = descriptor_pb2.FileDescriptorProto(name="xsf.proto", package="utils", syntax="proto3")
    _add_message(xsf, "Session", {"t": (1, "string"), "h": (2, "string"), "sess": (3, "map")})
    _add_message(xsf, "DataMeta", {"data": (1, "bytes"), "desc": (3, "map")})
    _add_message(
        xsf,
        "ReqData",
        {"op": (1, "string"), "s": (2, "Session"), "param": (3, "map"), "data": (4, "[DataMeta]")},
    )
    _add_message(
        xsf,
        "ResData",
        {
            "code": (1, "int32"),
            "error_info": (2, "string"),
            "s": (3, "Session"),
            "param": (4, "map"),
            "data": (5, "[DataMeta]"),
        },
    )
    _add_message(xsf, "Request", {"query": (1, "string"), "headers": (2, "string"), "body": (3, "string")})
    _add_message(xsf, "Response", {"headers": (1, "string"), "body": (2, "string")})
    v2 = descriptor_pb2.FileDescriptorProto(name="v2.proto", package="protocol", syntax="proto3")
    # An enum and an int32 are the same on the wire.
    _add_message(v2, "MetaDesc", {"name": (1, "string"), "dataType": (2, "int32"), "attribute": (3, "map")})
    _add_message(v2, "Payload", {"meta": (1, "MetaDesc"), "data": (2, "bytes")})
    _add_message(
        v2,
        "LoaderInput",
        {
            "serviceId": (1, "string"),
            "serviceName": (2, "string"),
            "state": (3, "int32"),
            "headers": (4, "map"),
            "params": (5, "map"),
            "expect": (6, "[MetaDesc]"),
            "pl": (7, "[Payload]"),
            "sync_id": (8, "int32"),
        },
    )
    _add_message(
        v2,
        "LoaderOutput",
        {
            "serviceId": (1, "string"),
            "code": (2, "int32"),
            "err": (3, "string"),
            "status": (4, "int32"),
            "pl": (5, "[Payload]"),
        },
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(xsf)
    pool.Add(v2)
    return pool


POOL = _pool()


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))


Session = _message("utils.Session")
ReqData = _message("utils.ReqData")
ResData = _message("utils.ResData")
Request = _message("utils.Request")
Response = _message("utils.Response")
MetaDesc = _message("protocol.MetaDesc")
Payload = _message("protocol.Payload")
LoaderInput = _message("protocol.LoaderInput")
LoaderOutput = _message("protocol.LoaderOutput")
