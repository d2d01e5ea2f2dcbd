"""What traffic is: how often requests come, how long they are, and the list of them."""
