"""A run in the forms of other programs: events, metrics, JUnit, and the page for a browser."""
