"""`PYTHON plugin_child.py CODE ADDRESS`: a server of AIGES's plug-in protocol for tests, as `aiges.serve` behaves.

Written from the facts: one result stream, results by tag, an error that a wrapper returns is dropped, an exception or
no result is ret 30003 in the reply of the call. CODE is the folder of the generated messages; ADDRESS is tcp, tcp:PORT
or unix:PATH. What a call does its parameter `mode` says.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from concurrent import futures

sys.path.insert(0, sys.argv[1])

import grpc
import inner_pb2 as pb
import inner_pb2_grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

LIMIT_S = 60
FIELD = {"input": {"dataType": "text"}}
PARAMETERS = {"rate": {"type": "integer"}, "result": {"type": "object"}}
SCHEMA = {
    "meta": {
        "serviceId": "child",
        "version": "v7",
        "child": {"input": FIELD, "accept": {"result": {"dataType": "audio"}}},
    },
    "schemainput": {
        "properties": {
            "parameter": {"properties": {"child": {"properties": PARAMETERS, "required": ["rate"]}}}
        }
    },
}


class Child(inner_pb2_grpc.WrapperServiceServicer):
    def __init__(self, checks):
        self.results = queue.Queue()
        self.printed = queue.Queue(1)  # as go-plugin's own library: who prints waits for who reads
        self.modes = {}
        self.gates = {}
        self.destroyed = []
        self.checks = checks

    def wrapperInit(self, request, context):
        self.config = dict(request.config)
        if self.config.get("init") == "die":
            print("no licence", file=sys.stderr, flush=True)
            os._exit(9)
        return pb.Ret(ret=int(self.config.get("ret", 0)))

    def wrapperSchema(self, request, context):
        if self.config.get("schema") == "none":
            raise AttributeError("requestCls")
        if self.config.get("schema") == "odd":
            return pb.Schema(data='{"minimum": NaN, "maximum": 1e999, "title": "\\ud800"}')
        return pb.Schema(data=json.dumps(SCHEMA))

    def communicate(self, requests, context):
        while (result := self.results.get()) is not None:
            yield result

    def gate(self, name):
        return self.gates.setdefault(name, threading.Event())

    def send(self, tag, text, status=3, key="result", kind=0, **desc):
        node = pb.ResponseData(
            key=key, data=text.encode(), len=len(text), status=status, type=kind, desc=desc
        )
        self.results.put(pb.Response(tag=tag, list=[node]))

    def wrapperOnceExec(self, request, context):
        params = dict(request.params)
        mode = params.get("mode", "")
        if mode == "raise":
            raise ValueError("odd")
        if mode in ("dropped code", "stream code"):
            self.results.put(pb.Response(tag=request.tag, ret=21111 if mode == "stream code" else 0))
            return pb.Response()
        if mode == "forget":
            return pb.Response()
        if mode == "nothing":
            return pb.Response(ret=30003)
        if mode == "in the reply":
            return pb.Response(list=[pb.ResponseData(key="result", data=b"here", status=3)])
        self.prepare(mode, params)
        nodes = [[n.key, n.data.decode(), n.len, n.type, n.status, dict(n.desc)] for n in request.list]
        told = {"params": params, "nodes": nodes, "config": self.config, "destroyed": self.destroyed}
        self.send(request.tag, json.dumps(told), kind=int(params.get("type", 0)), lang="en")
        return pb.Response()

    def prepare(self, mode, params):
        if mode == "hang":
            time.sleep(LIMIT_S)
        if mode == "die":
            print("out of memory", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if mode == "wait":
            assert self.gate(params["gate"]).wait(LIMIT_S)
        if mode == "open":
            self.gate(params["gate"]).set()
        if mode == "print":
            for number in range(100):
                self.printed.put(b"said %d\n" % number, timeout=LIMIT_S)
        if mode == "unhealthy":
            self.checks.set("plugin", health_pb2.HealthCheckResponse.NOT_SERVING)

    def wrapperCreate(self, request, context):
        mode = request.params.get("mode", "")
        if mode == "refuse":
            return pb.Handle(err_code=21112)
        if mode == "raise":
            raise TypeError("no userTag")
        handle = request.params.get("handle") or f"handle of {request.tag}"
        self.modes.setdefault(handle, (mode, request.sid, request.tag, dict(request.params)))
        if mode == "early":
            self.send(handle, "early", status=1)
        return pb.Handle(handle=handle)

    def wrapperWrite(self, request, context):
        mode, sid, tag, params = self.modes[request.handle]
        assert request.sid == sid
        if mode == "ret":
            return pb.Ret(ret=21113)
        if mode == "die":
            os._exit(0)
        if mode == "end the stream":
            self.results.put(None)
        for node in request.req.list:
            text = node.data.decode().upper()
            if mode == "by sid":
                self.send(sid, text, node.status)
            elif mode == "by tag":
                self.send(tag, text, node.status)
            elif mode == "held":
                threading.Thread(
                    target=self.send_later, args=(request.handle, text, node.status, params["gate"])
                ).start()
            elif mode == "many":
                for number in range(int(params["count"])):
                    self.send(request.handle, str(number) * 1000, status=1)
                self.gate(params["gate"]).set()
            else:
                self.send(request.handle, text, node.status)
        return pb.Ret()

    def send_later(self, handle, text, status, gate):
        assert self.gate(gate).wait(LIMIT_S)
        self.send(handle, text, status)

    def wrapperDestroy(self, request, context):
        self.destroyed.append(request.handle)
        self.modes.pop(request.handle)
        self.send(request.handle, "after the end")
        return pb.Ret()

    def StreamStdio(self, request, context):
        while True:
            line = self.printed.get()
            yield b"\x08\x01\x12" + bytes([len(line)]) + line


def serve(address):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=int(os.environ.get("THREADS", "16"))))
    checks = health.HealthServicer()
    checks.set("plugin", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    child = Child(checks)
    inner_pb2_grpc.add_WrapperServiceServicer_to_server(child, server)
    if "STDIO" in os.environ:
        methods = {"StreamStdio": grpc.unary_stream_rpc_method_handler(child.StreamStdio)}
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("plugin.GRPCStdio", methods)])
    network, _, rest = address.partition(":")
    if network == "unix":
        server.add_insecure_port(f"unix:{rest}")
    else:
        rest = f"127.0.0.1:{server.add_insecure_port(f'[::]:{rest or 0}')}"
    server.start()
    print("Found proto: Wrapper", flush=True)  # what wrappers print while they are imported
    print(f"1|1|{network}|{rest}|grpc", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    assert os.environ["BASIC_PLUGIN"] == "hello"
    serve(sys.argv[2])
