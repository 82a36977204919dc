"""The wrapper of these tests: says its configuration in every answer; fails, waits or refuses where it is told to."""

from __future__ import annotations

VERSIONED = """
    import os
    import pathlib
    import time

    from loader import Session, Wrapper

    def pass_gate(config, step):
        fault = config.get("fault", {})
        if fault.get("at") != step:
            return
        if "gate" in fault:
            pathlib.Path(fault["gate"] + ".reached").touch()
            while not os.path.exists(fault["gate"]):
                time.sleep(0.01)
        elif fault.get("exits"):
            os._exit(7)
        else:
            raise RuntimeError(f"no good at {step}")

    class Versioned(Wrapper):
        def init(self, config):
            self.config = config
            self.ballast = b"x" * config.get("ballast_bytes", 0)
            pass_gate(config, "init")

        def warm_up(self):
            pass_gate(self.config, "warm_up")

        def health(self):
            pass_gate(self.config, "health")

        def create(self, params):
            pass_gate(self.config, "session")
            return Echo(self)

    class Echo(Session):
        def __init__(self, engine):
            self.engine = engine

        def write(self, frame):
            return {"text": f"{self.engine.config['says']}:{frame['text']}"}
"""
UPDATING = VERSIONED.replace(
    "    def warm_up(self):",
    """    def update(self, config):
            pass_gate(config, "update")
            self.config = config

        def warm_up(self):""",
    1,
)
