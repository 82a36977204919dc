"""The signatures of 2022 on the SDK's base class, results assigned to `l.data`, sessions read with wrapperRead(handle, sid)."""

import queue

from aiges.dto import Response, ResponseData, SessionCreateResponse
from aiges.sdk import ImageBodyField, StringBodyField, StringParamField, WrapperBase
from aiges.types import *  # noqa: F403


class UserRequest(object):
    params1 = StringParamField(key="p1", enums=["3", "eee"], value="3")
    input1 = ImageBodyField(key="data", path="test_data/test.png")
    input2 = StringBodyField(key="switch", value="cc")


class UserResponse(object):
    accept1 = StringBodyField(key="boxes", value="text, not bytes")


class Wrapper(WrapperBase):
    serviceId = "mmocr"
    version = "backup.0"
    requestCls = UserRequest()
    responseCls = UserResponse()
    queues = {}

    def wrapperInit(cls, config: {}) -> int:
        print(config)

    def wrapperOnceExec(cls, params: {}, reqData) -> Response:
        first = reqData.list[0]
        r = Response()
        made = []
        for status in (1, 1):
            l = ResponseData()
            l.key = "boxes"
            l.status = status
            l.len = 999999
            l.data = "got %d of %s" % (first.len, first.data.decode())
            l.type = DataText  # noqa: F405
            made.append(l)
        r.list = made
        return r

    def wrapperCreate(cls, params: {}, sid: str):
        cls.queues[sid] = queue.Queue()
        return SessionCreateResponse(sid) if params.get("bare") is None else sid

    def wrapperWrite(cls, handle: str, req, sid: str) -> int:
        assert handle == sid
        node = req.list[0]
        cls.queues[handle].put((node.data, node.status))
        return 0

    def wrapperRead(cls, handle: str, sid: str) -> Response:
        r = Response()
        l = r.list[0]
        l.key = "boxes"
        l.status = 1
        if cls.queues[handle].empty():
            l.data = b""
            return r
        l.data, l.status = cls.queues[handle].get()
        return r

    def wrapperDestroy(cls, handle: str) -> int:
        del cls.queues[handle]
        return 0

    def wrapperFini() -> int:
        print("fini without self")
        return 0

    def wrapperError(cls, ret: int) -> str:
        return "user error defined here" if ret == 100 else ""


if __name__ == "__main__":
    m = Wrapper()
    m.schema()
    m.run()
