"""What lies beside a dataset for people and for search engines: its card (README.md) and Croissant metadata."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmnist_av.m3so.spec import SPLIT_IDS, spec_from_dict
from mmnist_av.system.files import written_whole

CARD, CROISSANT = "README.md", "croissant.json"

# Where the digits come from, under which licence, and its name at Hugging Face
DIGITS = {
    "embedded": (
        "UCI optical recognition of handwritten digits (E. Alpaydin and C. Kaynak, 1998)",
        "https://creativecommons.org/licenses/by/4.0/",
        "cc-by-4.0",
    ),
    "mnist": (
        "MNIST (Y. LeCun, C. Cortes and C. J. C. Burges)",
        "https://creativecommons.org/licenses/by-sa/3.0/",
        "cc-by-sa-3.0",
    ),
}
CITATION = (
    "M. Chatterjee and A. Cherian, Sound2Sight: Generating Visual Dynamics from Sound and Context, ECCV 2020 "
    "(the dataset's idea); mmnist-av {generator} (this dataset)"
)
DESCRIPTION = (
    "Audio-visual Moving MNIST: handwritten digits move in straight lines and bounce off the walls{block}. Each sounds "
    "its telephone tone, whose loudness tells its distance from a corner; a contact sounds another. With exact truth."
)
ARRAYS = """| `train/frames.npy`, ... | (clips, {spec.frames}, {spec.canvas}, {spec.canvas}) uint8, row 0 on top |
| `train/audio.npy` | (clips, {spec.samples}) int16 |
| `train/truth.npz` | label, image, position, size, event, block_place, block_size, block_first_frame: what happened |
"""
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
    """Write the card and the Croissant metadata of the dataset of `manifest` to its folder; returns their names."""
    for name, text in ((CARD, card(manifest)), (CROISSANT, json.dumps(croissant(manifest), indent=2) + "\n")):
        with written_whole(path / name) as part:
            part.write_text(text, encoding="utf-8")
    return CARD, CROISSANT


def card(manifest: Mapping[str, Any], files: str | None = None) -> str:
    """The dataset card, in Markdown. `files`: the rows of the table of files, where they are not the arrays."""
    spec, source = spec_from_dict(manifest["spec"]), manifest["digits"]["source"]
    origin, licence, _ = DIGITS[source]
    sizes = ", ".join(f"{manifest['sizes'][split]} {split}" for split in SPLIT_IDS)
    shard = "Shard {} of {}: a part of every split. ".format(*manifest["shard"]) if "shard" in manifest else ""
    return f"""# {_name(manifest)}

{_description(manifest)}

{shard}{sizes} clips of {spec.frames} frames, {spec.canvas} x {spec.canvas} px grey, {spec.fps} a second, with
{spec.samples_per_frame} samples of sound a frame at {spec.sample_rate} Hz. World: {spec.variant or "as in the papers"};
seed {manifest["seed"]}.

| file | content |
| --- | --- |
{files or ARRAYS.format(spec=spec)}| `dataset.json` | all that made it, every SHA-256, and the fingerprint |

The same command makes the same bytes anywhere:

    {_command(manifest)}

Positions are lower-left corners in 1/256 px, y up; events are 0 nothing, 1 wall, 2 block.

- Fingerprint: `{manifest["fingerprint"]}`
- Digits: {origin}; licence {licence}
- Please cite: {_citation(manifest)}
"""


def croissant(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Croissant 1.0 metadata, as JSON-LD."""
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
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": _name(manifest),
        "description": _description(manifest),
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": DIGITS[manifest["digits"]["source"]][1],
        "version": manifest["generator"],
        "identifier": manifest["fingerprint"],
        "citeAs": _citation(manifest),
        "keywords": ["video prediction", "audio-visual", "Moving MNIST"],
        "distribution": files,
    }


def hugging_face_header(manifest: Mapping[str, Any]) -> str:
    """The YAML that a dataset folder's README.md starts with at Hugging Face."""
    splits = [split for split in SPLIT_IDS if any(name.startswith(f"{split}/") for name in manifest["files"])]
    names = {"val": "validation"}
    files = "".join(f"  - split: {names.get(split, split)}\n    path: data/{split}-*.parquet\n" for split in splits)
    return f"""---
pretty_name: {_name(manifest)}
license: {DIGITS[manifest["digits"]["source"]][2]}
tags: [video-prediction, audio-visual, moving-mnist]
configs:
- config_name: default
  data_files:
{files}---

"""


def _command(manifest: Mapping[str, Any]) -> str:
    """The command that makes the dataset."""
    spec = spec_from_dict(manifest["spec"])
    options = ["--obstacle"] if spec.obstacle else []
    options += [
        f"--{name.replace('_', '-')} {value}" for name, value in (each.split("=") for each in spec.variant.split())
    ]
    options += [f"--digits {manifest['digits']['source']}", f"--seed {manifest['seed']}"]
    options += [f"--{split} {manifest['sizes'][split]}" for split in SPLIT_IDS]
    options += ["--shard {}/{}".format(*manifest["shard"])] if "shard" in manifest else []
    return f"mmnist-av generate {' '.join(options)} --out DIR"


def _name(manifest: Mapping[str, Any]) -> str:
    variant = spec_from_dict(manifest["spec"]).variant
    named = f"{manifest['dataset'].upper()}, {manifest['digits']['source']} digits, seed {manifest['seed']}"
    return f"{named}, {variant}" if variant else named


def _description(manifest: Mapping[str, Any]) -> str:
    return DESCRIPTION.format(block=" and a block that appears" if manifest["spec"]["obstacle"] else "")


def _citation(manifest: Mapping[str, Any]) -> str:
    return CITATION.format(generator=manifest["generator"])
