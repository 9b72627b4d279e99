"""Contract, section 2: fullon_orm."""

import asyncio
import json
import secrets
from datetime import UTC, datetime
from importlib import import_module

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.ext.asyncio import create_async_engine

import fullon_orm
from fullon_orm import DatabaseContext, init_db
from fullon_orm.database import DatabaseManager, create_database_url
from fullon_orm.errors import DatabaseMissing, OrmError, SchemaMismatch
from fullon_orm.models import Bot, CatStrategy, Exchange, Feed, Strategy, Symbol, Trade, User
from fullon_orm.models.user import RoleEnum
from fullon_orm.notifications import listen
from fullon_orm.repositories import (
    BotRepository,
    ExchangeRepository,
    StrategyRepository,
    SymbolRepository,
    UserRepository,
)

pytestmark = pytest.mark.usefixtures("databases")

COLUMNS = {
    "cat_exchanges": "cat_ex_id name ohlcv_view",
    "exchanges": "ex_id uid cat_ex_id name test active timestamp",
    "users": "uid mail password f2a role name lastname phone id_num note manager timestamp active external_id",
    "symbols": "symbol_id symbol cat_ex_id updateframe backtest decimals base quote futures only_ticker active",
    "bots": "bot_id uid",
    "bot_exchanges": "bot_id ex_id",
    "cat_strategies": "cat_str_id name",
    "strategies": "str_id bot_id cat_str_id",
    "feeds": "symbol_id str_id",
}
MODELS = ("User", "Exchange", "CatExchange", "Symbol", "Trade", "Bot", "CatStrategy", "Strategy", "Feed")


def unique(name: str) -> str:
    return f"{name}{secrets.token_hex(3)}"


async def a_user(db: DatabaseContext) -> User:
    return await db.users.add_user(User(mail=f"{unique('user')}@fullon", password="plain words"))


async def an_account(db: DatabaseContext) -> Exchange:
    user = await a_user(db)
    venue = await db.exchanges.create_cat_exchange(unique("venue"))
    return await db.exchanges.add_user_exchange(Exchange(uid=user.uid, cat_ex_id=venue.cat_ex_id, name=unique("mine")))


async def a_symbol(db: DatabaseContext) -> Symbol:
    venue = await db.exchanges.create_cat_exchange(unique("venue"))
    return await db.symbols.add_symbol(Symbol(symbol="BTC/USD", cat_ex_id=venue.cat_ex_id))


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "DatabaseContext",
            "init_db",
            "database_context.DatabaseContext",
            "base.Base",
            "database.create_database_url",
            "database.DatabaseManager",
            *(f"models.{name}" for name in MODELS),
            "models.user.RoleEnum",
            *(f"repositories.{name}Repository" for name in ("User", "Exchange", "Symbol", "Bot", "Strategy")),
        ],
    )
    def test_is_there(self, name: str) -> None:
        module, _, attribute = f"fullon_orm.{name}".rpartition(".")
        assert hasattr(import_module(module), attribute)

    def test_models_is_a_package(self) -> None:
        assert fullon_orm.models.__path__

    async def test_create_database_url_names_the_environments_database_or_another(
        self, databases: tuple[str, str]
    ) -> None:
        for url, name in ((create_database_url(), databases[0]), (create_database_url("postgres"), "postgres")):
            engine = create_async_engine(url)
            async with engine.connect() as connection:
                assert await connection.scalar(text("SELECT current_database()")) == name
            await engine.dispose()

    async def test_the_database_manager_creates_and_drops(self) -> None:
        name = unique("contract_")
        assert await DatabaseManager().create_database(name)
        assert await DatabaseManager().drop_database(name)


class TestContext:
    async def test_it_offers_the_repositories_and_the_session(self) -> None:
        async with DatabaseContext() as db:
            offered = (db.users, db.exchanges, db.symbols, db.bots, db.strategies)
            kinds = (UserRepository, ExchangeRepository, SymbolRepository, BotRepository, StrategyRepository)
            for repository, kind in zip(offered, kinds, strict=True):
                assert isinstance(repository, kind)
                assert isinstance(kind(db.session), kind)

    async def test_commit_is_explicit(self) -> None:
        name = unique("venue")
        for commits in (False, True):
            async with DatabaseContext() as db:
                await db.exchanges.create_cat_exchange(name)
                await db.flush()
                if commits:
                    await db.commit()
            async with DatabaseContext() as db:
                assert (await db.exchanges.get_exchange_cat_id(name) is not None) is commits

    async def test_rollback_undoes(self) -> None:
        async with DatabaseContext() as db:
            symbol = await a_symbol(db)
            name = symbol.exchange_name
            await db.rollback()
            assert await db.exchanges.get_exchange_cat_id(name) is None

    async def test_an_exception_rolls_back(self) -> None:
        name = unique("venue")
        with pytest.raises(LookupError):  # noqa: PT012
            async with DatabaseContext() as db:
                await db.exchanges.create_cat_exchange(name)
                raise LookupError
        async with DatabaseContext() as db:
            assert await db.exchanges.get_exchange_cat_id(name) is None

    async def test_objects_stay_readable_after_exit_relations_included(self) -> None:
        async with DatabaseContext() as db:
            account, symbol = await an_account(db), await a_symbol(db)
            await db.commit()
        async with DatabaseContext() as db:
            [exchange] = await db.exchanges.get_user_exchanges(account.uid)
            read = await db.symbols.get_by_symbol("BTC/USD", symbol.cat_ex_id)
        assert read is not None
        assert exchange.cat_exchange.name == account.cat_exchange.name
        assert (read.symbol, read.cat_exchange.name) == ("BTC/USD", symbol.cat_exchange.name)

    async def test_a_failed_connection_raises(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DB_NAME", unique("missing"))
        with pytest.raises(DatabaseMissing):
            async with DatabaseContext():
                pytest.fail("entered")


class TestUsers:
    async def test_a_user_is_added_and_found_by_mail_and_id(self) -> None:
        async with DatabaseContext() as db:
            user = await a_user(db)
            assert await db.users.get_user_id(user.mail) == user.uid
            assert await db.users.get_user_id("nobody@fullon") is None
            for found in (await db.users.get_by_email(user.mail), await db.users.get_by_id(user.uid)):
                assert found is not None
                assert (found.uid, found.role, found.active) == (user.uid, RoleEnum.USER, True)

    async def test_passwords_are_stored_hashed(self) -> None:
        async with DatabaseContext() as db:
            user = await a_user(db)
            stored = await db.session.scalar(text("SELECT password FROM users WHERE uid = :uid"), {"uid": user.uid})
            assert "plain words" not in stored
            assert user.verify_password("plain words")


class TestExchanges:
    async def test_user_exchanges_by_either_keyword_answer_to_item_access(self) -> None:
        async with DatabaseContext() as db:
            account = await an_account(db)
            for found in (
                await db.exchanges.get_user_exchanges(account.uid),
                await db.exchanges.get_user_exchanges(uid=account.uid),
                await db.exchanges.get_user_exchanges(user_id=account.uid),
            ):
                [one] = found
                assert one["name"] == one.name == account.name

    async def test_the_catalogue_comes_in_pages_of_ten_or_whole_or_by_name(self) -> None:
        async with DatabaseContext() as db:
            names = [(await db.exchanges.create_cat_exchange(unique("venue"), ohlcv_view="")).name for _ in range(11)]
            assert len(await db.exchanges.get_cat_exchanges()) == 10
            assert len(await db.exchanges.get_cat_exchanges(page=2, page_size=3)) == 3
            assert {one.name for one in await db.exchanges.get_cat_exchanges(all=True)} >= set(names)
            assert [one.name for one in await db.exchanges.get_cat_exchanges(exchange=names[0])] == names[:1]

    async def test_ids_are_found_by_name(self) -> None:
        async with DatabaseContext() as db:
            account = await an_account(db)
            assert await db.exchanges.get_exchange_id(account.name) == account.ex_id
            assert await db.exchanges.get_exchange_cat_id(account.cat_exchange.name) == account.cat_ex_id
            assert await db.exchanges.get_exchange_id(unique("none")) is None


class TestSymbols:
    async def test_symbols_are_found_in_every_documented_way(self) -> None:
        async with DatabaseContext() as db:
            symbol = await a_symbol(db)
            venue = symbol.exchange_name
            inactive = Symbol(symbol="ETH/USD", cat_ex_id=symbol.cat_ex_id, active=False)
            await db.symbols.add_symbol(inactive)
            everything = [symbol, inactive]
            assert await db.symbols.get_all(exchange_name=venue) == everything
            assert await db.symbols.get_all(exchange_name=venue, active_only=True) == [symbol]
            assert await db.symbols.get_all(exchange_name=venue, limit=1) == [symbol]
            assert await db.symbols.get_by_exchange_id(symbol.cat_ex_id) == everything
            assert await db.symbols.get_by_exchange(venue) == everything
            assert await db.symbols.get_by_symbol("ETH/USD", cat_ex_id=symbol.cat_ex_id) == inactive
            assert await db.symbols.get_by_symbol("XXX/USD") is None

    async def test_a_symbol_is_deleted_once(self) -> None:
        async with DatabaseContext() as db:
            symbol = await a_symbol(db)
            assert await db.symbols.delete_symbol(symbol)
            assert not await db.symbols.delete_symbol(symbol)

    async def test_its_defaults_are_the_documented_ones(self) -> None:
        async with DatabaseContext() as db:
            symbol = await a_symbol(db)
        found = (symbol.backtest, symbol.decimals, symbol.futures, symbol.only_ticker, symbol.active)
        assert found == (30, 8, False, False, True)

    async def test_the_exchange_name_derives_from_the_relation(self) -> None:
        async with DatabaseContext() as db:
            symbol = await a_symbol(db)
        assert symbol.exchange_name == symbol.cat_exchange.name


async def test_a_bot_gets_an_exchange_and_a_strategy_with_a_feed() -> None:
    async with DatabaseContext() as db:
        account, symbol = await an_account(db), await a_symbol(db)
        name = unique("rsi")
        await db.strategies.install_strategy(CatStrategy(name=name))
        cat_str_id = await db.strategies.get_cat_str_id(name)
        bot = await db.bots.add_bot(Bot(uid=account.uid, name="bot"))
        assert await db.bots.add_exchange_to_bot(bot.bot_id, account.ex_id)
        feeds = [Feed(symbol_id=symbol.symbol_id, period="Minutes", compression=15)]
        await db.strategies.add_bot_strategy(Strategy(bot_id=bot.bot_id, cat_str_id=cat_str_id, feeds=feeds))
        await db.commit()
    async with DatabaseContext() as db:
        [read] = await db.bots.get_user_bots(account.uid)
    assert [one.ex_id for one in read.exchanges] == [account.ex_id]
    assert read.strategies[0].feeds[0].symbol.symbol == "BTC/USD"


class TestRepositories:
    async def test_a_dict_is_a_type_error(self) -> None:
        async with DatabaseContext() as db:
            for call in (
                db.users.add_user,
                db.exchanges.add_user_exchange,
                db.symbols.add_symbol,
                db.bots.add_bot,
                db.strategies.install_strategy,
                db.strategies.add_bot_strategy,
            ):
                with pytest.raises(TypeError):
                    await call({"name": "x"})  # type: ignore[arg-type]

    async def test_not_found_is_none_an_empty_list_or_false(self) -> None:
        async with DatabaseContext() as db:
            assert await db.users.get_by_id(999_999) is None
            assert await db.exchanges.get_user_exchanges(999_999) == []
            assert await db.symbols.get_by_exchange("nowhere") == []
            assert await db.bots.get_user_bots(999_999) == []
            assert await db.strategies.get_cat_str_id("none") is None
            assert await db.symbols.delete_symbol(999_999) is False

    async def test_a_broken_connection_raises(self, monkeypatch: pytest.MonkeyPatch) -> None:
        name = unique("contract_")
        monkeypatch.setenv("DB_NAME", name)
        await init_db()
        async with DatabaseContext() as db:
            assert await db.symbols.get_all() == []
            await DatabaseManager().drop_database(name)
            with pytest.raises(OrmError):
                await db.symbols.get_all()


@pytest.mark.parametrize("table", COLUMNS)
async def test_the_table_has_the_documented_columns(table: str) -> None:
    async with DatabaseContext() as db:
        connection = await db.session.connection()
        columns = await connection.run_sync(lambda c: {one["name"] for one in inspect(c).get_columns(table)})
    assert columns >= set(COLUMNS[table].split())


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("cat_exchanges", ["name"]),
        ("exchanges", ["uid", "cat_ex_id", "name"]),
        ("users", ["mail"]),
        ("symbols", ["symbol", "cat_ex_id"]),
    ],
)
async def test_the_table_is_unique_in_the_documented_columns(table: str, columns: list[str]) -> None:
    async with DatabaseContext() as db:
        connection = await db.session.connection()
        found = await connection.run_sync(lambda c: inspect(c).get_unique_constraints(table))
    assert columns in [one["column_names"] for one in found]


async def test_changes_to_exchanges_and_symbols_notify_listeners() -> None:
    async with listen() as changes:
        async with DatabaseContext() as db:
            account, symbol = await an_account(db), await a_symbol(db)
            await db.commit()
        heard = set()
        async with asyncio.timeout(10):
            async for change in changes:
                heard.add((change.table, change.operation, change.cat_ex_id))
                wanted = {("exchanges", "insert", account.cat_ex_id), ("symbols", "insert", symbol.cat_ex_id)}
                if heard >= wanted:
                    return


class TestTrade:
    def test_to_dict_is_json_able_and_from_dict_brings_it_back(self) -> None:
        trade = Trade(
            trade_id="t1",
            ex_trade_id="77",
            symbol="BTC/USD",
            side="buy",
            volume=0.5,
            price=100.0,
            cost=50.0,
            fee=0.1,
            time=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
            order_type="limit",
        )
        assert Trade.from_dict(json.loads(json.dumps(trade.to_dict()))) == trade

    def test_from_dict_tolerates_missing_and_unknown_keys(self) -> None:
        assert Trade.from_dict({"price": 5.0, "colour": "red"}) == Trade(price=5.0)


async def test_a_newer_schema_than_the_code_is_refused_with_a_clear_message(monkeypatch: pytest.MonkeyPatch) -> None:
    name = unique("contract_")
    monkeypatch.setenv("DB_NAME", name)
    try:
        await init_db()
        async with DatabaseContext() as db:
            await db.session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
            await db.commit()
        with pytest.raises(SchemaMismatch, match="9999"):
            await init_db()
    finally:
        await DatabaseManager().drop_database(name)
