"""``python -m overt`` is the command line."""

from __future__ import annotations

from overt.cli import main

if __name__ == "__main__":
    main()
