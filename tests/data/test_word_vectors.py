"""Files in the real format: GloVe's text files, word2vec's with a header, gzip; and what goes wrong with them."""

from __future__ import annotations

import gzip
import sys
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from mgkit.data import word_vectors
from mgkit.data.word_vectors import class_vectors, read_word_vectors, words_of
from mgkit.errors import MgkitError

GLOVE = """the 0.418 0.24968 -0.41242
touch -0.5 0.25 1.5
chin 1.0 -2.0 3e-1
. . . 0.1 0.2 0.3
at name@domain.com 0.1 0.2 0.3
neck 0.5 0.5 -0.5
"""


@pytest.fixture
def glove(tmp_path):
    path = tmp_path / "glove.3d.txt"
    path.write_text(GLOVE)
    return path


def write(path, content: str | bytes):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_asked_words_are_read_and_no_others(glove):
    found = read_word_vectors(glove, ["neck", "touch", "unheard"])
    assert set(found) == {"touch", "neck"}
    assert found["touch"].dtype == np.float32
    np.testing.assert_array_equal(found["touch"], np.float32([-0.5, 0.25, 1.5]))
    np.testing.assert_array_equal(found["neck"], np.float32([0.5, 0.5, -0.5]))


def test_words_with_spaces_are_not_taken_for_their_beginning(glove):
    assert read_word_vectors(glove, ["at", "."]) == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "6 3\n" + text,  # word2vec, fastText
        lambda text: text.replace("\n", " \n"),  # word2vec's own program ends lines with a space
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace(" ", "\t"),
        lambda text: text.replace(" ", "  "),
        lambda text: text + "\n\n",
        lambda text: text.removesuffix("\n"),
        lambda text: text.replace("the", "\x85").replace(". . .", "\xa0\xa0"),  # as in published files
        lambda text: text.replace("at name@domain.com ", " "),  # a word of nothing but white space
    ],
)
def test_variants_of_the_format_give_the_same(glove, tmp_path, change):
    wanted = ["touch", "chin", "neck"]
    expected = read_word_vectors(glove, wanted)
    found = read_word_vectors(write(tmp_path / "variant.txt", change(GLOVE)), [*wanted, "unheard"])
    assert set(found) == set(wanted)
    for word, vector in expected.items():
        np.testing.assert_array_equal(found[word], vector)


@pytest.mark.parametrize("name", ["glove.txt.gz", "glove.txt"])
def test_gzip_is_seen_by_its_content(tmp_path, name):
    path = write(tmp_path / name, gzip.compress(GLOVE.encode()))
    np.testing.assert_array_equal(read_word_vectors(path, ["neck"])["neck"], np.float32([0.5, 0.5, -0.5]))


def test_of_a_word_that_comes_twice_the_first_counts(tmp_path):
    path = write(tmp_path / "twice.txt", "hand 1 2\nchin 3 4\nhand 5 6\n")
    np.testing.assert_array_equal(read_word_vectors(path, ["hand", "unheard"])["hand"], [1, 2])


def test_other_bytes_and_letters_do_no_harm(tmp_path):
    content = b"the 0.1 0.2\n" + "caf\xe9 0.3 0.4\n".encode("latin-1") + "schläfe 0.5 0.6\n".encode()
    path = write(tmp_path / "mixed.txt", content)
    np.testing.assert_allclose(read_word_vectors(path, ["schläfe", "café"])["schläfe"], [0.5, 0.6])


def test_reading_ends_with_the_last_word_asked_for(tmp_path):
    path = write(tmp_path / "long.txt", "hand 1 2\nchin 3 4\nneck broken\n")
    assert set(read_word_vectors(path, ["chin", "hand"])) == {"chin", "hand"}
    with pytest.raises(MgkitError, match="line 3"):
        read_word_vectors(path, ["chin", "unheard"])


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "big.txt"
    line = " ".join(["0.123456"] * 100)
    with path.open("w") as file:
        file.writelines(f"word{i} {line}\n" for i in range(5000))  # 4.5 MB
    tracemalloc.start()
    found = read_word_vectors(path, ["word4999", "unheard"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert list(found) == ["word4999"]
    assert peak < 500_000


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "has no word vectors, it is empty"),
        (b"\n \n", "has no word vectors, it is empty"),
        (b"2 3\n", "has no word vectors, it is empty"),
        (b"<!DOCTYPE html>\n<html>", r"line 1: this is not the text format.*begins with b'<!DOCTYPE html>'"),
        (b"version https://git-lfs.github.com/spec/v1\n", "line 1: this is not the text format"),
        (b"the\ntouch 1 2\n", "line 1: this is not the text format"),
        (b"the 1 2\ntouch 1\n", r"line 2: 'touch' has 1 numbers, but the file is 2 wide"),
        (b"the 1 2\ntouch 1 2 3\n", r"line 2: 'touch' has 3 numbers, but the file is 2 wide"),
        (b"the 1 2\nchin 1 2 3\n", r"line 2: 'chin' has 3 numbers, but the file is 2 wide"),
        (b"the 1 2\n\ntouch 1 2 3\n", "line 3: 'touch'"),
        (b"2 3\nthe 1 2\ntouch 1 2\n", r"line 2: 'the' has 2 numbers, but the file is 3 wide"),
        (b"9 2\nthe 1 2\ntouch 1 2\n", "ends after 2 of the 9 words that its first line announces"),
        (b"the 1 2\ntouch 1 x\n", r"line 2: 'x' in the vector of 'touch' is not a finite number"),
        (b"the 1 2\ntouch 1 nan\n", "'nan' in the vector of 'touch'"),
        (b"the 1 2\ntouch -inf 2\n", "'-inf' in the vector of 'touch'"),
        (b"the 1 2\ntouch 1e99 2\n", "'1e99' in the vector of 'touch'"),
        (b"the 1 2\nt\xf6uch 1\n", "line 2: 't\ufffduch' has 1 numbers"),
        (b"PK\x03\x04 and so on", "is a zip archive: unpack it"),
        (b"\x1f\x8b not gzip", "is damaged"),
        (gzip.compress(GLOVE.encode(), mtime=0)[:-20], "is damaged"),
        (b"400000 2\nthe \x00\x01\x02\x03\n", "line 2: 'the' has 1 numbers"),  # word2vec's binary format
        (b"x" * (1 << 21), "line 1 is longer than word vectors are"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(tmp_path, content, message):
    path = write(tmp_path / "wrong.txt", content)
    with pytest.raises(MgkitError, match=message) as caught:
        read_word_vectors(path, ["touch", "unheard"])
    assert str(path) in str(caught.value)


def test_no_file_and_a_folder_are_explained(tmp_path):
    with pytest.raises(MgkitError, match=r"no file of word vectors .*absent\.txt\. GloVe's are on"):
        read_word_vectors(tmp_path / "absent.txt", ["touch"])
    with pytest.raises(MgkitError, match="is a folder"):
        read_word_vectors(tmp_path, ["touch"])


@pytest.mark.parametrize(
    "name, words",
    [
        ("Touch chin", ["touch", "chin"]),
        ("Touching/scratching the_head (left) 2", ["touching", "scratching", "the", "head", "left"]),
        ("crossed-fingers", ["crossed", "fingers"]),
        ("MG12", ["mg"]),
        ("Schläfe berühren", ["schläfe", "berühren"]),
        ("42", []),
    ],
)
def test_words_of_a_name(name, words):
    assert words_of(name) == words


def test_a_class_is_the_mean_of_its_words(glove):
    result = class_vectors(["Touch_Neck", "chin", "touch the CHIN, touch"], glove)
    assert result.names == ("Touch_Neck", "chin", "touch the CHIN, touch")
    touch, chin, neck = np.float32([-0.5, 0.25, 1.5]), np.float32([1, -2, 0.3]), np.float32([0.5, 0.5, -0.5])
    np.testing.assert_allclose(result.vectors, [(touch + neck) / 2, chin, (2 * touch + chin) / 3], rtol=1e-6)
    assert result.vectors.dtype == np.float32
    assert result.missing == {}


def test_words_that_are_not_there_are_named(glove):
    result = class_vectors(["touch or rub chin", "scratching neck scratching"], str(glove))
    assert result.missing == {"touch or rub chin": ("rub",), "scratching neck scratching": ("scratching",)}
    np.testing.assert_array_equal(result.vectors[1], np.float32([0.5, 0.5, -0.5]))
    assert str(result).splitlines()[0] == "2 class vectors of width 3"
    assert "touch or rub chin: without rub" in str(result)


def test_words_that_only_relate_others_do_not_count(glove):
    np.testing.assert_allclose(class_vectors(["the chin"], glove).vectors, [np.float32([1, -2, 0.3])])


def test_classes_without_a_vector_are_errors(glove):
    with pytest.raises(
        MgkitError, match=r"has no word of 'rub eyes' \(rub, eyes\), 'illustrative' \(illustrative\)"
    ):
        class_vectors(["touch chin", "rub eyes", "illustrative"], glove)
    for names in (["touch", "12"], ["touch", "The other"]):
        with pytest.raises(MgkitError, match=f"'{names[1]}' have no word to look up"):
            class_vectors(names, glove)
    with pytest.raises(MgkitError, match="'touch' occur more than once"):
        class_vectors(["touch", "chin", "touch"], glove)
    with pytest.raises(MgkitError, match="no class names"):
        class_vectors([], glove)


def test_from_names_alone_classes_are_near_that_share_words():
    vectors = class_vectors(["touch chin", "touch the neck", "bite nails", "illustrative"], "names").vectors
    assert vectors.shape == (4, 6)
    np.testing.assert_allclose(
        vectors @ vectors.T, [[1, 0.5, 0, 0], [0.5, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], atol=1e-6
    )


class FakeTransformer:
    """Stands in for the package, which is optional: an embedding of a text's length and its number of spaces."""

    def __init__(self, model: str, device: str) -> None:
        if model == "absent":
            raise OSError("absent is no model\nand more")
        self.width = 0 if model == "odd" else 2

    def encode(self, texts: list[str], show_progress_bar: bool) -> np.ndarray:
        return np.array([[len(text), text.count(" ")] for text in texts], dtype=np.float64)[
            :, : self.width or None
        ] * (1 if self.width else np.nan)


def test_sentence_models_read_whole_names(monkeypatch):
    monkeypatch.setitem(
        sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=FakeTransformer)
    )
    result = class_vectors(["Touch_the chin", "12"], "sentence:some/model")
    np.testing.assert_array_equal(result.vectors, [[14, 2], [2, 0]])
    assert result.vectors.dtype == np.float32
    assert result.missing == {}
    with pytest.raises(MgkitError, match=r"'absent' cannot be loaded \(absent is no model\): give the name"):
        class_vectors(["chin"], "sentence:absent")
    with pytest.raises(MgkitError, match="'odd' gave no finite vector"):
        class_vectors(["chin"], "sentence:odd")
    with pytest.raises(MgkitError, match="name the model after 'sentence:'"):
        class_vectors(["chin"], "sentence:")


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MgkitError, match="pip install sentence-transformers, or give a file"):
        class_vectors(["chin"], "sentence:all-MiniLM-L6-v2")


def test_the_examples_run():
    import doctest

    assert doctest.testmod(word_vectors).failed == 0
