"""The preconditions that `doctor` looks at; each check says what it found and, where that is wrong, the remedy."""

import asyncio
import os
import re
import resource
import stat
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullon_cache import CacheError
from fullon_cache.connection_pool import ConnectionPool
from fullon_exchange import open_exchange
from fullon_exchange.clock import Clock
from fullon_exchange.errors import ExchangeError
from fullon_exchange.names import describe_unlisted
from fullon_exchange.native import NativeExchange
from fullon_exchange.origin import origin_variable, resolve
from fullon_exchange.proxies import describe, proxy_variable
from fullon_exchange.registry import NATIVE_EXCHANGES
from fullon_ohlcv.connection import Target, connect, translated
from fullon_ohlcv.errors import StorageError
from fullon_ohlcv.rights import missing_grants
from fullon_ohlcv.statements import migrations
from fullon_ohlcv.timescale import Policy, Usage, find_retention_policies, read_usage
from fullon_ohlcv.writer_lock import find_writer
from fullon_ohlcv_service.commands.environment import is_demo, say_command
from fullon_ohlcv_service.config.database_config import WantedSymbol, by_exchange, load_wanted_symbols
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_ohlcv_service.disk_watch import read_room
from fullon_ohlcv_service.health import CLOCK_OFF_S, SYNCHRONISE
from fullon_orm.errors import DatabaseUnavailable, OrmError

if TYPE_CHECKING:
    from asyncpg import Connection, Record

POSTGRES_MIN = 150_000
REDIS_MIN = (6, 2)
SKEW_WARN_S = 2.0
FILES_MIN = 1024
CLOSE_S = 5.0
TIMESCALE_ROWS_MIN = 20_000_000
CONNECT_S = 2.0
CONNECTIONS_MIN = 4
CONNECTIONS_MAX = 25
"""Of a daemon: the writer's lock, a listener, and 1 to 8 for the series and 1 to 15 for what is wanted."""
CONNECTIONS_LEFT = """
SELECT least(
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int - count(*),
    (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user AND rolconnlimit >= 0)
        - count(*) FILTER (WHERE usename = current_user),
    (SELECT datconnlimit FROM pg_database WHERE datname = current_database() AND datconnlimit >= 0)
        - count(*) FILTER (WHERE datname = current_database())
)::int
FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
"""What the server still grants this user, this connection not counted; limits that there are not are null."""


class Verdict(StrEnum):
    """How a precondition is."""

    WELL = "well"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Check:
    """One precondition; the remedy is empty where none is needed."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


def well(name: str, found: str) -> Check:
    """A precondition that holds."""
    return Check(name, Verdict.WELL, found)


def warn(name: str, found: str, remedy: str) -> Check:
    """One that holds, but not as one would wish."""
    return Check(name, Verdict.WARNING, found, remedy)


def fail(name: str, found: str, remedy: str) -> Check:
    """One that does not hold."""
    return Check(name, Verdict.FAILED, found, remedy)


def check_settings(env_file: Path) -> Iterator[Check]:
    """Look at the environment and the `.env` file."""
    try:
        OhlcvServiceConfig.from_env()
        yield well("settings", "every OHLCV_ variable can be used")
    except ValueError as error:
        yield fail("settings", str(error), "correct it in the environment or in .env; .env.example explains each")
    known = {f"OHLCV_{name.upper()}" for name in OhlcvServiceConfig.model_fields} | {"OHLCV_SCHEMA"}
    for name in sorted(set(os.environ) - known):
        if name.startswith("OHLCV_"):
            near = get_close_matches(name, known, n=1)
            yield warn("settings", f"{name} means nothing", f"did you mean {near[0]}?" if near else "remove it")
    if env_file.exists() and stat.S_IMODE(env_file.stat().st_mode) & 0o077:
        mode = f"{stat.S_IMODE(env_file.stat().st_mode):o}"
        yield warn("settings", f"others can read {env_file} (mode {mode})", f"chmod 600 {env_file}")
    yield well("time zone", f"{time.strftime('%Z')} here; everything stored and shown is UTC")


def check_clock() -> Iterator[Check]:
    """Look at an accelerated clock."""
    text = os.environ.get("FULLON_CLOCK", "")
    try:
        clock = Clock.from_env()
    except ValueError as error:
        yield fail("clock", str(error), "unset FULLON_CLOCK: it is for simulated markets")
        return
    if text:
        yield warn("clock", f"accelerated {clock.speed:g} times by FULLON_CLOCK", "unset it for real exchanges")


def check_origins(*, is_demo: bool) -> Iterator[Check]:
    """Look at exchanges that are moved elsewhere, which in the demo they ought to be."""
    variables = {origin_variable(name): name for name in NATIVE_EXCHANGES}
    for variable, value in sorted(os.environ.items()):
        if not re.fullmatch(r"FULLON_\w+_ORIGIN", variable) or not value.strip():
            continue
        name = variables.get(variable)
        if name is None:
            near = get_close_matches(variable, variables, n=1)
            yield warn("origins", f"{variable} moves no exchange", f"did you mean {near[0]}?" if near else "remove it")
            continue
        try:
            resolve(name, "https://example.invalid/")
        except ValueError as error:
            yield fail("origins", str(error), f"correct {variable}, or unset it")
        else:
            found = f"{name} is read from {value}"
            if is_demo:
                yield well("origins", f"{found}, the demo's market")
            else:
                yield warn("origins", found, f"unset {variable} for the real exchange")


def check_machine(directory: Path | None, config: OhlcvServiceConfig) -> Iterator[Check]:
    """Look at disk and open files; `directory` is that of the embedded servers."""
    place = directory or Path.cwd()
    room = read_room(place, config)
    found = f"{room.free_bytes / 1e9:,.1f} GB free at {place}"
    if room.is_short:
        yield fail("disk", room.sentence, "make room, or move the servers with FULLON_DATA_DIR")
    elif room.is_low:
        yield warn("disk", found, "make room soon: a busy symbol takes about 1 GB of trades a month")
    else:
        yield well("disk", found)
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < FILES_MIN:
        yield warn("open files", f"{files} are allowed", f"raise it: ulimit -n {FILES_MIN}, or LimitNOFILE= in systemd")
    else:
        yield well("open files", f"{files:,} are allowed")


async def check_database(config: OhlcvServiceConfig) -> AsyncIterator[Check]:
    """Look at the series database: reachable, version, schema, rights, TimescaleDB, its clock."""
    remedy = (
        "start the server, or correct DB_HOST, DB_PORT, DB_USER and DB_PASSWORD; `fullon-ohlcv init` makes databases"
    )
    try:
        target = Target.from_env(test=config.test_mode)
        with translated(target, "connect"):
            connection = await connect(target)
        try:
            with translated(target, "examine the database"):
                found = [check async for check in _check_server(connection, target)]
        finally:
            await connection.close(timeout=CLOSE_S)
    except StorageError as error:
        # The sentence of a setting that has to be corrected says itself what helps.
        yield fail("PostgreSQL", str(error), remedy if error.retryable else "")
        return
    for check in found:
        yield check


async def check_encryption(connection: "Connection[Record]", target: Target) -> AsyncIterator[Check]:
    """Look at whether the way to the server is encrypted and the server is who it says, and at what stands between."""
    is_encrypted = await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    if await connection.fetchval("SELECT pg_backend_pid()") != connection.get_server_pid():
        yield well("pooler", "a connection pooler stands before PostgreSQL and keeps sessions")
    elif target.host.startswith("/"):
        yield well("TLS", "not needed on a unix socket")
    elif not is_encrypted:
        is_here = target.host == "localhost" or target.host.startswith("127.") or target.host == "::1"
        remedy = "DB_SSLMODE=verify-full, with DB_SSLROOTCERT"
        yield well("TLS", "none, on loopback") if is_here else warn("TLS", f"none to {target.host}", remedy)
    elif target.sslmode.startswith("verify-") or target.sslrootcert:
        yield well("TLS", f"encrypted, the certificate is verified ({target.sslmode})")
    else:
        remedy = "DB_SSLMODE=verify-full, with DB_SSLROOTCERT"
        yield warn("TLS", f"encrypted, but the certificate is not verified ({target.sslmode})", remedy)


async def _check_server(connection: "Connection[Record]", target: Target) -> AsyncIterator[Check]:
    number = int(await connection.fetchval("SHOW server_version_num"))
    version = await connection.fetchval("SHOW server_version")
    if number < POSTGRES_MIN:
        yield fail("PostgreSQL", f"version {version}", "update it to 15 or newer")
    else:
        yield well("PostgreSQL", f"version {version}, {target}")
    begun_s = time.time()
    theirs = (await connection.fetchval("SELECT clock_timestamp()")).timestamp()
    skew_s = abs(theirs - (begun_s + time.time()) / 2)
    if skew_s > SKEW_WARN_S:
        yield warn("PostgreSQL", f"its clock differs from ours by {skew_s:.1f} s", "synchronise both machines: NTP")
    expected = max(migrations())
    is_ours = await connection.fetchval(
        "SELECT to_regclass(quote_ident(current_schema()) || '.schema_version') IS NOT NULL"
    )
    found = await connection.fetchval("SELECT max(version) FROM schema_version") if is_ours else None
    if found is None:
        yield fail("schema", f"{target.database} has no tables", f"run {say_command('init')}")
        return
    if found > expected:
        yield fail("schema", f"version {found}, this program knows {expected}", "update this program")
    elif found < expected:
        yield warn("schema", f"version {found}, this program has {expected}", "the next start migrates it")
    else:
        yield well("schema", f"version {found}")
    if grants := await missing_grants(connection):
        yield fail("permissions", f"{target.user} lacks rights", "; ".join(grants))
    else:
        yield well("permissions", f"{target.user} may read, write and create")
    async for check in check_encryption(connection, target):
        yield check
    left = await connection.fetchval(CONNECTIONS_LEFT)
    if left < CONNECTIONS_MIN:
        yield warn(
            "connections", f"{left} are left; a daemon takes {CONNECTIONS_MIN} to {CONNECTIONS_MAX}",
            "raise max_connections, or the user's CONNECTION LIMIT; with 3 it collects, slower",
        )  # fmt: skip
    else:
        yield well("connections", f"{left} are left; a daemon takes {CONNECTIONS_MIN} to {CONNECTIONS_MAX}")
    if found == expected:
        for check in judge_timescale(await read_usage(connection), await find_retention_policies(connection)):
            yield check
    writer = await find_writer(connection)
    if writer is None:
        yield warn("daemon", "does not run", f"{say_command('run')} starts it")
    else:
        yield well("daemon", f"runs, {writer}")


def judge_timescale(usage: Usage, policies: Sequence[Policy]) -> Iterator[Check]:
    """Judge whether TimescaleDB is used where it would help, and whether it removes what it should not (pure)."""
    if usage.used_version:
        yield well("TimescaleDB", f"version {usage.used_version}")
    elif usage.is_offered and usage.rows >= TIMESCALE_ROWS_MIN:
        found = f"is offered and not used; {usage.rows / 1e6:,.0f} million rows would take a fifth of the space"
        yield warn("TimescaleDB", found, f"stop the daemon, then {say_command('database use-timescale')}")
    elif usage.is_offered:
        yield well(
            "TimescaleDB", f"is offered and not used: it helps from {TIMESCALE_ROWS_MIN / 1e6:,.0f} million rows"
        )
    else:
        yield well("TimescaleDB", "not there: plain tables, which do up to some hundred million rows")
    for policy in policies:
        days = "OHLCV_KEEP_TRADES_DAYS" if policy.table == "trades" else "OHLCV_KEEP_CANDLES_DAYS"
        yield warn(
            "retention",
            f"a policy that is not ours drops {policy.table} after {policy.drop_after}, and the ledger does not know",
            f"SELECT remove_retention_policy('{policy.table}'), and set {days}",
        )


async def check_http(config: OhlcvServiceConfig, *, daemon_runs: bool) -> AsyncIterator[Check]:
    """Look at where metrics and health are served."""
    address = config.http_address
    if address is None:
        yield well("HTTP", "not served: OHLCV_HTTP_BIND is empty")
        return
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104 - what somebody else said
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(here, address.port)
        writer.close()
        is_open = True
    except OSError:  # a time-out is one, too
        is_open = False
    if daemon_runs and is_open:
        yield well("HTTP", f"http://{address}/status answers, /metrics, /live and /ready beside it")
    elif daemon_runs:
        yield warn(
            "HTTP", f"the daemon runs, but nobody answers at {address}", f"see {say_command('logs --level warning')}"
        )
    elif is_open and address.port:
        remedy = "stop it, or name a free port in OHLCV_HTTP_BIND; collecting goes on without"
        yield warn("HTTP", f"{address} is taken by another program", remedy)
    else:
        yield well("HTTP", f"{address} is free")
    if not (here in ("localhost", "::1") or here.startswith("127.")):
        yield warn("HTTP", f"others can read {address}", "OHLCV_HTTP_BIND=127.0.0.1:9464, or a firewall")


async def check_redis() -> AsyncIterator[Check]:
    """Look at Redis: reachable, version, whether it may throw away what is in it."""
    try:
        pool = await ConnectionPool.shared()
        facts: dict[str, Any] = await pool.run("INFO")
    except CacheError as error:
        remedy = "start the server, or correct REDIS_HOST, REDIS_PORT and REDIS_PASSWORD"
        if error.code == "NOPERM":
            remedy = "ACL SETUSER … +@all -@dangerous +info +keys, with the keys and channels of docs/deploying.md"
        yield fail("Redis", str(error), remedy)
        return
    version = str(facts.get("redis_version", "0"))
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < REDIS_MIN:
        yield fail("Redis", f"version {version}", "update it to 6.2 or newer")
    else:
        yield well("Redis", f"version {version}, {facts.get('used_memory_human', '?')} used")
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield warn("Redis", f"throws entries away when full ({policy})", "CONFIG SET maxmemory-policy noeviction")
    if not int(facts.get("aof_enabled", 1)):
        yield warn(
            "Redis", "does not keep its streams over a restart", "CONFIG SET appendonly yes; what is lost is re-read"
        )


async def check_wanted(config: OhlcvServiceConfig) -> AsyncIterator[Check]:
    """Look at what is wanted, and at every exchange of it."""
    try:
        wanted = await load_wanted_symbols(config)
    except DatabaseUnavailable:
        return  # said already
    except OrmError as error:
        yield fail("symbols", str(error), f"run {say_command('init')}, or correct DB_NAME")
        return
    if not wanted:
        yield warn("symbols", "none is collected", f"{say_command('symbols add kraken:BTC/USD')} adds one")
        return
    grouped = by_exchange(wanted)
    yield well("symbols", f"{len(wanted)} are collected, from {', '.join(sorted(grouped))}")
    for name, symbols in sorted(grouped.items()):
        async for check in _check_exchange(name, symbols):
            yield check


async def _check_exchange(name: str, symbols: set[WantedSymbol]) -> AsyncIterator[Check]:
    try:
        opened = open_exchange(name)
        yield well(f"{name} network", describe(name, opened.addresses()))
        async with opened as exchange:
            clock = Clock.from_env()
            begun_us = clock.now_us()
            theirs_us = await exchange.fetch_time()
            ours_us = (begun_us + clock.now_us()) // 2
            delay_s = (clock.now_us() - begun_us) / 1e6 / clock.speed
            listings = await exchange.fetch_listings()
            used = exchange.budget_use() if isinstance(exchange, NativeExchange) else None
    except (ExchangeError, ValueError) as error:
        moved = os.environ.get(origin_variable(name))
        remedy = f"does {moved} run? unset {origin_variable(name)} for the real exchange" if moved else ""
        if is_demo():
            remedy = f"the demo's market runs while {say_command('run')} does"
        yield fail(
            name,
            str(error),
            remedy
            or "check the network, and whether the exchange serves your country; "
            f"{proxy_variable(name)} names a proxy for it",
        )
        return
    yield well(name, f"answers in {delay_s * 1000:.0f} ms, lists {len(listings):,} symbols")
    skew_s = max(0.0, abs(theirs_us - ours_us) / 1e6 - delay_s * clock.speed)
    found = f"ours differs by {skew_s:.1f} s"
    remedy = f"synchronise this machine: {SYNCHRONISE}"
    if skew_s > CLOCK_OFF_S:
        yield fail(f"{name} clock", found, remedy)
    elif skew_s > SKEW_WARN_S:
        yield warn(f"{name} clock", found, remedy)
    else:
        yield well(f"{name} clock", found)
    if used is not None:
        yield well(f"{name} rate budget", f"{used.per_s:g} a second, {used.burst:g} at once")
    unlisted = sorted(one.symbol for one in symbols if one.symbol not in listings)
    if unlisted:
        remedy = (
            f"{say_command(f'symbols remove {name}:{unlisted[0]}')}; {describe_unlisted(name, unlisted[0], listings)}"
        )
        yield fail(f"{name} symbols", f"it does not list {', '.join(unlisted[:5])}", remedy)
