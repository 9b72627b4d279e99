"""`fullon-simulator`: the simulated market as a process of its own, and faults in one that runs."""

import argparse
import asyncio
import json
import signal
import sys
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from fullon_simulator.catalogue import default_symbols
from fullon_simulator.clock import SECOND_US, MarketClock
from fullon_simulator.control_cli import add_control_commands
from fullon_simulator.errors import SimulatorError
from fullon_simulator.market import SimulatedMarket
from fullon_simulator.recorded import read_recording, replay
from fullon_simulator.spec import SymbolSpec
from fullon_simulator.tape import Tape


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when done or signalled, 1 where the market cannot or will not, 2 for wrong usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except ValueError as error:
        parser.error(str(error))
    except SimulatorError as error:
        print(f"fullon-simulator: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fullon-simulator", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_control_commands(commands.add_parser)
    serve = commands.add_parser(
        "serve",
        help="serve venues on loopback ports until a signal comes",
        description="Serve venues on loopback ports. Prints one line of JSON when ready: the origins, and the "
        "environment that points programs at them. Ends on SIGINT or SIGTERM with code 0.",
    )
    serve.add_argument(
        "--venue", action="append", default=[], type=_counted, metavar="NAME:N",
        help="serve NAME (kraken, binance, hyperliquid, bitmex) with its first N markets",
    )  # fmt: skip
    serve.add_argument(
        "--replay", action="append", default=[], type=_recording, metavar="NAME:SYMBOL=FILE",
        help="serve a recorded market, for instance kraken:BTC/USDT=trades.json.gz",
    )  # fmt: skip
    serve.add_argument(
        "--port", action="append", default=[], type=_port, metavar="NAME=PORT", help="instead of a free port"
    )
    serve.add_argument("--seed", type=int, default=7, help="the same seed makes the same history (7)")
    serve.add_argument(
        "--clock", help="<exchange epoch s>@<unix epoch s>x<speed>; default FULLON_CLOCK, else real time"
    )
    serve.add_argument("--activity", type=float, default=1.0, help="multiplies how often the markets trade (1.0)")
    serve.add_argument(
        "--recent-listing", type=_instant, metavar="TIME",
        help="when every fifth market opens: epoch seconds or ISO time; else all are years old",
    )  # fmt: skip
    serve.add_argument("--mixed-frames", action="store_true", help="Kraken puts several symbols into one trade message")
    serve.add_argument("--no-rate-limits", action="store_true", help="let every request through")
    serve.set_defaults(run=lambda options: asyncio.run(_serve(_market(options))))
    return parser


def _market(options: argparse.Namespace) -> SimulatedMarket:
    markets: dict[str, list[SymbolSpec | Tape]] = defaultdict(list)
    for venue, number in options.venue:
        markets[venue] += default_symbols(
            venue, number, activity=options.activity, recent_listing_us=options.recent_listing
        )
    for venue, symbol, path in options.replay:
        markets[venue].append(replay(venue, symbol, read_recording(path)))
    if not markets:
        raise ValueError("no venue is given; for instance --venue kraken:5")
    return SimulatedMarket(
        markets,
        seed=options.seed,
        clock=None if options.clock is None else MarketClock.parse(options.clock),
        ports=dict(options.port),
        rate_limits=not options.no_rate_limits,
        mixed_frames=options.mixed_frames,
    )


async def _serve(market: SimulatedMarket) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with market:
        ready = {"origins": market.origins(), "environment": market.environment(), "seed": market.seed}
        print(json.dumps(ready), flush=True)
        await stop.wait()


def _counted(text: str) -> tuple[str, int]:
    venue, _, number = text.partition(":")
    if not number.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:N, for instance kraken:5")
    return venue, int(number)


def _recording(text: str) -> tuple[str, str, Path]:
    market, _, path = text.partition("=")
    venue, _, symbol = market.partition(":")
    if not (venue and symbol and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:SYMBOL=FILE, for instance kraken:BTC/USD=trades.json")
    return venue, symbol, Path(path)


def _port(text: str) -> tuple[str, int]:
    venue, _, port = text.partition("=")
    if not port.isdecimal() or not 0 <= int(port) < 65_536:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PORT, for instance kraken=9101")
    return venue, int(port)


def _instant(text: str) -> int:
    try:
        return round(float(text) * SECOND_US)
    except ValueError:
        pass
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither epoch seconds nor an ISO time") from None
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * SECOND_US)
