"""What wrappers import from AIGES: every name that its published packages export, in a process without any of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from loader.compat.aiges.importing import search_path

CONSTANTS = """
    STRING AUDIO IMAGE VIDEO DataText DataAudio DataImage DataVideo Types DataBegin DataContinue DataEnd DataOnce
    Status Once THREAD_MODE PROCESS_MODE
"""
OBJECTS = "DataListNode DataListCls ResponseData Response SessionCreateResponse callback"
STREAMING = """
    SessionManager Pool ThreadPool RequestPool Context ReqHandleThread ModelProcess StreamHandleThread
    WorkerProcess ProcessThreadPool WorkerThread threading Lock Process time os queue
"""
EXPORTED = {
    "aiges_embed": f"{OBJECTS} callback_metric callback_trace",
    "aiges.core.types": CONSTANTS,
    "aiges.types": CONSTANTS,
    "aiges.dto": f"{OBJECTS} {CONSTANTS} init_rq",
    "aiges.stream": STREAMING,
    "aiges.sdk": f"""
        {OBJECTS} {CONSTANTS} {STREAMING} init_rq log sys base64 json pprint type_map Metaclass WrapperBase Field
        ParamField PayloadField JsonBodyField StringBodyField AudioBodyField ImageBodyField StringParamField
        NumberParamField IntegerParamField BooleanParamField
    """,
    "aiges.callback": "callback set_up",
    "aiges.worker": "InferClass Worker",
    "aiges.concurrent.fixpool": "FixedPool",
    "aiges.concurrent.pool": "Pool",
    "aiges.errors": "OK INIT_ERROR USER_INIT_ERROR USER_EXEC_ERROR",
    "aiges.utils.log": "log getLogger getFileLogger",
    "iflags.logger": "log",
}


def python(program: str, folder: Path) -> str:
    """What a program prints that has nothing of ours but those folders, and the file's own."""
    path = os.pathsep.join([*search_path(), str(folder)])
    done = subprocess.run(
        [sys.executable, "-c", dedent(program)],
        cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """By module, what `from MODULE import *` gives."""
    program = f"""
        import json
        found = {{}}
        for name in {list(EXPORTED)}:
            names = {{}}
            exec(f"from {{name}} import *", names)
            found[name] = sorted(names)
        print(json.dumps(found))
    """
    names: dict[str, list[str]] = json.loads(python(program, tmp_path_factory.mktemp("modules")))
    return names


@pytest.mark.parametrize("module", EXPORTED)
def test_a_star_gives_what_it_always_gave(found: dict[str, list[str]], module: str) -> None:
    """Modules of the standard library among them: wrappers use `json` and `time` that came that way."""
    assert set(EXPORTED[module].split()) - set(found[module]) == set()


def test_a_pool_of_requests_feeds_one_model(tmp_path: Path) -> None:
    """RequestPool and ModelProcess, as wrappers of large models use them."""
    program = """
        import queue
        from aiges.stream import ModelProcess, RequestPool

        shared, results = queue.Queue(), queue.Queue()
        pool = RequestPool(shared, lambda response, handle: results.put((response, handle)))
        model = ModelProcess(shared, pool.conns_map, lambda response, handle: results.put((response, handle)))
        model.register_infer_func(lambda ctx, callback: callback(ctx.data.upper(), ctx.callback_handle))
        model.start()
        handles = [pool.get_idle_handle() for _ in range(6)]
        assert len(set(handles)) == 6 and handles[5] is None, handles
        thread = pool.get_thread(handles[0])
        thread.set_ctx("sid", {"a": "b"})
        thread.ctx.set_callback_handle("h")
        thread.send_to_input_queue("sid", "hello")
        print(results.get(timeout=20), thread.ctx.params)
        pool.set_idle_handle(handles[0])
        assert pool.get_idle_handle() == handles[0]
        assert thread.ctx.params == {}
    """
    assert python(program, tmp_path) == "('HELLO', 'h') {'a': 'b'}\n"


def test_a_wrapper_that_copied_run_once_tries_itself(tmp_path: Path) -> None:
    """And one whose __init__ forgets the base class: schema and run work all the same."""
    program = """
        from aiges.sdk import *

        class Request:
            p1 = StringParamField(key="p", value="x", required=True)
            i1 = ImageBodyField(key="img", path="none.png")
            i2 = StringBodyField(key="txt", value="text")

        class Answer:
            accept1 = StringBodyField(key="out")

        class Wrapper(WrapperBase):
            requestCls, responseCls = Request(), Answer()

            def __init__(self):
                pass

            def run_once(self):
                fields, body = self._parse_inputs()
                params, required = self._parse_params()
                told = [fields, sorted(body), self.inputs_test_values["txt"].decode(), self.params_test_values]
                print(json.dumps([*told, sorted(params), required, self._parse_outputs()[0]]))

            def wrapperOnceExec(self, params, reqData): ...

        wrapper = Wrapper()
        assert wrapper.session.get_idle_handle() is None
        wrapper.run()
        assert wrapper.schema_v2()
    """
    (line,) = python(program, tmp_path).splitlines()
    assert json.loads(line) == [
        {"img": {"dataType": "image"}, "txt": {"dataType": "text"}}, ["img", "txt"], "text", {"p": "x"}, ["p"], ["p"],
        {"out": {"dataType": "text"}},
    ]  # fmt: skip
