"""Node-RED, in memory: webhook → request → PostgreSQL → request → answer. Nothing is durable."""

import shutil
from pathlib import Path

from bench.contestants.by_webhook import ByWebhook
from bench.contestants.contestant import Site
from bench.contestants.nodered.flows import flows_json
from bench.contestants.npm import installed, node
from bench.processes import free_port, listens, wait_until


class NodeRed(ByWebhook):
    """The flow is in `flows.py`."""

    name = "nodered"
    what = "Node-RED, in memory, nothing durable: http in, http request, pg, http request"

    def tune_for_latency(self) -> None:
        self.connections = 256

    def install(self) -> None:
        installed("nodered")

    def start_workers(self, site: Site, *, processes: int) -> None:
        if not self._call_ids:
            return  # The receiver does the work.
        ports = [self._start(site, number) for number in range(processes)]
        for port in ports:
            self._wait(site, port)
        self.send_to(site, ports)

    def start_receiver(self, site: Site) -> str:
        port = self._start(site, 0)
        self._wait(site, port)
        return f"http://127.0.0.1:{port}/webhook/calls"

    def _start(self, site: Site, number: int) -> int:
        folder: Path = installed("nodered")
        user = site.directory / f"nodered-{number}"
        user.mkdir()
        (user / "flows.json").write_text(flows_json())
        settings = user / "settings.js"
        shutil.copy(folder / "settings.js", settings)
        port = free_port()
        red = folder / "node_modules" / "node-red" / "red.js"
        site.children.start(
            f"nodered{number}",
            [str(node()), str(red), "--userDir", str(user), "--settings", str(settings)],
            environment={
                **site.environment(),
                "PORT": str(port),
                "NODE_PATH": str(folder / "node_modules"),
            },
            cwd=user,
        )
        return port

    def _wait(self, site: Site, port: int) -> None:
        wait_until(lambda: listens(port), seconds=60, what="Node-RED", children=site.children)
