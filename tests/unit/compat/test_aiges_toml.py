"""An aiges.toml as our configuration: every key of AIGES has a fate, and values reach wrapperInit exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import example, given
from hypothesis import strategies as st

from loader.cli.aiges import location_of, parse_flags, processors_in
from loader.compat.aiges_toml.convert import Converted, convert, text_of
from loader.compat.aiges_toml.keys import reason
from loader.compat.aiges_toml.place import Place
from loader.compat.aiges_toml.write import quoted
from loader.config import ServiceConfig, read_config
from loader.config.document import parse_document
from loader.errors import BadConfigError

WHOLE = """
    [ocr]
    host = "127.0.0.1"
    port = 5090
    maxreceive = 8
    finder = 0
    [aiges]
    asyncMode = true
    realTimeRlt = false
    headerPass = "appid; uid;"
    [wrapper]
    http_listen = ":1888"
    "common.lic" = "10"
    rate = 2.50
    on = true
    count = 16000
    [fc]
    able = 1
    router = "sessionManager"
    max = 7
    ttl = 9000
    [ws]
    readTimeout = 20
    sessionTimeout = 300
    [log]
    level = "warn"
"""

# Every key that AIGES reads or that its samples hold, as the facts list them.
KEYS = {
    "ocr": "host netcard port reuseport finder grpctimeout maxreceive maxsend conn-rbuf conn-wbuf keepalive "
    "keepalivetimeout rate burst vcpu vcpuinterval http_listen",
    "aiges": "sub asyncMode realTimeRlt sessMode sessDelGt asyncRelease headerPass wrapperTrace "
    "wrapperDelayDetectPeriod storageData httpRetry gray pythonPluginCmd gesMock numaNode",
    "fc": "able router max ttl best wave strategy roll report tasksize taskchsize filterwin",
    "ws": "readTimeout sessionTimeout",
    "pprof": "able host port",
    "dataProcess": "rsable",
    "downAsync": "rabHost rabUser rabPass rabQueue retry nrtDBUrl",
    "log": "level file size count die async cache batch caller wash",
    "trace": "able host port dump deliver backend spill spillsize buffer batch linger watch watchport "
    "bcluster idc loadts",
    "sonar": "able host port dump deliver backend ds",
    "metrics": "able idc sub cs timePerSlice winSize",
    "lb": "able",
    "lbv2": "able sub subsvc lbname lbproject lbgroup apiversion task finderttl backend tm cloud findermode taddrs",
    "bvt": "able service version cfgFile timeout platform id serviceAddress namespace callback async",
    "auth": "able",
    "resource": "able",
    "elog": "able",
}


def converted(text: str, folder: Path, service: str = "ocr", **environment: str) -> Converted:
    return convert(text, "aiges.toml", service, Place(folder, folder, environment))


def read(text: str, folder: Path, service: str = "ocr", **environment: str) -> ServiceConfig:
    return read_config(converted(text, folder, service, **environment).text, str(folder / "service.yaml"), {})


def test_a_whole_file_is_a_valid_configuration(tmp_path: Path) -> None:
    """What counts is taken over."""
    (tmp_path / "libwrapper.so").touch()
    config = read(WHOLE, tmp_path)
    engine = config.engines["ocr"]
    assert (config.service, config.grpc, config.http) == ("ocr", "127.0.0.1:5090", "0.0.0.0:1888")
    assert config.limits.message_bytes == 8 << 20
    assert (config.aiges.header_pass, config.aiges.session_ttl_ms) == (("appid", "uid"), 9000)
    assert (config.aiges.ws_read_timeout_s, config.aiges.ws_session_timeout_s) == (20.0, 300.0)
    assert (engine.wrapper, engine.slots) == (str(tmp_path / "libwrapper.so"), 7)
    assert (engine.init_timeout_s, engine.call_timeout_ms) == (
        3600,
        600_000,
    )  # AIGES has no limit, so what is slow there is slow here
    assert config.log.level == "warning"
    assert engine.config == {
        "aiges": {"async_mode": True, "real_time_result": False},
        "http_listen": ":1888", "common.lic": "10", "rate": "2.5", "on": "true", "count": "16000",
    }  # fmt: skip


def test_no_key_of_aiges_is_unknown(tmp_path: Path) -> None:
    """Each is taken over, or has a reason; none stops the start, whatever its type."""
    sections = [
        f"[{name}]\n" + "".join(f'{key} = "x"\n' for key in keys.split()) for name, keys in KEYS.items()
    ]
    found = converted("\n".join(sections), tmp_path)
    assert [str(note) for note in found.notes if note.kind == "unknown"] == []
    read_config(found.text, str(tmp_path / "service.yaml"), {})


def test_what_aiges_does_not_know_is_told_and_never_an_error(tmp_path: Path) -> None:
    """A key of a known section, a whole section, and a key in no section."""
    found = converted(f"loose = 1\n{WHOLE}\n[fun]\nside = [1]\n[fc.inner]\nx = 1\n", tmp_path)
    unknown = {note.key for note in found.notes if note.kind == "unknown"}
    assert unknown == {"loose", "[fun].side", "[fc].inner"}
    assert all(f"# {note}" in found.text for note in found.notes)
    assert reason("fc", "inner") is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"), (False, "false"), (-7, "-7"), (1 << 40, "1099511627776"), (2.5, "2.5"), (16000.0, "16000"),
        (1e21, "1" + "0" * 21), (1e-7, "0.0000001"), (-0.0, "-0"), (float("inf"), "+Inf"), (float("nan"), "NaN"),
        ("as it is ", "as it is "), ([1], None), ({}, None),
    ],
)  # fmt: skip
def test_wrapper_values_become_the_text_that_go_writes(value: Any, text: str | None) -> None:
    """Floats as 'f' with the fewest digits."""
    assert text_of(value) == text


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_text_survives_the_way_through_yaml(text: str) -> None:
    """Quotes, line ends, `${NAME}` and what looks like a comment among them."""
    document = parse_document(f"key: {quoted(text)}  # said\n", "x.yaml", {"A": "replaced"})
    assert document.values == {"key": text}
    assert not document.secrets


@pytest.mark.parametrize("text", ["${A}", "$${A}", "$$${A:-b}", "${", "a${A}${B}"])
def test_what_looks_like_a_variable_stays(text: str) -> None:
    """AIGES replaces nothing in its file."""
    assert parse_document(f"key: {quoted(text)}", "x.yaml", {"A": "replaced"}).values == {"key": text}


def test_the_wrapper_is_found_as_aiges_does(tmp_path: Path) -> None:
    """Libraries by LD_LIBRARY_PATH before the current folder; wrapper.py from the current folder first."""
    for folder in ("lib", "py"):
        (tmp_path / folder).mkdir()
    (tmp_path / "lib" / "libwrapper.so").touch()
    (tmp_path / "libwrapper.so").touch()
    (tmp_path / "py" / "wrapper.py").touch()
    native = read(WHOLE, tmp_path, LD_LIBRARY_PATH=f"/none:{tmp_path}/lib").engines["ocr"]
    assert native.wrapper == str(tmp_path / "lib" / "libwrapper.so")
    python = read(
        WHOLE, tmp_path, AIGES_PLUGIN_MODE="python", PYTHONPATH=f"{tmp_path}/py", AIGES_WRAPPER_VERSION="2.1"
    )
    engine = python.engines["ocr"]
    assert (engine.wrapper, engine.version) == (str(tmp_path / "py" / "wrapper.py"), "2.1")
    assert engine.config["aiges"] == {"real_time_result": False}
    with pytest.raises(BadConfigError, match="AIGES_PLUGIN_MODE is 'go'"):
        converted(WHOLE, tmp_path, AIGES_PLUGIN_MODE="go")


@pytest.mark.parametrize(
    ("command", "is_taken"),
    [
        ("python -m aiges.serve", False),
        ("/usr/bin/env python3 -m aiges.serve", False),
        ("", False),
        ("/opt/venv/bin/python -m aiges.serve", True),
        ("python -m aiges.serve -c -w 4", False),
        ("python -m aiges.serve --mine", True),
        ("exec ./serve --home ${HOME}", True),
    ],
)
def test_a_command_of_ones_own_is_run(tmp_path: Path, command: str, is_taken: bool) -> None:
    """The usual one is left out where there is a wrapper.py to serve directly; `${HOME}` is the shell's."""
    (tmp_path / "wrapper.py").touch()
    text = WHOLE.replace("[wrapper]", f"pythonPluginCmd = {command!r}\n    [wrapper]")
    engine = read(text, tmp_path, AIGES_PLUGIN_MODE="python", HOME="/nobody").engines["ocr"]
    if is_taken:
        assert (engine.wrapper, engine.command) == ("", ("bash", "-c", f"cd {tmp_path} && {command}"))
    else:
        assert (engine.wrapper, engine.command) == (str(tmp_path / "wrapper.py"), ())
    assert not read(text, tmp_path).engines["ocr"].command


def test_the_usual_command_without_a_file_is_run(tmp_path: Path) -> None:
    """The wrapper may be a module that only the command finds."""
    text = WHOLE.replace("[wrapper]", "pythonPluginCmd = 'python -m aiges.serve'\n    [wrapper]")
    engine = read(text, tmp_path, AIGES_PLUGIN_MODE="python").engines["ocr"]
    assert engine.command == ("bash", "-c", f"cd {tmp_path} && python -m aiges.serve")


def test_files_beside_it_count(tmp_path: Path) -> None:
    """usrCfg in place of [wrapper], flattened; headerPass.wrapper beside headerPass."""
    (tmp_path / "user.toml").write_text('top = 1\n[common]\nlic = 10\n[deep.er]\nx = "y"\n')
    (tmp_path / "headerPass.wrapper").write_text("trace\nappid\n\n")
    text = WHOLE.replace("[aiges]", '[aiges]\nusrCfg = "user.toml"')
    config = read(text, tmp_path)
    values = {key: value for key, value in config.engines["ocr"].config.items() if key != "aiges"}
    assert values == {"top": "1", "common.lic": "10", "deep.er.x": "y"}
    assert config.aiges.header_pass == ("appid", "uid", "trace")
    with pytest.raises(BadConfigError, match=r"no file gone\.toml"):
        converted(text.replace("user.toml", "gone.toml"), tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]\n[b]\n", "which section is the service: a, b"), ("x = ", "not valid TOML: .*end of document"),
        ("[ocr]\n[wrapper]\nlist = [1]\n", r"wrapper\.list is \[1\]"),
    ],
)  # fmt: skip
def test_what_cannot_start_says_why(tmp_path: Path, text: str, message: str) -> None:
    """With the file's name, and what to write."""
    with pytest.raises(BadConfigError, match=message):
        converted(text, tmp_path, "")
    with pytest.raises(BadConfigError, match="no section"):
        converted("[other]\n[wrapper]\n", tmp_path)


@example(1e63)  # a name of 64 letters
@given(st.one_of(st.integers(), st.floats(allow_nan=False), st.booleans(), st.text("0aé ", max_size=4)))
def test_odd_numbers_never_stop_the_start(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    """Out of range, of another type, infinite: a valid configuration all the same."""
    shown = f'"{value}"' if isinstance(value, str) else str(value).lower()
    if isinstance(value, float) and "." not in shown and "e" in shown:
        shown = shown.replace("e", ".0e")
    text = (
        f"[ocr]\nport = {shown}\nmaxreceive = {shown}\nhost = {shown}\n[fc]\nmax = {shown}\nttl = {shown}\n"
    )
    read(text, Path("/nowhere"))


def test_nested_tables_are_keys_with_dots(tmp_path: Path) -> None:
    """AIGES does not start with them: an unquoted `common.lic` is meant as one key."""
    found = converted("[ocr]\n[wrapper]\ncommon.lic = 10\n", tmp_path)
    assert '"common.lic": "10"' in found.text
    assert "[wrapper].common: changed" in found.text


def test_flags_are_read_as_go_reads_them() -> None:
    """One dash or two, with a blank or `=`."""
    flags = parse_flags(
        ["-m", "0", "--c=a.toml", "-s=x", "-p", "AIpaas", "-bvtProject", "y", "-u", "http://x"]
    )
    assert flags.values == {"m": "0", "c": "a.toml", "s": "x", "p": "AIpaas", "u": "http://x"}
    assert flags.ignored == ["bvtProject"]
    for wrong in (["x"], ["-nope"], ["-c"]):
        with pytest.raises(typer.BadParameter):
            parse_flags(wrong)
    assert processors_in("0-2,8\n") == {0, 1, 2, 8}


def test_mode_0_is_a_file_and_mode_1_a_finder(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no meaning is told; what is missing is named."""
    native = parse_flags(["-m", "0", "-c", "/x/a.toml", "-s", "ocr", "-p", "prj", "-u", "http://c:1"])
    assert location_of(native, Path("/x/a.toml")) == "aiges:/x/a.toml#ocr"
    assert native.ignored == ["p", "u"]
    words = ["-m", "1", "-p", "prj", "-g", "hu", "-s", "ocr", "-u", "c:6868"]
    monkeypatch.delenv("AIGES_WRAPPER_VERSION", raising=False)
    assert location_of(parse_flags(words), Path()) == "finder:http://c:6868/prj/hu/ocr/def#aiges.toml"
    monkeypatch.setenv("AIGES_WRAPPER_VERSION", "3.2")
    found = location_of(parse_flags([*words, "-c", "x.toml"]), Path("x.toml"))
    assert found == "finder:http://c:6868/prj/hu/ocr/3.2#x.toml"
    for wrong, expected in (
        (["-m", "1", "-s", "ocr"], r"give -p \(project\), -g \(group\), -u \(URL of the companion\)"),
        ([*words, "-u", "http://c:1/more/of/it"], "write finder:http://COMPANION"),
        (["-m", "2"], "write -m 0, or -m 1"),
    ):
        with pytest.raises(typer.BadParameter, match=expected):
            location_of(parse_flags(wrong), Path())
