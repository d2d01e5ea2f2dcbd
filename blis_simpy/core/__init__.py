"""What every room shares: clock, requests, content, pools, random streams."""
