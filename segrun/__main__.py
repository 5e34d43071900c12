"""`python -m segrun …` is `segrun …`; it also serves `accelerate launch -m segrun …`."""

from segrun.cli import main

if __name__ == "__main__":
    main()
