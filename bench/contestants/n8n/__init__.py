"""n8n with PostgreSQL, in its usual main mode: one process, no queue, executions kept."""

import os
from pathlib import Path

import requests

from bench.contestants.by_webhook import ByWebhook
from bench.contestants.contestant import WORKSPACE, Site
from bench.contestants.n8n.workflow import credentials_json, workflow_json
from bench.contestants.npm import installed, node
from bench.processes import free_port, run_to_end, wait_until

#: The install is large, and its build scripts want a compiler that nothing here needs.
_INSTALL_SECONDS = 1_800.0


class N8n(ByWebhook):
    """The workflow is in `workflow.py`."""

    name = "n8n"
    what = "n8n with PostgreSQL, main mode, one process: webhook, HTTP, Postgres, HTTP"
    most_calls = 1_500

    def install(self) -> None:
        installed("n8n", scripts=False, timeout=_INSTALL_SECONDS)

    def set_up(self, site: Site) -> None:
        super().set_up(site)
        site.stores.execute("CREATE DATABASE n8n")
        credentials, workflow = site.directory / "pg.json", site.directory / "workflow.json"
        credentials.write_text(credentials_json(socket_directory=site.stores.socket_directory))
        workflow.write_text(
            workflow_json(
                upstream_url=f"{site.stub.origin}/call/detail",
                hook_url=site.stub.hook_url,
                workspace=WORKSPACE,
            )
        )
        for arguments in (
            ("import:credentials", f"--input={credentials}"),
            ("import:workflow", f"--input={workflow}"),
            ("publish:workflow", "--id=benchcalls"),
        ):
            run_to_end(
                [*self._command(), *arguments],
                environment=self._environment(site, port=free_port()),
                log=site.directory / "n8n-setup.log",
            )

    def start_workers(self, site: Site, *, processes: int) -> None:  # noqa: ARG002 - main mode is one
        if self._call_ids:
            self.send_to(site, [self._start(site)])

    def start_receiver(self, site: Site) -> str:
        return f"http://127.0.0.1:{self._start(site)}/webhook/calls"

    def _start(self, site: Site) -> int:
        port = free_port()
        site.children.start(
            "n8n", [*self._command(), "start"], environment=self._environment(site, port=port)
        )
        wait_until(lambda: _is_ready(port), seconds=180, what="n8n", children=site.children)
        return port

    def _command(self) -> list[str]:
        folder: Path = installed("n8n", scripts=False, timeout=_INSTALL_SECONDS)
        return [str(node()), str(folder / "node_modules" / "n8n" / "bin" / "n8n")]

    def _environment(self, site: Site, *, port: int) -> dict[str, str]:
        return {
            "PATH": f"{node().parent}{os.pathsep}{os.environ['PATH']}",
            "DB_TYPE": "postgresdb",
            "DB_POSTGRESDB_HOST": site.stores.socket_directory,
            "DB_POSTGRESDB_PORT": "5432",
            "DB_POSTGRESDB_DATABASE": "n8n",
            "DB_POSTGRESDB_USER": "postgres",
            "DB_POSTGRESDB_POOL_SIZE": "10",
            "N8N_PORT": str(port),
            "N8N_LISTEN_ADDRESS": "127.0.0.1",
            "N8N_USER_FOLDER": str(site.directory),
            "N8N_ENCRYPTION_KEY": "bench",
            "N8N_LOG_LEVEL": "warn",
            # The faster one: with its default, `vm`, a call takes three times as long.
            "N8N_EXPRESSION_ENGINE": "legacy",
            # Nothing leaves this machine.
            "N8N_DIAGNOSTICS_ENABLED": "false",
            "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
            "N8N_TEMPLATES_ENABLED": "false",
            "N8N_COMMUNITY_PACKAGES_ENABLED": "false",
            "N8N_LICENSE_AUTO_RENEW_ENABLED": "false",
            "N8N_PERSONALIZATION_ENABLED": "false",
            "N8N_DISABLED_MODULES": "mcp-registry",
        }


def _is_ready(port: int) -> bool:
    # Only once the workflow is active does it know which method is meant.
    try:
        answer = requests.get(f"http://127.0.0.1:{port}/webhook/calls", timeout=2)
        return "POST" in answer.json().get("message", "")
    except requests.RequestException:
        return False
