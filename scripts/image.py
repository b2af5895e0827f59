#!/usr/bin/env python3
"""image.py DOCKERFILE CONTEXT OUT NAME:TAG ARCHITECTURE [ARG=VALUE...]

Builds the image of a Dockerfile that only copies files, without a container engine, into an
archive that `docker load`, `podman load` and OCI tools read. The same files give the same bytes:
all times are SOURCE_DATE_EPOCH. A line that it does not know is an error.
"""

import datetime
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import shlex
import sys
import tarfile

NANOSECONDS = {"s": 10**9, "m": 60 * 10**9}


def lines(text):
    """The instructions, with continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.M)
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.strip():
            instruction, rest = line.split(None, 1)
            yield instruction, rest.strip()


def entry(tar, name, mode, owner, data=None):
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = mode, EPOCH
    info.uid, info.gid = owner
    if data is None:
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    else:
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))


def copy(tar, context, made, rest):
    words = shlex.split(rest)
    owner = (0, 0)
    if words[0].startswith("--chown="):
        owner = tuple(int(part) for part in words.pop(0).removeprefix("--chown=").split(":"))
    source, target = words
    source, target = context / source, target.lstrip("/")
    for parent in reversed(pathlib.PurePosixPath(target).parents[:-1]):
        if str(parent) not in made:
            made.add(str(parent))
            entry(tar, str(parent), 0o755, (0, 0))
    mode = source.stat().st_mode & 0o7777
    if source.is_dir():
        if any(source.iterdir()):
            sys.exit(f"image.py: {source} is not empty")
        entry(tar, target, mode, owner)
    else:
        entry(tar, target, mode, owner, source.read_bytes())


def healthcheck(rest):
    words, command = rest.split("CMD", 1)
    check = {"Test": ["CMD", *json.loads(command)]}
    for word in words.split():
        name, value = word.removeprefix("--").split("=")
        if name == "retries":
            check["Retries"] = int(value)
        else:
            key = "".join(part.title() for part in name.split("-"))
            check[key] = int(value[:-1]) * NANOSECONDS[value[-1]]
    return check


def build(dockerfile, context, arguments):
    config, known = {"Env": ["PATH=/"], "WorkingDir": "/"}, {}
    layer, made = io.BytesIO(), set()
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for instruction, rest in lines(dockerfile.read_text()):
            rest = re.sub(r"\$\{(\w+)\}", lambda match: known[match[1]], rest)
            match instruction:
                case "FROM" if rest == "scratch":
                    pass
                case "ARG":
                    name, default = rest.split("=")
                    known[name] = arguments.get(name, default)
                case "LABEL":
                    config.setdefault("Labels", {}).update(word.split("=", 1) for word in shlex.split(rest))
                case "COPY":
                    copy(tar, context, made, rest)
                case "USER":
                    config["User"] = rest
                case "EXPOSE":
                    config["ExposedPorts"] = {f"{rest}/tcp": {}}
                case "HEALTHCHECK":
                    config["Healthcheck"] = healthcheck(rest)
                case "ENTRYPOINT" | "CMD":
                    config[instruction.title()] = json.loads(rest)
                case _:
                    sys.exit(f"image.py: {dockerfile}: {instruction} {rest}")
    return config, layer.getvalue()


def main():
    dockerfile, context, out, name, architecture, *rest = sys.argv[1:]
    arguments = dict(word.split("=", 1) for word in rest)
    config, layer = build(pathlib.Path(dockerfile), pathlib.Path(context), arguments)
    blobs = {}

    def blob(kind, data):
        data = data if isinstance(data, bytes) else json.dumps(data, sort_keys=True).encode()
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    described = blob("layer.v1.tar", layer)
    created = datetime.datetime.fromtimestamp(EPOCH, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    image = blob(
        "config.v1+json",
        {
            "architecture": architecture,
            "os": "linux",
            "created": created,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [described["digest"]]},
            "history": [{"created": created, "created_by": pathlib.Path(dockerfile).name}],
        },
    )
    media = "application/vnd.oci.image.manifest.v1+json"
    manifest = blob("manifest.v1+json", {"schemaVersion": 2, "mediaType": media, "config": image, "layers": [described]})
    # containerd takes the name from the first, podman also from the second.
    manifest["annotations"] = {
        "io.containerd.image.name": f"docker.io/library/{name}",
        "org.opencontainers.image.ref.name": name.split(":")[1],
    }

    def path(of):
        return "blobs/sha256/" + of["digest"].removeprefix("sha256:")

    blobs["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
    blobs["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [manifest]}, sort_keys=True).encode()
    # What `docker load` has read for longer.
    blobs["manifest.json"] = json.dumps(
        [{"Config": path(image), "RepoTags": [name], "Layers": [path(described)]}], sort_keys=True
    ).encode()
    with open(out, "wb") as file, gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed:
        with tarfile.open(fileobj=packed, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
            for directory in ("blobs", "blobs/sha256"):
                entry(tar, directory, 0o755, (0, 0))
            for blob_name, data in sorted(blobs.items()):
                entry(tar, blob_name, 0o644, (0, 0), data)


EPOCH = int(os.environ["SOURCE_DATE_EPOCH"])
main()
