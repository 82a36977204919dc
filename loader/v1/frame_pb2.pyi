from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DATA_TYPE_BF16: DataType
DATA_TYPE_BOOL: DataType
DATA_TYPE_FP16: DataType
DATA_TYPE_FP32: DataType
DATA_TYPE_FP64: DataType
DATA_TYPE_INT16: DataType
DATA_TYPE_INT32: DataType
DATA_TYPE_INT64: DataType
DATA_TYPE_INT8: DataType
DATA_TYPE_UINT16: DataType
DATA_TYPE_UINT32: DataType
DATA_TYPE_UINT64: DataType
DATA_TYPE_UINT8: DataType
DATA_TYPE_UNSPECIFIED: DataType
DESCRIPTOR: _descriptor.FileDescriptor
ITEM_STATUS_BEGIN: ItemStatus
ITEM_STATUS_CONTINUE: ItemStatus
ITEM_STATUS_END: ItemStatus
ITEM_STATUS_ONCE: ItemStatus
ITEM_STATUS_UNSPECIFIED: ItemStatus
ITEM_TYPE_AUDIO: ItemType
ITEM_TYPE_BYTES: ItemType
ITEM_TYPE_IMAGE: ItemType
ITEM_TYPE_JSON: ItemType
ITEM_TYPE_TENSOR: ItemType
ITEM_TYPE_TEXT: ItemType
ITEM_TYPE_UNSPECIFIED: ItemType
ITEM_TYPE_VIDEO: ItemType

class Frame(_message.Message):
    __slots__ = ["epoch", "items", "position", "seq"]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    items: _containers.RepeatedCompositeFieldContainer[Item]
    position: int
    seq: int
    def __init__(self, seq: _Optional[int] = ..., items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., position: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ["attributes", "data", "data_type", "key", "shape", "status", "type"]
    class AttributesEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    DATA_TYPE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    attributes: _containers.ScalarMap[str, str]
    data: bytes
    data_type: DataType
    key: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    status: ItemStatus
    type: ItemType
    def __init__(self, key: _Optional[str] = ..., type: _Optional[_Union[ItemType, str]] = ..., status: _Optional[_Union[ItemStatus, str]] = ..., data_type: _Optional[_Union[DataType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., attributes: _Optional[_Mapping[str, str]] = ..., data: _Optional[bytes] = ...) -> None: ...

class ItemType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class ItemStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class DataType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []
