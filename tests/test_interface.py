"""Workers of a trial reach each other over the interface of their machine's address in the cluster."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.train.torch.config import _TorchBackend

from raytl.on_ray import interface as module
from raytl.on_ray.interface import VARIABLE, ReachableTorchConfig, interface_of, name_interface


def test_every_interface_is_found_by_its_address() -> None:
    """Against `ip`, where there is one; the loopback's is known anyway."""
    assert interface_of("127.0.0.1") == "lo"
    try:
        said = subprocess.run(["ip", "-json", "-4", "address"], check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no `ip` to compare with")
    first = {each["addr_info"][0]["local"]: each["ifname"] for each in json.loads(said) if each["addr_info"]}
    assert {address: interface_of(address) for address in first} == first


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", ""])
def test_an_address_that_this_machine_has_not_names_none(address: str) -> None:
    assert interface_of(address) is None


def test_the_interface_is_named_once_and_what_a_person_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "192.0.2.1")
    name_interface()
    assert VARIABLE not in os.environ
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    monkeypatch.setenv(VARIABLE, "eth7")
    name_interface()
    assert os.environ[VARIABLE] == "eth7"
    monkeypatch.delenv(VARIABLE)
    name_interface()
    assert os.environ[VARIABLE] == "lo" in [name for _, name in socket.if_nameindex()]


def test_workers_name_their_interface_before_the_group_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []
    monkeypatch.setattr(_TorchBackend, "on_start", lambda self, workers, config: done.append(config))
    config = ReachableTorchConfig(timeout_s=7)
    workers: Any = SimpleNamespace(execute=done.append)
    config.backend_cls().on_start(workers, config)
    assert done == [module.name_interface, config] and config.timeout_s == 7
