"""Published weights by one word: where they are kept, fetched from, and under which terms.

They lie in torch's own cache (`torch.hub.get_dir()`), which other programs share. Every file's name ends in the first
digits of its SHA-256, which are checked each time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import torch

from mgkit.errors import MgkitError, meant, some

__all__ = ["KNOWN", "KnownWeights", "find_known"]


@dataclass(frozen=True)
class KnownWeights:
    """A file of published weights.

    Attributes:
        url: where it is fetched from; the last part is its name in the cache, and ends in its hash.
        network: what it is of, and which recipe has that network.
        pathway: "rgb" or "pose".
        source: who trained it, on what.
        licence: of the file, and what else is to be minded.
    """

    url: str
    network: str
    pathway: str
    source: str
    licence: str

    @property
    def file(self) -> str:
        return self.url.rsplit("/", 1)[1]

    @property
    def digits(self) -> str:
        """The first digits of the file's SHA-256."""
        return self.file.rsplit("-", 1)[1].split(".")[0]

    def about(self) -> str:
        return f"{self.file}: {self.network}; {self.source}; {self.licence}"


_TORCHVISION = "https://download.pytorch.org/models/"
_MMACTION2 = "https://download.openmmlab.com/mmaction/v1.0/recognition/slowonly/"
_SLOWONLY = "slowonly_imagenet-pretrained-r50_8xb16-8x8x1-steplr-150e_kinetics400-rgb"
_KINETICS = "trained on Kinetics-400, whose videos have terms of their own"

KNOWN = {
    "imagenet": KnownWeights(
        f"{_TORCHVISION}resnet50-0676ba61.pth",
        "ResNet-50, its kernels spread over time (rgb_only, paper, fusion, tsm)",
        "rgb",
        "torchvision, IMAGENET1K_V1",
        "BSD-3-Clause; trained on ImageNet, whose pictures are for research that is not commercial",
    ),
    "kinetics": KnownWeights(
        f"{_MMACTION2}{_SLOWONLY}/{_SLOWONLY}_20220901-df42dc84.pth",
        "SlowOnly ResNet-50 8x8 (rgb_only, paper, fusion)",
        "rgb",
        "MMAction2",
        f"Apache-2.0; {_KINETICS}",
    ),
    "kinetics-swin-tiny": KnownWeights(
        f"{_TORCHVISION}swin3d_t-7615ae03.pth",
        "Video Swin Tiny (video_swin_tiny)",
        "rgb",
        "torchvision, KINETICS400_V1, from the authors",
        f"BSD-3-Clause; {_KINETICS}",
    ),
}


def find_known(name: str) -> Path:
    """The file of some weights, from torch's cache, or fetched into it.

    Raises:
        MgkitError: an unknown name; a file whose hash is another; or it is not there and cannot be fetched. The message
            says where to put it.
    """
    if name not in KNOWN:
        raise MgkitError(
            f"there are no weights {name!r}{meant(name, KNOWN) or f'; there are {some(KNOWN)}.'}"
        )
    known = KNOWN[name]
    path = Path(torch.hub.get_dir()) / "checkpoints" / known.file
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(known.url, str(path), hash_prefix=known.digits)
        except (OSError, URLError, RuntimeError) as error:  # RuntimeError: another hash than the name says
            raise MgkitError(
                f"the weights {name!r} are not on this machine and cannot be fetched ({_reason(error)}): put the file "
                f"{known.url} at {path}, or start from a file of your own."
            ) from None
        return path
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(known.digits):
        raise MgkitError(
            f"{path} is not the file that its name says (its SHA-256 begins with {found[:8]}, not {known.digits}): "
            "delete it, and it is fetched again."
        )
    return path


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return str(reason).splitlines()[0]
