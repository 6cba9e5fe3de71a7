"""Galleries and keys in PostgreSQL with pgvector, for many servers over one database.

`place` is what others call. `database` connects and says in words what went wrong, `schema` brings
the tables up to date, `rows` reads and writes them, `changes` is where searching threads learn
what is new, `following` has them learn it before the next request asks.
"""
