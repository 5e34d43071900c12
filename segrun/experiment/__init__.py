"""The only place where objects are put together."""
