"""ops/kubernetes: valid by Kubernetes' own schemas, and true to what the pages promise."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from sqlalchemy import text

from aftercall.db.session import Database
from aftercall.settings import Settings

OPS = Path(__file__).resolve().parents[2] / "ops" / "kubernetes"
FILES = sorted(
    path for path in OPS.rglob("*.yaml") if path.name not in ("kustomization.yaml", "config.yaml")
)
FILES.append(OPS / "base" / "config.yaml")
KUSTOMIZATIONS = sorted(OPS.rglob("kustomization.yaml"))
#: The oldest that is still served by anybody we know of, and the newest whose schemas are here.
VERSIONS = ("1.31", kubernetes_validate.latest_version())
VARIABLES = {str(field.alias) for field in Settings.model_fields.values()}
PARTS = ("api", "worker", "beat")


def documents(*paths: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in paths or FILES:
        for found in yaml.safe_load_all(path.read_text()):
            yield f"{path.relative_to(OPS)}: {found['kind']} {found['metadata']['name']}", found


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [found for _, found in documents() if found["kind"] == kind]


def deployment(part: str) -> dict[str, Any]:
    (found,) = [d for d in of_kind("Deployment") if d["metadata"]["name"] == f"aftercall-{part}"]
    return found


def pod_specs() -> list[dict[str, Any]]:
    found = [one["spec"]["template"]["spec"] for one in [*of_kind("Deployment"), *of_kind("Job")]]
    assert len(found) == 4
    return found


def containers() -> list[dict[str, Any]]:
    return [container for spec in pod_specs() for container in spec["containers"]]


# ---- form --------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("name", "found"), [pytest.param(*one, id=one[0]) for one in documents()])
def test_every_object_follows_kubernetes_schema_without_an_unknown_field(
    name: str, found: dict[str, Any], version: str
) -> None:
    if found["apiVersion"].startswith("keda.sh/"):
        check_keda(found)
    else:
        kubernetes_validate.validate(found, version, strict=True)


#: KEDA 2's own definitions, as far as they are used here: required and known fields.
_KEDA = {
    "ScaledObject": (
        {"scaleTargetRef", "triggers"},
        {
            "scaleTargetRef", "pollingInterval", "cooldownPeriod", "initialCooldownPeriod",
            "idleReplicaCount", "minReplicaCount", "maxReplicaCount", "advanced", "fallback",
            "triggers",
        },
    ),
    "TriggerAuthentication": (
        set(),
        {"secretTargetRef", "env", "podIdentity", "configMapTargetRef"},
    ),
}  # fmt: skip


def check_keda(found: dict[str, Any]) -> None:
    required, known = _KEDA[found["kind"]]
    assert found["apiVersion"] == "keda.sh/v1alpha1"
    assert required <= set(found["spec"]) <= known
    for trigger in found["spec"].get("triggers", ()):
        assert trigger["type"] == "postgresql"
        assert {"query", "targetQueryValue"} <= set(trigger["metadata"])
        # KEDA wants text everywhere in there.
        assert all(isinstance(value, str) for value in trigger["metadata"].values())


def test_an_unknown_field_would_be_found() -> None:
    wrong = deployment("beat")
    wrong["spec"]["template"]["spec"]["containers"][0]["livenessProb"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_every_file_is_named_by_a_kustomization_and_every_name_is_a_file() -> None:
    named: set[Path] = set()
    for path in KUSTOMIZATIONS:
        given = yaml.safe_load(path.read_text())
        there = [*given.get("resources", ()), *given.get("components", ())]
        there += [patch["path"] for patch in given.get("patches", ()) if "path" in patch]
        for name in there:
            target = (path.parent / name).resolve()
            assert target.exists(), f"{path}: {name}"
            named.add(target / "kustomization.yaml" if target.is_dir() else target)
    every = set(OPS.rglob("*.yaml")) - {
        OPS / "secret.example.yaml",
        OPS / "overlays/example/kustomization.yaml",
        OPS / "overlays/example/migrate/kustomization.yaml",
    }
    assert named == every


def test_the_example_renders_as_kubectl_renders_it() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed here; the files were checked one by one")
    for folder in ("overlays/example", "overlays/example/migrate"):
        run = subprocess.run(
            ["kubectl", "kustomize", OPS / folder], capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        rendered = list(yaml.safe_load_all(run.stdout))
        for found in rendered:
            if not found["apiVersion"].startswith("keda.sh/"):
                kubernetes_validate.validate(found, VERSIONS[-1], strict=True)
            if found["kind"] != "Namespace":
                assert found["metadata"]["namespace"] == "aftercall"
        pods = [one for one in rendered if one["kind"] in ("Deployment", "Job")]
        assert len(pods) == (3 if folder == "overlays/example" else 1)
        for one in pods:
            (container,) = one["spec"]["template"]["spec"]["containers"]
            assert re.fullmatch(r"registry\.example\.com/aftercall:\d[\w.]*", container["image"])


# ---- what runs ---------------------------------------------------------------


def test_no_image_is_of_a_tag_that_moves() -> None:
    # The base names it; the overlay says which.
    assert {container["image"] for container in containers()} == {"aftercall"}
    for path in OPS.glob("overlays/**/kustomization.yaml"):
        (image,) = yaml.safe_load(path.read_text())["images"]
        assert image["name"] == "aftercall"
        assert image.get("digest") or image["newTag"] not in ("", "latest")


@pytest.mark.parametrize("part", PARTS)
def test_what_stays_up_is_asked_whether_it_has_started_is_ready_and_lives(part: str) -> None:
    (container,) = deployment(part)["spec"]["template"]["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        # Not /readyz: while PostgreSQL is away, webhooks are still taken.
        assert container[probe]["httpGet"]["path"] == "/healthz"
        assert container[probe]["httpGet"]["port"] in ports


def test_every_container_has_requests_and_limits() -> None:
    for container in containers():
        for kind in ("requests", "limits"):
            assert set(container["resources"][kind]) == {"cpu", "memory"}


def test_every_pod_is_of_the_restricted_profile_on_a_read_only_root() -> None:
    for spec in pod_specs():
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert all("emptyDir" in volume for volume in spec["volumes"])
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]  # noqa: S108


@pytest.mark.parametrize(("part", "seconds"), [("api", 60), ("worker", 60), ("beat", 15)])
def test_who_is_stopped_may_finish_what_is_under_way(part: str, seconds: int) -> None:
    assert deployment(part)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == seconds


@pytest.mark.parametrize("part", PARTS)
def test_a_new_one_is_there_before_an_old_one_goes(part: str) -> None:
    assert deployment(part)["spec"]["strategy"]["rollingUpdate"] == {
        "maxUnavailable": 0,
        "maxSurge": 1,
    }


def test_the_parts_run_the_program_and_not_a_shell() -> None:
    assert [container["command"][:2] for container in containers()] == [
        ["aftercall", "api"],
        ["aftercall", "beat"],
        ["aftercall", "worker"],
        ["aftercall", "migrate"],
    ]


def test_whoever_selects_pods_selects_ours_alone() -> None:
    for found in [*of_kind("Deployment"), *of_kind("PodDisruptionBudget")]:
        labels = found["spec"]["selector"]["matchLabels"]
        assert labels["app.kubernetes.io/name"] == "aftercall"
        assert labels["app.kubernetes.io/component"] in PARTS
    for one in of_kind("Deployment"):
        assert (
            one["spec"]["selector"]["matchLabels"] == one["spec"]["template"]["metadata"]["labels"]
        )


# ---- what they are told ------------------------------------------------------


def test_every_variable_is_a_setting() -> None:
    names = set().union(*(one["data"] for one in of_kind("ConfigMap")))
    for path in OPS.rglob("config.yaml"):
        names |= set(yaml.safe_load(path.read_text())["data"])
    (secret,) = of_kind("Secret")
    names |= set(secret["stringData"])
    for container in containers():
        names |= {given["name"] for given in container.get("env", ())}
    assert names <= VARIABLES


def test_every_secret_setting_is_in_the_secret_and_has_no_value_there() -> None:
    (secret,) = of_kind("Secret")
    assert set(secret["stringData"].values()) == {""}
    wanted = {
        str(field.alias) for field in Settings.model_fields.values() if "Secret" in str(field)
    }
    # A media URL may hold a key, and then belongs there too.
    assert wanted - {"AFTERCALL_MEDIA_URL"} <= set(secret["stringData"])
    assert "secret.example.yaml" not in "".join(path.read_text() for path in KUSTOMIZATIONS)


def test_no_secret_is_written_down() -> None:
    secret_names = set(of_kind("Secret")[0]["stringData"])
    for path in OPS.rglob("config.yaml"):
        assert not secret_names & set(yaml.safe_load(path.read_text())["data"])
    for container in containers():
        for given in container.get("env", ()):
            assert ("secretKeyRef" in given.get("valueFrom", {})) == (given["name"] in secret_names)


# ---- who may talk to whom ----------------------------------------------------


def test_nothing_goes_in_or_out_but_what_is_named() -> None:
    first, *rest = of_kind("NetworkPolicy")
    assert first["spec"] == {
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "aftercall"}},
        "policyTypes": ["Ingress", "Egress"],
    }
    for policy in rest:
        for rule in [*policy["spec"].get("egress", ()), *policy["spec"].get("ingress", ())]:
            assert rule.get("to") or rule.get("from"), policy["metadata"]["name"]


def test_out_of_the_cluster_goes_https_alone_and_to_nothing_private() -> None:
    (policy,) = [
        p for p in of_kind("NetworkPolicy") if p["metadata"]["name"] == "aftercall-outside"
    ]
    (rule,) = policy["spec"]["egress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 443}]
    refused = {net for to in rule["to"] for net in to["ipBlock"]["except"]}
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= refused
    assert policy["spec"]["podSelector"]["matchExpressions"][0]["values"] == ["api", "worker"]


def test_the_world_reaches_the_webhook_and_the_links_and_never_the_metrics() -> None:
    public, console = of_kind("Ingress")
    paths = [path["path"] for path in public["spec"]["rules"][0]["http"]["paths"]]
    assert paths == ["/webhooks/twentytwo", "/media"]
    backends = {
        (path["path"], path["pathType"]): path["backend"]["service"]["name"]
        for path in console["spec"]["rules"][0]["http"]["paths"]
    }
    assert backends[("/metrics", "Exact")] == "aftercall-nobody"
    (nobody,) = [s for s in of_kind("Service") if s["metadata"]["name"] == "aftercall-nobody"]
    assert "selector" not in nobody["spec"]
    for ingress in (public, console):
        assert ingress["spec"]["tls"]


# ---- how many ----------------------------------------------------------------


def scaling_query() -> str:
    (scaled,) = of_kind("ScaledObject")
    return str(scaled["spec"]["triggers"][0]["metadata"]["query"])


_MANY = """
    INSERT INTO workspaces (id, rate_limit, blocked_until) VALUES
      ('usual', NULL, NULL), ('more', 200, NULL), ('blocked', NULL, now() + interval '1 hour');
    INSERT INTO calls (workspace_id, call_id, state, priority, due_at, received_at)
      SELECT w, w || n, 'queued', n % 3, now() - interval '1 minute', now()
      FROM generate_series(1, 5000) AS n, unnest(ARRAY['usual', 'more', 'blocked']) AS w;
    INSERT INTO calls (workspace_id, call_id, state, due_at, received_at)
      SELECT 'usual', 'later' || n, 'queued', now() + interval '1 hour', now()
      FROM generate_series(1, 20000) AS n;
    INSERT INTO destinations (id, name, url, events, secret_sealed, enabled, paused_until)
      SELECT md5(name)::uuid, name, 'https://h', '{}', '', enabled, until FROM (VALUES
        ('well', true, NULL), ('paused', true, now() + interval '1 hour'), ('off', false, NULL)
      ) AS t (name, enabled, until);
    INSERT INTO deliveries
      (id, call_row_id, destination_id, revision, type, state, due_at, created_at)
      SELECT gen_random_uuid(), c.id, t.id, 1, 'call.completed', 'queued',
        now() - interval '1 minute', now()
      FROM (SELECT id FROM calls LIMIT 300) AS c, destinations t;
"""


def test_workers_are_added_for_what_could_be_done_now_and_not_for_what_waits_for_a_limit(
    database: Database,
) -> None:
    with database.transaction() as session:
        for statement in _MANY.split(";"):
            if statement.strip():
                session.execute(text(statement))
    with database.transaction() as session:
        # 60 and 200 a minute, nothing of the blocked one; the deliveries of one destination.
        assert session.execute(text(scaling_query())).scalar_one() == 60 + 200 + 300


def test_the_query_reads_through_indexes(database: Database) -> None:
    with database.transaction() as session:
        for statement in _MANY.split(";"):
            if statement.strip():
                session.execute(text(statement))
    with database.statements() as connection:
        connection.execute(text("ANALYZE calls, deliveries, destinations, workspaces"))
        plan = "\n".join(connection.execute(text(f"EXPLAIN {scaling_query()}")).scalars())
    assert "ix_calls_due" in plan, plan
    assert "Seq Scan on calls" not in plan, plan
