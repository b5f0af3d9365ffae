"""A vector for each class, from what the class is called: what a network can be drawn to beside the labels.

Word vectors come from a file in the text format of GloVe (Pennington et al., "GloVe: Global Vectors for Word
Representation", EMNLP 2014), word2vec and fastText, or from a sentence-embedding model. Li et al. (MiGA challenge at
IJCAI 2023) took the 300 numbers of GloVe a class, as they are: not scaled to length 1.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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

# Left out of a class's mean: words that say how the others belong together. Directions (up, down, back) stay in.
STOP_WORDS = frozenset(
    "a an and as at by for from in into is it of on or other part than the their to with".split()
)

OWN_WORDS = "names"  # the source that is nothing but the names themselves
SENTENCE = "sentence:"  # what a source begins with that is a sentence-embedding model

LARGEST = float(np.finfo(np.float32).max)
LONGEST = 1 << 20  # bytes; a line of 4096 numbers has some 60,000


@dataclass(frozen=True)
class ClassVectors:
    """One vector a class.

    Attributes:
        names: the classes, in the order of the labels.
        vectors: (K, D) float32.
        missing: {class: its words that the source does not know}, only of classes that have such words.
    """

    names: tuple[str, ...]
    vectors: np.ndarray
    missing: Mapping[str, tuple[str, ...]]

    def __str__(self) -> str:
        lines = [f"{len(self.names)} class vectors of width {self.vectors.shape[1]}"]
        lines += [f"{name}: without {', '.join(words)}" for name, words in self.missing.items()]
        return "\n".join(lines)


def class_vectors(
    names: Sequence[str], source: str | Path, *, stop_words: Collection[str] = STOP_WORDS
) -> ClassVectors:
    """A vector for each class name: the mean of its words' vectors, or what a sentence-embedding model makes of it.

    Args:
        names: the class names, in the order of the labels.
        source: a file of word vectors (see read_word_vectors), or "sentence:" and the name or folder of a model for
            the package sentence-transformers ("sentence:all-MiniLM-L6-v2"), which then downloads a model it does not
            have. It reads whole names, so that `stop_words` do not matter. "names" needs nothing else: each word of
            the names is a dimension, and each class a vector of length 1, so that only classes that share words are
            near. (A file of that name is "./names".)
        stop_words: words that do not count, in lower case; () to have all count.

    Raises:
        MgkitError: if a class has no word that counts or none that the source knows, names are empty or occur twice,
            the file cannot be read, or the package or the model is not there.
    """
    names = tuple(names)
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if not names or twice:
        raise MgkitError(
            f"The class names must all differ, but {some(map(repr, twice))} occur more than once."
            if twice
            else "There are no class names to find vectors for."
        )
    if str(source).startswith(SENTENCE):
        return ClassVectors(names, _sentence_vectors(names, str(source).removeprefix(SENTENCE)), {})
    words = {name: [word for word in words_of(name) if word not in stop_words] for name in names}
    empty = [name for name, own in words.items() if not own]
    if empty:
        raise MgkitError(
            f"The classes {some(map(repr, empty))} have no word to look up, as {some(sorted(stop_words), 3)} do "
            "not count: call them by words, or give other stop_words."
        )
    if source == OWN_WORDS:
        return ClassVectors(names, _shared_words(list(words.values())), {})
    known = read_word_vectors(source, {word for own in words.values() for word in own})
    missing = {name: tuple(w for w in dict.fromkeys(own) if w not in known) for name, own in words.items()}
    unknown = [f"{name!r} ({', '.join(own)})" for name, own in words.items() if not set(own) & set(known)]
    if unknown:
        raise MgkitError(
            f"{source} knows no word of {some(unknown)}: give a file with these words, or call the classes by words "
            "that it has."
        )
    vectors = [np.mean([known[word] for word in words[name] if word in known], axis=0) for name in names]
    return ClassVectors(
        names, np.stack(vectors).astype(np.float32), {name: lost for name, lost in missing.items() if lost}
    )


def _shared_words(words: Sequence[Sequence[str]]) -> np.ndarray:
    """(K, D) float32 of length 1, D being the different words of all classes."""
    every = list(dict.fromkeys(word for own in words for word in own))
    counts = np.array([[own.count(word) for word in every] for own in words], dtype=np.float32)
    return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def words_of(name: str) -> list[str]:
    """The words of a class name: runs of letters, in lower case.

    >>> words_of("Touching/scratching the_head (left) 2")
    ['touching', 'scratching', 'the', 'head', 'left']
    """
    return re.findall(r"[^\W\d_]+", name.lower())


def read_word_vectors(path: str | Path, words: Iterable[str]) -> dict[str, np.ndarray]:
    """The vectors of some words from a file of many: {word: (D,) float32}, without the words that it does not have.

    Each line is a word and D numbers, with spaces or tabs between them; a first line of two whole numbers (how many
    words, how wide) as word2vec writes it is understood, and so are gzip files. The file is read line by line and only
    until all words are found, so that its size does not matter. Of a word that comes twice the first counts: these
    files begin with what is most frequent. Case counts: GloVe's are in lower case, or have both.

    Args:
        path: the file.
        words: which to look for.

    Raises:
        MgkitError: if there is no such file, it is no file of word vectors, or a line that was read is damaged.
    """
    path = Path(path)
    wanted = {word.encode(): word for word in words}
    found: dict[str, np.ndarray] = {}
    width = announced = seen = 0
    for number, line in _lines(path):
        header = re.fullmatch(rb"(\d+)[ \t]+(\d+)", line) if number == 1 else None
        if header:
            announced, width = int(header[1]), int(header[2])
        if header or not line:
            continue
        seen += 1
        width = width or _width(path, number, line)
        name = wanted.get(_word(path, number, line, width))
        if name is not None and name not in found:
            found[name] = _numbers(path, number, line, name)
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


def _width(path: Path, number: int, line: bytes) -> int:
    """D, from the first word's line."""
    fields = line.split()
    if len(fields) < 2 or not all(map(_is_number, fields[1:])):
        raise MgkitError(
            f"{path}, line {number}: this is not the text format of word vectors, a word and its numbers on each "
            f"line; it begins with {line[:24]!r}. Give a text file like glove.6B.300d.txt."
        )
    return len(fields) - 1


def _word(path: Path, number: int, line: bytes, width: int) -> bytes:
    """The word of a line, after its length was looked at; b"" if it is none that could be asked for."""
    if line.count(b" ") + line.count(b"\t") == width and not line[:1].isspace():
        return line.split(None, 1)[0]
    fields = line.split()
    if len(fields) == width + 1:
        return fields[0]
    if len(fields) > width + 1 and not all(map(_is_number, fields[1:-width])):
        return b""  # a "word" with spaces in it, of which GloVe's largest file has some
    if len(fields) == width and all(map(_is_number, fields)):
        return b""  # a "word" that is nothing but white space
    word = fields[0].decode(errors="replace")[:40]
    raise MgkitError(
        f"{path}, line {number}: {word!r} has {len(fields) - 1} numbers, but the file is {width} wide: if this is the "
        "last line, the download is not complete; otherwise take the line out."
    )


def _numbers(path: Path, number: int, line: bytes, word: str) -> np.ndarray:
    fields = line.split()[1:]
    wrong = [field for field in fields if not _is_number(field)]
    if wrong:
        raise MgkitError(
            f"{path}, line {number}: {wrong[0].decode(errors='replace')[:40]!r} in the vector of {word!r} is not a "
            "finite number: download or copy the file again."
        )
    return np.array([float(field) for field in fields], dtype=np.float32)


def _is_number(field: bytes) -> bool:
    try:
        return abs(float(field)) <= LARGEST
    except ValueError:
        return False


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The number (from 1) of each line and the line, without white space at its end."""
    try:
        with _opened(path) as stream:
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
            f"There is no file of word vectors {path}. GloVe's are on nlp.stanford.edu/projects/glove: unpack "
            "glove.6B.zip and give its glove.6B.300d.txt."
        ) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise MgkitError(f"{path} is damaged ({error}): download or copy it again.") from None
    except OSError as error:
        raise MgkitError(f"{path} cannot be read ({error.strerror or error}).") from None


def _opened(path: Path) -> IO[bytes]:
    if path.is_dir():
        raise MgkitError(f"{path} is a folder: give a file of word vectors in it.")
    with path.open("rb") as stream:
        head = stream.read(4)
    if head == b"PK\x03\x04":
        raise MgkitError(
            f"{path} is a zip archive: unpack it and give one file of it, like glove.6B.300d.txt."
        )
    return cast(IO[bytes], gzip.open(path) if head[:2] == b"\x1f\x8b" else path.open("rb"))


def _sentence_vectors(names: Sequence[str], model: str) -> np.ndarray:
    """(K, D) float32, as the model gives them."""
    if not model:
        raise MgkitError(
            f"Name the model after {SENTENCE!r}, such as 'sentence:all-MiniLM-L6-v2', or its folder."
        )
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MgkitError(
            f"{SENTENCE + model!r} needs the package sentence-transformers, which cannot be imported ({error}): "
            "pip install sentence-transformers, or give a file of word vectors."
        ) from None
    try:
        network = SentenceTransformer(model, device="cpu")
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise MgkitError(
            f"The sentence-embedding model {model!r} cannot be loaded ({reason}): give the name of one for "
            "sentence-transformers, or the folder of one on this machine."
        ) from None
    texts = [" ".join(name.replace("_", " ").split()) for name in names]
    vectors = np.asarray(network.encode(texts, show_progress_bar=False), dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != len(names) or not np.isfinite(vectors).all():
        raise MgkitError(
            f"The sentence-embedding model {model!r} gave no finite vector for each class name, but numbers of shape "
            f"{vectors.shape}: choose another model."
        )
    return vectors
