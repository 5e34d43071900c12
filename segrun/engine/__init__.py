"""Carries a plan out: training loop, optimizer step, optimizers and schedules."""
