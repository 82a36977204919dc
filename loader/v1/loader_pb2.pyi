from loader.v1 import frame_pb2 as _frame_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

CLOSE_REASON_ADMISSION: CloseReason
CLOSE_REASON_CALL_HUNG: CloseReason
CLOSE_REASON_CLIENT_CANCEL: CloseReason
CLOSE_REASON_CLIENT_GONE: CloseReason
CLOSE_REASON_CREATE_FAILED: CloseReason
CLOSE_REASON_DEADLINE: CloseReason
CLOSE_REASON_DRAIN: CloseReason
CLOSE_REASON_ENGINE_ERROR: CloseReason
CLOSE_REASON_FINISHED: CloseReason
CLOSE_REASON_HOST_DIED: CloseReason
CLOSE_REASON_IDLE_TIMEOUT: CloseReason
CLOSE_REASON_KICKED: CloseReason
CLOSE_REASON_LOADER_GONE: CloseReason
CLOSE_REASON_PROTOCOL: CloseReason
CLOSE_REASON_REFUSED: CloseReason
CLOSE_REASON_REPLACED: CloseReason
CLOSE_REASON_UNSPECIFIED: CloseReason
DESCRIPTOR: _descriptor.FileDescriptor

class Ack(_message.Message):
    __slots__ = ["seq"]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    seq: int
    def __init__(self, seq: _Optional[int] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ["message"]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: str
    def __init__(self, message: _Optional[str] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ["engine"]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    engine: str
    def __init__(self, engine: _Optional[str] = ...) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ["engines"]
    ENGINES_FIELD_NUMBER: _ClassVar[int]
    engines: _containers.RepeatedCompositeFieldContainer[EngineDescription]
    def __init__(self, engines: _Optional[_Iterable[_Union[EngineDescription, _Mapping]]] = ...) -> None: ...

class End(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class EngineDescription(_message.Message):
    __slots__ = ["declaration_json", "has_exec", "has_resources", "has_sessions", "name", "slots", "state", "version"]
    DECLARATION_JSON_FIELD_NUMBER: _ClassVar[int]
    HAS_EXEC_FIELD_NUMBER: _ClassVar[int]
    HAS_RESOURCES_FIELD_NUMBER: _ClassVar[int]
    HAS_SESSIONS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    declaration_json: str
    has_exec: bool
    has_resources: bool
    has_sessions: bool
    name: str
    slots: int
    state: str
    version: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., state: _Optional[str] = ..., declaration_json: _Optional[str] = ..., slots: _Optional[int] = ..., has_exec: bool = ..., has_sessions: bool = ..., has_resources: bool = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ["actor", "code", "engine_code", "engine_message", "message", "name", "retry"]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    ENGINE_CODE_FIELD_NUMBER: _ClassVar[int]
    ENGINE_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    actor: str
    code: int
    engine_code: int
    engine_message: str
    message: str
    name: str
    retry: str
    def __init__(self, code: _Optional[int] = ..., name: _Optional[str] = ..., message: _Optional[str] = ..., actor: _Optional[str] = ..., retry: _Optional[str] = ..., engine_code: _Optional[int] = ..., engine_message: _Optional[str] = ...) -> None: ...

class ExecRequest(_message.Message):
    __slots__ = ["frame", "parameters", "target"]
    class ParametersEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FRAME_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    frame: _frame_pb2.Frame
    parameters: _containers.ScalarMap[str, str]
    target: Target
    def __init__(self, target: _Optional[_Union[Target, _Mapping]] = ..., parameters: _Optional[_Mapping[str, str]] = ..., frame: _Optional[_Union[_frame_pb2.Frame, _Mapping]] = ...) -> None: ...

class ExecResponse(_message.Message):
    __slots__ = ["frames"]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    frames: _containers.RepeatedCompositeFieldContainer[_frame_pb2.Frame]
    def __init__(self, frames: _Optional[_Iterable[_Union[_frame_pb2.Frame, _Mapping]]] = ...) -> None: ...

class ExecStreamRequest(_message.Message):
    __slots__ = ["frame", "parameters", "target"]
    class ParametersEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FRAME_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    frame: _frame_pb2.Frame
    parameters: _containers.ScalarMap[str, str]
    target: Target
    def __init__(self, target: _Optional[_Union[Target, _Mapping]] = ..., parameters: _Optional[_Mapping[str, str]] = ..., frame: _Optional[_Union[_frame_pb2.Frame, _Mapping]] = ...) -> None: ...

class ExecStreamResponse(_message.Message):
    __slots__ = ["final", "result"]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    final: Final
    result: _frame_pb2.Frame
    def __init__(self, result: _Optional[_Union[_frame_pb2.Frame, _Mapping]] = ..., final: _Optional[_Union[Final, _Mapping]] = ...) -> None: ...

class Final(_message.Message):
    __slots__ = ["error", "reason", "statistics"]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    error: Error
    reason: CloseReason
    statistics: SessionStatistics
    def __init__(self, reason: _Optional[_Union[CloseReason, str]] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., statistics: _Optional[_Union[SessionStatistics, _Mapping]] = ...) -> None: ...

class Open(_message.Message):
    __slots__ = ["parameters", "resume_after_seq", "resume_token", "target", "wants_acks"]
    class ParametersEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    RESUME_AFTER_SEQ_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    WANTS_ACKS_FIELD_NUMBER: _ClassVar[int]
    parameters: _containers.ScalarMap[str, str]
    resume_after_seq: int
    resume_token: str
    target: Target
    wants_acks: bool
    def __init__(self, target: _Optional[_Union[Target, _Mapping]] = ..., parameters: _Optional[_Mapping[str, str]] = ..., resume_token: _Optional[str] = ..., resume_after_seq: _Optional[int] = ..., wants_acks: bool = ...) -> None: ...

class Opened(_message.Message):
    __slots__ = ["engine_version", "limits", "resume_token", "session_id"]
    ENGINE_VERSION_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    engine_version: str
    limits: SessionLimits
    resume_token: str
    session_id: str
    def __init__(self, session_id: _Optional[str] = ..., engine_version: _Optional[str] = ..., limits: _Optional[_Union[SessionLimits, _Mapping]] = ..., resume_token: _Optional[str] = ...) -> None: ...

class Recovered(_message.Message):
    __slots__ = ["epoch", "replayed_seq"]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_SEQ_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    replayed_seq: int
    def __init__(self, epoch: _Optional[int] = ..., replayed_seq: _Optional[int] = ...) -> None: ...

class SessionLimits(_message.Message):
    __slots__ = ["idle_timeout_s", "message_bytes", "window_bytes"]
    IDLE_TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_BYTES_FIELD_NUMBER: _ClassVar[int]
    idle_timeout_s: float
    message_bytes: int
    window_bytes: int
    def __init__(self, message_bytes: _Optional[int] = ..., window_bytes: _Optional[int] = ..., idle_timeout_s: _Optional[float] = ...) -> None: ...

class SessionRequest(_message.Message):
    __slots__ = ["ack", "cancel", "end", "frame", "open"]
    ACK_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    ack: Ack
    cancel: Cancel
    end: End
    frame: _frame_pb2.Frame
    open: Open
    def __init__(self, open: _Optional[_Union[Open, _Mapping]] = ..., frame: _Optional[_Union[_frame_pb2.Frame, _Mapping]] = ..., end: _Optional[_Union[End, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ...) -> None: ...

class SessionResponse(_message.Message):
    __slots__ = ["ack", "final", "opened", "recovered", "result"]
    ACK_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    OPENED_FIELD_NUMBER: _ClassVar[int]
    RECOVERED_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ack: Ack
    final: Final
    opened: Opened
    recovered: Recovered
    result: _frame_pb2.Frame
    def __init__(self, opened: _Optional[_Union[Opened, _Mapping]] = ..., result: _Optional[_Union[_frame_pb2.Frame, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., recovered: _Optional[_Union[Recovered, _Mapping]] = ..., final: _Optional[_Union[Final, _Mapping]] = ...) -> None: ...

class SessionStatistics(_message.Message):
    __slots__ = ["bytes_in", "bytes_out", "duration_s", "first_result_s", "frames_in", "frames_out", "queue_s"]
    BYTES_IN_FIELD_NUMBER: _ClassVar[int]
    BYTES_OUT_FIELD_NUMBER: _ClassVar[int]
    DURATION_S_FIELD_NUMBER: _ClassVar[int]
    FIRST_RESULT_S_FIELD_NUMBER: _ClassVar[int]
    FRAMES_IN_FIELD_NUMBER: _ClassVar[int]
    FRAMES_OUT_FIELD_NUMBER: _ClassVar[int]
    QUEUE_S_FIELD_NUMBER: _ClassVar[int]
    bytes_in: int
    bytes_out: int
    duration_s: float
    first_result_s: float
    frames_in: int
    frames_out: int
    queue_s: float
    def __init__(self, frames_in: _Optional[int] = ..., bytes_in: _Optional[int] = ..., frames_out: _Optional[int] = ..., bytes_out: _Optional[int] = ..., queue_s: _Optional[float] = ..., first_result_s: _Optional[float] = ..., duration_s: _Optional[float] = ...) -> None: ...

class Target(_message.Message):
    __slots__ = ["engine", "labels", "priority", "selector", "tenant", "trace_context", "version"]
    class LabelsEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class SelectorEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class TraceContextEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    SELECTOR_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    TRACE_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    engine: str
    labels: _containers.ScalarMap[str, str]
    priority: int
    selector: _containers.ScalarMap[str, str]
    tenant: str
    trace_context: _containers.ScalarMap[str, str]
    version: str
    def __init__(self, engine: _Optional[str] = ..., version: _Optional[str] = ..., selector: _Optional[_Mapping[str, str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., priority: _Optional[int] = ..., tenant: _Optional[str] = ..., trace_context: _Optional[_Mapping[str, str]] = ...) -> None: ...

class CloseReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []
