"""The published contract of fullon_orm, line by line."""

import importlib
import inspect as python_inspect
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import ClassVar

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import create_async_engine

import fullon_orm
from fullon_orm import DatabaseContext
from fullon_orm.database import DatabaseManager, create_database_url
from fullon_orm.errors import (
    AlreadyExists,
    DatabaseMissing,
    DatabaseUnavailable,
    InvalidValue,
    ReferenceMissing,
    StillReferenced,
)
from fullon_orm.models import (
    Bot,
    CatExchange,
    CatStrategy,
    Exchange,
    Feed,
    Strategy,
    Symbol,
    Trade,
    User,
)
from fullon_orm.models.user import RoleEnum


class TestNames:
    """`from fullon_orm import DatabaseContext, init_db`; the other published places."""

    @pytest.mark.parametrize(
        "path",
        [
            "fullon_orm.DatabaseContext",
            "fullon_orm.init_db",
            "fullon_orm.database_context.DatabaseContext",
            "fullon_orm.base.Base",
            "fullon_orm.database.create_database_url",
            "fullon_orm.database.DatabaseManager",
            "fullon_orm.models.User",
            "fullon_orm.models.Exchange",
            "fullon_orm.models.CatExchange",
            "fullon_orm.models.Symbol",
            "fullon_orm.models.Trade",
            "fullon_orm.models.Bot",
            "fullon_orm.models.CatStrategy",
            "fullon_orm.models.Strategy",
            "fullon_orm.models.Feed",
            "fullon_orm.models.user.RoleEnum",
            "fullon_orm.repositories.UserRepository",
            "fullon_orm.repositories.ExchangeRepository",
            "fullon_orm.repositories.SymbolRepository",
            "fullon_orm.repositories.BotRepository",
            "fullon_orm.repositories.StrategyRepository",
            "fullon_orm.notifications.listen",
        ],
    )
    def test_is_published(self, path: str) -> None:
        module, name = path.rsplit(".", 1)
        assert hasattr(importlib.import_module(module), name)

    def test_database_context_is_one_class(self) -> None:
        assert fullon_orm.DatabaseContext is importlib.import_module("fullon_orm.database_context").DatabaseContext

    def test_repositories_take_a_session(self) -> None:
        for name in fullon_orm.repositories.__all__:
            constructor = python_inspect.signature(getattr(fullon_orm.repositories, name))
            assert list(constructor.parameters) == ["session"]


class TestDatabase:
    """`create_database_url(database=None)`; `DatabaseManager()` with `create_database`, `drop_database`."""

    async def test_the_url_connects(self, database: str) -> None:
        engine = create_async_engine(create_database_url())
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT current_database()")) == database
        await engine.dispose()

    async def test_the_url_of_a_named_database_connects(self, database: str) -> None:
        engine = create_async_engine(create_database_url("postgres"))
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT current_database()")) == "postgres"
        await engine.dispose()

    async def test_create_and_drop(self, missing_database: str) -> None:
        manager = DatabaseManager()
        assert await manager.create_database(missing_database)
        assert not await manager.create_database(missing_database)
        assert await manager.drop_database(missing_database)
        assert not await manager.drop_database(missing_database)

    async def test_drop_ends_the_sessions_in_it(self, missing_database: str) -> None:
        await fullon_orm.init_db()
        async with DatabaseContext() as db:
            await db.users.get_user_id("nobody")
            assert await DatabaseManager().drop_database(missing_database)
            with pytest.raises(DatabaseUnavailable):
                await db.users.get_user_id("nobody")


class TestContext:
    """`async with DatabaseContext() as db`: explicit commit, rollback on exception, readable afterwards."""

    async def test_offers_repositories_and_session(self, db: DatabaseContext) -> None:
        for repository in (db.users, db.exchanges, db.symbols, db.bots, db.strategies):
            assert repository.session is db.session

    async def test_commit_is_explicit(self, database: str) -> None:
        async with DatabaseContext() as db:
            await db.exchanges.create_cat_exchange("kraken")
        async with DatabaseContext() as db:
            assert await db.exchanges.get_cat_exchanges() == []
            await db.exchanges.create_cat_exchange("kraken")
            await db.commit()
        async with DatabaseContext() as db:
            assert [venue.name for venue in await db.exchanges.get_cat_exchanges()] == ["kraken"]

    async def test_exception_rolls_back_and_passes(self, database: str) -> None:
        with pytest.raises(RuntimeError, match="mine"):  # noqa: PT012
            async with DatabaseContext() as db:
                venue = await db.exchanges.create_cat_exchange("kraken")
                raise RuntimeError("mine")
        assert venue.name == "kraken"
        async with DatabaseContext() as db:
            assert await db.exchanges.get_exchange_cat_id("kraken") is None

    async def test_rollback_undoes_to_the_last_commit(self, db: DatabaseContext) -> None:
        await db.exchanges.create_cat_exchange("kraken")
        await db.commit()
        await db.exchanges.create_cat_exchange("binance")
        await db.rollback()
        assert [venue.name for venue in await db.exchanges.get_cat_exchanges()] == ["kraken"]

    async def test_flush_gives_keys_without_committing(self, db: DatabaseContext) -> None:
        venue = CatExchange(name="kraken")
        db.session.add(venue)
        await db.flush()
        assert venue.cat_ex_id is not None
        async with DatabaseContext() as other:
            assert await other.exchanges.get_exchange_cat_id("kraken") is None

    async def test_read_objects_stay_readable(self, account: Exchange, symbol: Symbol) -> None:
        async with DatabaseContext() as db:
            read_symbol = await db.symbols.get_by_symbol("BTC/USD")
            [read_account] = await db.exchanges.get_user_exchanges(account.uid)
            await db.commit()
        assert read_symbol is not None
        assert read_symbol.cat_exchange.name == "kraken"
        assert read_symbol.exchange_name == "kraken"
        assert read_account.cat_exchange.name == "kraken"

    async def test_added_objects_stay_readable(self, user: User, kraken: CatExchange) -> None:
        async with DatabaseContext() as db:
            symbol = await db.symbols.add_symbol(Symbol(symbol="ETH/USD", cat_ex_id=kraken.cat_ex_id))
            account = await db.exchanges.add_user_exchange(
                Exchange(uid=user.uid, cat_ex_id=kraken.cat_ex_id, name="second")
            )
            bot = await db.bots.add_bot(Bot(uid=user.uid, name="bot"))
            await db.commit()
        assert (symbol.symbol_id, symbol.active, symbol.cat_exchange.name) == (1, True, "kraken")
        assert (account.cat_exchange.name, account.timestamp.tzinfo) == ("kraken", UTC)
        assert (bot.exchanges, bot.strategies) == ([], [])

    async def test_objects_of_plain_queries_stay_readable(self, symbol: Symbol) -> None:
        async with DatabaseContext() as db:
            [read] = (await db.session.scalars(select(Symbol))).all()
        assert read.exchange_name == "kraken"

    async def test_a_failed_connection_raises(self, missing_database: str) -> None:
        with pytest.raises(DatabaseMissing):
            async with DatabaseContext():
                pytest.fail("entered without a connection")

    async def test_can_be_entered_again(self, database: str) -> None:
        context = DatabaseContext()
        for _ in range(2):
            async with context as db:
                assert await db.users.get_user_id("nobody") is None
        with pytest.raises(RuntimeError, match="async with"):
            _ = context.users


class TestUsers:
    """users: `get_user_id(mail)`, `add_user(User)`, `get_by_email`, `get_by_id`. Passwords are hashed."""

    async def test_add_and_find(self, db: DatabaseContext) -> None:
        added = await db.users.add_user(
            User(
                mail="admin@fullon",
                password="secret",
                f2a="---",
                role=RoleEnum.ADMIN,
                name="robert",
                lastname="plant",
                phone="666666666",
                id_num="3242",
            )
        )
        assert await db.users.get_user_id("admin@fullon") == added.uid
        assert (await db.users.get_by_email("admin@fullon")) is added
        assert (await db.users.get_by_id(added.uid)) is added
        assert (added.role, added.active, added.timestamp.tzinfo) == (RoleEnum.ADMIN, True, UTC)

    async def test_not_found_is_none(self, db: DatabaseContext) -> None:
        assert await db.users.get_user_id("nobody@fullon") is None
        assert await db.users.get_by_email("nobody@fullon") is None
        assert await db.users.get_by_id(999) is None

    async def test_password_is_stored_hashed(self, db: DatabaseContext) -> None:
        user = await db.users.add_user(User(mail="a@fullon", password="correct horse"))
        stored = await db.session.scalar(text("SELECT password FROM users"))
        assert stored == user.password
        assert stored.startswith("$argon2id$")
        assert user.verify_password("correct horse")
        assert not user.verify_password("Correct horse")
        assert await db.users.verify_password("a@fullon", "correct horse")
        assert not await db.users.verify_password("a@fullon", "")
        assert not await db.users.verify_password("b@fullon", "correct horse")

    async def test_a_password_stored_plain_by_others_opens_nothing(self, db: DatabaseContext) -> None:
        await db.session.execute(text("INSERT INTO users (mail, password) VALUES ('a@fullon', 'plain')"))
        assert not await db.users.verify_password("a@fullon", "plain")

    async def test_a_user_without_password_cannot_log_in(self, db: DatabaseContext, user: User) -> None:
        assert not await db.users.verify_password(user.mail, "")

    async def test_a_refused_user_can_be_added_under_another_mail(self, db: DatabaseContext, user: User) -> None:
        second = User(mail=user.mail, password="secret")
        with pytest.raises(AlreadyExists, match="'admin@fullon' already exists"):
            await db.users.add_user(second)
        second.mail = "other@fullon"
        await db.users.add_user(second)
        assert second.verify_password("secret")


class TestExchanges:
    """exchanges: `get_user_exchanges`, `get_cat_exchanges`, `create_cat_exchange`, `add_user_exchange` …"""

    async def test_user_exchanges_by_either_keyword(self, db: DatabaseContext, account: Exchange) -> None:
        for found in (
            await db.exchanges.get_user_exchanges(account.uid),
            await db.exchanges.get_user_exchanges(uid=account.uid),
            await db.exchanges.get_user_exchanges(user_id=account.uid),
        ):
            assert found == [account]
        assert await db.exchanges.get_user_exchanges(999) == []
        with pytest.raises(TypeError, match="uid and user_id"):
            await db.exchanges.get_user_exchanges()

    async def test_exchanges_answer_like_rows_too(self, db: DatabaseContext, account: Exchange) -> None:
        [found] = await db.exchanges.get_user_exchanges(account.uid)
        assert found["name"] == found.name == "kraken1"
        assert (found["ex_id"], found["cat_ex_id"]) == (found.ex_id, found.cat_ex_id)
        assert found.cat_exchange["name"] == "kraken"
        with pytest.raises(KeyError, match="nonsense"):
            found["nonsense"]

    async def test_catalogue_comes_in_pages_or_whole(self, db: DatabaseContext) -> None:
        names = [f"venue{n:02}" for n in range(25)]
        for name in names:
            await db.exchanges.create_cat_exchange(name)

        async def listed(**arguments: object) -> list[str]:
            return [venue.name for venue in await db.exchanges.get_cat_exchanges(**arguments)]

        assert await listed() == names[:10]
        assert await listed(page=3) == names[20:]
        assert await listed(page=2, page_size=20) == names[20:]
        assert await listed(page=9) == []
        assert await listed(all=True) == names
        assert await listed(exchange="venue07") == ["venue07"]
        assert await listed(exchange="nowhere") == []
        with pytest.raises(ValueError, match="page 0"):
            await listed(page=0)

    async def test_create_cat_exchange(self, db: DatabaseContext) -> None:
        venue = await db.exchanges.create_cat_exchange("kraken", ohlcv_view="view")
        assert (venue.name, venue.ohlcv_view) == ("kraken", "view")
        with pytest.raises(AlreadyExists, match="'kraken' already exists"):
            await db.exchanges.create_cat_exchange("kraken")

    async def test_ids_by_name(self, db: DatabaseContext, account: Exchange) -> None:
        exchanges = db.exchanges
        assert await exchanges.get_exchange_id("kraken1") == account.ex_id
        assert await exchanges.get_exchange_id("kraken1", account.uid) == account.ex_id
        assert await exchanges.get_exchange_id("kraken1", user_id=999) is None
        assert await exchanges.get_exchange_cat_id("kraken") == account.cat_ex_id
        assert await exchanges.get_exchange_cat_id(name="kraken") == account.cat_ex_id
        assert await exchanges.get_exchange_cat_id(ex_id=account.ex_id) == account.cat_ex_id
        assert await exchanges.get_exchange_cat_id("kraken1") is None
        assert await exchanges.get_exchange_cat_id(ex_id=999) is None
        with pytest.raises(TypeError, match="exactly one"):
            await exchanges.get_exchange_cat_id()

    async def test_an_account_is_unique_by_user_venue_and_name(self, db: DatabaseContext, account: Exchange) -> None:
        twin = Exchange(uid=account.uid, cat_ex_id=account.cat_ex_id, name=account.name)
        with pytest.raises(AlreadyExists):
            await db.exchanges.add_user_exchange(twin)
        twin.name = "kraken2"
        assert (await db.exchanges.add_user_exchange(twin)).ex_id is not None

    async def test_an_account_needs_its_user_and_venue(self, db: DatabaseContext, user: User) -> None:
        with pytest.raises(ReferenceMissing, match="'here' refers to"):
            await db.exchanges.add_user_exchange(Exchange(uid=user.uid, cat_ex_id=999, name="here"))
        with pytest.raises(InvalidValue, match="uid is missing"):
            await db.exchanges.add_user_exchange(Exchange(cat_ex_id=999, name="here"))


class TestSymbols:
    """symbols: `get_all`, `get_by_symbol`, `get_by_exchange_id`, `get_by_exchange`, `add`, `delete`."""

    @pytest.fixture
    async def three(self, db: DatabaseContext, kraken: CatExchange) -> list[Symbol]:
        binance = await db.exchanges.create_cat_exchange("binance")
        symbols = [
            await db.symbols.add_symbol(Symbol(symbol="BTC/USD", cat_ex_id=kraken.cat_ex_id)),
            await db.symbols.add_symbol(Symbol(symbol="ETH/USD", cat_ex_id=kraken.cat_ex_id, active=False)),
            await db.symbols.add_symbol(Symbol(symbol="BTC/USD", cat_exchange=binance)),
        ]
        await db.commit()
        return symbols

    async def test_get_all(self, db: DatabaseContext, three: list[Symbol]) -> None:
        btc_kraken, eth_kraken, btc_binance = three
        get_all = db.symbols.get_all
        assert await get_all() == three
        assert await get_all("kraken") == await get_all(exchange_name="kraken") == [btc_kraken, eth_kraken]
        assert await get_all(active_only=True) == [btc_kraken, btc_binance]
        assert await get_all("kraken", True) == [btc_kraken]
        assert await get_all(limit=2) == [btc_kraken, eth_kraken]
        assert await get_all(limit=0) == []
        assert await get_all("nowhere") == []
        with pytest.raises(ValueError, match="-1"):
            await get_all(limit=-1)

    async def test_get_by_symbol(self, db: DatabaseContext, three: list[Symbol]) -> None:
        btc_kraken, _, btc_binance = three
        assert await db.symbols.get_by_symbol("BTC/USD") is btc_kraken
        assert await db.symbols.get_by_symbol("BTC/USD", cat_ex_id=btc_binance.cat_ex_id) is btc_binance
        assert await db.symbols.get_by_symbol("btc/usd") is None
        assert await db.symbols.get_by_symbol("BTC/USD", cat_ex_id=999) is None

    async def test_get_by_exchange(self, db: DatabaseContext, three: list[Symbol]) -> None:
        assert await db.symbols.get_by_exchange_id(three[2].cat_ex_id) == [three[2]]
        assert await db.symbols.get_by_exchange_id(999) == []
        assert await db.symbols.get_by_exchange("kraken") == three[:2]
        assert await db.symbols.get_by_exchange("nowhere") == []

    async def test_delete_by_object_or_id(self, db: DatabaseContext, three: list[Symbol]) -> None:
        assert await db.symbols.delete_symbol(three[0])
        assert await db.symbols.delete_symbol(three[1].symbol_id)
        assert not await db.symbols.delete_symbol(three[1].symbol_id)
        assert not await db.symbols.delete_symbol(three[0])
        assert not await db.symbols.delete_symbol(Symbol(symbol="never stored"))
        assert await db.symbols.get_all() == [three[2]]

    async def test_a_symbol_is_unique_at_its_venue(self, db: DatabaseContext, symbol: Symbol) -> None:
        with pytest.raises(AlreadyExists, match=r"'BTC/USD' already exists"):
            await db.symbols.add_symbol(Symbol(symbol="BTC/USD", cat_ex_id=symbol.cat_ex_id))
        with pytest.raises(AlreadyExists, match="stored before"):
            await db.symbols.add_symbol(symbol)
        assert len(await db.symbols.get_all()) == 1

    async def test_defaults_are_there_before_and_after_storing(self, db: DatabaseContext, kraken: CatExchange) -> None:
        symbol = Symbol(symbol="BTC/USD", cat_ex_id=kraken.cat_ex_id)

        def defaults() -> list[object]:
            return [symbol.backtest, symbol.decimals, symbol.futures, symbol.only_ticker, symbol.active]

        assert defaults() == [30, 8, False, False, True]
        await db.symbols.add_symbol(symbol)
        assert defaults() == [30, 8, False, False, True]

    async def test_plain_sql_needs_only_name_and_venue(self, db: DatabaseContext, kraken: CatExchange) -> None:
        await db.session.execute(
            text("INSERT INTO symbols (symbol, cat_ex_id) VALUES ('BTC/USD', :id)"), {"id": kraken.cat_ex_id}
        )
        [symbol] = await db.symbols.get_all(active_only=True)
        assert (symbol.backtest, symbol.decimals, symbol.active, symbol.futures) == (30, 8, True, False)

    async def test_exchange_name_derives_from_the_relation(self, db: DatabaseContext, kraken: CatExchange) -> None:
        symbol = Symbol(symbol="BTC/USD", cat_ex_id=kraken.cat_ex_id)
        with pytest.raises(AttributeError, match="cat_exchange"):
            _ = symbol.exchange_name
        await db.symbols.add_symbol(symbol)
        assert symbol.exchange_name == "kraken"
        with pytest.raises(TypeError, match="exchange_name"):
            Symbol(symbol="BTC/USD", exchange_name="kraken")

    async def test_reads_see_what_others_committed(self, db: DatabaseContext, symbol: Symbol) -> None:
        async with DatabaseContext() as other:
            theirs = await other.symbols.get_by_symbol("BTC/USD")
            assert theirs is not None
            theirs.active = False
            theirs.backtest = 500
            await other.commit()
        assert await db.symbols.get_all(active_only=True) == []
        [ours] = await db.symbols.get_all()
        assert ours is symbol
        assert (ours.active, ours.backtest) == (False, 500)

    async def test_reads_keep_changes_not_yet_flushed(self, db: DatabaseContext, symbol: Symbol) -> None:
        symbol.active = False
        assert await db.symbols.get_all(active_only=True) == []
        assert symbol.active is False


class TestBots:
    """bots: `add_bot`, `add_exchange_to_bot`, `get_user_bots`; strategies: enough for the demo's bots."""

    async def test_the_demos_bots(self, db: DatabaseContext, account: Exchange, symbol: Symbol) -> None:
        catalogue = await db.strategies.install_strategy(
            CatStrategy(
                name="rsi_hayden_long",
                take_profit=Decimal("2.0"),
                stop_loss=Decimal("1.0"),
                pre_load_bars=200,
                feeds=2,
            )
        )
        assert await db.strategies.get_cat_str_id("rsi_hayden_long") == catalogue.cat_str_id
        assert await db.strategies.get_cat_str_id("none") is None

        bot = await db.bots.add_bot(Bot(uid=account.uid, name="RSI LONG", dry_run=True, active=True))
        assert await db.bots.add_exchange_to_bot(bot.bot_id, account.ex_id)
        assert not await db.bots.add_exchange_to_bot(bot.bot_id, account.ex_id)
        strategy = await db.strategies.add_bot_strategy(
            Strategy(
                bot_id=bot.bot_id,
                cat_str_id=catalogue.cat_str_id,
                leverage=2,
                size=None,
                size_pct=Decimal(20),
                size_currency="USD",
                take_profit=Decimal(3),
                trailing_stop=Decimal(3),
                timeout=None,
                feeds=[Feed(symbol_id=symbol.symbol_id, period="Ticks", compression=1, order=1)],
            )
        )
        db.session.add(
            Feed(symbol_id=symbol.symbol_id, str_id=strategy.str_id, period="Minutes", compression=60, order=2)
        )
        await db.commit()

        async with DatabaseContext() as other:
            [read] = await other.bots.get_user_bots(account.uid)
        assert [exchange.cat_exchange.name for exchange in read.exchanges] == ["kraken"]
        [read_strategy] = read.strategies
        assert read_strategy.cat_strategy.name == "rsi_hayden_long"
        assert (read_strategy.size_pct, read_strategy.leverage) == (Decimal(20), Decimal(2))
        assert [(feed.period, feed.compression) for feed in read_strategy.feeds] == [
            ("Ticks", 1),
            ("Minutes", 60),
        ]
        assert read_strategy.feeds[0].symbol.exchange_name == "kraken"

    async def test_user_bots(self, db: DatabaseContext, user: User) -> None:
        awake = await db.bots.add_bot(Bot(uid=user.uid, name="awake"))
        asleep = await db.bots.add_bot(Bot(uid=user.uid, name="asleep", active=False))
        assert await db.bots.get_user_bots(user.uid) == [awake]
        assert await db.bots.get_user_bots(user_id=user.uid, active_only=False) == [awake, asleep]
        assert await db.bots.get_user_bots(999) == []

    async def test_references_must_exist(self, db: DatabaseContext, account: Exchange) -> None:
        bot = await db.bots.add_bot(Bot(uid=account.uid, name="bot"))
        with pytest.raises(ReferenceMissing, match="exchange 999"):
            await db.bots.add_exchange_to_bot(bot.bot_id, 999)
        with pytest.raises(ReferenceMissing):
            await db.strategies.add_bot_strategy(Strategy(bot_id=bot.bot_id, cat_str_id=999))
        with pytest.raises(ReferenceMissing):
            await db.bots.add_bot(Bot(uid=999, name="bot"))
        await db.commit()

    async def test_a_symbol_in_use_is_not_deleted(self, db: DatabaseContext, account: Exchange, symbol: Symbol) -> None:
        catalogue = await db.strategies.install_strategy(CatStrategy(name="rsi"))
        bot = await db.bots.add_bot(Bot(uid=account.uid, name="bot"))
        feeds = [Feed(symbol=symbol, period="Ticks")]
        await db.strategies.add_bot_strategy(Strategy(bot_id=bot.bot_id, cat_strategy=catalogue, feeds=feeds))
        with pytest.raises(StillReferenced, match="'BTC/USD' cannot be deleted"):
            await db.symbols.delete_symbol(symbol)
        assert await db.symbols.get_all() == [symbol]


class TestArguments:
    """Repository methods take model objects; a dict is a TypeError."""

    async def test_a_dict_is_a_type_error(self, db: DatabaseContext) -> None:
        for method, name in (
            (db.users.add_user, "User"),
            (db.exchanges.add_user_exchange, "Exchange"),
            (db.symbols.add_symbol, "Symbol"),
            (db.symbols.delete_symbol, "Symbol"),
            (db.bots.add_bot, "Bot"),
            (db.strategies.install_strategy, "CatStrategy"),
            (db.strategies.add_bot_strategy, "Strategy"),
        ):
            with pytest.raises(TypeError, match=f"{name} object .*needed, not dict"):
                await method({"name": "x"})  # type: ignore[arg-type]

    async def test_another_model_is_a_type_error(self, db: DatabaseContext) -> None:
        with pytest.raises(TypeError, match="Symbol object is needed, not Bot"):
            await db.symbols.add_symbol(Bot(name="x"))  # type: ignore[arg-type]

    def test_an_unknown_column_is_a_type_error(self) -> None:
        with pytest.raises(TypeError, match="Symbol has no 'sybmol'"):
            Symbol(sybmol="BTC/USD")


class TestTables:
    """The columns that other services and plain SQL rely on."""

    COLUMNS: ClassVar = {
        "cat_exchanges": "cat_ex_id name ohlcv_view",
        "exchanges": "ex_id uid cat_ex_id name test active timestamp",
        "users": "uid mail password f2a role name lastname phone id_num note manager timestamp active external_id",
        "symbols": "symbol_id symbol cat_ex_id updateframe backtest decimals base quote futures only_ticker active",
        "bots": "bot_id uid name",
        "bot_exchanges": "bot_id ex_id",
        "cat_strategies": "cat_str_id name",
        "strategies": "str_id bot_id cat_str_id",
        "feeds": "feed_id symbol_id str_id period compression order",
    }

    async def test_are_there(self, db: DatabaseContext) -> None:
        rows = await db.session.execute(
            text("SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'")
        )
        found = {tuple(row) for row in rows}
        wanted = {(table, column) for table, columns in self.COLUMNS.items() for column in columns.split()}
        assert wanted <= found

    async def test_defaults_hold_for_plain_sql(self, db: DatabaseContext) -> None:
        for statement in (
            "INSERT INTO users (mail) VALUES ('a@fullon')",
            "INSERT INTO cat_exchanges (name) VALUES ('kraken')",
            "INSERT INTO exchanges (uid, cat_ex_id, name) VALUES (1, 1, 'kraken1')",
            "INSERT INTO symbols (symbol, cat_ex_id) VALUES ('BTC/USD', 1)",
            "INSERT INTO bots (uid, name) VALUES (1, 'bot')",
            "INSERT INTO cat_strategies (name) VALUES ('rsi')",
            "INSERT INTO strategies (bot_id, cat_str_id) VALUES (1, 1)",
            "INSERT INTO feeds (symbol_id, str_id, period) VALUES (1, 1, 'Ticks')",
        ):
            await db.session.execute(text(statement))
        user = await db.users.get_by_id(1)
        assert user is not None
        assert (user.role, user.active) == (RoleEnum.USER, True)
        [account] = await db.exchanges.get_user_exchanges(1)
        assert (account.test, account.active) == (False, True)
        [bot] = await db.bots.get_user_bots(1)
        assert bot.dry_run
        assert bot.strategies[0].feeds[0].symbol.exchange_name == "kraken"


class TestTrade:
    """`Trade`: `to_dict()` is JSON-able, `from_dict()` tolerates missing and unknown keys."""

    def test_through_json_and_back(self) -> None:
        trade = Trade(
            trade_id=1,
            ex_trade_id="T-1",
            symbol="BTC/USD",
            side="buy",
            order_type="market",
            volume=0.5,
            price=50_000.0,
            cost=25_000.0,
            fee=1.5,
            time=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        )
        assert Trade.from_dict(json.loads(json.dumps(trade.to_dict()))) == trade

    def test_missing_and_unknown_keys(self) -> None:
        assert Trade.from_dict({}) == Trade()
        assert Trade.from_dict({"price": 2, "from_a_later_version": []}) == Trade(price=2.0)
        assert Trade.from_dict({"price": None, "time": None}) == Trade()
