"""GPU memory is told where there is a GPU, and never in the way where there is none."""

from __future__ import annotations

import subprocess
import sys

import pytest

from loader.engine import gpu

HOLDS = """
import ctypes, sys
cuda = ctypes.CDLL("libcuda.so.1")
context, memory = ctypes.c_void_p(), ctypes.c_uint64()
for failed in (
    cuda.cuInit(0),
    cuda.cuCtxCreate_v2(ctypes.byref(context), 0, 0),
    cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(256 << 20)),
):
    assert not failed, failed
print("holds", flush=True)
sys.stdin.read()
"""


def test_without_gpu_or_driver_nothing_is_held() -> None:
    """No error, whatever is missing: the extra, the driver or the process."""
    assert gpu.gpu_bytes({2**22 + 1}) == 0


def has_gpu() -> bool:
    if not gpu.CAN_TELL:
        return False
    try:
        gpu.pynvml.nvmlInit()
    except gpu.pynvml.NVMLError:
        return False
    gpu.pynvml.nvmlShutdown()
    return True


@pytest.mark.skipif(not has_gpu(), reason="no GPU, or the extra `gpu` is not installed")
def test_what_a_process_holds_on_a_gpu_is_told() -> None:
    """256 MiB and the context of CUDA."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holds\n"
        try:
            assert gpu.gpu_bytes({holder.pid}) >= 256 << 20
        finally:
            holder.communicate()
