"""Why each request was let in and where it was sent: the decision log and what can be read from it."""
