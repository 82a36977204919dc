from loader.v1 import loader_pb2 as _loader_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DrainRequest(_message.Message):
    __slots__ = ["stay", "timeout_s"]
    STAY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    stay: bool
    timeout_s: float
    def __init__(self, timeout_s: _Optional[float] = ..., stay: bool = ...) -> None: ...

class DrainResponse(_message.Message):
    __slots__ = ["open_sessions"]
    OPEN_SESSIONS_FIELD_NUMBER: _ClassVar[int]
    open_sessions: int
    def __init__(self, open_sessions: _Optional[int] = ...) -> None: ...

class EngineStatus(_message.Message):
    __slots__ = ["capabilities", "closed", "description", "error", "instances", "is_routed", "labels", "open_sessions", "weight"]
    class CapabilitiesEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class ClosedEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    IS_ROUTED_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    OPEN_SESSIONS_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    capabilities: _containers.ScalarMap[str, str]
    closed: _containers.ScalarMap[str, int]
    description: _loader_pb2.EngineDescription
    error: str
    instances: _containers.RepeatedCompositeFieldContainer[InstanceStatus]
    is_routed: bool
    labels: _containers.ScalarMap[str, str]
    open_sessions: int
    weight: int
    def __init__(self, description: _Optional[_Union[_loader_pb2.EngineDescription, _Mapping]] = ..., instances: _Optional[_Iterable[_Union[InstanceStatus, _Mapping]]] = ..., error: _Optional[str] = ..., weight: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., capabilities: _Optional[_Mapping[str, str]] = ..., is_routed: bool = ..., closed: _Optional[_Mapping[str, int]] = ..., open_sessions: _Optional[int] = ...) -> None: ...

class GetStatisticsRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class GetStatisticsResponse(_message.Message):
    __slots__ = ["values"]
    class ValuesEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.ScalarMap[str, float]
    def __init__(self, values: _Optional[_Mapping[str, float]] = ...) -> None: ...

class InstanceStatus(_message.Message):
    __slots__ = ["error", "index", "pid", "restarts", "rss_bytes", "slots", "slots_used", "state"]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_USED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    error: str
    index: int
    pid: int
    restarts: int
    rss_bytes: int
    slots: int
    slots_used: int
    state: str
    def __init__(self, index: _Optional[int] = ..., pid: _Optional[int] = ..., state: _Optional[str] = ..., restarts: _Optional[int] = ..., slots_used: _Optional[int] = ..., slots: _Optional[int] = ..., rss_bytes: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class KillSessionRequest(_message.Message):
    __slots__ = ["message", "session_id"]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    message: str
    session_id: str
    def __init__(self, session_id: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class KillSessionResponse(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class ListEnginesRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class ListEnginesResponse(_message.Message):
    __slots__ = ["engines", "is_draining", "node", "revision", "revision_state"]
    ENGINES_FIELD_NUMBER: _ClassVar[int]
    IS_DRAINING_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    REVISION_STATE_FIELD_NUMBER: _ClassVar[int]
    engines: _containers.RepeatedCompositeFieldContainer[EngineStatus]
    is_draining: bool
    node: str
    revision: str
    revision_state: str
    def __init__(self, engines: _Optional[_Iterable[_Union[EngineStatus, _Mapping]]] = ..., node: _Optional[str] = ..., revision: _Optional[str] = ..., revision_state: _Optional[str] = ..., is_draining: bool = ...) -> None: ...

class ListResourcesRequest(_message.Message):
    __slots__ = ["engine"]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    engine: str
    def __init__(self, engine: _Optional[str] = ...) -> None: ...

class ListResourcesResponse(_message.Message):
    __slots__ = ["resources"]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    resources: _containers.RepeatedCompositeFieldContainer[ResourceStatus]
    def __init__(self, resources: _Optional[_Iterable[_Union[ResourceStatus, _Mapping]]] = ...) -> None: ...

class ListRolloutsRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class ListRolloutsResponse(_message.Message):
    __slots__ = ["rollouts"]
    ROLLOUTS_FIELD_NUMBER: _ClassVar[int]
    rollouts: _containers.RepeatedCompositeFieldContainer[Rollout]
    def __init__(self, rollouts: _Optional[_Iterable[_Union[Rollout, _Mapping]]] = ...) -> None: ...

class ListSessionsRequest(_message.Message):
    __slots__ = ["engine"]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    engine: str
    def __init__(self, engine: _Optional[str] = ...) -> None: ...

class ListSessionsResponse(_message.Message):
    __slots__ = ["sessions"]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    sessions: _containers.RepeatedCompositeFieldContainer[SessionStatus]
    def __init__(self, sessions: _Optional[_Iterable[_Union[SessionStatus, _Mapping]]] = ...) -> None: ...

class LoadResourceRequest(_message.Message):
    __slots__ = ["attributes", "data", "engine", "id", "key"]
    class AttributesEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    attributes: _containers.ScalarMap[str, str]
    data: bytes
    engine: str
    id: int
    key: str
    def __init__(self, engine: _Optional[str] = ..., id: _Optional[int] = ..., key: _Optional[str] = ..., data: _Optional[bytes] = ..., attributes: _Optional[_Mapping[str, str]] = ...) -> None: ...

class LoadResourceResponse(_message.Message):
    __slots__ = ["id"]
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class ResourceInstance(_message.Message):
    __slots__ = ["index", "state", "version"]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    index: int
    state: str
    version: str
    def __init__(self, version: _Optional[str] = ..., index: _Optional[int] = ..., state: _Optional[str] = ...) -> None: ...

class ResourceStatus(_message.Message):
    __slots__ = ["attributes", "engine", "id", "instances", "key", "size_bytes", "state"]
    class AttributesEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    attributes: _containers.ScalarMap[str, str]
    engine: str
    id: int
    instances: _containers.RepeatedCompositeFieldContainer[ResourceInstance]
    key: str
    size_bytes: int
    state: str
    def __init__(self, engine: _Optional[str] = ..., id: _Optional[int] = ..., key: _Optional[str] = ..., size_bytes: _Optional[int] = ..., attributes: _Optional[_Mapping[str, str]] = ..., state: _Optional[str] = ..., instances: _Optional[_Iterable[_Union[ResourceInstance, _Mapping]]] = ...) -> None: ...

class Rollout(_message.Message):
    __slots__ = ["duration_s", "error", "revision", "state", "steps", "time_s"]
    DURATION_S_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    TIME_S_FIELD_NUMBER: _ClassVar[int]
    duration_s: float
    error: str
    revision: str
    state: str
    steps: _containers.RepeatedScalarFieldContainer[str]
    time_s: float
    def __init__(self, revision: _Optional[str] = ..., state: _Optional[str] = ..., error: _Optional[str] = ..., time_s: _Optional[float] = ..., duration_s: _Optional[float] = ..., steps: _Optional[_Iterable[str]] = ...) -> None: ...

class SessionStatus(_message.Message):
    __slots__ = ["engine", "peer", "session_id", "state", "statistics", "version"]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    engine: str
    peer: str
    session_id: str
    state: str
    statistics: _loader_pb2.SessionStatistics
    version: str
    def __init__(self, session_id: _Optional[str] = ..., engine: _Optional[str] = ..., state: _Optional[str] = ..., peer: _Optional[str] = ..., statistics: _Optional[_Union[_loader_pb2.SessionStatistics, _Mapping]] = ..., version: _Optional[str] = ...) -> None: ...

class UndrainRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class UndrainResponse(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class UnloadResourceRequest(_message.Message):
    __slots__ = ["engine", "id"]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    engine: str
    id: int
    def __init__(self, engine: _Optional[str] = ..., id: _Optional[int] = ...) -> None: ...

class UnloadResourceResponse(_message.Message):
    __slots__ = ["is_pending"]
    IS_PENDING_FIELD_NUMBER: _ClassVar[int]
    is_pending: bool
    def __init__(self, is_pending: bool = ...) -> None: ...

class WatchEventsRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class WatchEventsResponse(_message.Message):
    __slots__ = ["engine", "kind", "message", "time_s"]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TIME_S_FIELD_NUMBER: _ClassVar[int]
    engine: str
    kind: str
    message: str
    time_s: float
    def __init__(self, kind: _Optional[str] = ..., engine: _Optional[str] = ..., message: _Optional[str] = ..., time_s: _Optional[float] = ...) -> None: ...
