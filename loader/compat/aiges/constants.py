"""The numbers of AIGES: kinds and states of data, codes of errors. Published as `aiges.core.types`, `aiges.errors`."""

from __future__ import annotations

from typing import Final

__all__ = [
    "AUDIO",
    "IMAGE",
    "PROCESS_MODE",
    "STRING",
    "THREAD_MODE",
    "VIDEO",
    "DataAudio",
    "DataBegin",
    "DataContinue",
    "DataEnd",
    "DataImage",
    "DataOnce",
    "DataText",
    "DataVideo",
    "Once",
    "Status",
    "Types",
]

STRING: Final = 0
AUDIO: Final = 1
IMAGE: Final = 2
VIDEO: Final = 3

DataText: Final = 0
DataAudio: Final = 1
DataImage: Final = 2
DataVideo: Final = 3
DataPer: Final = 4  # a personal resource; here also bytes of no other kind

Types: Final = {0: "text", 1: "audio", 2: "image", 3: "video"}
KINDS_BY_NAME: Final = {name: number for number, name in Types.items()}

DataBegin: Final = 0
DataContinue: Final = 1
DataEnd: Final = 2
DataOnce: Final = 3
Once: Final = 3

Status: Final = {0: "begin", 1: "continue", 2: "end", 3: "once"}

THREAD_MODE: Final = "thread"
PROCESS_MODE: Final = "process"

# What a client of AIGES sees when the operation failed.
INIT_FAILED: Final = 10901
LOAD_RES_FAILED: Final = 10903
UNLOAD_RES_FAILED: Final = 10904
CREATE_FAILED: Final = 10905
WRITE_FAILED: Final = 10907
READ_FAILED: Final = 10908
EXEC_FAILED: Final = 10909
CALLBACK_FAILED: Final = 10910
