"""What people see: the terminal, pictures, files for other programs. Reads events and results, never the loop."""
