"""A search on a cluster that has no workers yet: Ray's own autoscaler starts them, as many as trials can use.

The machines are Ray's `fake_multinode` ones: raylets beside the head, begun and ended by the real autoscaler.
`make test-cluster` runs it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID
from ray.util import get_node_ip_address

from raytl.results.folder import StudyFolder
from raytl.results.tables import load_tables, trial_rows
from tests.ports import free_port
from tests.processes import MARK, Command

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster]

MOST, TRIALS = 6, 2
SEARCH = ["--backbones", "plain_cnn", "--weights", "none", "--image-size", "32", "--policy", "flat"]
SEARCH += f"--trials {TRIALS} --epochs 2 --confirm-seeds 1 --set precision=fp32".split()
SECRET = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}


def limits(gcs_address: str) -> dict[str, object]:
    """The autoscaler's file: a head without processors, and up to six machines of one each."""
    return {
        "cluster_name": "growing",
        "max_workers": MOST,
        "idle_timeout_minutes": 5,
        "provider": {
            "type": "fake_multinode",
            "launch_multiple": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "head_node_id": FAKE_HEAD_NODE_ID,
            "gcs_address": gcs_address,
        },
        "auth": {},
        "upscaling_speed": 1.0,
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "initialization_commands": [],
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "small": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": MOST},
        },
    }


@dataclass(frozen=True)
class Growing:
    """A Ray with an autoscaler and no worker."""

    address: str
    command: Command

    @property
    def workers(self) -> int:
        """How many machines run beside the head."""
        return sum("/raylet/raylet " in title for title in self.command.processes().values()) - 1


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Growing]:
    """All its processes are ended afterwards."""
    port = free_port()
    address = f"{get_node_ip_address()}:{port}"
    file, mark = tmp_path / "limits.json", uuid4().hex
    file.write_text(json.dumps(limits(address)))
    variables = {
        **os.environ,
        **SECRET,
        MARK: mark,
        "RAY_FAKE_CLUSTER": "1",
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
    }
    ray = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}", "--num-cpus=0"]
    # A folder of its own: from Ray's usual one others would take the address of what this test has killed. Short, since
    # the names of sockets are.
    place = tempfile.mkdtemp(prefix="ray")
    options = ["--include-dashboard=false", f"--autoscaling-config={file}", f"--temp-dir={place}"]
    with (tmp_path / "ray.log").open("wb") as log:
        head = subprocess.Popen([*ray, *options], env=variables, stdout=log, stderr=log, start_new_session=True)
    command = Command(head, tmp_path / "ray.log", mark)
    command.wait_for(lambda: "Ray runtime started" in command.said)
    yield Growing(address, command)
    while left := command.processes():
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        head.poll()
        time.sleep(0.2)
    shutil.rmtree(place)


def test_a_search_makes_its_cluster_grow_and_no_further_than_it_can_use(growing: Growing, tmp_path: Path) -> None:
    data, generator = tmp_path / "data", np.random.default_rng(0)
    for label, color in (("red", (200, 60, 60)), ("green", (60, 200, 60))):
        (data / label).mkdir(parents=True)
        for index in range(20):
            pixels = 0.4 * np.array(color) + 0.6 * generator.integers(0, 256, (32, 32, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(data / label / f"{index:02d}.png")
    folder = StudyFolder(tmp_path / "study")
    assert growing.workers == 0
    words = ["search", str(data), "--out", str(folder.root), *SEARCH, "--address", growing.address]
    command = Command.start(tmp_path / "search.log", *words, environment=SECRET)
    try:
        assert command.end() == 0, command.said
    finally:
        command.process.kill()
    # As many as trials can use at a time, not as many as there may be; Ray may begin one more while the first connect.
    assert TRIALS <= growing.workers <= TRIALS + 1
    assert f"the cluster has 0 CPUs now and {MOST} with the {MOST} machines that it may start" in command.said
    assert f"{TRIALS} trials at a time" in command.said
    trials = [row for row in trial_rows(load_tables(folder).trials) if row.stage == "search"]
    assert len(trials) == TRIALS and {row.status for row in trials} <= {"completed", "stopped"}
