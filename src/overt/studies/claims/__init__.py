"""From stored runs to verdicts: estimates with intervals, rules, and what a report says of them."""
