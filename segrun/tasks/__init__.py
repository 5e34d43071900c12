"""Tasks, their losses, and how the losses of several tasks are balanced."""
