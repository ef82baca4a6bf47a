"""Speed, measured: each script prints medians and ratios against a peer in the same run. No timed tests."""
