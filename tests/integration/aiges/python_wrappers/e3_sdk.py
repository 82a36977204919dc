"""Newest signatures on the SDK's base class; sessions by callback from a thread, by usrTag."""

import json
import queue
import threading

try:
    from aiges_embed import DataListCls, Response, ResponseData, SessionCreateResponse, callback
except ImportError:
    from aiges.dto import DataListCls, Response, ResponseData, SessionCreateResponse, callback

from aiges.core.types import DataEnd, DataOnce, DataText
from aiges.sdk import ImageBodyField, StringBodyField, StringParamField, WrapperBase
from aiges.utils.log import log


class UserRequest:
    params1 = StringParamField(key="lang", enums=["en", "zh"], value="en")
    input1 = StringBodyField(key="input", value=b"hello")
    input2 = ImageBodyField(key="image", path="no/such.png")


class UserResponse:
    accept1 = StringBodyField(key="result")


def node_of(text, status=DataOnce):
    node = ResponseData()
    node.key = "result"
    node.setDataType(DataText)
    node.status = status
    node.setData(text.encode())
    return node


class Wrapper(WrapperBase):
    serviceId = "e3"
    version = "v1"
    requestCls = UserRequest()
    responseCls = UserResponse()

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.constructed_with = kwargs
        self.sessions = {}

    def wrapperInit(self, config: {}) -> int:
        self.config = config
        log.info("config %s", config)
        return int(config.get("fail_init", "0"))

    def wrapperFini(self) -> int:
        return 0

    def wrapperError(self, ret: int) -> str:
        return {100: "no result.."}.get(ret, "")

    def wrapperOnceExec(
        self, params: {}, reqData: DataListCls, usrTag: str = "", persId: int = 0
    ) -> Response:
        response = Response()
        text = reqData.get("input").data.decode()
        if text == "raise":
            raise KeyError("asked to")
        if text == "none":
            return None
        if text.startswith("error "):
            return response.response_err(int(text.split()[1]))
        told = {
            "text": text,
            "params": dict(params),
            "config": self.config,
            "constructed_with": self.constructed_with,
            "nodes": [[n.key, n.len, n.type, n.status, n.desc] for n in reqData.list],
            "pers": persId,
            "has_tag": bool(usrTag),
        }
        params["mutated"] = "yes"
        response.list = [node_of(json.dumps(told), status=0)]
        return response

    def wrapperCreate(self, params: {}, sid: str, persId: int = 0, usrTag: str = "") -> SessionCreateResponse:
        response = SessionCreateResponse()
        if params.get("refuse"):
            response.error_code = 100
            return response
        response.handle = "h-" + usrTag
        worker = Worker(usrTag if params.get("by") != "sid" else sid)
        self.sessions[response.handle] = worker
        worker.start()
        if params.get("early"):
            first = Response()
            first.list = [node_of("early", 0)]
            callback(first, usrTag)
        return response

    def wrapperWrite(self, handle: str, req: DataListCls) -> int:
        self.sessions[handle].inputs.put((req.get("input").data.decode(), req.get("input").status))
        return 0

    def wrapperDestroy(self, handle: str) -> int:
        self.sessions.pop(handle).inputs.put((None, 0))
        return 0

    def wrapperTestFunc(self, data: [], respData: []):
        pass


class Worker(threading.Thread):
    def __init__(self, tag):
        super().__init__(daemon=True)
        self.tag = tag
        self.inputs = queue.Queue()

    def run(self):
        while True:
            text, status = self.inputs.get()
            if text is None:
                return
            response = Response()
            if text.startswith("error "):
                response.error_code = int(text.split()[1])
            else:
                response.list = [node_of(text.upper(), status)]
            callback(response, self.tag)
            if status == DataEnd:
                late = Response()
                late.list = [node_of("late", 1)]
                log.info("late callback returned %s", callback(late, self.tag))


if __name__ == "__main__":
    m = Wrapper()
    m.schema()
    m.run()
    m.run(stream=True)
