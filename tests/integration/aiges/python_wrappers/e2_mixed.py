"""2023: usrTag in one-shot calls; userTag before persId in Create; workers of aiges.stream call back by sid."""

import argparse

arguments = argparse.ArgumentParser()
arguments.add_argument("--device", default="cpu")
device = arguments.parse_args().device  # of nobody's command line but the wrapper's own

try:
    from aiges_embed import Response, ResponseData, SessionCreateResponse, callback
except:
    from aiges.dto import Response, ResponseData, SessionCreateResponse, callback

from aiges.sdk import WrapperBase
from aiges.stream import StreamHandleThread


class Wrapper(WrapperBase):
    serviceId = "mixed"
    version = "v2"

    def __init__(self, legacy=True):
        super().__init__(legacy)

    def wrapperInit(self, config):
        self.session.init_wrapper_config(config)
        self.session.init_handle_pool("thread", config.get("common.lic", 10), Worker)
        return 0

    def wrapperOnceExec(self, params, reqData, usrTag=""):
        r = Response()
        d = ResponseData("kind", b"text", 4, 0, 3)
        r.list.append(d)
        r.list.append(ResponseData("tag", usrTag))
        return r

    def wrapperCreate(self, params, sid, userTag="", persId=0):
        handle = self.session.get_idle_handle()
        if handle is None:
            s = SessionCreateResponse()
            s.errCode = 10
            return s
        place = self.session.get_session(handle=handle)
        place.setup_sid(sid)
        place.setup_params(dict(params, userTag=userTag, persId=persId))
        place.setup_callback_fn(callback)
        s = SessionCreateResponse()
        s.handle = handle
        s.error_code = 0
        return s

    def wrapperWrite(self, handle, req, sid):
        self.session.get_session(handle=handle).in_q.put(req)
        return 0

    def wrapperRead(self, handle, sid):
        place = self.session.get_session(handle=handle)
        return place.out_q.get()

    def wrapperDestroy(self, handle):
        self.session.push_back(handle)
        return 0


class Worker(StreamHandleThread):
    def __init__(self, session_thread, in_q, out_q):
        super().__init__(session_thread, in_q, out_q)
        self.setDaemon(False)

    def run(self):
        while True:
            req = self.in_q.get()
            if req.list[0].data == b"die":
                raise KeyError("dead")
            place = self.session_thread
            for n in range(3):
                r = Response()
                node = ResponseData()
                node.key = "n"
                node.status = req.list[0].status if n == 2 else 1
                node.setData("%s %s %d" % (place.params["persId"], bool(place.params["userTag"]), n))
                r.list = [node]
                place.callback_fn(r, place.sid)
