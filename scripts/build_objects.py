"""Build the embedded data set `objects` from a Debian package of 3D models.

    apt-get install sweethome3d-furniture
    python scripts/build_objects.py            # writes data/objects.npz, .json, credits
    python scripts/build_objects.py --check    # builds again and compares every byte

Which model is which class was decided by eye, from pictures of the clouds: the table is
objects_curation.json. Names, authors and licences come from the package itself.
"""

import argparse
import hashlib
import io
import json
import math
import re
import zipfile
from pathlib import Path

import numpy as np
from objects_sampling import (
    place,
    read_obj,
    sample_outside,
    see_through_materials,
)

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "data"
PACKAGE_FOLDER = Path("/usr/share/sweethome3d/furniture")
NUM_POINTS = 2048
SHARES = {"test": 0.35, "val": 0.15}  # the rest is train
SEED = "mrpd_tutorial objects 1"
OPAQUE = 0.9  # materials below this opacity are panes of glass


def read_catalogue(folder: Path, archives: dict[str, str]) -> dict[str, dict[str, str]]:
    """All models of the package: catalogue id -> the catalogue's fields.

    Args:
        folder: where the .sh3f files lie.
        archives: file name -> SHA-256 that it must have.

    Raises:
        ValueError: if a file is missing or is another version.
    """
    models = {}
    for name, expected in archives.items():
        path = folder / name
        if not path.is_file():
            raise ValueError(
                f"{path} does not exist. Install the Debian package "
                "sweethome3d-furniture, or name its folder with --package."
            )
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            raise ValueError(
                f"{path} has SHA-256 {found}; expected {expected}. Install the package "
                "version that objects_curation.json names."
            )
        with zipfile.ZipFile(path) as archive:
            text = archive.read("PluginFurnitureCatalog.properties").decode("latin-1")
        entries: dict[str, dict[str, str]] = {}
        for key, number, value in re.findall(r"(?m)^(\w+)#(\d+)=(.*?)\s*$", text):
            value = re.sub(r"\\u(\w{4})", lambda m: chr(int(m[1], 16)), value)
            entries.setdefault(number, {"archive": name})[key] = value
        models |= {entry["id"]: entry for entry in entries.values()}
    return models


def build_cloud(folder: Path, model: dict[str, str], panes: bool) -> tuple:
    """One object as stored: points (P, 3) int16 and normals (P, 2) int8.

    Args:
        folder: where the .sh3f files lie.
        model: the catalogue's fields.
        panes: whether see-through faces belong to the object.
    """
    file = model["model"].lstrip("/")
    with zipfile.ZipFile(folder / model["archive"]) as archive:
        skipped: frozenset[bytes] = frozenset()
        if not panes:
            materials = archive.read(file.removesuffix(".obj") + ".mtl")
            skipped = see_through_materials(materials, OPAQUE)
        triangles = read_obj(archive.read(file), skipped)
    size = tuple(float(model[side]) for side in ("width", "height", "depth"))
    triangles = place(triangles, model.get("modelRotation", ""), size)
    points, normals = sample_outside(triangles, NUM_POINTS, model["id"])
    return np.rint(points * 32767).astype(np.int16), encode_normals(normals)


def encode_normals(normals: np.ndarray) -> np.ndarray:
    """Unit vectors (P, 3) on an octahedron unfolded to a square: (P, 2) int8."""
    flat = normals / np.abs(normals).sum(1, keepdims=True)
    sign = np.where(flat[:, :2] >= 0, 1.0, -1.0)
    folded = (1 - np.abs(flat[:, 1::-1])) * sign
    square = np.where(flat[:, 2:] >= 0, flat[:, :2], folded)
    return np.rint(square * 127).astype(np.int8)


def read_credit(folder: Path, model: dict[str, str], curation: dict) -> dict[str, str]:
    """Author, licence and origin of a model, from the files beside it."""
    collection = curation["collections"][model["archive"]]
    credit = {
        "author": model["creator"],
        "licence": collection["licence"],
        "collection": collection["name"],
    }
    with zipfile.ZipFile(folder / model["archive"]) as archive:
        note = model["model"].lstrip("/").rsplit("/", 1)[0] + "/BLENDSWAP_LICENSE.txt"
        if note in archive.namelist():
            text = archive.read(note).decode("latin-1")
            credit["url"] = re.search(r"Downloaded from (\S+)", text)[1]
            stated = re.search(r"Released under\s+(.+?)\s*\n", text)[1]
            if curation["licence_names"][stated] != credit["licence"]:
                raise ValueError(f"{model['id']}: {note} says {stated}.")
    return credit


def split_class(ids: list[str], groups: dict[str, str]) -> dict[str, str]:
    """Deal the objects of one class to the splits, look-alikes always together.

    The order is drawn by hashing, so that it depends on nothing but the ids.
    """
    count = len(ids)
    places = {
        "test": max(3, math.floor(SHARES["test"] * count + 0.5)),
        "val": max(1, math.ceil(SHARES["val"] * count - 0.5)),
    }
    places["train"] = count - sum(places.values())
    wanted = dict(places)
    members: dict[str, list[str]] = {}
    for name in ids:
        members.setdefault(groups.get(name, name), []).append(name)

    def order(item: tuple[str, list[str]]) -> tuple[int, str]:
        return -len(item[1]), hashlib.sha256((SEED + item[0]).encode()).hexdigest()

    result = {}
    for _, together in sorted(members.items(), key=order):
        emptiest = max(places, key=lambda split: places[split] / wanted[split])
        places[emptiest] -= len(together)
        result |= dict.fromkeys(together, emptiest)
    return result


def build_index(folder: Path, curation: dict, models: dict) -> dict:
    """Everything about the data set but the clouds, which are described by `rows`."""
    groups = {name: group[0] for group in curation["look_alikes"] for name in group}
    rows = []
    for label, ids in curation["classes"].items():
        splits = split_class(ids, groups)
        for name in sorted(ids):
            rows.append(
                {
                    "id": name,
                    "name": models[name]["name"],
                    "class": label,
                    "split": splits[name],
                    "group": groups.get(name, name),
                    **read_credit(folder, models[name], curation),
                }
            )
    return {
        "class_names": list(curation["classes"]),
        "also_in_modelnet40": curation["also_in_modelnet40"],
        "panes_left_out": curation["panes_left_out"],
        "package": curation["package"],
        "num_points": NUM_POINTS,
        "objects": rows,
    }


def pack(arrays: dict[str, np.ndarray]) -> bytes:
    """An .npz file, stored and undated, so that equal arrays give equal bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in sorted(arrays.items()):
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), (1, 0))
            archive.writestr(entry, content.getvalue())
    return file.getvalue()


def write_credits(index: dict, curation: dict) -> str:
    """The credits file: what was done to the models, and who made each of them."""
    package = index["package"]
    lines = [
        "# Credits of the data set `objects`",
        "",
        f"{len(index['objects'])} clouds sampled from 3D models of the Debian package "
        f"{package['name']} {package['version']}, Copyright as stated below.",
        "Changes made to every model: turned and scaled as the package's catalogue "
        "says, reduced to",
        f"{NUM_POINTS} points of its outside surface with normals, centred and scaled "
        "to the unit sphere; colours and",
        "textures left out. In the classes "
        + ", ".join(index["panes_left_out"])
        + ", panes of glass are left out too.",
        "The authors do not endorse this use. This file is written by "
        "`scripts/build_objects.py`.",
        "",
        "| collection | copyright | licence |",
        "|---|---|---|",
    ]
    for part in curation["collections"].values():
        address = curation["licences"][part["licence"]]
        lines.append(
            f"| {part['name']} | {part['copyright']} | [{part['licence']}]({address}) |"
        )
    lines += [
        "",
        "| class | object | name | author | licence |",
        "|---|---|---|---|---|",
    ]
    for row in index["objects"]:
        name = f"[{row['name']}]({row['url']})" if "url" in row else row["name"]
        lines.append(
            f"| {row['class']} | {row['id']} | {name} | {row['author']} | "
            f"{row['licence']} |"
        )
    return "\n".join(lines) + "\n"


def build(folder: Path, classes: list[str] | None = None) -> dict[str, bytes]:
    """Build the files: name -> content. With `classes`, only those are sampled."""
    curation = json.loads((HERE / "objects_curation.json").read_text("utf-8"))
    models = read_catalogue(folder, curation["package"]["archives"])
    index = build_index(folder, curation, models)
    wanted = classes or index["class_names"]
    clouds = []
    for row in index["objects"]:
        if row["class"] in wanted:
            panes = row["class"] not in curation["panes_left_out"]
            clouds.append(build_cloud(folder, models[row["id"]], panes))
    points, normals = map(np.stack, zip(*clouds, strict=True))
    packed = pack({"points": points, "normals": normals})
    index["sha256"] = hashlib.sha256(packed).hexdigest()
    text = json.dumps(index, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return {
        "objects.npz": packed,
        "objects.json": text.encode(),
        "CREDITS_objects.md": write_credits(index, curation).encode(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--package", type=Path, default=PACKAGE_FOLDER)
    parser.add_argument("--out", type=Path, default=DATA)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    arguments = parser.parse_args()
    different = 0
    for name, content in build(arguments.package).items():
        path = arguments.out / name
        if not arguments.check:
            temporary = path.with_name(f".{name}.part")
            temporary.write_bytes(content)
            temporary.replace(path)
        same = path.is_file() and path.read_bytes() == content
        different += not same
        print(f"{path}: {len(content):,} bytes, {'the same' if same else 'DIFFERENT'}")
    return int(different > 0)


if __name__ == "__main__":
    raise SystemExit(main())
