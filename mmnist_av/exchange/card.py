"""The files beside a dataset for people and search engines: its card (README.md) and its Croissant metadata."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmnist_av.families import find
from mmnist_av.manifest import SPLITS, array_types, format_of
from mmnist_av.system.files import written_once

CARD, CROISSANT = "README.md", "croissant.json"

# Croissant's own terms
TERMS = """
citeAs column extract field fileProperty fileObject fileSet format includes isLiveDataset jsonPath key md5 parentField
path recordSet references regex repeated replace separator source subField transform
"""
# https://docs.mlcommons.org/croissant/docs/croissant-spec.html, version 1.0: the JSON-LD context it prescribes
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{name: f"cr:{name}" for name in TERMS.split()},
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "sc": "https://schema.org/",
}


def write_card(path: Path, manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Write the card and the Croissant metadata of a dataset to its folder `path`; return the files' names.

    Raises InputError if there are other files of these names.
    """
    for name, text in ((CARD, card(manifest)), (CROISSANT, json.dumps(croissant(manifest), indent=2) + "\n")):
        with written_once(path / name) as part:
            part.write_text(text, encoding="utf-8")
    return CARD, CROISSANT


def card(manifest: Mapping[str, Any], files: str | None = None) -> str:
    """Return the dataset card, in Markdown. files: the rows of its table of files, None: those of the arrays."""
    clips, about = format_of(manifest), find(manifest["family"]).card(manifest)
    sizes = ", ".join(f"{manifest['sizes'][split]} {split}" for split in SPLITS)
    shard = "Shard {} of {}: a part of every split. ".format(*manifest["shard"]) if "shard" in manifest else ""
    colour = "grey" if clips.channels == 1 else "colour"
    command = f"The same command generates the same bytes anywhere:\n\n    {about.command}\n\n" if about.command else ""
    notes = f"{about.notes}\n\n" if about.notes else ""
    facts = {"Fingerprint": f"`{manifest['fingerprint']}`", **about.facts}
    facts |= {"Please cite": about.citation} if about.citation else {}
    return f"""# {about.name}

{about.description}

{shard}{sizes} clips of {clips.frames} frames, {clips.width} x {clips.height} px {colour}, {clips.fps} per second, with
{clips.samples_per_frame} samples of sound per frame at {clips.sample_rate} Hz.

| file | content |
| --- | --- |
{files or _array_rows(manifest)}| `dataset.json` | what was requested, the SHA-256 of every file, and the fingerprint |

{command}{notes}{"".join(f"- {heading}: {text}" + chr(10) for heading, text in facts.items())}"""


def _array_rows(manifest: Mapping[str, Any]) -> str:
    """Return the rows of the table of files for the arrays of each split."""
    family, about = find(manifest["family"]), {"frames": ", row 0 on top"}
    rows = [
        f"| `train/{name}.npy`, ... | (clips, {', '.join(map(str, kind.shape))}) {kind.dtype}{about.get(name, '')} |\n"
        for name, kind in array_types(manifest).items()
    ]
    record = family.record(manifest)
    if record is not None:
        rows.append(f"| `train/{record.name}.npz`, ... | {family.card(manifest).record} |\n")
    return "".join(rows)


def croissant(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dataset's Croissant 1.0 metadata, as JSON-LD."""
    about = find(manifest["family"]).card(manifest)
    files = [
        {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "contentUrl": name,
            "contentSize": f"{facts['bytes']} B",
            "encodingFormat": "application/zip" if name.endswith(".npz") else "application/octet-stream",
            "sha256": facts["sha256"],
        }
        for name, facts in sorted(manifest["files"].items())
    ]
    rights = {"license": about.licence, "citeAs": about.citation}
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": about.name,
        "description": about.description,
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "version": manifest["generator"],
        "identifier": manifest["fingerprint"],
        **{name: text for name, text in rights.items() if text},
        "keywords": list(about.keywords),
        "distribution": files,
    }


def hugging_face_header(manifest: Mapping[str, Any]) -> str:
    """Return the YAML header that the README.md of a dataset folder needs at Hugging Face."""
    about = find(manifest["family"]).card(manifest)
    splits = [split for split in SPLITS if any(name.startswith(f"{split}/") for name in manifest["files"])]
    names = {"val": "validation"}
    files = "".join(f"  - split: {names.get(split, split)}\n    path: data/{split}-*.parquet\n" for split in splits)
    licence = f"license: {about.licence_id}\n" if about.licence_id else ""
    return f"""---
pretty_name: {json.dumps(about.name)}
{licence}tags: [{", ".join(about.tags)}]
configs:
- config_name: default
  data_files:
{files}---

"""
