"""What a call of a Consul has to do with the clock, without a Consul."""

from __future__ import annotations

import subprocess
import sys

# On a busy machine reading the libraries of a Consul takes longer than a call may: they are slow to find here.
PROGRAM = """
import asyncio, sys, time
from loader.consul_link import ConsulAccess, ConsulLink, ConsulLocation
from loader.errors import CenterUnreachableError


class Slow:
    @staticmethod
    def find_spec(name, *_):
        if name in ("aiohttp", "consul"):
            time.sleep(1.0)


async def use(client):
    await asyncio.sleep(0.01)  # as long as an answer takes
    return "answered"


async def main():
    link = ConsulLink(ConsulLocation.parse("consul://127.0.0.1:1/x"), ConsulAccess(), CenterUnreachableError)
    try:
        print(await link.call(use, 0.9))
    finally:
        await link.close()


assert not {"aiohttp", "consul"} & sys.modules.keys()
sys.meta_path.insert(0, Slow)
asyncio.run(main())
"""


def test_the_time_of_a_call_is_that_of_the_answer() -> None:
    """What is imported for the first call is not held against Consul."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "answered\n"), done.stderr
