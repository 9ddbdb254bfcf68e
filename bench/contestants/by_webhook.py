"""Contestants without a queue: a backlog is webhooks, so many under way at once."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from bench.contestants.contestant import WORKSPACE, Contestant, Site
from bench.load import Plan
from bench.payloads import webhook


class ByWebhook(Contestant):
    """Its receiver does the work, and answers a webhook when its call is done."""

    has_receiver = True
    #: Webhooks under way at once, at each process.
    connections = 64

    def __init__(self) -> None:
        self._call_ids: list[str] = []

    def enqueue(self, site: Site, call_ids: Sequence[str]) -> None:  # noqa: ARG002
        self._call_ids.extend(call_ids)

    def send_to(self, site: Site, ports: Sequence[int]) -> None:
        """Each process gets its share of the calls, from a sender of its own."""
        for number, port in enumerate(ports):
            share = self._call_ids[number :: len(ports)]
            bodies = site.directory / f"bodies-{number}"
            bodies.write_text(
                "\n".join(json.dumps(webhook(call_id, WORKSPACE)) for call_id in share)
            )
            plan = Plan(
                port=port,
                path="/webhook/calls",
                method="POST",
                connections=self.connections,
                seconds=3_600,
                rate=None,
                bodies=str(bodies),
                result=str(site.directory / f"sent-{number}.json"),
            )
            file = site.directory / f"plan-{number}.json"
            file.write_text(json.dumps(asdict(plan)))
            site.children.start(
                f"sender{number}",
                [sys.executable, "-m", "bench.load", str(file)],
                environment={},
                is_beside=True,
            )
