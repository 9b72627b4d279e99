"""`fullon-simulator fault` and its siblings: a running market told what is to go wrong, over its control endpoint."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from fullon_simulator.errors import ControlRefused
from fullon_simulator.faults_kinds import describe_kinds
from fullon_simulator.venue import CONTROL_PATH

_TIMEOUT_S = 30.0


def add_control_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands with `add`, as `add_parser` of subparsers does; each sets `run`."""
    fault = add(
        "fault", help="let something go wrong in a running market",
        description="Begin a fault. KIND and its parameters are those that `kinds` lists; a value is JSON or a word.",
    )  # fmt: skip
    _origin(fault)
    fault.add_argument("kind", metavar="KIND")
    fault.add_argument(
        "parameters", nargs="*", type=_parameter, metavar="NAME=VALUE", help="for instance symbol=BTC/USD share=0.2"
    )
    fault.add_argument("--venue", metavar="NAME", help="in this venue or in `all`; default: whose origin it is")
    fault.add_argument(
        "--for", type=float, dest="for_s", metavar="SECONDS", help="of the market's clock; else until healed"
    )
    fault.set_defaults(run=_fault)

    heal = add("heal", help="end a fault, or all of them", description="End the fault NUMBER, or all of them.")
    _origin(heal)
    heal.add_argument("number", nargs="?", type=int, metavar="NUMBER")
    heal.set_defaults(run=lambda options: _ask(options.origin, f"faults/{options.number or ''}", method="DELETE"))

    faults = add("faults", help="show what is wrong and was wrong in a running market")
    _origin(faults)
    faults.set_defaults(run=lambda options: _ask(options.origin, "faults"))

    scenario = add(
        "scenario", help="let faults happen one after the other",
        description="Play a scenario written down in FILE (- is standard input), or one drawn from a seed.",
    )  # fmt: skip
    _origin(scenario)
    scenario.add_argument("file", nargs="?", type=Path, metavar="FILE")
    scenario.add_argument("--draw", type=int, metavar="SEED", help="draw it instead; what was drawn is printed")
    scenario.add_argument("--length", type=float, default=600.0, metavar="SECONDS", help="of a drawn one (600)")
    scenario.add_argument(
        "--every", type=float, default=20.0, metavar="SECONDS", help="about one fault in so many (20)"
    )
    scenario.set_defaults(run=_scenario)

    kinds = add("kinds", help="list every kind of fault and its parameters")
    kinds.set_defaults(run=_kinds)


def _origin(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "origin", type=_address, metavar="ORIGIN", help="of a venue, as `serve` prints it: http://127.0.0.1:9101"
    )


def _address(text: str) -> str:
    address = urlsplit(text)
    if address.scheme != "http" or not address.hostname:
        raise argparse.ArgumentTypeError(f"{text!r} is not an origin, for instance http://127.0.0.1:9101")
    return f"http://{address.netloc}"


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, for instance share=0.2")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _fault(options: argparse.Namespace) -> None:
    place = {"kind": options.kind, "venue": options.venue, "for_s": options.for_s}
    body = {name: value for name, value in place.items() if value is not None} | dict(options.parameters)
    _ask(options.origin, "faults", body)


def _scenario(options: argparse.Namespace) -> None:
    if (options.file is None) == (options.draw is None):
        raise ValueError("a scenario is either FILE or --draw SEED")
    if options.draw is not None:
        body: Any = {"draw": options.draw, "length_s": options.length, "every_s": options.every}
    else:
        try:
            text = sys.stdin.read() if options.file == Path("-") else options.file.read_text()
            body = json.loads(text)
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot read the scenario {options.file}: {error}") from error
    _ask(options.origin, "scenario", body)


def _kinds(options: argparse.Namespace) -> None:
    for kind in describe_kinds():
        print(f"{kind['kind']}\n    {kind['sentence']}")
        for name, parameter in kind["parameters"].items():
            print(f"    {name}={json.dumps(parameter['default'])}  {parameter['means']}; {parameter['allowed']}")


def _ask(origin: str, path: str, body: Any = None, *, method: str | None = None) -> None:
    """Ask the control endpoint and print its answer."""
    sent = None if body is None else json.dumps(body).encode()
    request = Request(f"{origin}{CONTROL_PATH}/{path}".rstrip("/"), sent, method=method)  # noqa: S310 - http, checked
    try:
        with urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - http, checked
            print(answer.read().decode())
    except HTTPError as error:
        raise ControlRefused(origin, _reason(error)) from error
    except (URLError, OSError) as error:
        raise ControlRefused(origin, f"nothing answers there: {error}") from error


def _reason(error: HTTPError) -> str:
    with error:
        text = error.read().decode(errors="replace")
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return f"{error} ({text[:200]})"
