"""A phantom cohort with known truth, and the page that shows what the system makes of it."""
