"""`python -m autotl` is `autotl`."""

from autotl.cli.main import main

if __name__ == "__main__":
    main()
