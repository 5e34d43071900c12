"""One module a command: run(cfg). The only place where things are put together."""
