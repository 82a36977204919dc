"""Everything at once that a wrapper may do wrong. Parameter `do` says what."""

import functools
import threading

import aiges_embed
from aiges.dto import Response, ResponseData


def node_of(data, status=3, **said):
    node = ResponseData()
    node.key, node.data, node.status = "out", data, status
    vars(node).update(said)
    return node


def response_of(*nodes):
    response = Response()
    response.list = list(nodes)
    return response


def logged(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        return function(*args, **kwargs)

    return call


class BadText(Exception):
    def __str__(self):
        raise ValueError("no text")


class Wrapper(object):
    def __init__(self):
        self.exec_calls = 0
        self.lock = threading.Lock()
        self.dos = {}

    def wrapperInit(self, config):
        assert aiges_embed.Response is Response
        return 0

    @logged
    def wrapperOnceExec(self, params, reqData, *args):
        with self.lock:
            self.exec_calls += 1
            calls = self.exec_calls
        do = params["do"]
        if do == "calls":
            return response_of(node_of(str(calls)))
        if do == "bad_text":
            raise BadText
        if do == "exit":
            raise SystemExit(3)
        if do == "int":
            return 7
        if do == "list":
            return [node_of(b"listed")]
        if do == "memoryview":
            return response_of(node_of(memoryview(b"viewed")), node_of(bytearray(b"arrayed")))
        if do == "binary":
            return response_of(node_of(b"\xff\x00", type=1), node_of(b"\xfe", type=4))
        if do == "odd_error_text":
            return 41
        if do == "raising_error_text":
            return 42
        if do == "wrong_type":
            return 3.5
        if do == "callback":
            assert aiges_embed.callback(response_of(node_of("called back")), args[0]) == 0
            assert aiges_embed.callback(response_of(node_of("again")), args[0]) == -1
            return None
        if do == "meter":
            assert aiges_embed.callback_metric(args[0], "seconds", 2) == 0
            assert aiges_embed.callback_trace(args[0], "k", "v") == 0
            assert aiges_embed.callback_metric("nobody", "seconds", 2) == -1
            return response_of(node_of("metered"))
        if do == "args":
            return response_of(node_of("%d %s" % (len(args), args[1])))
        raise AssertionError(do)

    def wrapperOnceExecAsync(self, params, reqData, sid, persId=0):
        if params["do"] == "refuse":
            return 100
        if params["do"] == "async_raises":
            raise RuntimeError("cannot")
        if params["do"] == "answer_and_refuse":
            aiges_embed.callback(response_of(node_of("too early")), sid)
            return 100
        threading.Thread(target=self.answer, args=(params, sid), daemon=True).start()
        return 0

    def answer(self, params, tag):
        if params["do"] == "async_error":
            aiges_embed.callback(Response().response_err(100), tag)
        else:
            first = aiges_embed.callback(response_of(node_of("first", status=0)), tag)
            second = aiges_embed.callback(response_of(node_of("second")), tag)
            assert (first, second) == (0, -1)

    def wrapperError(self, ret):
        if ret == 42:
            raise KeyError("in wrapperError")
        return {41: 41.5, 100: "no result"}.get(ret)

    def wrapperCreate(self, params, sid, psrId, usrTag):
        if params["do"] == "create_raises":
            raise RuntimeError("cannot")
        if params["do"] == "create_none":
            return None
        if params["do"] == "create_minus_one":
            return -1
        self.dos[usrTag] = params["do"]
        return usrTag

    def wrapperWrite(self, handle, datas):
        do = self.dos[handle]
        if do == "write_raises":
            raise KeyError("gone")
        if do == "write_code":
            return 100
        if do == "end_twice":
            ends = [aiges_embed.callback(response_of(node_of("end", 2)), handle) for _ in range(2)]
            assert ends == [0, -1], ends
        if do == "odd_callbacks":
            for odd in (object(), None, 3.5):
                aiges_embed.callback(odd, "nobody")
            aiges_embed.callback(3.5, handle)
        if do == "flood":
            for number in range(1000):
                node = node_of("%04d" % number + "x" * 5000, 2 if number == 999 else 1)
                aiges_embed.callback(response_of(node), handle)
        if do == "silence":
            aiges_embed.callback(response_of(node_of("the only one", 0)), handle)
        if do == "foreign_flood":
            threading.Thread(target=self.flood, args=(handle,), daemon=True).start()
        return 0

    def flood(self, handle):
        for number in range(2000):
            last = number == 1999
            if (
                aiges_embed.callback(
                    response_of(node_of("%04d" % number + "y" * 5000, 2 if last else 1)), handle
                )
                != 0
            ):
                return

    def wrapperDestroy(self, handle):
        raise KeyError(handle)
