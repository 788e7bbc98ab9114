"""`python -m shrinknet`: the command line, for when the console script is not on the path."""

from shrinknet.cli import main

if __name__ == "__main__":
    main()
