"""What Alembic runs: the migrations, in the transaction that `fullon_orm.schema` has begun."""

from alembic import context

from fullon_orm.models import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)

with context.begin_transaction():
    context.run_migrations()
