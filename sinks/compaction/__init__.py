"""Small files of closed hours merged into few: a plan, a merge in order, and the swap by the table log."""
