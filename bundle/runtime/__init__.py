"""What every part of the bundle runs on: `files` (whole or not at all), `errors` (one last line)."""
