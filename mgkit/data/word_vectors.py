"""A vector for each class, derived from its name: a target for a network in addition to the labels.

Word vectors come from a file in the text format of GloVe (Pennington et al., "GloVe: Global Vectors for Word
Representation", EMNLP 2014), word2vec and fastText, or from a sentence-embedding model. Li et al. (MiGA challenge at
IJCAI 2023) used the 300 numbers of GloVe per class as they are: not scaled to length 1.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np

from mgkit.errors import MgkitError, some

__all__ = [
    "OWN_WORDS",
    "SENTENCE",
    "STOP_WORDS",
    "ClassVectors",
    "class_vectors",
    "read_word_vectors",
    "words_of",
]

# Left out of a class's mean: words that relate the others to each other. Directions (up, down, back) stay in.
STOP_WORDS = frozenset(
    "a an and as at by for from in into is it of on or other part than the their to with".split()
)
OWN_WORDS = "names"  # the source that consists of nothing but the names themselves
SENTENCE = "sentence:"  # prefix of a source that is a sentence-embedding model
LARGEST = float(np.finfo(np.float32).max)
LONGEST = 1 << 20  # bytes; a line of 4096 numbers has about 60,000


@dataclass(frozen=True)
class ClassVectors:
    """One vector per class.

    Attributes:
        names: the classes, in the order of the labels.
        vectors: (K, D) float32.
        missing: {class: its words that are not in the source}, only of classes that have such words.
    """

    names: tuple[str, ...]
    vectors: np.ndarray
    missing: Mapping[str, tuple[str, ...]]

    def __str__(self) -> str:
        lines = [f"{len(self.names)} class vectors of width {self.vectors.shape[1]}"]
        lines += [f"{name}: without {', '.join(words)}" for name, words in self.missing.items()]
        return "\n".join(lines)


def class_vectors(names: Sequence[str], source: str | Path) -> ClassVectors:
    """A vector for each class name: the mean of its words' vectors, or the output of a sentence-embedding model.

    Args:
        names: the class names, in the order of the labels.
        source: a file of word vectors (see read_word_vectors), or "sentence:" and the name or folder of a model for
            the package sentence-transformers ("sentence:all-MiniLM-L6-v2"), which downloads a model it does not have.
            It reads whole names, `STOP_WORDS` included. "names" needs nothing else: each word of the
            names is a dimension, and each class a vector of length 1, so that only classes that share words are close.
            (A file of that name is "./names".)

    Raises:
        MgkitError: a class has no word that counts or none that is in the source, names are missing or repeated, the
            file cannot be read, or the package or the model is not available.
    """
    names = tuple(names)
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if repeated:
        raise MgkitError(f"class names must differ, but {some(map(repr, repeated))} occur more than once.")
    if not names:
        raise MgkitError("there are no class names to find vectors for.")
    if str(source).startswith(SENTENCE):
        return ClassVectors(names, _sentence_vectors(names, str(source).removeprefix(SENTENCE)), {})
    words = {name: [word for word in words_of(name) if word not in STOP_WORDS] for name in names}
    empty = [name for name, own in words.items() if not own]
    if empty:
        raise MgkitError(
            f"the classes {some(map(repr, empty))} have no word to look up ({some(sorted(STOP_WORDS), 3)} do not "
            "count): use words in their names."
        )
    if source == OWN_WORDS:
        every = list(dict.fromkeys(word for own in words.values() for word in own))
        counts = np.array([[own.count(word) for word in every] for own in words.values()], dtype=np.float32)
        return ClassVectors(names, counts / np.linalg.norm(counts, axis=1, keepdims=True), {})
    known = read_word_vectors(source, {word for own in words.values() for word in own})
    unknown = [f"{name!r} ({', '.join(own)})" for name, own in words.items() if not set(own) & set(known)]
    if unknown:
        raise MgkitError(
            f"{source} has no word of {some(unknown)}: give a file with these words, or use words in the class names "
            "that it has."
        )
    vectors = [np.mean([known[word] for word in words[name] if word in known], axis=0) for name in names]
    missing = {name: tuple(w for w in dict.fromkeys(own) if w not in known) for name, own in words.items()}
    return ClassVectors(
        names, np.stack(vectors).astype(np.float32), {name: lost for name, lost in missing.items() if lost}
    )


def words_of(name: str) -> list[str]:
    """The words of a class name: runs of letters, in lower case.

    >>> words_of("Touching/scratching the_head (left) 2")
    ['touching', 'scratching', 'the', 'head', 'left']
    """
    return re.findall(r"[^\W\d_]+", name.lower())


def read_word_vectors(path: str | Path, words: Iterable[str]) -> dict[str, np.ndarray]:
    """Read the vectors of some words from a file of many: {word: (D,) float32}, without the words it does not have.

    Each line is a word and D numbers, separated by spaces or tabs; a first line of two whole numbers (number of words,
    width) as word2vec writes it is accepted, and so are gzip files. The file is read line by line and only until all
    words are found, so that its size does not matter. Of a repeated word the first counts: these files begin with the
    most frequent. Case matters: GloVe's words are in lower case, or in both.

    Args:
        path: the file.
        words: the words to look for.

    Raises:
        MgkitError: there is no such file, it is not a file of word vectors, or a line that was read is damaged.
    """
    path = Path(path)
    wanted = {word.encode(): word for word in words}
    found: dict[str, np.ndarray] = {}
    width = announced = seen = 0
    for number, line in _lines(path):
        if number == 1 and re.fullmatch(rb"\d+[ \t]+\d+", line):
            announced, width = map(int, line.split())
            continue
        if not line:
            continue
        seen += 1
        # Counting separators is quick: only lines that do not add up, or hold a wanted word, are split.
        whole = line.count(b" ") + line.count(b"\t") == width and not line[:1].isspace()
        if width and whole and line.split(None, 1)[0] not in wanted:
            continue
        fields = line.split()
        numeric = [_is_number(field) for field in fields]
        if not width and (len(fields) < 2 or not all(numeric[1:])):
            raise MgkitError(
                f"{path}, line {number}: this is not the text format of word vectors, a word and its numbers on each "
                f"line; it begins with {line[:24]!r}. Give a text file like glove.6B.300d.txt."
            )
        width = width or len(fields) - 1
        word = fields[0].decode(errors="replace")[:40]
        if len(fields) != width + 1:
            # A "word" of white space, or with spaces in it: GloVe's largest file has some.
            if (len(fields) == width and all(numeric)) or not all(numeric[1:-width]):
                continue
            raise MgkitError(
                f"{path}, line {number}: {word!r} has {len(fields) - 1} numbers, but the file is {width} wide: if this "
                "is the last line, the download is incomplete; otherwise remove the line."
            )
        name = wanted.get(fields[0])
        if name is None or name in found:
            continue
        if not all(numeric[1:]):
            wrong = fields[1 + numeric[1:].index(False)].decode(errors="replace")[:40]
            raise MgkitError(
                f"{path}, line {number}: {wrong!r} in the vector of {word!r} is not a finite number: download or copy "
                "the file again."
            )
        found[name] = np.array([float(field) for field in fields[1:]], dtype=np.float32)
        if len(found) == len(wanted):
            return found
    if not seen:
        raise MgkitError(f"{path} has no word vectors, it is empty: download or copy it again.")
    if seen < announced:
        raise MgkitError(
            f"{path} ends after {seen} of the {announced} words that its first line announces: download or copy it "
            "again."
        )
    return found


def _is_number(field: bytes) -> bool:
    try:
        return abs(float(field)) <= LARGEST
    except ValueError:
        return False


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number (from 1) and content of each line, without white space at its end."""
    try:
        if path.is_dir():
            raise MgkitError(f"{path} is a folder: give a file of word vectors in it.")
        with path.open("rb") as stream:
            head = stream.read(4)
        if head == b"PK\x03\x04":
            raise MgkitError(f"{path} is a zip archive: unpack it and give one of its files.")
        unpack = gzip.open if head[:2] == b"\x1f\x8b" else open
        with cast(IO[bytes], unpack(path, "rb")) as stream:
            number = 0
            while line := stream.readline(LONGEST):
                number += 1
                if len(line) == LONGEST:
                    raise MgkitError(
                        f"{path}, line {number} is longer than word vectors are: is it the binary format? Give a text "
                        "file like glove.6B.300d.txt."
                    )
                yield number, (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).rstrip()
    except FileNotFoundError:
        raise MgkitError(
            f"there is no file of word vectors {path}. GloVe's are on nlp.stanford.edu/projects/glove: unpack "
            "glove.6B.zip and give its glove.6B.300d.txt."
        ) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise MgkitError(f"{path} is damaged ({error}): download or copy it again.") from None
    except OSError as error:
        raise MgkitError(f"{path} cannot be read ({error.strerror or error}).") from None


def _sentence_vectors(names: Sequence[str], model: str) -> np.ndarray:
    """(K, D) float32, as the model gives them."""
    if not model:
        raise MgkitError(
            f"name the model after {SENTENCE!r}, such as 'sentence:all-MiniLM-L6-v2', or its folder."
        )
    try:
        from sentence_transformers import SentenceTransformer

        network = SentenceTransformer(model, device="cpu")
    except ImportError as error:
        raise MgkitError(
            f"{SENTENCE + model!r} needs the package sentence-transformers, which cannot be imported ({error}): "
            "pip install sentence-transformers, or give a file of word vectors."
        ) from None
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise MgkitError(
            f"the sentence-embedding model {model!r} cannot be loaded ({reason}): give the name of a model for "
            "sentence-transformers, or the folder of one on this machine."
        ) from None
    texts = [" ".join(name.replace("_", " ").split()) for name in names]
    vectors = np.asarray(network.encode(texts, show_progress_bar=False), dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != len(names) or not np.isfinite(vectors).all():
        raise MgkitError(
            f"the sentence-embedding model {model!r} gave no finite vector for each class name, but numbers of shape "
            f"{vectors.shape}: choose another model."
        )
    return vectors
