"""An AIGES wrapper as an engine, without a host: which object is made, what is called on it, how results come."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest

from loader.compat.aiges.author import find_author
from loader.compat.aiges.engine import AigesEngine, engine_of, reads_by_default
from loader.compat.aiges.importing import search_path
from loader.compat.aiges.receivers import RECEIVERS
from loader.testing import EngineFailure, open_wrapper
from loader.wrapper import Config, Error, Item, Rejected


def module_of(source: str, name: str = "wrapper") -> ModuleType:
    module = ModuleType(name)
    exec(dedent(source), vars(module))  # noqa: S102
    return module


def engine(source: str) -> Any:
    found = engine_of(module_of(source))
    assert found is not None
    made = found()
    assert isinstance(made, AigesEngine)
    return made


RESOURCES = """
    class Wrapper:
        calls = []
        def wrapperOnceExec(self, params, reqData): ...
        def wrapperInit(config):
            Wrapper.calls.append(("init", config))
        def wrapperFini():
            Wrapper.calls.append("fini")
        def wrapperLoadRes(self, reqData, patch_id):
            node = reqData.list[0]
            self.calls.append((node.key, node.data, node.type, node.status, patch_id))
            return 5 if node.key == "bad" else 0
        def wrapperUnloadRes(self, resId):
            self.calls.append(resId)
        def wrapperError(self, ret):
            return "bad resource"
"""


def test_functions_without_self_are_called_without_it() -> None:
    """As the documentation of AIGES once taught; None is success."""
    made = engine(RESOURCES)
    made.init(Config({"a": 1}))
    made.fini()
    assert made.author.class_.calls == [("init", {"a": "1"}), "fini"]


def test_personal_resources() -> None:
    """One node of type 4 and status END; the wrapper's own code is told; what is not loaded cannot be unloaded."""
    made = engine(RESOURCES)
    made.init(Config())
    made.take_resource(7, "voice", b"data", {"patch_id": "p7"})
    with pytest.raises(Error) as raised:
        made.take_resource(8, "bad", b"", {})
    assert (raised.value.code, raised.value.message) == (10903, "bad resource;code=5")
    made.drop_resource(7)
    with pytest.raises(Rejected):
        made.drop_resource(8)
    assert made.author.class_.calls[1:] == [("voice", b"data", 4, 2, "p7"), ("bad", b"", 4, 2, 8), "p7"]


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("def __init__(self): raise OSError('no model')", "OSError: no model;code=-1"),
        ("def wrapperInit(self, config): raise OSError('no model')", "OSError: no model;code=-1"),
        ("def wrapperInit(self, config): return 30", ("wrapperInit failed;code=30")),
    ],
)
def test_an_init_that_fails_says_why(source: str, error: str) -> None:
    """The constructor counts as init."""
    made = engine(
        f"class Wrapper:\n        def wrapperOnceExec(self, params, reqData): ...\n        {source}"
    )
    with pytest.raises(Error) as raised:
        made.init(Config())
    assert (raised.value.code, raised.value.message) == (10901, error)


def test_functions_whose_failure_nobody_waits_for(caplog: pytest.LogCaptureFixture) -> None:
    """What wrapperFini raises does not end the process; what wrapperLoadRes raises is told with its code."""
    made = engine("""
        class Wrapper:
            def wrapperOnceExec(self, params, reqData): ...
            def wrapperFini(self): raise OSError("cannot end")
            def wrapperLoadRes(self, reqData, resId): raise OSError("cannot load")
            def wrapperUnloadRes(self, resId): ...
    """)
    made.init(Config())
    with pytest.raises(Error) as raised:
        made.load_resource(1, "k", b"", {})
    assert (raised.value.code, raised.value.message) == (10903, "OSError: cannot load;code=-1")
    with pytest.raises(Error):
        made.fini()
    assert "cannot end" in caplog.text


def test_a_long_text_leaves_room_for_its_code() -> None:
    """In bytes: three for each of these letters."""
    made = engine("""
        class Wrapper:
            def wrapperOnceExec(self, params, reqData): ...
            def wrapperInit(self, config): return 5
            def wrapperError(self, ret): return "错" * 2000
    """)
    with pytest.raises(Error) as raised:
        made.init(Config())
    assert raised.value.message.endswith("错;code=5")
    assert len(raised.value.message.encode()) < 2000


READ = "def wrapperRead(self, handle): return self.queue.get()"


@pytest.mark.parametrize(
    ("body", "is_read"),
    [
        (READ, True),
        (READ + "\n    def answer(self): callback(1, 2)", False),
        (READ + "\n    def answer(self): return [aiges_embed.callback for _ in ()]", False),
        ("def wrapperRead(self, handle): return []", False),
        (
            "def wrapperRead(self, handle):\n        'for later'\n        raise NotImplementedError('no')",
            False,
        ),
        ("pass", False),
    ],
)
def test_results_of_sessions_are_read_where_nothing_calls_back(body: str, is_read: bool) -> None:
    """By what the wrapper's functions name; a wrapperRead that does nothing is none."""
    author = find_author(
        module_of(f"class Wrapper:\n    def wrapperCreate(self, params, sid): ...\n    {body}")
    )
    assert author is not None
    assert reads_by_default(author) == is_read


CALLING = """
    from aiges_embed import callback
    class Base:
        def wrapperCreate(self, params, sid): ...
        def wrapperRead(self, handle): return self.queue.get()
        def answer(self): callback(None, "")
"""
DERIVED = "from test_calling import Base\nclass Wrapper(Base): ..."
DELEGATING = """
    class Wrapper:
        def __init__(self):
            from test_calling import Base
            self.inner = Base()
        def wrapperCreate(self, params, sid): ...
        def wrapperRead(self, handle): return self.inner.wrapperRead(handle)
"""
IMPORTING = """
    import test_calling
    class Wrapper:
        def wrapperCreate(self, params, sid): ...
        def wrapperRead(self, handle): return self.queue.get()
        def wrapperWrite(self, handle, req): test_calling.Base.answer(self)
"""


@pytest.mark.parametrize("source", [DERIVED, DELEGATING, IMPORTING])
def test_a_callback_in_another_file_is_seen(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a base, in a part of the object, in what the file imports: results come by callback, nothing is read."""
    monkeypatch.setattr(sys, "path", [*sys.path, *search_path()])
    monkeypatch.setitem(sys.modules, "test_calling", module_of(CALLING, "test_calling"))
    made = engine(source)
    made.init(Config())
    assert made.streams_async


@pytest.mark.parametrize(
    ("body", "config", "is_async"),
    [
        ("pass", {}, True),
        ("return None", {}, True),
        ("return self.answer", {}, False),
        ("pass", {"aiges": {"async_mode": False}}, False),
        ("return self.answer", {"aiges": {"async_mode": True}}, True),
    ],
)
def test_a_one_shot_call_that_does_nothing_gives_way(
    body: str, config: dict[str, Any], is_async: bool
) -> None:
    """Where only wrapperOnceExecAsync is written, it is called, unless the configuration says otherwise."""
    made = engine(f"""
        class Wrapper:
            def wrapperOnceExec(self, params, reqData): {body}
            def wrapperOnceExecAsync(self, params, reqData, usrTag): return self.answer
    """)
    made.init(Config(config))
    assert made.execs_async == is_async


def test_classes_that_name_each_other_are_looked_at_once(tmp_path: Path) -> None:
    """In a process of its own: to go round in circles takes memory, too."""
    (tmp_path / "part.py").write_text(
        dedent("""
            class Wrapper:
                def wrapperCreate(self, params, sid): ...
                def wrapperRead(self, handle): return self.queue.get()
            class Part:
                whole = Wrapper
            Wrapper.part = Part
        """)
    )
    look = "import part, loader.compat.aiges.engine as one; assert one.engine_of(part)"
    subprocess.run([sys.executable, "-c", look], cwd=tmp_path, check=True, timeout=60)


def test_what_is_no_aiges_wrapper_is_left_alone() -> None:
    """A class of that name with other methods; loader's own Wrapper; functions with other names."""
    assert engine_of(module_of("class Wrapper:\n    def predict(self): ...")) is None
    assert engine_of(module_of("from loader import Wrapper")) is None
    assert engine_of(module_of("def wrapperInit(config): ...")) is None


def test_an_attribute_of_the_object_counts_as_a_method() -> None:
    """A function that the constructor puts there is bound as it is."""
    made = engine("""
        class Wrapper:
            def __init__(self, legacy):
                self.wrapperInit = lambda: 9 if legacy is False else 0
            def wrapperOnceExec(self, params, reqData): ...
            def wrapperInit(self, config): ...
    """)
    with pytest.raises(Error, match="code=9"):
        made.init(Config())


def test_a_session_that_was_refused_leaves_no_name(tmp_path: Path) -> None:
    """Its sid and tag are free again, as those of one that has ended."""
    (tmp_path / "wrapper.py").write_text(
        dedent("""
            class Wrapper:
                def wrapperCreate(self, params, sid): return 5 if params["sid"] == "refused" else sid
                def wrapperWrite(self, handle, req): ...
                def wrapperDestroy(self, handle): ...
        """)
    )
    with open_wrapper(tmp_path) as running:
        with pytest.raises(EngineFailure):
            running.create(sid="refused")
        assert RECEIVERS.find("refused") is None
        with running.session(sid="open"):
            assert RECEIVERS.find("open") is not None
        assert RECEIVERS.find("open") is None


def test_a_call_that_was_refused_leaves_no_name(tmp_path: Path) -> None:
    """Whatever the wrapper returned; here a code that is no number."""
    (tmp_path / "wrapper.py").write_text(
        dedent("""
            from aiges.dto import Response
            class Wrapper:
                def wrapperOnceExecAsync(self, params, reqData, usrTag): return Response().response_err("none")
        """)
    )
    with open_wrapper(tmp_path) as running:
        with pytest.raises(EngineFailure):
            running.exec({"data": b""}, sid="refused")
        assert RECEIVERS.find("refused") is None


HOLDING = """
    from aiges.dto import Response, ResponseData, callback
    class Wrapper:
        def wrapperCreate(self, params, sid):
            return sid
        def wrapperWrite(self, handle, req):
            response = Response()
            node, given = response.list[0], req.list[0]
            node.key, node.data, node.status = "out", given.data, max(given.status, 1)
            for _ in range(int(given.key)):
                if callback(response, handle):
                    break
        def wrapperDestroy(self, handle): ...
"""


@pytest.mark.parametrize(("size", "count"), [(16 << 20, 1), (0, 8 << 10)])
def test_results_that_wait_for_the_last_input_are_bounded(tmp_path: Path, size: int, count: int) -> None:
    """By what they take, however large or many they are; that it was too much, and what to do, is said."""
    (tmp_path / "wrapper.py").write_text(dedent(HOLDING))
    with open_wrapper(tmp_path, {"aiges": {"real_time_result": False}}) as running:
        with running.session(sid="held") as session:
            assert session.write({str(count - 1 or 1): bytes(size)}) == []
            with pytest.raises(EngineFailure, match=r"32 MiB of results before the last input.*;code=-1"):
                session.write({"2": bytes(size)})
                session.take()
        with running.session(sid="next") as session:
            session.write({"1": b"x"})
            assert len(session.write({"1": Item(b"y", status="end")})) == 2
