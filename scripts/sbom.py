#!/usr/bin/env python3
"""sbom.py OUT: the parts of both programs, as a CycloneDX 1.5 document.

From `cargo metadata`: the crates that are linked into the programs on this platform, with the
hashes of Cargo.lock, and SQLite, whose source one of them holds. The same commit gives the same
bytes.
"""

import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import uuid

import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]


def cargo_metadata():
    host = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    platform = re.search(r"^host: (\S+)$", host, re.M)[1]
    command = ["cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={platform}"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)


def reached(metadata):
    """Package ids that the root links, with those that each of them links."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, waiting = {}, [metadata["resolve"]["root"]]
    while waiting:
        at = waiting.pop()
        if at in found:
            continue
        linked = [
            dependency["pkg"]
            for dependency in nodes[at]["deps"]
            if any(kind["kind"] is None for kind in dependency["dep_kinds"])
        ]
        found[at] = sorted(linked)
        waiting += linked
    return found


def sqlite(packages):
    """The source that libsqlite3-sys compiles."""
    manifest = next(package["manifest_path"] for package in packages if package["name"] == "libsqlite3-sys")
    header = (pathlib.Path(manifest).parent / "sqlite3/sqlite3.h").read_text()
    version = re.search(r'#define SQLITE_VERSION\s+"([^"]+)"', header)[1]
    purl = f"pkg:generic/sqlite@{version}"
    return {"type": "library", "bom-ref": purl, "name": "sqlite", "version": version, "purl": purl, "licenses": [{"expression": "blessing"}]}


def component(package, checksums):
    name, version = package["name"], package["version"]
    purl = f"pkg:cargo/{name}@{version}"
    result = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if package.get("license"):
        # Older crates write "MIT/Apache-2.0".
        result["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if (name, version) in checksums:
        result["hashes"] = [{"alg": "SHA-256", "content": checksums[name, version]}]
    return result


def main():
    metadata = cargo_metadata()
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    checksums = {(p["name"], p["version"]): p["checksum"] for p in lock["package"] if "checksum" in p}
    packages = {package["id"]: package for package in metadata["packages"]}
    found = reached(metadata)
    refs = {at: f"pkg:cargo/{packages[at]['name']}@{packages[at]['version']}" for at in found}
    root = metadata["resolve"]["root"]
    bundled = sqlite([packages[at] for at in found])
    edges = {refs[at]: sorted(refs[other] for other in linked) for at, linked in found.items()}
    for ref in edges:
        if ref.startswith("pkg:cargo/libsqlite3-sys@"):
            edges[ref].append(bundled["bom-ref"])
    edges[bundled["bom-ref"]] = []
    epoch = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.timezone.utc)
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": epoch.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {**component(packages[root], {}), "type": "application"},
        },
        "components": sorted(
            [component(packages[at], checksums) for at in found if at != root] + [bundled],
            key=lambda one: one["bom-ref"],
        ),
        "dependencies": [{"ref": ref, "dependsOn": edges[ref]} for ref in sorted(edges)],
    }
    text = json.dumps(document, sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, text)}"
    pathlib.Path(sys.argv[1]).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


main()
