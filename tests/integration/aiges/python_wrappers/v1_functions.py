"""Functions of the module, without any class: dictionaries in, dictionaries out, and wrapperDestory."""

import os
import sys

if not hasattr(sys, "argv"):
    sys.argv = [""]

from flags import logger

sessions = {}


def wrapperInit(config: {}) -> int:
    logger.log.info("init")
    return 0


def wrapperFini() -> int:
    return 0


def wrapperOnceExec(usrTag: str, params: {}, reqData: [], respData: [], psrIds: [], psrCnt: int) -> int:
    for node in reqData:
        if node["data"] == b"fail":
            return 100
        respData.append(
            {
                "key": node["key"],
                "data": str(sorted(node)),
                "len": 3,
                "status": 3,
                "type": 0,
                "desc": {"a": "b"},
            }
        )
    return 0


def wrapperCreate(usrTag: str, params: [], psrIds: [], psrCnt: int, errNum: int) -> str:
    sessions[usrTag] = []
    return usrTag


def wrapperWrite(handle: str, datas: []) -> int:
    sessions[handle].extend(datas)
    return 0


def wrapperRead(handle: str, respData: []) -> int:
    for node in sessions[handle]:
        respData.append(
            {"key": "r", "data": node["data"], "len": node["len"], "status": node["status"], "type": 0}
        )
    del sessions[handle][:]
    return 0


def wrapperDestory(handle: str) -> int:
    with open(os.environ["DESTROYED"], "a") as file:
        file.write(handle + "\n")
    del sessions[handle]
    return 0


def wrapperError(ret: int) -> str:
    if ret == 100:
        return "this is a test error"
    return ""
