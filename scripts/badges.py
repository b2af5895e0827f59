#!/usr/bin/env python3
"""badges.py DIST DIR

Draws the badges of README.md into DIR, from the files that scripts/dist.sh has built into DIST.
An artefact that is missing there is an error, so no badge names what a release does not have.
"""

import json
import pathlib
import re
import sys

DIST, OUT = (pathlib.Path(argument) for argument in sys.argv[1:])


def only(pattern):
    found = sorted(DIST.glob(pattern))
    if len(found) != 1:
        sys.exit(f"badges.py: {DIST} has {len(found)} files {pattern}")
    return found[0]


def width(text):
    """About what Verdana takes at 11 pixels, with a margin."""
    return 12 + round(sum(8.2 if character.isupper() or character in "mw" else 6.2 for character in text))


def badge(name, label, text):
    left, right = width(label), width(text)
    (OUT / f"{name}.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" aria-label="{label}: {text}">\n'
        f"<title>{label}: {text}</title>\n"
        f'<rect width="{left}" height="20" fill="#444"/><rect x="{left}" width="{right}" height="20" fill="#1f5fa8"/>\n'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">\n'
        f'<text x="{left / 2}" y="14" textLength="{left - 12}">{label}</text>'
        f'<text x="{left + right / 2}" y="14" textLength="{right - 12}">{text}</text>\n</g>\n</svg>\n'
    )


sbom = json.loads(only("*-sbom.cdx.json").read_text())
program = sbom["metadata"]["component"]
version = re.search(r"-(\d[^-]*)-linux", only("baileys_exporter-*.tar.gz").name)[1]
if program["version"] != version:
    sys.exit(f"badges.py: the SBOM is of {program['version']}, the programs are {version}")
OUT.mkdir(parents=True, exist_ok=True)
badge("release", "release", version)
badge("licence", "licence", program["licenses"][0]["expression"])
badge("package", "Debian", only("*.deb").name.split("_")[-1].removesuffix(".deb"))
badge("image", "images", only("baileys_exporter_image-*").name.split(f"-{version}-")[-1].removesuffix(".tar.gz"))
badge("chart", "Helm chart", re.search(r"-(\d[^-]*)\.tgz", only("*.tgz").name)[1])
badge("sbom", "SBOM", f"CycloneDX {sbom['specVersion']}")
