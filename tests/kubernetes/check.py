"""check.py DIR: see check.sh. DIR is for temporary files."""

import json
import os
import pathlib
import re
import subprocess
import sys
import textwrap

import helm_python as helm
import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/prometheus-baileys-exporter"
OVERLAYS = ROOT / "tests/kubernetes/kustomize"
WORK = pathlib.Path(sys.argv[1])
BIN = os.environ.get("BIN")
# The oldest that the chart allows, and the newest.
VERSIONS = ["1.25", kubernetes_validate.latest_version()]
OPERATOR = "monitoring.coreos.com/v1"

# Values that must be refused, and what the message says.
REFUSED = [
    ({}, "auth.hostPath"),
    ({"mode": "sidecar"}, "bot.image"),
    ({"auth": {"hostPath": "/a"}, "mistyped": 1}, "mistyped"),
    ({"auth": {"hostPath": "/a"}, "exporter": {"port": 0}}, "port"),
    ({"auth": {"hostPath": "/a"}, "exporter": {"image": {"digest": "sha256:1"}}}, "digest"),
    ({"auth": {"hostPath": "/a"}, "podSecurityContext": {"runAsUser": 0}}, "runAsUser"),
    ({"auth": {"hostPath": "/a"}, "securityContext": {"allowPrivilegeEscalation": True}}, "allowPrivilegeEscalation"),
    ({"auth": {"hostPath": "/a"}, "podSecurityContext": {"runAsUser": None}}, "runAsUser"),
    ({"auth": {"hostPath": "/a"}, "podSecurityContext": {"seccompProfile": {"type": "Unconfined"}}}, "seccompProfile"),
    ({"auth": {"hostPath": "/a"}, "securityContext": {"seccompProfile": {"type": "Unconfined"}}}, "seccompProfile"),
    ({"auth": {"hostPath": "/a"}, "securityContext": {"runAsUser": 0}}, "runAsUser"),
    ({"auth": {"hostPath": "/a"}, "securityContext": {"runAsNonRoot": False}}, "runAsNonRoot"),
    ({"auth": {"hostPath": "/a"}, "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}, "capabilities"),
    ({"auth": {"hostPath": "/a"}, "securityContext": {"capabilities": {"drop": []}}}, "capabilities"),
    ({"auth": {"hostPath": "/a"}, "securityContext": {"readOnlyRootFilesystem": False}}, "readOnlyRootFilesystem"),
    ({"auth": {"hostPath": "/a"}, "service": {"enabled": False}, "serviceMonitor": {"enabled": True}}, "service.enabled"),
    ({"auth": {"hostPath": "/a"}, "serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}, "enable one of them"),
    ({"auth": {"hostPath": "/a"}, "remediator": {"enabled": True}}, "config.alertmanager"),
    (
        {"auth": {"hostPath": "/a"}, "remediator": {"enabled": True}, "config": {"alertmanager": {"urls": ["http://a:9093"]}}},
        "match.instance",
    ),
    (
        {"auth": {"hostPath": "/a"}, "remediator": {"enabled": True}, "config": {"trigger": "local"}},
        "remediator.state.hostPath",
    ),
    (
        {"auth": {"hostPath": "/a"}, "config": {"processes": [{"pid_file": "/a", "allow_restart": True}]}},
        "does not stop bots",
    ),
]

problems = []


def problem(where, text):
    problems.append(f"{where}: {text}")


def quietly(call, *args, **named):
    """Helm logs each symbolic link of the chart to standard error."""
    stderr = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        return call(*args, **named)
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


def render(values):
    chart = quietly(helm.Chart.load, CHART)
    return quietly(chart.render, values, name="rel", namespace="bots")


def rendered(values):
    """The objects, without the notes."""
    texts = [text for name, text in render(values).items() if not name.endswith(".txt")]
    return [thing for text in texts for thing in yaml.safe_load_all(text) if thing]


def is_restricted(where, pod):
    """Pod security "restricted", but for hostPath, which docs/kubernetes.md names."""
    context = pod.get("securityContext", {})
    if context.get("runAsNonRoot") is not True or context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        problem(where, "the pod is not restricted")
    if any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        problem(where, "the pod shares a namespace of the node")
    if pod.get("automountServiceAccountToken") is not False and "baileys" in json.dumps(pod.get("serviceAccountName", "")):
        problem(where, "the pod has a token for the API")
    kinds = {"configMap", "secret", "emptyDir", "persistentVolumeClaim", "hostPath", "projected", "downwardAPI"}
    for volume in pod.get("volumes", []):
        if not kinds & volume.keys():
            problem(where, f"volume {volume['name']}")
    named = {volume["name"] for volume in pod.get("volumes", [])}
    names = {container["name"] for container in pod["containers"]}
    for container in pod["containers"]:
        inside = f"{where}, container {container['name']}"
        context = container.get("securityContext", {})
        if context.get("allowPrivilegeEscalation") is not False or context.get("capabilities") != {"drop": ["ALL"]}:
            problem(inside, "not restricted")
        if not re.search(r":[0-9]+\.[0-9]+\.[0-9]+$|@sha256:[0-9a-f]{64}$", container["image"]):
            problem(inside, f"the image {container['image']} is not pinned")
        if container["name"] in ("exporter", "remediator"):
            if context.get("readOnlyRootFilesystem") is not True:
                problem(inside, "the root is writable")
            if not {"requests", "limits"} <= container["resources"].keys():
                problem(inside, "no resources")
            if not {"livenessProbe", "startupProbe"} <= container.keys():
                problem(inside, "no probes")
            # Beside a bot it would take the bot out of its Service.
            if ("readinessProbe" in container) != (len({"exporter", "remediator"} & names) == len(names)):
                problem(inside, "readiness")
            read_only = {mount["name"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
            if read_only["auth"] != (container["name"] == "exporter"):
                problem(inside, "the exporter only reads the auth folders, the remediator writes them")
        yield inside, container, named


def check(where, objects):
    """Every object by itself, and what they say of each other."""
    for thing in objects:
        inside = f"{where}: {thing['kind']} {thing['metadata']['name']}"
        if thing["apiVersion"] != OPERATOR:
            for version in VERSIONS:
                try:
                    kubernetes_validate.validate(thing, version, strict=True)
                except Exception as error:
                    problem(inside, f"{version}: {str(error)[:300]}")
        if thing["kind"] == "NetworkPolicy" and not thing["spec"]["podSelector"].get("matchLabels"):
            problem(inside, "selects every pod of the namespace")
        template = thing.get("spec", {}).get("template")
        if not template:
            continue
        if thing["kind"] == "StatefulSet" and thing["spec"].get("podManagementPolicy") != "Parallel":
            problem(inside, "a wrong configuration does not heal by its correction")
        claims = {claim["metadata"]["name"] for claim in thing["spec"].get("volumeClaimTemplates", [])}
        labels = template["metadata"]["labels"]
        # A Job has none.
        if not thing["spec"].get("selector", {}).get("matchLabels", {}).items() <= labels.items():
            problem(inside, "its selector is not that of its pods")
        for container_name, container, named in is_restricted(inside, template["spec"]):
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in named | claims:
                    problem(container_name, f"no volume {mount['name']}")
        for other in objects:
            selector = other.get("spec", {}).get("selector") or other.get("spec", {}).get("podSelector", {})
            if other["kind"] in ("Service", "NetworkPolicy", "ServiceMonitor", "PodMonitor") and "baileys" in json.dumps(selector):
                wanted = selector.get("matchLabels", selector)
                if not wanted.items() <= labels.items():
                    problem(f"{where}: {other['kind']}", "selects no pod")


def network_policy(where, policy, values):
    """The ports of the bot stay open, and what is asked for may go out."""
    open_ports = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    for port in values.get("bot", {}).get("ports", []):
        if port["containerPort"] not in open_ports:
            problem(where, f"the port {port} of the bot is closed")
    for rule in values["networkPolicy"].get("extraEgress", []):
        if rule not in policy["spec"].get("egress", []):
            problem(where, f"egress lacks {rule}")


def named_apart(where, objects, values):
    """The instance that Prometheus gives a pod is the one that its remediator asks for."""
    is_sidecar = values.get("mode") == "sidecar"
    sources = ["__meta_kubernetes_namespace", "__meta_kubernetes_pod_name"] if is_sidecar else ["__meta_kubernetes_pod_node_name"]
    wanted = {"$(BAILEYS_INSTANCE_NAME):10273" if not is_sidecar else "bots/$(BAILEYS_INSTANCE_NAME):10273"}
    for thing in objects:
        if thing["kind"] in ("DaemonSet", "StatefulSet"):
            containers = thing["spec"]["template"]["spec"]["containers"]
            given = {env["value"] for c in containers for env in c.get("env", []) if env["name"] == "BAILEYS_INSTANCE"}
            if given != wanted:
                problem(where, f"BAILEYS_INSTANCE is {given}")
        if thing["kind"] not in ("ServiceMonitor", "PodMonitor"):
            continue
        for endpoint in thing["spec"].get("endpoints") or thing["spec"]["podMetricsEndpoints"]:
            rule = next(rule for rule in endpoint["relabelings"] if rule.get("targetLabel") == "instance")
            if rule["sourceLabels"] != sources or rule.get("separator", "/") != "/":
                problem(where, f"instance is made by {rule}")


def relabelings(where, thing):
    """One series for one session, whichever pod it is scraped from."""
    for endpoint in thing["spec"].get("endpoints") or thing["spec"]["podMetricsEndpoints"]:
        rules = endpoint.get("relabelings", [])
        if {"action": "labeldrop", "regex": "pod|container|endpoint|service"} not in rules:
            problem(where, "the labels of the operator stay")
        if not {"job", "instance"} <= {rule.get("targetLabel") for rule in rules}:
            problem(where, "job and instance are those of the operator")


def program(where, *args, text=None):
    """Runs one of the programs, with `text` as its configuration file."""
    path = WORK / "config.yml"
    path.write_text(text or "")
    done = subprocess.run([f"{BIN}/{args[0]}", *args[1:], f"--config.file={path}"], capture_output=True, text=True, env={"BAILEYS_INSTANCE": "bots/pod:10273"})
    if done.returncode != 0:
        problem(where, f"{' '.join(args)}: {done.stderr[:500]}")
    return done.stdout


def rule_groups(where, thing):
    """Prometheus takes the groups of a PrometheusRule."""
    path = WORK / "rules.yml"
    path.write_text(yaml.safe_dump(thing["spec"]))
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True)
    if done.returncode != 0:
        problem(where, done.stderr[:500])
    return thing["spec"]["groups"]


# What must be refused, so that nothing passes because nothing is looked at.
wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"prots": []}}
for version in VERSIONS:
    try:
        kubernetes_validate.validate(wrong, version, strict=True)
        problem(version, "a wrong object passes")
    except kubernetes_validate.ValidationError:
        pass

of_operator = []
sets = sorted((CHART / "ci").glob("*-values.yaml"))
defaults = yaml.safe_load((ROOT / "alerting-rules/baileys.rules.yml").read_text())["groups"]
printed = None
if BIN:
    printed = yaml.safe_load(program("rules", "baileys_exporter", "rules", "--format=prometheusrule"))
    if (printed["apiVersion"], printed["kind"]) != (OPERATOR, "PrometheusRule"):
        problem("rules --format=prometheusrule", "it is no PrometheusRule")
    of_operator.append(printed)
seen = set()
for path in sets:
    values = yaml.safe_load(path.read_text())
    report = quietly(helm.lint, CHART, values, strict=True)
    for message in report["messages"]:
        # Of information there is one: a chart may have an icon.
        if message["severity"] >= 2:
            problem(path.name, message["error"])
    objects = rendered(values)
    check(path.name, objects)
    seen |= {thing["kind"] for thing in objects}
    of_operator += [thing for thing in objects if thing["apiVersion"] == OPERATOR]
    named_apart(path.name, objects, values)
    for thing in objects:
        if thing["kind"] == "NetworkPolicy":
            network_policy(path.name, thing, values)
        if thing["kind"] in ("ServiceMonitor", "PodMonitor"):
            relabelings(path.name, thing)
        if thing["kind"] == "PrometheusRule":
            groups = rule_groups(path.name, thing)
            own = "rules" in values["prometheusRule"]
            if not own and groups != defaults:
                problem(path.name, "the rules are not alerting-rules/baileys.rules.yml")
            if not own and printed and groups != printed["spec"]["groups"]:
                problem(path.name, "the rules are not those of `rules --format=prometheusrule`")
        if thing["kind"] == "ConfigMap" and "config.yml" in thing["data"] and BIN:
            program(path.name, "baileys_exporter", "check-config", text=thing["data"]["config.yml"])
            if values.get("remediator"):
                program(path.name, "baileys_remediator", "check-config", text=thing["data"]["config.yml"])
        if thing["kind"] == "ConfigMap" and "config.yml" not in thing["data"]:
            for name, text in thing["data"].items():
                if name.endswith(".json"):
                    source = ROOT / "dashboards" / name.removeprefix("baileys-")
                    if json.loads(text) != json.loads(source.read_text()):
                        problem(path.name, f"{name} is not {source.name}")
    print(f"ok    {path.name}: {len(objects)} objects")
wanted = {"DaemonSet", "StatefulSet", "ConfigMap", "Service", "ServiceAccount", "ServiceMonitor", "PodMonitor", "PrometheusRule", "NetworkPolicy", "PersistentVolumeClaim"}
if len(sets) < 5 or not wanted <= seen:
    problem("ci", f"{len(sets)} sets of values, without {wanted - seen}")

for values, expected in REFUSED:
    try:
        render(values)
        report = quietly(helm.lint, CHART, values, strict=True)
        said = " ".join(message["error"] for message in report["messages"] if message["severity"] >= 2)
    except helm.HelmError as error:
        said = str(error)
    if expected not in said:
        problem(f"values {values}", f"{expected!r} is not in {said!r}")
print(f"ok    {len(REFUSED)} sets of values are refused")

# The manifests that docs/kubernetes.md shows.
page = (ROOT / "docs/kubernetes.md").read_text()
blocks = [textwrap.dedent(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.S)]
shown = [yaml.safe_load(block) for block in blocks if block.startswith("apiVersion:")]
monitors = [thing for thing in shown if thing["kind"] == "PodMonitor"]
if not monitors:
    problem("docs/kubernetes.md", "no PodMonitor is shown")
for thing in monitors:
    relabelings("docs/kubernetes.md", thing)
of_operator += monitors

for overlay in sorted(OVERLAYS.iterdir()):
    done = subprocess.run([pathlib.Path(sys.executable).parent / "kubectl", "kustomize", overlay], capture_output=True, text=True)
    if done.returncode != 0:
        problem(overlay.name, done.stderr)
        continue
    objects = [thing for thing in yaml.safe_load_all(done.stdout) if thing]
    # The PodMonitor is for the base.
    check(f"kustomize {overlay.name}", objects + (monitors if overlay.name == "nodes" else []))
    with_exporter = [
        thing["metadata"]["name"]
        for thing in objects
        if any(c["name"] == "exporter" for c in thing.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []))
    ]
    images = set(re.findall(r"image: (.*(?:own|baileys).*)", done.stdout))
    if images != {"registry.example.net/own:9.9.9"}:
        problem(overlay.name, f"the image of the overlay is {images}")
    if overlay.name == "nodes" and (overlay / "config.yml").read_text() not in [thing.get("data", {}).get("config.yml") for thing in objects]:
        problem(overlay.name, "the configuration of the overlay is not used")
    if with_exporter != {"nodes": ["baileys-exporter"], "sidecar": ["shop"]}[overlay.name]:
        problem(overlay.name, f"the exporter is in {with_exporter}")
    print(f"ok    kustomize {overlay.name}: {len(objects)} objects")

check("docs/kubernetes.md", [thing for thing in shown if "kustomize" not in thing["apiVersion"] and thing not in monitors])
values = {}
for block in blocks:
    if not block.startswith("apiVersion:"):
        values |= yaml.safe_load(block)
objects = rendered(values)
check("values of docs/kubernetes.md", objects)
if len(values["config"]) < 3 or "StatefulSet" not in {thing["kind"] for thing in objects}:
    problem("docs/kubernetes.md", "no values are shown")
# A StatefulSet's claims cannot be changed: with them the remediator could not be switched on or off.
without = rendered(values | {"remediator": {"enabled": False}})
fixed = [[thing["spec"].get("volumeClaimTemplates") for thing in some if thing["kind"] == "StatefulSet"] for some in (objects, without)]
if fixed[0] != fixed[1]:
    problem("docs/kubernetes.md", f"remediator.enabled changes the claims of the StatefulSet: {fixed}")
jobs = [thing for thing in shown if thing["kind"] == "Job"]
if not jobs:
    problem("docs/kubernetes.md", "no Job is shown")
# The page installs the chart as `baileys`.
made = {thing["metadata"]["name"].replace("rel-", "baileys-", 1) for thing in objects if thing["kind"] == "PersistentVolumeClaim"}
made.add(values["auth"]["existingClaim"])
for job in jobs:
    for volume in job["spec"]["template"]["spec"]["volumes"]:
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim and claim not in made:
            problem("docs/kubernetes.md", f"the Job mounts {claim}, and the chart makes {made}")
version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
tags = re.findall(r"(?:baileys_(?:exporter|remediator):|newTag: |prometheus-baileys-exporter-)([0-9][0-9.]*[0-9])", page)
if len(tags) < 5 or set(tags) != {version}:
    problem("docs/kubernetes.md", f"the versions are {tags}, not {version}")

operator_file = WORK / "operator.json"
operator_file.write_text(json.dumps(of_operator))
done = subprocess.run(["node", ROOT / "tests/kubernetes/operator.mjs", operator_file], capture_output=True, text=True)
print(done.stdout, end="")
if done.returncode != 0:
    problem("objects of the Prometheus operator", done.stdout + done.stderr)

for line in problems:
    print(f"FAIL  {line}")
sys.exit(bool(problems))
