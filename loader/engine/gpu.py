"""The GPU memory that a process holds, as the driver tells it through NVML (the extra `gpu`).

Knows processes and bytes; refuses to know engines. Without the extra, a driver or a GPU nothing is held.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

try:
    import pynvml
except ImportError:
    pynvml = None

if TYPE_CHECKING:
    from collections.abc import Collection

logger = logging.getLogger(__name__)

CAN_TELL = pynvml is not None


def gpu_bytes(pids: Collection[int]) -> int:
    """Of all GPUs, graphics and compute; blocks for as long as the driver takes.

    In a container that has process numbers of its own the driver names processes by other numbers: 0.
    """
    if not CAN_TELL:
        return 0
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        logger.debug("no GPU memory is told", extra={"reason": str(error)})
        return 0
    try:
        return sum(_held_on(index, pids) for index in range(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError as error:
        logger.warning("GPU memory cannot be told", extra={"reason": str(error)})
        return 0
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _held_on(index: int, pids: Collection[int]) -> int:
    device = pynvml.nvmlDeviceGetHandleByIndex(index)
    # A process that draws and computes is in both lists with the same bytes.
    held = {
        one.pid: one.usedGpuMemory or 0
        for running in (
            pynvml.nvmlDeviceGetGraphicsRunningProcesses,
            pynvml.nvmlDeviceGetComputeRunningProcesses,
        )
        for one in running(device)
        if one.pid in pids
    }
    return sum(held.values())
