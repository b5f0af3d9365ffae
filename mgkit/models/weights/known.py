"""Published weights by one word: where they are kept, fetched from, and under which terms.

They lie in the cache of the library that they belong to, which other programs share. In torch's own
(`torch.hub.get_dir()`) every file's name ends in the first digits of its SHA-256, which are checked each time. Those of
`transformers` lie in the cache of huggingface_hub; their revision and SHA-256 are recorded as they were found.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.error import URLError

import torch

from mgkit.errors import MgkitError, meant, some
from mgkit.files import sha256_of

__all__ = ["KNOWN", "KnownWeights", "find_known"]


@dataclass(frozen=True)
class KnownWeights:
    """A file of published weights.

    Attributes:
        url: where it is fetched from; the last part is its name in torch's cache, and ends in its hash. Of
            `transformers` the page of the repository, which has it as model.safetensors.
        network: what it is of, and which recipe has that network.
        pathway: "rgb" or "pose".
        source: who trained it, on what.
        licence: of the file, and what else is to be minded.
        revision: of a repository whose main branch has no such file; "" is the main branch.
    """

    url: str
    network: str
    pathway: str
    source: str
    licence: str
    revision: str = ""

    @property
    def file(self) -> str:
        return self.url.rsplit("/", 1)[1]

    @property
    def digits(self) -> str:
        """The first digits of the file's SHA-256."""
        return self.file.rsplit("-", 1)[1].split(".")[0]

    @property
    def repository(self) -> str:
        """Name of the repository on the hub of `transformers`; "" of a file of its own."""
        return self.url.removeprefix(_HUB) if self.url.startswith(_HUB) else ""

    @property
    def page(self) -> str:
        """Where a person finds the files."""
        return f"{self.url}/tree/{self.revision}" if self.revision else self.url

    def about(self, path: Path | None = None, sha256: str = "") -> str:
        """What start.txt says of the weights, with revision and hash of a file of them."""
        said = f"{self.repository or self.file}: {self.network}; {self.source}; {self.licence}"
        if not self.repository or path is None:
            return said
        revision = path.parent.name if path.parent.parent.name == "snapshots" else "unknown"
        return f"{said}; revision {revision}; {path.name}, SHA-256 {sha256}"


_HUB = "https://huggingface.co/"
_TORCHVISION = "https://download.pytorch.org/models/"
_MMACTION2 = "https://download.openmmlab.com/mmaction/v1.0/recognition/slowonly/"
_SLOWONLY = "slowonly_imagenet-pretrained-r50_8xb16-8x8x1-steplr-150e_kinetics400-rgb"
_KINETICS = "trained on Kinetics-400, whose videos have terms of their own"
_VIDEOMAE = "CC-BY-NC-4.0: not for commercial use"
_NANJING = "the authors, Nanjing University"

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
    "kinetics-mvit-small": KnownWeights(
        f"{_TORCHVISION}mvit_v2_s-ae3be167.pth",
        "MViT v2-S (mvit_v2_small)",
        "rgb",
        "torchvision, KINETICS400_V1, from the authors",
        f"BSD-3-Clause; {_KINETICS}",
    ),
    "videomae-small-k400": KnownWeights(
        f"{_HUB}MCG-NJU/videomae-small-finetuned-kinetics",
        "VideoMAE-S, fine-tuned on Kinetics-400 (videomae_small)",
        "rgb",
        _NANJING,
        f"{_VIDEOMAE}; {_KINETICS}",
    ),
    "videomae-base": KnownWeights(
        f"{_HUB}MCG-NJU/videomae-base",
        "VideoMAE-B, pre-trained without labels (videomae_base)",
        "rgb",
        _NANJING,
        f"{_VIDEOMAE}; {_KINETICS}",
    ),
    "videomae-base-k400": KnownWeights(
        f"{_HUB}MCG-NJU/videomae-base-finetuned-kinetics",
        "VideoMAE-B, fine-tuned on Kinetics-400 (videomae_base)",
        "rgb",
        _NANJING,
        f"{_VIDEOMAE}; {_KINETICS}",
    ),
    "videomae-base-ssv2": KnownWeights(
        f"{_HUB}MCG-NJU/videomae-base-finetuned-ssv2",
        "VideoMAE-B, fine-tuned on Something-Something v2 (videomae_base)",
        "rgb",
        _NANJING,
        f"{_VIDEOMAE}; the videos have terms of their own",
    ),
    "videomae-large-k400": KnownWeights(
        f"{_HUB}MCG-NJU/videomae-large-finetuned-kinetics",
        "VideoMAE-L, fine-tuned on Kinetics-400 (videomae_large)",
        "rgb",
        _NANJING,
        f"{_VIDEOMAE}; {_KINETICS}",
    ),
    "vjepa2-large": KnownWeights(
        f"{_HUB}facebook/vjepa2-vitl-fpc64-256",
        "V-JEPA 2 ViT-L, pre-trained without labels (vjepa2_large)",
        "rgb",
        "the authors, Meta",
        "MIT; the videos have terms of their own",
    ),
    "vjepa2-large-ssv2": KnownWeights(
        f"{_HUB}facebook/vjepa2-vitl-fpc16-256-ssv2",
        "V-JEPA 2 ViT-L, its pooling trained on Something-Something v2 (vjepa2_large)",
        "rgb",
        "the authors, Meta",
        "MIT; the videos have terms of their own",
    ),
    "videoprism-base": KnownWeights(
        f"{_HUB}google/videoprism-base-f16r288",
        "VideoPrism-B, pre-trained on videos and captions (videoprism_base)",
        "rgb",
        "the authors, Google, converted by the one who brought the network to transformers",
        "Apache-2.0; the videos have terms of their own",
        "2be2ef51d0d611d0fadf21a6d1470a4ad4af9249",  # of an open pull request: the main branch is for JAX alone
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
    if known.repository:
        return _from_hub(name, known)
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
    found = sha256_of(path)
    if not found.startswith(known.digits):
        raise MgkitError(
            f"{path} is not the file that its name says (its SHA-256 begins with {found[:8]}, not {known.digits}): "
            "delete it, and it is fetched again."
        )
    return path


def _from_hub(name: str, known: KnownWeights) -> Path:
    """The file of weights in the cache of huggingface_hub, with its settings beside it; fetched where it lacks."""
    if importlib.util.find_spec("huggingface_hub") is None:
        raise MgkitError(
            f"the weights {name!r} need the package transformers: pip install 'mgkit[video]' (from a checkout "
            "'.[video]')."
        )
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    fetch = partial(hf_hub_download, known.repository, revision=known.revision or None)

    try:  # what is there is not asked for again
        return Path(fetch("model.safetensors", local_files_only=True))
    except (EntryNotFoundError, OSError):
        pass
    for settings in ("video_preprocessor_config.json", "preprocessor_config.json"):
        try:
            fetch(settings)
        except (EntryNotFoundError, OSError, HfHubHTTPError):
            continue  # not every repository has both
    try:  # the weights last: where they are, all is there
        fetch("config.json")
        path = Path(fetch("model.safetensors"))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise MgkitError(
            f"the weights {name!r} are not on this machine and cannot be fetched ({_reason(error)}): put config.json, "
            f"preprocessor_config.json and model.safetensors of {known.page} into a folder and start from that, or "
            f"bring the cache of a machine that has them, {constants.HF_HUB_CACHE}."
        ) from None
    return path


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return str(reason).splitlines()[0]
