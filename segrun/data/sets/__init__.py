"""Data sets, one file a kind of data; what several of them need lies between them."""
