"""Self-contained records of results, and the folder they are filed in. Standard library only."""
