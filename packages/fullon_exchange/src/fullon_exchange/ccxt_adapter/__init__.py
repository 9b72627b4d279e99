"""Any exchange of ccxt behind the package's own interface.

ccxt supplies what it is good at: addresses, the text of subscriptions, and how each of a hundred exchanges spells a
trade. Everything it leaves to its caller is done here: sockets, acknowledgements, proof of life, reconnecting, paging,
the rate budget, and the check of every row. Nothing of it imports ccxt before an exchange is opened: that costs half
a second and 90 MB.

    exchange.py     the `Exchange`; traits, listings, history, live
    library.py      one object of ccxt, opened up: what it asks, what it answers, what it reads
    rest.py         requests: budget, retries, errors translated
    history.py      what the shared pagers ask ccxt for
    conventions.py  what an untested exchange must prove before its history is believed
    session.py, connection.py, streams.py    live data over sockets of our own
    polling.py      REST in place of a stream
    dialects.py     what the tested exchanges need beyond ccxt
    rows.py, traits.py, failures.py          pure parts
"""
