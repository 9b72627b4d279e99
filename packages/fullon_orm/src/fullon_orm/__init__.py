"""Users, exchanges, symbols and bots: SQLAlchemy 2 async models and repositories."""
