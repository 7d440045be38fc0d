"""What makes a claim of speed checkable: restorehooks and its peers, side by side in one run."""
