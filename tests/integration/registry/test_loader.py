"""A real loader in a real Consul: announced when it is ready, told of its load, withdrawn at a drain."""

from __future__ import annotations

import time

from following import CONVERGE_S, NODE, Scene, service
from running import until

from loader.v1 import admin_pb2


def test_a_ready_loader_is_found_and_a_draining_one_is_not(scene: Scene) -> None:
    """Address, engines with version and slots, zone and metadata; gone at a drain and at the end."""
    scene.publish(service(more="zone: eu-1\nmetadata: {rack: '7'}\n"))
    running = scene.start()
    entry = until(scene.entry, "announced", CONVERGE_S)
    assert (entry["node"], entry["address"], entry["zone"]) == (NODE, running.ready["grpc"], "eu-1")
    assert entry["metadata"] == {"rack": "7"}
    assert running.log_lines("announced to this machine only"), "a loopback address is never told silently"
    (engine,) = entry["engines"]
    assert (engine["name"], engine["slots"], engine["slots_free"], engine["weight"]) == ("echo", 4, 4, 100)
    running.admin.Drain(admin_pb2.DrainRequest(stay=True), timeout=30)
    until(lambda: not scene.entry(), "withdrawn")
    running.__exit__(None, None, None)

    running = scene.start()
    until(scene.entry, "announced again", CONVERGE_S)
    running.__exit__(None, None, None)
    assert not scene.entry(), "it ended and is still announced"


def test_load_of_a_loader_is_told_once_a_second_at_most(scene: Scene) -> None:
    """Sessions come and go for five seconds: Consul's index of the service moves at most once a second; full and
    free again are told."""
    scene.publish(service())
    running = scene.start()
    until(scene.entry, "announced", CONVERGE_S)

    def index() -> int:
        (row,) = scene.agent.call("GET", f"/catalog/service/{scene.prefix}")
        return int(row["ModifyIndex"])

    def free() -> int:
        engines = scene.entry().get("engines") or [{"slots_free": -1}]
        return int(engines[0]["slots_free"])

    seen, began_s = {index()}, time.monotonic()
    while (passed_s := time.monotonic() - began_s) < 5:
        sessions = [running.open_session("echo") for _ in range(4)]
        seen.add(index())
        for session in sessions:
            session.end()
        seen.add(index())
    assert len(seen) <= passed_s + 2, (sorted(seen), passed_s)
    sessions = [running.open_session("echo") for _ in range(4)]
    until(lambda: free() == 0, "told to be full", CONVERGE_S)
    for session in sessions:
        session.end()
    until(lambda: free() == 4, "told to be free", CONVERGE_S)


def test_a_changed_slot_count_and_zone_are_told(scene: Scene) -> None:
    """What a revision changes live reaches clients."""
    scene.publish(service())
    scene.start()
    until(scene.entry, "announced", CONVERGE_S)
    scene.publish(service(more="zone: eu-2\n").replace("slots: 4", "slots: 7"))

    def told() -> bool:
        entry = scene.entry()
        return bool(entry) and (entry["zone"], entry["engines"][0]["slots"]) == ("eu-2", 7)

    until(told, "zone and slots told", CONVERGE_S)


def test_behind_every_address_nobody_is_told_localhost(scene: Scene) -> None:
    """0.0.0.0 is announced as the address that leads out, or not at all with the key to write; `advertise` wins."""
    scene.publish(service())
    running = scene.start("advertise: speech.example:0\n", "--grpc", "0.0.0.0:0")
    port = running.ready["grpc"].rpartition(":")[2]
    entry = until(scene.entry, "announced", CONVERGE_S)
    assert entry["address"] == f"speech.example:{port}"
    running.__exit__(None, None, None)

    running = scene.start("", "--grpc", "0.0.0.0:0")
    port = running.ready["grpc"].rpartition(":")[2]
    entry = until(scene.entry, "announced", CONVERGE_S)
    host, _, told_port = entry["address"].rpartition(":")
    assert told_port == port
    assert not running.log_lines("announced to this machine only")
    assert host not in ("0.0.0.0", "localhost") and not host.startswith("127.")
