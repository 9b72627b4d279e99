"""Commands to the server, outside of any test's database."""

from fullon_ohlcv.connection import Target, connect


async def on_server(*commands: str) -> None:
    """Run commands in the maintenance database."""
    connection = await connect(Target.from_env().of("postgres"))
    try:
        for command in commands:
            await connection.execute(command)
    finally:
        await connection.close()
