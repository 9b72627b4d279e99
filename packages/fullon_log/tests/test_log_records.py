"""What a record looks like, and that no record can do harm."""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum

import loguru
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullon_log import configure_logger, get_component_logger, logger
from fullon_log.formats import FORMATS

log = get_component_logger("fullon.ohlcv.daemon")
Configure = Callable[..., None]


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Side(Enum):
    BUY = "buy"


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_shows_level_message_and_fields(name: str, configure: Configure, records: list[str]) -> None:
    configure(format=name)
    log.info("candles saved", symbol="BTC/USD", rows=720)
    (record,) = records
    assert "INFO" in record
    assert "candles saved" in record
    assert record.endswith("\n")
    if name == "json":
        document = json.loads(record)
        assert (document["symbol"], document["rows"]) == ("BTC/USD", 720)
        assert document["component"] == "fullon.ohlcv.daemon"
        assert datetime.fromisoformat(document["timestamp"]).tzinfo == UTC
    else:
        assert "symbol=BTC/USD rows=720" in record


def test_formats_differ_in_what_they_add(configure: Configure, records: list[str]) -> None:
    for name in ("development", "detailed", "trading", "beautiful", "minimal"):
        configure(format=name)
        log.info("x", exchange="kraken", symbol="BTC/USD")
    development, detailed, trading, beautiful, minimal = records
    assert "test_log_records:test_formats_differ_in_what_they_add:" in development
    assert "MainThread" in detailed
    assert "kraken BTC/USD | x" in trading
    assert "fullon.ohlcv.daemon" in beautiful
    assert minimal == "INFO x exchange=kraken symbol=BTC/USD\n"


def test_a_value_of_several_words_is_quoted(configure: Configure, records: list[str]) -> None:
    configure(format="minimal")
    log.info("x", reason='read "timed" out', empty="", none=None, yes=True, price=Decimal("1.50"), side=Side.BUY)
    assert records == ['INFO x reason="read \\"timed\\" out" empty="" none=null yes=true price=1.50 side=buy\n']


@pytest.mark.parametrize("message", ["{} {0} {name}", "100% %s %(x)d %", "<red>x</red>", "\\", "{", "}}", ""])
def test_marks_in_messages_are_plain_text(message: str, configure: Configure, records: list[str]) -> None:
    configure(format="minimal")
    log.info(message, value=message)
    assert records[0].startswith(f"INFO {message}".rstrip())


@pytest.mark.parametrize("message", [None, 5, b"raw", ["a"], {"a": 1}, ValueError("x"), Unprintable()])
def test_messages_of_any_type_are_accepted(message: object, configure: Configure, records: list[str]) -> None:
    configure(format="json")
    log.warning(message, value=message)
    assert len(records) == 1
    assert json.loads(records[0])["message"]


def test_fields_may_have_the_names_of_everything(configure: Configure, records: list[str]) -> None:
    configure(format="json")
    log.info("x", message="m", self="s", level="l", timestamp="t", component="c", name="n", record=1, extra=2)
    document = json.loads(records[0])
    assert (document["message"], document["level"], document["component"]) == ("x", "INFO", log.name)
    assert (document["field_message"], document["field_level"]) == ("m", "l")
    assert (document["self"], document["name"], document["record"], document["extra"]) == ("s", "n", 1, 2)


def test_a_message_cannot_forge_a_record_or_drive_the_terminal(configure: Configure, records: list[str]) -> None:
    configure(format="minimal")
    log.info("first\nERROR forged\x1b[2J\r", value="a\nERROR forged\x1b[2J")
    assert "\x1b" not in records[0]
    assert "\r" not in records[0]
    assert not any(line.startswith("ERROR") for line in records[0].splitlines())


def test_a_value_too_long_to_read_is_cut(configure: Configure, records: list[str]) -> None:
    configure(format="json")
    log.info("x", frame=b"a" * 1_000_000, text="b" * 1_000_000, rows=list(range(100_000)), number=10**5_000)
    assert len(records[0]) < 12_000


any_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner),
    max_leaves=8,
)


@given(message=st.text(), fields=st.dictionaries(st.text(min_size=1), any_value, max_size=4))
def test_json_records_are_one_valid_line_each(message: str, fields: dict[str, object]) -> None:
    records: list[str] = []
    configure_logger(format="json", sink=records.append)
    fields.pop("exc_info", None)
    log.info(message, **fields)
    (record,) = records
    assert record.count("\n") == 1
    assert json.loads(record)["component"] == log.name


def test_exc_info_adds_the_traceback(configure: Configure, records: list[str]) -> None:
    configure(format="minimal")
    error = ValueError("page 2")
    try:
        raise error
    except ValueError:
        log.error("a", exc_info=True)
        log.exception("b")
    log.error("c", exc_info=error)
    log.error("d", exc_info=(ValueError, error, error.__traceback__))
    log.error("e", exc_info=True)
    log.error("f", exc_info=False)
    *traced, nothing_handled, switched_off = records
    assert all("Traceback" in record and "ValueError: page 2" in record for record in traced)
    assert (nothing_handled, switched_off) == ("ERROR e\n", "ERROR f\n")


def test_a_traceback_of_an_exception_without_text_is_logged(configure: Configure, records: list[str]) -> None:
    class Silent(Exception):
        __str__ = Unprintable.__str__

    configure(format="json")
    log.error("x", exc_info=Silent(), value=Silent())
    assert "Silent" in json.loads(records[0])["exception"]


def test_the_level_is_obeyed_and_what_is_below_costs_no_text(configure: Configure, records: list[str]) -> None:
    configure(level="warning", format="minimal")
    asked = []

    class Asked:
        def __str__(self) -> str:
            asked.append(self)
            return "text"

    log.debug(Asked(), value=Asked())
    log.info(Asked())
    assert (records, asked) == ([], [])
    log.warning("w")
    log.critical("c")
    assert records == ["WARNING w\n", "CRITICAL c\n"]


def test_the_module_logger_works(configure: Configure, records: list[str]) -> None:
    configure(format="trading")
    logger.info("hello")
    assert "fullon | hello" in records[0]


def test_libraries_come_through_at_warning_and_above_once(
    configure: Configure, records: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    configure(format="minimal")
    library = logging.getLogger("asyncpg.pool")
    library.info("not seen")
    library.warning("pool of %d is exhausted", 8)
    library.error("failed", exc_info=OSError("gone"))
    assert records[0] == "WARNING pool of 8 is exhausted\n"
    assert records[1].startswith("ERROR failed\n    OSError: gone")
    assert len(records) == 2
    assert capfd.readouterr() == ("", "")


def test_records_of_loguru_itself_come_through_masked(configure: Configure, records: list[str]) -> None:
    configure(format="json")
    loguru.logger.bind(password="hunter2", symbol="X").warning("redis://:hunter2@host is {}", "away")
    document = json.loads(records[0])
    assert document["symbol"] == "X"
    assert "hunter2" not in records[0]
