"""Read while it is imported, by a path that begins in the wrapper's folder."""

with open("answer.txt") as file:
    ANSWER = file.read().strip()
