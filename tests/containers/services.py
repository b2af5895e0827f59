"""services.py DIR: starts what compose.yml describes. Run by try.sh as the first process of a
PID namespace, in a mount and a network namespace of its own: all of it ends with this program."""

import ctypes
import http.server
import json
import os
import pathlib
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
WORK = pathlib.Path(sys.argv[1])
UID = 1000
SESSION = "company_962302"
ENVIRONMENT = {
    "BAILEYS_UID": str(UID),
    "BAILEYS_GID": str(UID),
    "BAILEYS_SESSIONS": str(WORK / "sessions"),
    "BAILEYS_STATE": str(WORK / "state"),
    "GRAFANA_PASSWORD": "secret",
}
LIBC = ctypes.CDLL(None, use_errno=True)
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
CAPABILITIES = {"DAC_READ_SEARCH": 2}
# In the place of an image that cannot be had here.
DEBIAN = {"prometheus": "/usr/bin/prometheus", "alertmanager": "/usr/bin/prometheus-alertmanager"}
# Bounds the whole: everything is waited for within this time.
END = time.monotonic() + 600


def fail(text):
    for log in sorted(WORK.glob("*.log")):
        print(f"--- {log.name}\n{log.read_text()[-2000:]}")
    sys.exit(f"FAILED: {text}")


def wait_for(what, attempt):
    while True:
        try:
            result = attempt()
            if result:
                return result
            why = repr(result)
        except (OSError, ValueError, KeyError, IndexError, sqlite3.OperationalError) as error:
            why = str(error)
        if time.monotonic() > END:
            fail(f"{what}: {why}")
        time.sleep(0.2)


def interpolated(text):
    def value(match):
        name, operator, rest = re.fullmatch(r"(\w+)(:[-?])?(.*)", match[1]).groups()
        if name not in ENVIRONMENT and operator != ":-":
            fail(f"compose.yml: {name} is not in .env.example")
        return ENVIRONMENT.get(name, rest)

    return re.sub(r"\$\{([^}]*)\}", value, text)


def compose(*names):
    """The services of the files; a later one adds to the lists of the former."""
    services = {}
    for name in names:
        text = interpolated((WORK / "deploy/compose" / name).read_text())
        for service, more in yaml.safe_load(text)["services"].items():
            for key, value in more.items():
                known = services.setdefault(service, {})
                known[key] = known[key] + value if isinstance(value, list) and key in known else value
    return services


def volumes(service):
    for volume in service.get("volumes", []):
        if isinstance(volume, str):
            source, target = volume.split(":")
            path = WORK / "volumes" / source
            path.mkdir(parents=True, exist_ok=True)
            yield path, target, False
        else:
            source = WORK / "deploy/compose" / volume["source"]
            yield source.resolve(), volume["target"], volume.get("read_only", False)


def check(services):
    """What can be seen without starting anything."""
    example = (REPOSITORY / "deploy/compose/.env.example").read_text()
    for name in ENVIRONMENT:
        if f"\n{name}=" not in example:
            fail(f".env.example lacks {name}")
    for name, service in services.items():
        if not re.search(r":v?\d+\.\d+\.\d+$", service["image"]):
            fail(f"{name}: the image {service['image']} is not pinned")
        for port in service.get("ports", []):
            if not port.startswith("127.0.0.1:"):
                fail(f"{name}: {port} is not on loopback")
        for source, target, _ in volumes(service):
            if not source.exists():
                fail(f"{name}: {source}, to be mounted at {target}, does not exist")
    ours = {name: service for name, service in services.items() if service["image"].startswith("baileys_")}
    for name, service in ours.items():
        if not (service["read_only"] and service["cap_drop"] == ["ALL"] and "no-new-privileges:true" in service["security_opt"]):
            fail(f"{name} is not hardened")
    inhibited = [
        yaml.safe_load((WORK / name / "alertmanager.yml").read_text())["inhibit_rules"]
        for name in ("alerting-rules", "deploy/compose/alertmanager")
    ]
    if inhibited[0] != inhibited[1]:
        fail("the inhibition of deploy/compose is not that of alerting-rules/alertmanager.yml")
    # Grafana finds the dashboards where they are mounted, and Prometheus where it is.
    mounted = {target: source for source, target, _ in volumes(services["grafana"])}
    provider = yaml.safe_load((mounted["/etc/grafana/provisioning/dashboards"] / "baileys.yml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    boards = [source for target, source in mounted.items() if target.startswith(folder + "/") and target.endswith(".json")]
    if len(boards) != 3 or not all(json.loads(source.read_text())["uid"].startswith("baileys-") for source in boards):
        fail(f"Grafana looks for dashboards in {folder}")
    source = yaml.safe_load((mounted["/etc/grafana/provisioning/datasources"] / "baileys.yml").read_text())
    return source["datasources"][0]["url"]


def mount(*args):
    subprocess.run(["mount", *args], check=True)


class Service:
    """A service in a root of its own, as its image and compose.yml describe it."""

    def __init__(self, name, service):
        self.name, self.service = name, service
        self.root = WORK / "root" / name
        self.config = self.unpack()
        user = service.get("user", self.config.get("User", "65534:65534"))
        self.uid, self.gid = (int(part) for part in user.split(":"))
        self.lay_out()
        self.process = None

    def unpack(self):
        """Puts the layer into the root. Returns the configuration of the image."""
        if self.root.exists():
            subprocess.run(["umount", "--recursive", self.root], check=True)
            shutil.rmtree(self.root)
        self.root.mkdir(parents=True)
        mount("--bind", self.root, self.root)
        if self.name in DEBIAN:
            for path in ("usr", "lib", "lib64"):
                if not pathlib.Path("/", path).exists():
                    continue
                (self.root / path).mkdir()
                mount("--bind", "-o", "ro", f"/{path}", self.root / path)
            return {"Entrypoint": [DEBIAN[self.name]]}
        image = WORK / "image" / self.service["image"].split(":")[0]
        manifest = json.loads((image / "manifest.json").read_text())[0]
        if manifest["RepoTags"] != [self.service["image"]]:
            fail(f"the image is {manifest['RepoTags']}, compose.yml names {self.service['image']}")
        subprocess.run(["tar", "-C", self.root, "--numeric-owner", "-xpf", image / manifest["Layers"][0]], check=True)
        return json.loads((image / manifest["Config"]).read_text())["config"]

    def path(self, target):
        return self.root / target.lstrip("/")

    def fill(self, source, target):
        """An empty named volume gets owner and mode of its place in the image, or is root's."""
        if source.parent != WORK / "volumes" or any(source.iterdir()):
            return
        owner, group, mode = 0, 0, 0o755
        if self.name in DEBIAN:
            # The image that cannot be had gives the directory to its user.
            owner, group = self.uid, self.gid
        elif target.exists():
            found = target.stat()
            owner, group, mode = found.st_uid, found.st_gid, found.st_mode & 0o7777
        os.chown(source, owner, group)
        source.chmod(mode)

    def lay_out(self):
        """Mounts what the engine and compose.yml mount."""
        for target in ("etc", "proc", "dev"):
            self.path(target).mkdir(exist_ok=True)
        names = " ".join([*compose("compose.yml"), "host.docker.internal"])
        self.path("etc/hosts").write_text(f"127.0.0.1 localhost {names}\n")
        mount("-t", "proc", "proc", self.path("proc"))
        self.path("dev/null").touch()
        mount("--bind", "/dev/null", self.path("dev/null"))
        for target in self.service.get("tmpfs", []):
            self.path(target).mkdir(exist_ok=True)
            mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", self.path(target))
        for source, target, read_only in volumes(self.service):
            path = self.path(target)
            self.fill(source, path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(exist_ok=True) if source.is_dir() else path.touch()
            mount("--bind", source, path)
            if read_only:
                mount("-o", "remount,bind,ro", path)
        if self.service.get("read_only"):
            mount("-o", "remount,bind,ro", self.root)

    def enter(self):
        """In the child: the root, the capabilities and the user of the service."""
        os.chroot(self.root)
        os.chdir("/")
        keep = {CAPABILITIES[name] for name in self.service.get("cap_add", [])}
        for capability in range(64):
            if capability not in keep | {6, 7}:
                LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        os.setgroups([])
        os.setgid(self.gid)
        os.setuid(self.uid)
        LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        # Without these two nothing could become the user.
        for capability in (6, 7):
            LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)

    def environment(self):
        return dict(word.split("=", 1) for word in self.config.get("Env", []))

    def start(self):
        command = self.config["Entrypoint"] + self.service.get("command", self.config.get("Cmd", []))
        with open(WORK / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment(), preexec_fn=self.enter
            )

    def run(self, *args):
        """`docker exec`: the exit code and what was printed."""
        done = subprocess.run(
            args, capture_output=True, text=True, timeout=60, env=self.environment(), preexec_fn=self.enter
        )
        return done.returncode, done.stdout + done.stderr

    def is_healthy(self):
        """The HEALTHCHECK of the image."""
        kind, *command = self.config["Healthcheck"]["Test"]
        code, said = self.run(*command)
        if kind != "CMD" or code != 0:
            raise ValueError(f"{self.name}: {code} {said}")
        return True

    def stop(self):
        self.process.terminate()
        try:
            if self.process.wait(timeout=60) != 0:
                fail(f"{self.name} ended with {self.process.returncode}")
        except subprocess.TimeoutExpired:
            fail(f"{self.name} does not end")


def get(url, data=None):
    headers = {"Content-Type": "application/json"} if data else {}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=10) as answer:
        return answer.read().decode()


def query(expression):
    answer = json.loads(get(f"{PROMETHEUS}/api/v1/query?query={urllib.parse.quote(expression)}"))
    return {(one["metric"].get("job"), one["metric"].get("instance")): one["value"][1] for one in answer["data"]["result"]}


class Bot(http.server.BaseHTTPRequestHandler):
    """The status endpoint of the bots."""

    connected = True

    def do_GET(self):
        body = json.dumps({"connected": Bot.connected}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def folder(path):
    """An auth folder of 387 files whose newest is 20 minutes old."""
    path.mkdir(parents=True)
    subprocess.run(["tar", "-C", path, "-xzf", REPOSITORY / "tests/fixtures/bloated-classic-387.tar.gz"], check=True)
    files = list(path.iterdir())
    by = time.time() - 1200 - max(file.stat().st_mtime for file in files)
    for file in files:
        at = file.stat().st_mtime + by
        os.utime(file, (at, at))
        os.chown(file, UID, UID)
        file.chmod(0o600)
    os.chown(path, UID, UID)
    path.chmod(0o700)
    return path


mount("-t", "proc", "proc", "/proc")
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
for name in ("alerting-rules", "dashboards", "deploy/compose"):
    ignore = shutil.ignore_patterns("node_modules", "render", "screenshots")
    shutil.copytree(REPOSITORY / name, WORK / name, ignore=ignore)
subprocess.run(["chown", "-R", "0:0", WORK], check=True)
WORK.chmod(0o755)
# The test does not wait half a minute for a poll.
config = WORK / "deploy/compose/baileys/config.yml"
config.write_text(config.read_text().replace("\nalertmanager:\n", "\nalertmanager:\n  interval: 1s\n"))
(WORK / "state").mkdir()
os.chown(WORK / "state", UID, UID)
(WORK / "state").chmod(0o700)
auth = folder(WORK / "sessions" / SESSION)

described = compose("compose.yml")
PROMETHEUS = check(described)
hosts = pathlib.Path(WORK / "hosts")
hosts.write_text(f"127.0.0.1 localhost {' '.join(described)}\n")
mount("--bind", hosts, "/etc/hosts")
bots = http.server.ThreadingHTTPServer(("127.0.0.1", 3001), Bot)
threading.Thread(target=bots.serve_forever, daemon=True).start()

services = {name: Service(name, service) for name, service in described.items() if name != "grafana"}
code, said = services["exporter"].run("/baileys_exporter", "health", "--web.listen-address=:10273")
if code != 1 or "refused" not in said:
    fail(f"health, before the exporter runs: {code} {said}")
for service in services.values():
    service.start()
for name in ("exporter", "remediator"):
    wait_for(f"{name} is healthy", services[name].is_healthy)
print("ok    both programs are healthy, as the user of the bots, on a read-only root")
up = {("baileys", "bots1:10273"): "1", ("baileys_remediator", "bots1:10274"): "1"}
wait_for("Prometheus scrapes both", lambda: query('up{job=~"baileys.*"}') == up)
wait_for("Prometheus has the rules", lambda: len(json.loads(get(f"{PROMETHEUS}/api/v1/rules"))["data"]["groups"]) > 3)
wait_for(
    "Prometheus sends alerts to Alertmanager",
    lambda: json.loads(get(f"{PROMETHEUS}/api/v1/alertmanagers"))["data"]["activeAlertmanagers"],
)
metrics = "http://remediator:10274/metrics"
wait_for("the remediator polls Alertmanager", lambda: re.search(r"^baileys_remediator_alertmanager_up\{.*\} 1$", get(metrics), re.M))


def seen_alive():
    with sqlite3.connect(f"file:{WORK}/state/journal.sqlite?mode=ro", uri=True) as journal:
        return journal.execute("SELECT count(*) FROM alive WHERE session = ?", [SESSION]).fetchone()[0]


print("ok    Prometheus, Alertmanager and both programs reach each other")

# The alert of a bot that is then found disconnected.
wait_for("the bot was seen alive", seen_alive)
Bot.connected = False
labels = {"alertname": "BaileysAuthFilesCleanup", "ladder": "baileys_auth_files", "tier": "cleanup"}
labels |= {"job": "baileys", "instance": "bots1:10273", "session": SESSION}
alert = json.dumps([{"labels": labels}]).encode()
wait_for("Alertmanager takes an alert", lambda: get("http://alertmanager:9093/api/v2/alerts", alert) == "")
moved = lambda: len(list(auth.glob(".baileys_quarantine/**/pre-key-*"))) > 200
wait_for("the folder is cleaned", moved)
wait_for("the run is done", lambda: "done" in services["remediator"].run("/baileys_remediator", "runs")[1])
if any(path.stat().st_uid != UID for path in auth.rglob("*")):
    fail("a file of the folder belongs to another user")
for name in ("exporter", "remediator"):
    status = pathlib.Path(f"/proc/{services[name].process.pid}/status").read_text()
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
    print(f"      {name}: {peak // 1024} MiB of memory at most")
    if peak * 1024 > int(described[name]["mem_limit"].removesuffix("m")) << 20:
        fail(f"{name} needs more than mem_limit")
    services[name].stop()
print("ok    an alert cleans a folder")

# The images know the public authorities: https gets as far as the connection.
text = config.read_text().replace("http://alertmanager:9093", "https://localhost:1")
(config.parent / "https.yml").write_text(text)
code, said = services["remediator"].run("/baileys_remediator", "doctor", "--config.file=/etc/baileys/https.yml")
if "certificate" in said or "refused" not in said:
    fail(f"doctor with https: {code} {said}")
print("ok    https finds the public authorities")

# The Job of docs/kubernetes.md, on volumes as Kubernetes mounts them with fsGroup: the root
# belongs to root and the group, and what is in them to the group as well.
page = (REPOSITORY / "docs/kubernetes.md").read_text()
arguments = re.search(r"args: \[(clean, .*)\]", page)[1].split(", ")
claim = folder(WORK / "claim" / arguments[1])
(WORK / "claim-state").mkdir()
for path in (WORK / "claim", WORK / "claim-state"):
    os.chown(path, 0, UID)
    path.chmod(0o2775)
for path in claim.iterdir():
    path.chmod(0o660)
claim.chmod(0o2770)
job = {
    "image": described["remediator"]["image"],
    "user": f"{UID}:{UID}",
    "read_only": True,
    "volumes": [
        {"source": str(WORK / "claim"), "target": "/sessions"},
        {"source": str(WORK / "claim-state"), "target": "/var/lib/baileys_remediator"},
    ],
}
code, said = Service("job", job).run("/baileys_remediator", *arguments)
if code != 0 or len(list(claim.glob(".baileys_quarantine/**/pre-key-*"))) < 200:
    fail(f"{' '.join(arguments)}: {code} {said}")
print("ok    the Job of docs/kubernetes.md cleans a folder")

# Docker's logs, by the name of the container.
text = config.read_text()
logs = re.search(r"# logs:\n(#   .*\n?)+", text)[0]
config.write_text(text.replace(logs, re.sub(r"^# ", "", logs, flags=re.M)))
kept = WORK / "containers"
number = "4" * 64
(kept / number).mkdir(parents=True)
log = kept / number / f"{number}-json.log"
log.touch()
for path, mode in ((kept, 0o710), (kept / number, 0o710), (log, 0o640)):
    path.chmod(mode)
with_logs = compose("compose.yml", "docker-logs.yml")["exporter"]
for volume in with_logs["volumes"]:
    if isinstance(volume, dict) and volume["source"] == "/var/lib/docker/containers":
        volume["source"] = str(kept)
exporter = Service("exporter", with_logs)
exporter.start()
wait_for("the exporter is healthy", exporter.is_healthy)
line = {"log": "Session error:Error: Bad MAC Error: Bad MAC\n", "stream": "stderr", "attrs": {"tag": SESSION}}
with open(log, "a") as file:
    for _ in range(3):
        file.write(json.dumps(line | {"time": "2026-11-30T06:00:00Z"}, separators=(",", ":")) + "\n")
counted = rf'^baileys_auth_signal_warnings_total\{{session="{SESSION}",.*\}} [1-9]'
wait_for("the lines are counted", lambda: re.search(counted, get("http://exporter:10273/metrics"), re.M))
metrics = get("http://exporter:10273/metrics")
if not re.search(rf'^baileys_auth_folder_up\{{session="{SESSION}"\}} 1$', metrics, re.M):
    fail("the exporter cannot read the folder of another user")
exporter.stop()
print("ok    Docker's logs are read by the name of the container")
for service in services.values():
    if service.name not in ("exporter", "remediator"):
        service.process.kill()
