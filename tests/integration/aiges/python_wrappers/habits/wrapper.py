"""What authors do around their wrapper: modules and files beside it, a thread that nothing ends, class decorators."""

import functools
import os
import threading
import time

from aiges.sdk import *  # the standard library's modules came that way, too
from settings import ANSWER


def count():
    while True:
        time.sleep(0.01)


threading.Thread(target=count).start()  # not a daemon, and never asked to end


class Timed:
    def __init__(self, function):
        self.function = function
        functools.update_wrapper(self, function)

    def __get__(self, owner, class_=None):
        return functools.partial(self, owner)

    def __call__(self, *args, **kwargs):
        return self.function(*args, **kwargs)


class Wrapper(WrapperBase):
    @Timed
    def wrapperInit(self, config):
        os.chdir(os.path.dirname(__file__) or ".")
        self.queue = queue.Queue()
        return 0

    @Timed
    def wrapperOnceExec(self, params, reqData, usrTag="", persId=0):
        if params.get("raise"):
            return Response.response_err(100)
        response = Response()
        response.list[0].key = "out"
        response.list[0].setData(json.dumps([ANSWER, open("answer.txt").read().strip(), sorted(params)]))
        return response

    def wrapperCreate(self, params, sid):
        return sid or "handle"

    def wrapperWrite(self, handle, req):
        self.queue.put(req.get("in").get_data())
        return 0

    def wrapperRead(self, handle):
        text = self.queue.get()
        if text == b"raise":
            raise OSError("cannot read")
        return [ResponseData("out", text, 0, DataText, DataEnd)]

    def wrapperError(self, ret):
        return "no answer"

    def wrapperFini(self):
        raise RuntimeError("cannot end")
