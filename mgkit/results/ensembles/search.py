"""Search for the weights of an ensemble on validation clips, and how much of their gain there is chance.

The best of many weights on some clips looks better than it is, because it was chosen on them. The search is therefore
repeated on four fifths of the subjects (of the clips, if subjects are unknown) and scored on the rest, which it
has not seen: the gain over equal weights that remains there is what to expect elsewhere (cross-validation of the whole
search; Varma and Simon, BMC Bioinformatics 2006).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from mgkit.data.splits import is_test
from mgkit.errors import MgkitError, counted, some
from mgkit.progress import Progress
from mgkit.results.ensembles.fuse import fuse
from mgkit.results.ensembles.members import Given, Members, Temperatures, gather
from mgkit.results.stats.metrics import class_f1, class_mean
from mgkit.results.stats.resampling import (
    FLOOR,
    METRICS,
    Doubles,
    Metric,
    combined,
    intervals,
    mean_of,
    measure,
    resampled,
    true_losses,
)

__all__ = [
    "Choice",
    "WeightSearch",
    "best_weights",
    "choose",
    "convex_weights",
    "search_weights",
    "simplex_grid",
]

MOST = 20_000  # weights that are tried on a grid
BLOCK = 16_000_000  # fused probabilities at once
TOLERANCE = 1e-6  # of the loss of convex weights, nats
NAMES = {"top1": "Top-1", "macro_f1": "macro F1", "log_loss": "log-loss"}


@dataclass(frozen=True, eq=False)
class WeightSearch:
    """Weights found on some clips, and their gain on others.

    Gains are over equal weights, and above 0 is better: a rise of Top-1 or macro F1 (in [0, 1]), a fall of log-loss.

    Attributes:
        names, weights: M members and their weights, which sum to 1.
        metric, method, split: as asked for; `tried` weights were compared ("grid").
        value, equal: the metric with these and with equal weights, on the clips they were searched on.
        apparent_gain: their difference. It flatters.
        gain: the mean gain on clips that were left out of the search, over all `rounds` of `folds` parts; NaN if
            all clips show one subject.
        gain_low, gain_high: its 95 % bootstrap interval over `drawn` ("subjects" or "clips"). The parts are kept as
            they are, so it is somewhat too narrow.
    """

    names: tuple[str, ...]
    weights: Doubles
    metric: str
    method: str
    split: str
    clips: int
    drawn: str
    tried: int
    folds: int
    rounds: int
    value: float
    equal: float
    apparent_gain: float
    gain: float
    gain_low: float
    gain_high: float

    def by_name(self) -> dict[str, float]:
        """{member: weight}, as `mg.ensemble` takes them."""
        return dict(zip(self.names, self.weights.tolist(), strict=True))

    def __repr__(self) -> str:
        weights = ", ".join(f"{name} {weight:.3g}" for name, weight in self.by_name().items())
        tried = f"{self.tried:,} weights tried" if self.method == "grid" else "lowest log-loss"
        return (
            f"Weights searched on {counted(self.clips, 'clip')} of {self.split!r} ({self.method}: {tried}): "
            f"{weights}.\n{NAMES[self.metric]} {self._shown(self.value)}, with equal weights "
            f"{self._shown(self.equal)}: an apparent gain of {self._points(self.apparent_gain)}.\n{self._noise()}"
        )

    def _noise(self) -> str:
        if len(self.names) == 1:
            return "There is one member: nothing to weigh."
        if self.method == "grid" and np.ptp(self.weights) == 0:
            return "No other weights were better on these clips."
        if np.isnan(self.gain):
            return "Selection noise cannot be estimated: all clips show one subject."
        known = not np.isnan(self.gain_low)
        interval = (
            f"95 % {self._points(self.gain_low, unit=False)} to {self._points(self.gain_high, unit=False)}"
            if known
            else "too few for an interval"
        )
        message = f"On each of {self.drawn}, left out of the search, the gain is {self._points(self.gain)} ({interval})"
        if self.apparent_gain > 0:
            share = min(1.0, max(0.0, 1 - self.gain / self.apparent_gain))
            message += f": {100 * share:.0f} % of the apparent gain is selection noise"
        if self.gain_low > 0 or not known:
            return f"{message}."
        if self.gain_high < 0:
            return f"{message}. Equal weights are better."
        return f"{message}. The interval contains 0: equal weights may be as good."

    def _shown(self, value: float) -> str:
        return f"{value:.4f}" if self.metric == "log_loss" else f"{100 * value:.1f} %"

    def _points(self, gain: float, unit: bool = True) -> str:
        if self.metric == "log_loss":
            return f"{gain:+.4f}{' nats' if unit else ''}"
        return f"{100 * gain:+.1f}{' points' if unit else ''}"


def search_weights(
    members: Given,
    split: str = "val",
    *,
    method: Literal["grid", "convex"] = "grid",
    metric: Metric = "top1",
    step: float = 0.05,
    output: str | None = None,
    subjects: Mapping[str, str] | None = None,
    temperatures: Temperatures | None = None,
    folds: int = 5,
    rounds: int = 4,
    draws: int = 2000,
    generator: np.random.Generator | None = None,
    even_on_test: bool = False,
    common: bool = False,
    progress: bool = True,
) -> WeightSearch:
    """Search the weights of a late fusion on validation clips.

    Args:
        members: as `ensemble` takes them, evaluated on `split`.
        split: the split to search on. One that is a test split by its name (`mgkit.data.splits.is_test`), or may be,
            or that shares clips with such a split of a run, is refused: weights chosen on the clips that are reported
            make the report worthless.
        method: "grid" tries all weights that are multiples of `step`, and equal ones; of equally good ones those
            nearest to equal are taken. "convex" minimises the log-loss, whatever `metric` is: for many members.
        metric: what the grid maximises, and what is reported: "top1", "macro_f1" or "log_loss".
        step: of the grid; a whole number of steps must make 1.
        output: "rgb", "pose" or "fused" of runs; by default the best that each has.
        subjects: {clip id: subject}; by default looked up in the clip folder of the runs.
        temperatures: of the members, as `ensemble` takes them. They are taken as given: if they were fitted on the
            same clips, that is not held out.
        folds: parts of the clips of which each is once left out of the search.
        rounds: how often the clips are divided again.
        draws: bootstrap samples of the interval.
        generator: of dividing and resampling; by default always the same.
        even_on_test: search on a test split after all, e.g. to see how much that flatters.
        common: search over members that were tested on different clips, on the clips that all have.
        progress: show a bar if it takes longer than a second.

    Raises:
        MgkitError: members that do not fit (`gather`), no labels, a test split, or a grid of too many weights.
    """
    if metric not in METRICS:
        raise MgkitError(f"{metric!r} is not a metric: use one of {', '.join(METRICS)}.")
    if method not in ("grid", "convex"):
        raise MgkitError(f"{method!r} is not a method: use grid or convex.")
    if folds < 2 or rounds < 1:
        raise MgkitError(f"folds is {folds} and rounds {rounds}: use 2 or more, and 1 or more.")
    if not even_on_test:
        refuse_test(split, "Test the members on a validation split, or, in Python, pass even_on_test=True.")
    found = gather(members, split, output=output, subjects=subjects, temperatures=temperatures, common=common)
    if not even_on_test:
        _refuse_shared(found)
    labels, count = found.truth(), len(found)
    source = np.random.default_rng(0) if generator is None else generator
    parts = _parted(labels, found.subjects, folds, rounds, source)  # (R, N)
    chosen = _chosen(found.probabilities, labels, method, metric, step, parts, progress)
    equal_p = fuse(found.probabilities, np.full(count, 1 / count))
    sign = -1.0 if metric == "log_loss" else 1.0
    base = measure(metric, labels, equal_p)
    value, equal = measure(metric, labels, fuse(found.probabilities, chosen[0])).value(), base.value()
    gain, low, high = float("nan"), float("nan"), float("nan")
    if len(parts):
        # The gain of the weights that were found without each clip, the mean over the rounds.
        rounds_p = _left_out(found.probabilities, parts, chosen[1:])
        difference = combined(
            [base, *(measure(metric, labels, p) for p in rounds_p)],
            lambda values: sign * (np.mean(values[1:], axis=0) - values[0]),
        )
        gain = difference.value()
        ((low, high),) = intervals([difference], found.subjects, source, draws).tolist()
    return WeightSearch(
        found.names, chosen[0], metric, method, split, len(labels), resampled(found.subjects, len(labels)),
        len(simplex_grid(count, step)) if method == "grid" else 0,
        int(parts.max()) + 1 if len(parts) else 0, len(parts), value, equal, sign * (value - equal),
        gain, low, high,
    )  # fmt: skip


class Choice(NamedTuple):
    """What `choose` took of several candidates, and what that gains over the first of them, in [-1, 1].

    Attributes:
        taken: place of the candidate that was taken.
        best: place of the one that gets most clips right.
        apparent_gain: of the best, on the clips it was found on. It flatters.
        gain, low, high: of choosing, on clips that were left out of it, with the 95 % bootstrap interval over `drawn`,
            NaN where these are too few.
        drawn: "24 subjects" or "100 clips".
    """

    taken: int
    best: int
    apparent_gain: float
    gain: float
    low: float
    high: float
    drawn: str


def choose(
    right: npt.NDArray[np.bool_],
    labels: npt.NDArray[Any],
    subjects: Sequence[str] | None = None,
    *,
    folds: int = 5,
    rounds: int = 4,
    draws: int = 2000,
    generator: np.random.Generator | None = None,
) -> Choice:
    """Take the candidate that gets most clips right, but only if choosing so pays on clips that had no part in it.

    The best of a hundred candidates on a hundred clips is often three clips better than the first, and no better
    elsewhere. The choice is therefore repeated on four fifths of the subjects and scored on the rest, as in
    `search_weights`; without a gain there, the first candidate is taken.

    Args:
        right: (C, N) whether each candidate gets each clip right: the one that stands if no other pays, then the
            others, those to be preferred among equally good ones first.
        labels: (N,) classes, by which clips are spread over the parts.
        subjects: (N,) who stay together in the parts; None, or one subject alone: each clip for itself.
        folds, rounds, draws, generator: as of `search_weights`.
    """
    source = np.random.default_rng(0) if generator is None else generator
    subjects = None if subjects is None or len(set(subjects)) < 2 else subjects
    gains = []
    for part in _parted(labels, subjects, folds, rounds, source):
        gained = np.empty(len(part))
        for f in range(int(part.max()) + 1):
            held = part == f
            gained[held] = right[right[:, ~held].mean(1).argmax()][held] - right[0][held].astype(float)
        gains.append(gained)
    best = int(right.mean(1).argmax())
    apparent = float(right[best].mean() - right[0].mean())
    if not gains:  # a clip alone
        unknown = float("nan")
        return Choice(0, best, apparent, unknown, unknown, unknown, resampled(subjects, len(labels)))
    each = mean_of(np.mean(gains, axis=0))
    ((low, high),) = intervals([each], subjects, source, draws).tolist()
    gain = each.value()
    return Choice(best if gain > 0 else 0, best, apparent, gain, low, high, resampled(subjects, len(labels)))


def best_weights(
    probabilities: npt.NDArray[Any], labels: npt.NDArray[Any], method: str, metric: str, step: float
) -> Doubles:
    """(M,) the best weights of probabilities (M, N, K) on these very clips, as `search_weights` finds them."""
    return _chosen(probabilities, labels, method, metric, step, np.zeros((0, len(labels)), np.int64))[0]


def simplex_grid(members: int, step: float) -> Doubles:
    """(G, M) all weights of 0 or more that are multiples of `step` and sum to 1, and equal ones first."""
    parts = round(1 / step) if 0 < step <= 1 else 0
    if not parts or abs(parts * step - 1) > 1e-9:
        raise MgkitError(f"step is {step}: use a fraction of 1, such as 0.1 or 0.05.")
    count = comb(parts + members - 1, members - 1)
    if count > MOST:
        larger = next((n for n in range(parts, 0, -1) if comb(n + members - 1, members - 1) <= MOST), 0)
        hint = f"a step of 1/{larger}, or " if larger > 1 else ""
        raise MgkitError(
            f"a grid of step {step:g} over {members} members has {count:,} weights, more than {MOST:,}: use {hint}"
            "method='convex'."
        )
    places = [
        (-1, *bars, parts + members - 1) for bars in combinations(range(parts + members - 1), members - 1)
    ]
    grid = (np.diff(np.asarray(places), axis=1) - 1) / parts
    return np.concatenate([np.full((1, members), 1 / members), grid])


def convex_weights(own: npt.ArrayLike) -> Doubles:
    """(M,) weights of the lowest mean log-loss, of (N, M) probabilities of the true class.

    The loss is convex in the weights. It is within 2e-6 nats of its minimum, which is certain: for weights w
    it is at most max_m mean_n(p_nm / sum_j w_j p_nj) - 1 above it (the Frank-Wolfe gap).
    """
    from scipy.optimize import minimize

    p = np.maximum(np.asarray(own, np.float64), FLOOR)
    count = p.shape[1]
    w = np.full(count, 1 / count)
    if count == 1:
        return w
    found = minimize(
        lambda w: -float(np.log(p @ w).mean()), w, jac=lambda w: -(p / (p @ w)[:, None]).mean(0),
        method="SLSQP", bounds=[(FLOOR, 1)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(count)},
        options={"maxiter": 200, "ftol": 1e-12},
    )  # fmt: skip
    if np.isfinite(found.x).all() and found.x.sum() > 0:
        w = np.maximum(found.x, 0) / np.maximum(found.x, 0).sum()
    # EM steps of the shares of a mixture finish what the solver left: each lowers the loss.
    w = 0.999 * w + 0.001 / count
    for _ in range(20_000):
        pull = (p / (p @ w)[:, None]).mean(0)
        if pull.max() - 1 <= TOLERANCE:
            few = (
                np.where(w < 1e-3, 0, w) / w[w >= 1e-3].sum()
            )  # remainders of the search, dropped if nothing is lost
            return few if np.log(p @ few).mean() >= np.log(p @ w).mean() - TOLERANCE else w
        w = w * pull
    raise MgkitError("the weights of the lowest log-loss were not found: use method='grid'.")


# ---------------------------------------------------------------------------------------------------------------------
# Inside the search


def refuse_test(split: str, remedy: str) -> None:
    """A `MgkitError` for a split to search on that is a test split by its name, or may be one; it ends in `remedy`."""
    if is_test(split) is not False:
        what = "" if is_test(split) else ", which may be a test split"
        raise MgkitError(
            f"weights must be searched on validation clips, not on {split!r}{what}: weights chosen on test clips make "
            f"their score worthless. {remedy}"
        )


def _refuse_shared(found: Members) -> None:
    for run in found.runs:
        for split in run.splits():
            if is_test(split) is False or split == found.split:
                continue
            shared = sorted(set(run.predictions(split).clip_ids) & set(found.clip_ids))
            if shared:
                raise MgkitError(
                    f"{found.split!r} has clips of {split!r} of {run.root}, e.g. {some(shared, 3)}: search on clips "
                    "outside the test split, or, in Python, pass even_on_test=True."
                )


def _parted(
    labels: npt.NDArray[Any],
    subjects: Sequence[str] | None,
    folds: int,
    rounds: int,
    generator: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """(R, N) the part of each clip in each round; subjects stay together, clips alone are spread by class. (0, N)
    if there is only one subject."""
    if subjects is None:
        group = np.arange(len(labels))
    else:
        group = np.unique(np.asarray(subjects), return_inverse=True)[1]
    count = int(group.max()) + 1
    folds = min(folds, count)
    if folds < 2:
        return np.zeros((0, len(labels)), np.int64)
    out = []
    for _ in range(rounds if folds < count else 1):  # each subject alone is the same every time
        order = generator.permutation(count)
        if subjects is None:
            order = order[np.argsort(labels[order], kind="stable")]
        part = np.empty(count, np.int64)
        part[order] = np.arange(count) % folds
        out.append(part[group])
    return np.stack(out)


def _chosen(
    probabilities: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    method: str,
    metric: str,
    step: float,
    parts: npt.NDArray[Any],
    progress: bool = False,
) -> Doubles:
    """(1 + R F, M) the weights chosen on all clips, then on all but part f of round r."""
    if method == "grid":
        return _best_of(
            simplex_grid(len(probabilities), step), probabilities, labels, metric, parts, progress
        )
    own = probabilities[:, np.arange(len(labels)), labels].T
    training = [np.ones(len(labels), bool)]
    training += [part != f for part in parts for f in range(int(parts.max()) + 1)]
    bar = Progress("search", progress, unit="parts", after=1.0)
    return np.stack([convex_weights(own[rows]) for rows in bar.each(training)])


def _best_of(
    tried: Doubles,
    probabilities: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    metric: str,
    parts: npt.NDArray[Any],
    progress: bool = False,
) -> Doubles:
    """(1 + R F, M) the best of the weights (G, M) on all clips, then on all but part f of round r."""
    count, clips, classes = probabilities.shape
    flat = probabilities.reshape(count, -1)
    size = max(1, BLOCK // (clips * classes))
    blocks = [tried[i : i + size].astype(np.float32) for i in range(0, len(tried), size)]
    bar = Progress("search", progress, unit="blocks of weights", after=1.0)
    scores = np.concatenate(
        [
            _training_scores((weights @ flat).reshape(-1, clips, classes), labels, metric, parts)
            for weights in bar.each(blocks)
        ]
    )  # (G, 1 + R F)
    away = ((tried - 1 / count) ** 2).sum(1)
    best = []
    for column in scores.T:
        top = np.flatnonzero(column >= column.max() - 1e-12)
        best.append(tried[top[np.argmin(away[top])]])
    return np.stack(best)


def _training_scores(
    fused: npt.NDArray[Any], labels: npt.NDArray[Any], metric: str, parts: npt.NDArray[Any]
) -> Doubles:
    """(c, 1 + R F) scores, larger is better, of c fusions (c, N, K) on all clips, then on all but each part."""
    clips, classes = fused.shape[1:]
    folds = int(parts.max()) + 1 if len(parts) else 0
    held = [part == f for part in parts for f in range(folds)]
    training = np.stack([np.ones(clips), *(1.0 - rows for rows in held)])  # (1 + R F, N)
    if metric == "log_loss":
        each = np.stack([-true_losses(labels, p) for p in fused])
        return each @ training.T / training.sum(1)
    predicted = fused.argmax(2)
    right = predicted == labels
    if metric == "top1":
        return right.astype(np.float64) @ training.T / training.sum(1)
    out = np.empty((len(fused), len(training)))
    whole = parts if len(parts) else np.zeros((1, clips), np.int64)
    cells = max(folds, 1) * classes
    places = whole * classes
    support = np.stack([np.bincount(place + labels, minlength=cells) for place in places])
    for c in range(len(fused)):
        hit = np.stack([np.bincount((place + labels)[right[c]], minlength=cells) for place in places])
        taken = np.stack([np.bincount(place + predicted[c], minlength=cells) for place in places])
        counts = [x.reshape(len(whole), -1, classes) for x in (support, taken, hit)]  # (R, F, K)
        totals = [x.sum(1, keepdims=True) for x in counts]
        out[c, 0] = class_mean(class_f1(*(x[0, 0] for x in totals)))
        if len(parts):
            out[c, 1:] = class_mean(class_f1(*(t - x for t, x in zip(totals, counts, strict=True)))).ravel()
    return out


def _left_out(
    probabilities: npt.NDArray[Any], parts: npt.NDArray[Any], chosen: Doubles
) -> list[npt.NDArray[Any]]:
    """For each round the fusion (N, K) of each clip with the weights that were found without its part."""
    folds, out, column = int(parts.max()) + 1, [], 0
    for part in parts:
        fused = np.empty(probabilities.shape[1:], np.float32)
        for f in range(folds):
            fused[part == f] = fuse(probabilities[:, part == f], chosen[column])
            column += 1
        out.append(fused)
    return out
