"""Which markets a venue has by now, under the venue's own names of them."""

from collections.abc import Callable, Iterable, Mapping

from fullon_simulator.clock import MarketClock
from fullon_simulator.spec import SymbolSpec
from fullon_simulator.tape import Tape


class Listings:
    """A venue's markets; one that is not listed yet, or no longer, is unknown to its clients."""

    def __init__(
        self, tapes: Mapping[str, Tape], clock: MarketClock, names: Callable[[SymbolSpec], Iterable[str]]
    ) -> None:
        self.tapes = tapes
        self._clock = clock
        self._named = {name: tape for tape in tapes.values() for name in names(tape.spec)}

    def all(self) -> list[Tape]:
        """Return every market that is listed by now."""
        return [tape for tape in self.tapes.values() if self._open(tape)]

    def find(self, name: object) -> Tape | None:
        """Return the market the venue knows by `name`; None where it knows none."""
        tape = self._named.get(name) if isinstance(name, str) else None
        return tape if tape is not None and self._open(tape) else None

    def _open(self, tape: Tape) -> bool:
        return not tape.unlisted and tape.spec.listed_at_us < self._clock.now_us()
