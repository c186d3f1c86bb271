"""One run over one server: login, events, the ledger of its steps, and stopping."""
