"""What a draft may learn from: the exact hidden states of a cycle's positions, heard while it ran anyway."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class HiddenStates:
    """Hidden states between the sub-layers, for the positions that a draft and its verifying pass ran.

    An observer (``lsbench.engine.Observer``) for both. A verifying pass resumes a position where it was still
    exact, so that the sub-layers below are heard of from the draft's own steps (its own, and later ones that
    it rode along with) and the others from the pass: what was heard last counts, and nothing after a
    sub-layer that was left out. Read it after the pass; then everything in it is exact, and of a position
    whose every step was listened to nothing is missing.

    Args:
        num_layers: L.
    """

    def __init__(self, num_layers: int) -> None:
        self._sublayers = 2 * num_layers
        self._heard: list[tuple[int, npt.NDArray[np.int64], Tensor, Tensor]] = []
        self._places: dict[tuple[int, int], tuple[int, int]] | None = None

    def __call__(
        self, sublayer: int, positions: npt.NDArray[np.int64], entering: Tensor, leaving: Tensor
    ) -> None:
        """Positions [n] ran ``sublayer`` (0..2L-1): hidden states [n, D] before and after."""
        self._heard.append((sublayer, positions, entering, leaving))
        self._places = None

    def forget(self) -> None:
        """Begin anew."""
        self._heard.clear()
        self._places = None

    def leaving(self, sublayer: int, position: int) -> Tensor | None:
        """[D] hidden state of a position after a sub-layer (0..2L-1); None where it is not known."""
        place = self._known().get((sublayer, position))
        return None if place is None else self._heard[place[0]][3][place[1]]

    def cosines(self, positions: Sequence[int]) -> npt.NDArray[np.float64]:
        """[n, 2L] cosine of what enters and what leaves each sub-layer; NaN where it is not known."""
        result = np.full((len(positions), self._sublayers), np.nan)
        known = self._known()
        if not known:
            return result
        firsts = np.cumsum([0, *(len(heard[1]) for heard in self._heard)])
        found = [
            (row, sublayer, int(firsts[place[0]]) + place[1])
            for row, position in enumerate(positions)
            for sublayer in range(self._sublayers)
            if (place := known.get((sublayer, position))) is not None
        ]
        if found:
            rows, sublayers, places = (list(column) for column in zip(*found, strict=True))
            entering = torch.cat([heard[2] for heard in self._heard])[places]
            leaving = torch.cat([heard[3] for heard in self._heard])[places]
            cosines = torch.cosine_similarity(entering.double(), leaving.double(), dim=-1)
            result[rows, sublayers] = cosines.cpu().numpy()
        return result

    def _known(self) -> dict[tuple[int, int], tuple[int, int]]:
        """Sub-layer and position to what was heard of them last: which time, and which row of it."""
        if self._places is None:
            self._places = {}
            reached: dict[int, int] = {}
            for time, (sublayer, positions, _, _) in enumerate(self._heard):
                for row, position in enumerate(positions.tolist()):
                    # After a gap nothing is exact until the position is taken up again where it was.
                    if sublayer <= reached.get(position, 0):
                        self._places[sublayer, position] = time, row
                        reached[position] = sublayer + 1
            # What was heard before a position was taken up again, and not again since, is out of date.
            self._places = {key: place for key, place in self._places.items() if key[0] < reached[key[1]]}
        return self._places
