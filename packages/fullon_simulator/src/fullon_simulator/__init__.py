"""A simulated market that speaks the wire formats of real exchanges."""

from fullon_simulator.catalogue import default_symbols
from fullon_simulator.clock import MarketClock
from fullon_simulator.market import SimulatedMarket, Truth
from fullon_simulator.recorded import RecordedTrade, read_recording, replay
from fullon_simulator.sockets import Connection, Counters, Frame, Outlet
from fullon_simulator.spec import SymbolSpec
from fullon_simulator.tape import Tape, TapeCandle, TapeTrade

__all__ = [
    "Connection",
    "Counters",
    "Frame",
    "MarketClock",
    "Outlet",
    "RecordedTrade",
    "SimulatedMarket",
    "SymbolSpec",
    "Tape",
    "TapeCandle",
    "TapeTrade",
    "Truth",
    "default_symbols",
    "read_recording",
    "replay",
]
