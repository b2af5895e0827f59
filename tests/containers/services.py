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
    "BAILEYS_EXPORTER_STATE": str(WORK / "exporter-state"),
    "GRAFANA_PASSWORD": "secret",
}
LIBC = ctypes.CDLL(None, use_errno=True)
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
CAPABILITIES = {"DAC_READ_SEARCH": 2}
# In the place of an image that cannot be had here.
DEBIAN = {"prometheus": "/usr/bin/prometheus", "alertmanager": "/usr/bin/prometheus-alertmanager"}
# Directories of the host that the services mount.
HOST = {name: WORK / "host" / name.lstrip("/") for name in ("/var/lib/docker/containers", "/var/log/bots")}
# Bounds the whole: everything is waited for within this time.
END = time.monotonic() + 1200


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
            source = HOST.get(volume["source"], WORK / "deploy/compose" / volume["source"])
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
        limits = service.get("logging", {})
        if limits.get("driver") != "json-file" or not {"max-size", "max-file"} <= limits.get("options", {}).keys():
            fail(f"{name}: its log has no limit")
        is_ours = service["image"].startswith("baileys_")
        if service.get("cap_drop") != ["ALL"] or "no-new-privileges:true" not in service.get("security_opt", []):
            fail(f"{name} has more privileges than it needs")
        if is_ours and not (service.get("read_only") and service.get("pull_policy") == "never"):
            fail(f"{name}: its root can be written, or its image is looked for in a registry")
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
        names = [one["annotations"]["io.containerd.image.name"] for one in json.loads((image / "index.json").read_text())["manifests"]]
        if names != [f"docker.io/library/{self.service['image']}"]:
            fail(f"containerd would name the image {names}")
        subprocess.run(["tar", "-C", self.root, "--numeric-owner", "-xpf", image / manifest["Layers"][0]], check=True)
        config = json.loads((image / manifest["Config"]).read_text())["config"]
        self.check_image(config)
        return config

    def check_image(self, config):
        """The image runs as nobody else, says what it is, and holds nothing else."""
        program, version = self.service["image"].split(":")
        if config["User"] != "65532:65532":
            fail(f"{program}: the user of the image is {config['User']}")
        labels = {key.removeprefix("org.opencontainers.image."): value for key, value in config["Labels"].items()}
        revision = labels.pop("revision")
        if not labels.pop("description") or not re.fullmatch("[0-9a-f]{40}", revision):
            fail(f"{program}: the labels of the image are {config['Labels']}")
        if labels != {"title": program, "licenses": "Apache-2.0", "version": version}:
            fail(f"{program}: the labels of the image are {config['Labels']}")
        state = f"var/lib/{program}"
        expected = {program, "LICENSE", "etc/ssl/certs/ca-certificates.crt", state}
        expected |= {str(parent) for path in expected for parent in pathlib.PurePath(path).parents[:-1]}
        found = {str(path.relative_to(self.root)) for path in self.root.rglob("*")}
        if found != expected:
            fail(f"{program}: the image holds {sorted(found)}")
        for path in found:
            status = (self.root / path).lstat()
            owner, mode = ((65532, 65532), 0o40700) if path == state else ((0, 0), None)
            if (status.st_uid, status.st_gid) != owner or mode not in (None, status.st_mode) or status.st_mode & 0o022:
                fail(f"{program}: {path} in the image is {status.st_uid}:{status.st_gid} {status.st_mode:o}")

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
    key = "key-of-the-bot"

    def do_GET(self):
        is_known = self.headers["X-Api-Key"] == Bot.key
        body = json.dumps({"connected": Bot.connected} if is_known else {}).encode()
        self.send_response(200 if is_known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def as_the_page_says():
    """Runs the commands of docs/containers.md that prepare deploy/compose, as a person whose umask
    is 077. The editor writes the settings of this test."""
    page = (REPOSITORY / "docs/containers.md").read_text()
    block = re.search(r"```sh\n(cd deploy/compose\n.*?)```", page, re.S)[1]
    lines = [line for line in block.splitlines() if not line.startswith("docker compose")]
    secret = re.search(r"`(sudo chown UID FILE .*?)`", page)[1].replace("UID", str(UID)).replace("FILE", "baileys/apikey")
    editor = WORK / "editor"
    settings = "".join(f"{name}={value}\n" for name, value in ENVIRONMENT.items())
    editor.write_text(f'#!/bin/sh\n[ "$1" != .env ] || cat >.env <<"END"\n{settings}END\n')
    editor.chmod(0o700)
    commands = "\n".join(["umask 077", 'sudo() { "$@"; }', *lines, secret])
    environment = {"PATH": os.environ["PATH"], "EDITOR": str(editor)}
    subprocess.run(["bash", "-euc", commands], cwd=WORK, env=environment, check=True)
    if (WORK / "deploy/compose/.env").stat().st_mode & 0o7777 != 0o600:
        fail("others can read .env, which holds a password")


def folder(path, silent=1200):
    """An auth folder of 387 files whose newest is 20 minutes old."""
    path.mkdir(parents=True)
    subprocess.run(["tar", "-C", path, "-xzf", REPOSITORY / "tests/fixtures/bloated-classic-387.tar.gz"], check=True)
    # Each folder has a login of its own: two of one login are a bot and its copy.
    creds = path / "creds.json"
    own = f":{len(path.name)}@s.whatsapp.net"
    text, found = re.subn(r"(?<=447700900001):\d+@s\.whatsapp\.net", own, creds.read_text())
    if not found:
        fail("the fixture has another account than expected")
    at = creds.stat().st_mtime
    creds.write_text(text)
    os.utime(creds, (at, at))
    files = list(path.iterdir())
    by = time.time() - silent - max(file.stat().st_mtime for file in files)
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
text = config.read_text().replace("\nalertmanager:\n", "\nalertmanager:\n  interval: 1s\n")
header = "    header: {name: X-Api-Key, file: /etc/baileys/apikey}\n"
config.write_text(text.replace("    pointer: /connected\n", f"    pointer: /connected\n{header}"))
(config.parent / "apikey").write_text(Bot.key)
# Unpacked by a person whose umask is 077.
subprocess.run(["chmod", "-R", "go=", *(WORK / name for name in ("alerting-rules", "dashboards", "deploy"))], check=True)
as_the_page_says()
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
wait_for("the exporter keeps that", lambda: SESSION in (WORK / "exporter-state/alive.json").read_text())
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
arguments = re.search(r"args: \[(clean, [^]]*--yes[^]]*)\]", page)[1].split(", ")
claim = folder(WORK / "claim" / arguments[1])
dormant = folder(WORK / "claim" / "dormant", silent=30 * 86400)
(WORK / "claim-state").mkdir()
for path in (WORK / "claim", WORK / "claim-state"):
    os.chown(path, 0, UID)
    path.chmod(0o2775)
for path in (*claim.iterdir(), *dormant.iterdir()):
    path.chmod(0o660)
for path in (claim, dormant):
    path.chmod(0o2770)
job = {
    "image": described["remediator"]["image"],
    "user": f"{UID}:{UID}",
    "read_only": True,
    "volumes": [
        {"source": str(WORK / "claim"), "target": "/sessions"},
        {"source": str(WORK / "claim-state"), "target": "/var/lib/baileys_remediator"},
    ],
}
job = Service("job", job)


def files(path):
    return sorted(file.name for file in path.iterdir() if file.is_file())


def job_runs(*arguments, code=0):
    got, said = job.run("/baileys_remediator", *arguments)
    if got != code:
        fail(f"{' '.join(arguments)}: {got} {said}")
    return said


before = files(claim)
dry = ["--dry-run" if argument == "--yes" else argument for argument in arguments]
job_runs(*dry)
if files(claim) != before:
    fail(f"{' '.join(dry)} has moved files")
job_runs(*arguments)
if len(before) - len(files(claim)) < 200:
    fail(f"{' '.join(arguments)} has moved {len(before) - len(files(claim))} files")
shared = arguments[-1:]
run = json.loads(job_runs("runs", "--output=json", *shared))[0]["run"]
job_runs("undo", run, "--force", "--yes", *shared)
if files(claim) != before:
    fail("undo has not brought all files back")
# Why the page has a person look at the plan first: --force opens a dormant folder as well.
said = job_runs("plan", "dormant", *shared, code=1)
if "dormant: " not in said:
    fail(f"plan of a dormant folder: {said}")
job_runs(arguments[0], "dormant", *arguments[2:])
if len(files(dormant)) >= len(before):
    fail("--force leaves a dormant folder as it is")
print("ok    the Job of docs/kubernetes.md cleans a folder, and brings it back")

# Docker's logs, by the name of the container.
text = config.read_text()
logs = re.search(r"# logs:\n(#   .*\n?)+", text)[0]
config.write_text(text.replace(logs, re.sub(r"^# ", "", logs, flags=re.M)))
kept = HOST["/var/lib/docker/containers"]
number = "4" * 64
(kept / number).mkdir(parents=True)
log = kept / number / f"{number}-json.log"
log.touch()
for path, mode in ((kept, 0o710), (kept / number, 0o710), (log, 0o640)):
    path.chmod(mode)
both = compose("compose.yml", "docker-logs.yml")
exporter = Service("exporter", both["exporter"])
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

# The remediator, which has no mount of the logs, still asks the bot.
Bot.connected = True
remediator = Service("remediator", both["remediator"])
remediator.start()
wait_for("the remediator is healthy", remediator.is_healthy)
code, said = remediator.run("/baileys_remediator", "doctor")
if not re.search(rf"^{SESSION} +connected\b", said, re.M):
    fail(f"doctor of the remediator, with logs that only the exporter has: {code} {said}")
if "no file matches" not in said:
    fail(f"doctor does not say that there is no log: {said}")
remediator.stop()
print("ok    the remediator works without the logs that only the exporter sees")

# Logs in files, as docs/containers.md mounts them for both.
config.write_text(text + 'logs: {paths: ["/var/log/bots/*.log"]}\n')
logs = HOST["/var/log/bots"]
logs.mkdir(parents=True)
logs.chmod(0o700)
os.chown(logs, UID, UID)
log = logs / f"{SESSION}.log"
log.touch(0o600)
os.chown(log, UID, UID)
shutil.copy(WORK / "logs.yml", WORK / "deploy/compose")
both = compose("compose.yml", "logs.yml")
for name in ("exporter", "remediator"):
    service = services[name] = Service(name, both[name])
    service.start()
    wait_for(f"{name} is healthy", service.is_healthy)
with open(log, "a") as file:
    file.write(line["log"] * 3)
wait_for("the lines are counted", lambda: re.search(counted, get("http://exporter:10273/metrics"), re.M))
code, said = services["remediator"].run("/baileys_remediator", "doctor")
if code != 0 or "no file matches" in said:
    fail(f"doctor of the remediator, with logs in files: {code} {said}")
for name in ("exporter", "remediator"):
    services[name].stop()
print("ok    logs in files are read by both programs")
for service in services.values():
    if service.name not in ("exporter", "remediator"):
        service.process.kill()
