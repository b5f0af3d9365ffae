"""How close the classes are to each other in the embedding that the network learnt."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mgkit.results.runs import Run


def prototype_similarity(
    run: Run, pathway: str | None = None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Cosine similarity between the last prototypes of a pathway (by default the first that has any).

    Returns:
        (K, K) symmetric similarities in [-1, 1], 1 on the diagonal and NaN in rows and columns of classes that were
        never seen; and (K,) whether each class was.
    """
    history = run.prototypes()
    vectors, seen = history.last(next(iter(history.vectors)) if pathway is None else pathway)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    similarity = np.clip(unit @ unit.T, -1, 1).astype(np.float32)
    np.fill_diagonal(similarity, 1)
    similarity[~seen] = np.nan
    similarity[:, ~seen] = np.nan
    return similarity, seen
