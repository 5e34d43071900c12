"""segrun's sweepers: Hydra takes plugins from this namespace only."""
