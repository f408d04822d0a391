"""Programs for people and what they are made of: start everything, test, simulate, measure, look inside."""
