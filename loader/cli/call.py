"""`loader call ENGINE`: an exec, a streamed exec or a session from the shell, on loader.client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loader.cli.connection import (
    DEFAULT_ADDRESS,
    Address,
    Authority,
    ClientCertificate,
    ClientKey,
    credentials,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loader.cli.items import AudioFile
    from loader.client import Client, Result


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    target: Any
    items: list[tuple[str, object]]
    audio: AudioFile | None
    parameters: dict[str, object]
    timeout_s: float | None
    chunk_ms: int
    is_realtime: bool


def call(
    engine: Annotated[str, typer.Argument(help="Name of the engine.")],
    item: Annotated[list[str] | None, typer.Option(help="key=text, or key:=json.")] = None,
    file: Annotated[list[str] | None, typer.Option(help="key=path: the file's bytes.")] = None,
    audio: Annotated[
        str, typer.Option(help="key=file.wav (or raw 16-bit 16 kHz PCM); in a session, in pieces.")
    ] = "",
    param: Annotated[list[str] | None, typer.Option(help="name=value, a parameter of the engine.")] = None,
    save: Annotated[
        list[str] | None, typer.Option(help="key=path: write the payloads of a key; .wav for audio.")
    ] = None,
    session: Annotated[bool, typer.Option("--session", help="Open a session.")] = False,
    stream: Annotated[bool, typer.Option("--stream", help="One request, results as they come.")] = False,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Send audio at the pace of the recording.")
    ] = False,
    chunk_ms: Annotated[int, typer.Option(min=1, help="Audio in one frame.")] = 100,
    version: Annotated[str, typer.Option(help="Version of the engine.")] = "",
    timeout: Annotated[
        float, typer.Option(min=0, max=365 * 86_400, help="Seconds for the whole call; 0: none.")
    ] = 0,
    address: Address = DEFAULT_ADDRESS,
    ca: Authority = None,
    certificate: ClientCertificate = None,
    key: ClientKey = None,
) -> None:
    """Call an engine of a running loader; each result is printed as one JSON line as it arrives.

    Without --session or --stream: a session where audio is sent and the engine has sessions, or where it has
    nothing else; else one exec. Exit codes: 0 done; 1 the call failed, and why is on standard error; 2 the
    command line is wrong; 130 interrupted.
    """
    from loader.cli.items import (
        Saver,
        check_text,
        parse_item,
        parse_parameter,
        read_audio,
        read_file,
        result_line,
    )
    from loader.client import Client, Target
    from loader.errors import LoaderError

    try:
        check_text(engine, "ENGINE")
        check_text(version, "--version")
        savers = [Saver(text) for text in save or []]
        request = Request(
            Target(engine, version) if version else engine,
            [parse_item(text) for text in item or []] + [read_file(text) for text in file or []],
            read_audio(audio) if audio else None,
            dict(parse_parameter(text) for text in param or []),
            timeout or None,
            chunk_ms,
            realtime,
        )
        with Client(address, credentials=credentials(ca, certificate, key)) as client:
            is_session = session or (not stream and wants_session(client, engine, has_audio=bool(audio)))
            for result in session_results(client, request) if is_session else call_results(client, request):
                typer.echo(result_line(result))
                for saver in savers:
                    saver.take(result)
        for saver in savers:
            saver.write()
    except LoaderError as error:
        typer.echo(error_line(error), err=True)
        raise typer.Exit(1) from None


def wants_session(client: Client, engine: str, *, has_audio: bool) -> bool:
    """What the engine offers decides. Raises: LoaderError."""
    found = next(iter(client.describe(engine, timeout_s=10)), None)
    return found is not None and found.has_sessions and (has_audio or not found.has_exec)


def call_results(client: Client, request: Request) -> Iterator[Result]:
    """The results of one request."""
    items = list(request.items)
    if request.audio is not None:
        items.append((request.audio.key, request.audio.item(request.audio.data, "once")))
    yield from client.exec_stream(request.target, items, request.parameters, timeout_s=request.timeout_s)


def session_results(client: Client, request: Request) -> Iterator[Result]:
    """The results of a session: the items in one frame, then the audio in pieces."""

    def frames() -> Iterator[Any]:
        if request.items:
            yield request.items
        if request.audio is not None:
            yield from request.audio.frames(request.chunk_ms, is_realtime=request.is_realtime)

    with client.session(request.target, request.parameters, timeout_s=request.timeout_s) as session:
        yield from session.stream(frames())


def error_line(error: Any) -> str:
    """The error, what to do or who must, and the engine's own words."""
    own = (
        f" (engine: {error.engine_code} {error.engine_message})"
        if error.engine_code or error.engine_message
        else ""
    )
    code = f" {error.code}" if error.code else ""  # what gRPC itself reports has none
    cure = "; `loader describe` lists the engines" if error.name == "UNKNOWN_ENGINE" else ""
    return (
        f"{error.name or 'ERROR'}{code}: {error.message}{own}{cure}; who must act: {error.actor or 'unknown'}"
    )
