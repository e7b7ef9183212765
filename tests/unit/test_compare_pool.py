"""Processes of comparisons end with the one that began them, however that ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

JOB = """
import socket

def job(port):
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.recv(1)  # says nothing, and waits for ever
"""
DRIVER = """
import sys
from jobs import job
from smalti.compare.pool import Pool

if __name__ == "__main__":
    with Pool(2) as pool:
        list(pool.each(job, [int(sys.argv[1])] * 2))
"""


def test_workers_do_not_outlive_a_driver_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(JOB)
    (tmp_path / "driver.py").write_text(DRIVER)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(120)
        path = os.pathsep.join((str(tmp_path), *sys.path))
        driver = subprocess.Popen(
            [sys.executable, str(tmp_path / "driver.py"), str(server.getsockname()[1])], env={**os.environ, "PYTHONPATH": path}
        )
        try:
            lines = [server.accept()[0] for _ in range(2)]
        finally:
            driver.send_signal(signal.SIGKILL)
            driver.wait()
        for line in lines:
            line.settimeout(120)
            with line:
                assert line.recv(1) == b""  # the other end is gone
