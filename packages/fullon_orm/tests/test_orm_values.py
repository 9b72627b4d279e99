"""Whatever a name holds, it is stored and found again exactly, or refused in one sentence."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from fullon_orm import DatabaseContext
from fullon_orm.errors import InvalidValue, StatementRefused
from fullon_orm.models import Bot, CatExchange, Symbol, User
from fullon_orm.models.user import RoleEnum

HOSTILE = [
    'x"; DROP TABLE symbols; --',
    "'; DELETE FROM users; --",
    "BTC/USD😀",
    "%s %(name)s {0} {name} $1 :name \\",
    "a" * 200,
    "😀" * 200,
    " BTC/USD ",
    "BTC_USD",
    "btc/usd",
    "\n\t\r",
    "\ufdfa\u202e\u200b",
    "NULL",
]

REFUSED = {
    "": "symbol is empty",
    "a" * 256: "symbol has 256 characters; at most 255 are allowed",
    "BTC\0USD": "symbol holds a NUL",
    "BTC\ud800": "symbol holds .* half a surrogate",
    None: "symbol is missing",
    5: "symbol is int, not text",
    b"BTC": "symbol is bytes, not text",
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names_are_stored_as_they_are(db: DatabaseContext, name: str) -> None:
    venue = await db.exchanges.create_cat_exchange(name)
    user = await db.users.add_user(User(mail=name, name=name, note=name))
    bot = await db.bots.add_bot(Bot(uid=user.uid, name=name))
    symbol = await db.symbols.add_symbol(Symbol(symbol=name, cat_ex_id=venue.cat_ex_id, base=name, quote=name))
    await db.commit()
    async with DatabaseContext() as other:
        found = await other.symbols.get_by_symbol(name, cat_ex_id=venue.cat_ex_id)
        assert found is not None
        assert (found.symbol, found.base, found.exchange_name) == (name, name, name)
        assert [s.symbol_id for s in await other.symbols.get_by_exchange(name)] == [symbol.symbol_id]
        assert await other.exchanges.get_exchange_cat_id(name) == venue.cat_ex_id
        assert await other.users.get_user_id(name) == user.uid
        assert [b.name for b in await other.bots.get_user_bots(user.uid)] == [bot.name]


async def test_names_that_look_alike_stay_apart(db: DatabaseContext, kraken: CatExchange) -> None:
    names = ["BTC/USD", "BTC_USD", "btc/usd", "BTC/USD ", "BTC/USD\u200b"]
    for name in names:
        await db.symbols.add_symbol(Symbol(symbol=name, cat_ex_id=kraken.cat_ex_id))
    assert [symbol.symbol for symbol in await db.symbols.get_by_exchange("kraken")] == names


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
async def test_impossible_names_are_refused_in_one_sentence(
    db: DatabaseContext, kraken: CatExchange, name: str, reason: str
) -> None:
    with pytest.raises(InvalidValue, match=reason) as refused:
        await db.symbols.add_symbol(Symbol(symbol=name, cat_ex_id=kraken.cat_ex_id))
    assert "\n" not in str(refused.value)
    assert isinstance(refused.value, ValueError)
    await db.symbols.add_symbol(Symbol(symbol="BTC/USD", cat_ex_id=kraken.cat_ex_id))
    await db.commit()


async def test_an_update_is_checked_like_an_insert(db: DatabaseContext, symbol: Symbol) -> None:
    symbol.symbol = "a" * 300
    with pytest.raises(InvalidValue, match="300 characters"):
        await db.commit()


@pytest.mark.parametrize("values", [{"backtest": -1}, {"decimals": -1}, {"backtest": 2**40}, {"backtest": "30"}])
async def test_impossible_numbers_are_refused(db: DatabaseContext, kraken: CatExchange, values: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        await db.symbols.add_symbol(Symbol(symbol="BTC/USD", cat_ex_id=kraken.cat_ex_id, **values))
    assert await db.symbols.get_all() == []


async def test_the_database_refuses_by_itself_too(db: DatabaseContext, kraken: CatExchange) -> None:
    for assignment in ("symbol = ''", "backtest = -1", "decimals = -1", "symbol = repeat('a', 256)"):
        column, value = assignment.split(" = ")
        columns = {"symbol": "'BTC/USD'", "cat_ex_id": "1", column: value}
        statement = f"INSERT INTO symbols ({', '.join(columns)}) VALUES ({', '.join(columns.values())})"
        with pytest.raises(Exception, match=r"ck_symbols|value too long"):
            await db.session.execute(text(statement))
        await db.rollback()


async def test_a_search_for_the_impossible_is_refused_or_empty(db: DatabaseContext) -> None:
    for search in ("a\0b", "a\ud800"):
        with pytest.raises(InvalidValue):
            await db.symbols.get_by_symbol(search)
        await db.rollback()
    assert await db.symbols.get_by_symbol("a" * 100_000) is None


@settings(max_examples=50)
@given(name=st.text(max_size=300))
async def test_any_text_is_stored_exactly_or_refused(db: DatabaseContext, kraken: CatExchange, name: str) -> None:
    symbol = Symbol(symbol=name, cat_ex_id=kraken.cat_ex_id)
    if not name or len(name) > 255 or "\0" in name:
        with pytest.raises(InvalidValue) as refused:
            await db.symbols.add_symbol(symbol)
        assert "\n" not in str(refused.value)
        return
    await db.symbols.add_symbol(symbol)
    db.session.expunge(symbol)
    found = await db.symbols.get_by_symbol(name)
    assert found is not None
    assert found.symbol == name
    await db.symbols.delete_symbol(found)


@pytest.mark.parametrize("password", ["", "p\u00e4ss\0w\ud800rd", "\U0001f600" * 1000])
async def test_any_password_opens_and_no_other_does(db: DatabaseContext, password: str) -> None:
    user = await db.users.add_user(User(mail="a@fullon", password=password))
    assert await db.users.verify_password(user.mail, password)
    assert not await db.users.verify_password(user.mail, password + " ")


@pytest.mark.parametrize("role", ["ADMIN", "Admin", "admin", RoleEnum.ADMIN])
async def test_a_role_is_taken_in_any_case(db: DatabaseContext, role: str) -> None:
    user = await db.users.add_user(User(mail="a@fullon", role=role))
    assert user.role is RoleEnum.ADMIN
    assert RoleEnum(role) is RoleEnum.ADMIN
    assert (await db.users.add_user(User(mail="b@fullon", role="USER"))).role is RoleEnum.USER
    with pytest.raises(InvalidValue, match="role is 'king'; allowed are admin, user"):
        await db.users.add_user(User(mail="c@fullon", role="king"))


async def test_a_statement_that_the_server_refuses_is_one_sentence(db: DatabaseContext) -> None:
    with pytest.raises(StatementRefused, match=r"refused a statement: .*SQLSTATE 42601") as refused:
        await db.session.execute(text("SELECT * FROM symbols ORDER BY 1 LIMIT 1 FOR"))
    assert "\n" not in str(refused.value)
    assert not refused.value.retryable
