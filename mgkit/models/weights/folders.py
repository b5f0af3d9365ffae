"""Folders of `transformers`: config.json and model.safetensors, as its `save_pretrained` writes them.

Settings are read as data and compared with a network's; the file that they stand beside holds nothing but numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mgkit.errors import MgkitError, some
from mgkit.models.vits.transformer import PIXELS, VideoTransformer

__all__ = ["check_settings", "is_folder_of_weights", "weights_in"]

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
# Later versions of the library have another name for the same.
_PIXELS = ("video_preprocessor_config.json", "preprocessor_config.json")


def is_folder_of_weights(folder: str | Path) -> bool:
    """Whether a folder is one of `save_pretrained`, and not a run, which has a config.json too."""
    found = _read(Path(folder) / _CONFIG)
    return isinstance(found, dict) and "model_type" in found


def weights_in(folder: str | Path) -> Path:
    """The file of weights in a folder of `save_pretrained`.

    Raises:
        MgkitError: it has none that holds only numbers, or one in several pieces.
    """
    folder = Path(folder)
    if (folder / _WEIGHTS).is_file():
        return folder / _WEIGHTS
    if (folder / f"{_WEIGHTS}.index.json").is_file():
        raise MgkitError(
            f"{folder} has its weights in several pieces: load and save them once with transformers, "
            'save_pretrained(new, max_shard_size="100GB").'
        )
    pickled = [path.name for path in sorted(folder.glob("*.bin"))]
    raise MgkitError(
        f"{folder} has no {_WEIGHTS}"
        + (
            f", but {some(pickled)}, a pickle: to have it read (as data, which runs nothing), give that file itself."
            if pickled
            else ": copy it there."
        )
    )


def check_settings(folder: Path, network: VideoTransformer) -> None:
    """Compare the settings beside a file of weights, where there are any, with those of the network they are for.

    Heads, the size of frames and how pixels are normalised cannot be seen from the shapes of weights.

    Raises:
        MgkitError: other settings; the message says which of the recipe's to give.
    """
    found = _read(folder / _CONFIG)
    if network.config is None or not isinstance(found, dict) or "model_type" not in found:
        return
    if found["model_type"] not in network.MODEL_TYPES:
        raise MgkitError(
            f"its {_CONFIG} says {found['model_type']!r}, and the network is {network.name} "
            f"({some(map(repr, network.MODEL_TYPES))})"
        )
    try:
        theirs = type(network.config).from_dict(found)
    except Exception as error:  # whatever a hand-written file makes the library raise
        raise MgkitError(f"its {_CONFIG} cannot be used: {str(error).splitlines()[0]}") from None
    ours = network.config
    differ = {
        key: setting
        for key, setting in network.FACTS.items()
        if _plain(getattr(theirs, key)) != _plain(getattr(ours, key))
    }
    if differ:
        said = some((f"{key}={getattr(theirs, key)} and not {getattr(ours, key)}" for key in differ), 4)
        give = [f"{setting}={_last(getattr(theirs, key))}" for key, setting in differ.items() if setting]
        remedy = f": give the recipe {some(give, 8)}" if len(give) == len(differ) else ", which mgkit has not"
        raise MgkitError(f"its {_CONFIG} says {said}{remedy}")
    _check_pixels(folder, network)


def _check_pixels(folder: Path, network: VideoTransformer) -> None:
    name, found = next(
        ((name, value) for name in _PIXELS if isinstance(value := _read(folder / name), dict)), ("", {})
    )
    if not name:
        return
    mean, deviation = PIXELS[network.pixels]
    if found.get("do_normalize", True) is False:
        there = PIXELS["unit"]
    else:
        there = found.get("image_mean", mean), found.get("image_std", deviation)
    if _close(there[0], mean) and _close(there[1], deviation):
        return
    same = [key for key, value in PIXELS.items() if _close(there[0], value[0]) and _close(there[1], value[1])]
    remedy = f"give the recipe pixels={same[0]!r}" if same else f"mgkit knows {some(PIXELS)} only"
    raise MgkitError(
        f"its {name} normalises pixels by {list(there[0])} and {list(there[1])}, the network by {list(mean)} and "
        f"{list(deviation)}: {remedy}"
    )


def _close(one: Any, other: Any) -> bool:
    try:
        return all(abs(float(a) - float(b)) < 1e-3 for a, b in zip(one, other, strict=True))
    except (TypeError, ValueError):
        return False


def _plain(value: Any) -> Any:
    """A setting for comparison: sizes come as one number or as several that are equal."""
    if isinstance(value, list | tuple):
        return value[0] if len(set(value)) == 1 else tuple(value)
    return value


def _last(value: Any) -> Any:
    """The number that a recipe's setting has for it: the side of a patch, of (frames, side, side)."""
    return value[-1] if isinstance(value, list | tuple) else value


def _read(path: Path) -> Mapping[str, Any] | None:
    """A JSON file, or None where there is none that could be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
