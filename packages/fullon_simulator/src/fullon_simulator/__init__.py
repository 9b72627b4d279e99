"""A simulated market that speaks the wire formats of real exchanges."""

from fullon_simulator.catalogue import default_symbols
from fullon_simulator.clock import MarketClock
from fullon_simulator.faults import Fault
from fullon_simulator.faults_active import Episode, Faults
from fullon_simulator.faults_kinds import KINDS, make_fault
from fullon_simulator.market import SimulatedMarket, Truth
from fullon_simulator.recorded import RecordedTrade, read_recording, replay
from fullon_simulator.scenario import Scenario, Step
from fullon_simulator.sockets import Connection, Counters, Frame, Outlet
from fullon_simulator.spec import SymbolSpec
from fullon_simulator.tape import Tape, TapeCandle, TapeTrade

__all__ = [
    "KINDS",
    "Connection",
    "Counters",
    "Episode",
    "Fault",
    "Faults",
    "Frame",
    "MarketClock",
    "Outlet",
    "RecordedTrade",
    "Scenario",
    "SimulatedMarket",
    "Step",
    "SymbolSpec",
    "Tape",
    "TapeCandle",
    "TapeTrade",
    "Truth",
    "default_symbols",
    "make_fault",
    "read_recording",
    "replay",
]
